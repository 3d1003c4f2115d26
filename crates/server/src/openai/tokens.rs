//! Tokens as clients see them in log-probabilities.

use engine::TokenLogprob;
use models::Tokenizer;

/// The lowest log-probability that is told: JSON has no infinity, and OpenAI says this for it.
const LEAST_LOGPROB: f32 = -9999.0;

/// A token's bytes; none for an id without meaning.
pub fn token_bytes(tokenizer: &Tokenizer, id: u32) -> &[u8] {
    tokenizer.token_bytes(id).unwrap_or_default()
}

/// A log-probability as JSON can hold it, never above 0 by rounding.
pub fn finite(logprob: f32) -> f32 {
    // NaN would stay itself in clamp
    if logprob.is_nan() { LEAST_LOGPROB } else { logprob.clamp(LEAST_LOGPROB, 0.0) }
}

/// The chosen token and its alternatives, best first, the chosen one last if it is none of them.
pub fn with_chosen(entry: &TokenLogprob) -> impl Iterator<Item = (u32, f32)> + '_ {
    let chosen = entry.top.iter().all(|(id, _)| *id != entry.id).then_some((entry.id, entry.logprob));
    entry.top.iter().copied().chain(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_are_numbers_below_zero() {
        for (value, expected) in
            [(f32::NEG_INFINITY, -9999.0), (f32::NAN, -9999.0), (1e-7, 0.0), (-1.5, -1.5)]
        {
            assert_eq!(finite(value), expected);
        }
    }

    #[test]
    fn the_chosen_token_is_among_its_alternatives_once() {
        let entry = |id| TokenLogprob { id, logprob: -3.0, top: vec![(1, -0.5), (2, -1.0)] };
        assert_eq!(with_chosen(&entry(2)).collect::<Vec<_>>(), [(1, -0.5), (2, -1.0)]);
        assert_eq!(with_chosen(&entry(9)).collect::<Vec<_>>(), [(1, -0.5), (2, -1.0), (9, -3.0)]);
    }
}
