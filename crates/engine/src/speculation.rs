//! Guesses the next tokens of an answer.
//!
//! The step computes the proposed tokens along with the certain one, and the answer samples row by row as it would
//! anyway: as long as it takes what was proposed, the next row is right already. So the tokens are those it would have had
//! without; only the steps are fewer.
//!
//! Without a draft model (`draft`) guesses come from prompt lookup: where the last tokens stood before, what followed
//! then is proposed now (Yang et al., "Inference with Reference", arXiv:2304.04487).

use std::collections::HashMap;

/// Tokens that must stand together once more. Two agree by chance too often.
const NGRAM: usize = 3;
/// Tokens proposed at most: from about five rows on a step is bound by arithmetic and no longer by memory.
pub(crate) const MAX_PROPOSED: usize = 4;
/// Rows of a step up to which proposals are made at all, for the same reason.
pub(crate) const MAX_ROWS: usize = 8;
/// Share of proposals taken below which a sequence pauses, and for how many tokens.
const WORTHWHILE: f64 = 0.25;
const PAUSE_TOKENS: usize = 32;
/// Share of the newest round in the average.
const NEWEST: f64 = 0.25;

/// What a sequence knows of its own repetitions, and of how good the guesses were.
#[derive(Clone, Debug)]
pub(crate) struct Guesser {
    /// Where the token after the latest occurrence of each n-gram stands.
    after: HashMap<[u32; NGRAM], u32>,
    /// Tokens whose n-grams are known.
    indexed: usize,
    /// Average share of proposals that were taken.
    taken: f64,
    /// No proposals before the sequence has this many tokens.
    paused_until: usize,
    /// Tokens proposed in the current round.
    pending: usize,
}

impl Default for Guesser {
    fn default() -> Self {
        Guesser { after: HashMap::new(), indexed: 0, taken: 1.0, paused_until: 0, pending: 0 }
    }
}

impl Guesser {
    /// Up to `most` tokens that may follow `tokens`, by what followed before.
    pub fn look_up<'a>(&mut self, tokens: &'a [u32], most: usize) -> &'a [u32] {
        if most == 0 || tokens.len() < self.paused_until {
            return &[];
        }
        // the last n-gram is what is looked up, so it is not known yet
        for end in self.indexed.max(NGRAM)..tokens.len() {
            if let Some(ngram) = tokens[end - NGRAM..].first_chunk() {
                self.after.insert(*ngram, end as u32);
            }
        }
        self.indexed = tokens.len().max(NGRAM);
        let at = tokens.last_chunk().and_then(|ngram: &[u32; NGRAM]| self.after.get(ngram));
        let Some(&at) = at else { return &[] };
        let following = &tokens[at as usize..];
        &following[..most.min(following.len())]
    }

    /// How many tokens to have drafted for a sequence of `len` tokens: each costs a pass through the draft, so the fewer are
    /// taken, the fewer are asked for.
    pub fn worth_drafting(&self, len: usize) -> usize {
        match len < self.paused_until {
            true => 0,
            false => 1 + (self.taken * (MAX_PROPOSED - 1) as f64).round() as usize,
        }
    }

    /// Takes note of how many tokens are computed on suspicion.
    pub fn proposed(&mut self, tokens: usize) {
        self.pending = tokens;
    }

    /// Takes note of how the round ended, with `len` tokens.
    pub fn note(&mut self, accepted: usize, len: usize) {
        let proposed = std::mem::take(&mut self.pending);
        if proposed == 0 {
            return;
        }
        self.taken += NEWEST * (accepted as f64 / proposed as f64 - self.taken);
        if self.taken < WORTHWHILE {
            (self.taken, self.paused_until) = (2.0 * WORTHWHILE, len + PAUSE_TOKENS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Kept step by step, the index finds what a search from the end would.
        #[test]
        fn what_followed_last_time_is_proposed(
            tokens in prop::collection::vec(0u32..4, 1..80), cut in 1usize..80, most in 0usize..6
        ) {
            let mut guesser = Guesser::default();
            let cut = cut.min(tokens.len());
            guesser.look_up(&tokens[..cut], most);
            let found = guesser.look_up(&tokens, most).to_vec();
            let expected = tokens.last_chunk::<NGRAM>().and_then(|tail| {
                (NGRAM..tokens.len()).rev().find(|&end| tokens[end - NGRAM..end] == *tail)
            });
            let expected = expected.map_or(&[][..], |at| &tokens[at..]);
            prop_assert_eq!(&found[..], &expected[..most.min(expected.len())]);
        }
    }

    #[test]
    fn a_sequence_that_guesses_wrong_pauses() {
        let tokens: Vec<u32> = (0..10).cycle().take(100).collect();
        let mut guesser = Guesser::default();
        assert_eq!(guesser.look_up(&tokens[..50], 4), [0, 1, 2, 3]);
        for _ in 0..8 {
            guesser.proposed(4);
            guesser.note(0, 50);
        }
        assert_eq!(guesser.look_up(&tokens[..51], 4), [] as [u32; 0]);
        assert_eq!(guesser.look_up(&tokens[..50 + PAUSE_TOKENS], 2), [2, 3]);
    }
}
