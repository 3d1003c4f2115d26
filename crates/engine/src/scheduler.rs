//! Which sequences compute what in the next step.

use crate::block_pool::{BLOCK_TOKENS, BlockPool, blocks_for};
use crate::fairness::Turns;
use crate::sequence::{Sequence, Work};
use crate::speculation::{MAX_PROPOSED, MAX_ROWS};
use std::collections::VecDeque;

/// The sequences that run, and the cache blocks they share.
///
/// Every step takes one token of each answer that grows, then fills up with chunks of prompts, in turns between
/// workspaces. Beside answers it takes few tokens of prompts, so that answers do not stutter. A sequence gets the blocks of all its tokens when it is admitted, so only growing answers can run out of
/// them; then the newest sequence gives its blocks back and is computed again later.
pub(crate) struct Scheduler {
    /// In the order of admission.
    pub running: Vec<Sequence>,
    /// Sequences that gave their blocks back, the oldest first. They come before new ones.
    pub preempted: VecDeque<Sequence>,
    pub pool: BlockPool,
    pub turns: Turns,
    step_tokens: usize,
    max_sequences: usize,
    /// Tokens of a sequence that the draft computes at most; 0 without a draft.
    draft_context: usize,
    /// How often a sequence had to give its blocks back.
    pub preemptions: u64,
    /// Prompt tokens that were in the cache when their sequence was admitted first.
    pub cached_tokens: u64,
    /// Guessed tokens, and those that were right.
    pub proposed_tokens: u64,
    pub accepted_tokens: u64,
}

/// The next `len` tokens of `running[index]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub index: usize,
    pub len: usize,
}

impl Scheduler {
    pub fn new(blocks: usize, step_tokens: usize, max_sequences: usize, draft_context: usize) -> Scheduler {
        Scheduler {
            running: Vec::new(),
            preempted: VecDeque::new(),
            pool: BlockPool::new(blocks),
            turns: Turns::default(),
            // a token for each sequence always fits
            step_tokens: step_tokens.max(max_sequences).max(1),
            max_sequences: max_sequences.max(1),
            draft_context,
            preemptions: 0,
            cached_tokens: 0,
            proposed_tokens: 0,
            accepted_tokens: 0,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.preempted.is_empty()
    }

    /// Takes out the sequences that nobody waits for: their clients have gone, or another answer has failed.
    pub fn take_abandoned(&mut self) -> Vec<Sequence> {
        let abandoned = |s: &Sequence| s.is_cancelled() || s.has_failed();
        let mut gone: Vec<Sequence> = self.running.extract_if(.., |s| abandoned(s)).collect();
        let (preempted, waiting): (VecDeque<_>, _) = self.preempted.drain(..).partition(abandoned);
        self.preempted = waiting;
        gone.extend(preempted);
        gone.iter_mut().for_each(|s| self.pool.release(&mut s.blocks));
        gone
    }

    /// Plans a step, admitting from `waiting` what fits; beside answers that grow, it takes at most `prompt_tokens` of
    /// prompts. Not empty unless nothing runs and nothing can be admitted.
    pub fn plan(&mut self, waiting: &mut VecDeque<Sequence>, prompt_tokens: usize) -> Vec<Planned> {
        let everybody = self.running.iter().chain(&self.preempted).chain(waiting.iter());
        self.turns.update(everybody.map(|s| s.origin.workspace));
        let mut budget = self.step_tokens;
        let mut plan = Vec::new();
        let mut index = 0;
        while index < self.running.len() {
            if self.running[index].remaining() == 1 && self.make_room(index) {
                plan.push(Planned { index, len: 1 });
                budget -= 1;
            }
            index += 1;
        }
        if !plan.is_empty() {
            budget = budget.min(prompt_tokens.max(1));
        }
        for (index, s) in self.running.iter().enumerate() {
            if s.remaining() > 1 && budget > 0 {
                let len = s.remaining().min(budget);
                plan.push(Planned { index, len });
                budget -= len;
            }
        }
        while budget > 0 {
            let Some(s) = self.admit(waiting) else { break };
            let len = s.remaining().min(budget);
            plan.push(Planned { index: self.running.len(), len });
            budget -= len;
            self.running.push(s);
        }
        plan
    }

    /// Lets the answers of a step guess, if they are few: each gets as many tokens as there are blocks for, without taking
    /// any from others. `context` is the longest sequence. Returns how many the draft is to guess; without a draft they are
    /// looked up here.
    ///
    /// With a draft nothing is looked up: it has read the same text and repeats it as well, and what others had guessed it
    /// would have to compute all the same before its next guess.
    pub fn speculate(&mut self, plan: &[Planned], context: usize) -> Vec<Planned> {
        let mut drafts = Vec::new();
        let rows: usize = plan.iter().map(|p| p.len).sum();
        let mut room = MAX_ROWS.saturating_sub(rows);
        for p in plan {
            let s = &mut self.running[p.index];
            let Work::Generate(g) = &s.work else { continue };
            if s.remaining() != 1 || !g.prompt_reported {
                continue;
            }
            // the certain token comes first, and the last one of all is not computed
            let tokens = s.tokens.len();
            let most = MAX_PROPOSED
                .min(room)
                .min(g.answer.tokens_left().saturating_sub(1))
                .min(context.saturating_sub(tokens + 1));
            let len = match self.draft_context {
                0 => {
                    s.proposed = s.guesser.look_up(&s.tokens, most).to_vec();
                    s.proposed.len()
                }
                // the draft does not compute its own last guess
                longest => {
                    s.guesser.worth_drafting(tokens).min(most).min((longest + 1).saturating_sub(tokens))
                }
            };
            if len == 0 || !self.pool.grow(&mut s.blocks, tokens + len) {
                s.proposed.clear();
                continue;
            }
            room -= len;
            if self.draft_context > 0 {
                drafts.push(Planned { index: p.index, len });
            }
        }
        drafts
    }

    /// Counts what the answers of a step have guessed.
    pub fn note_proposed(&mut self, plan: &[Planned]) {
        for p in plan {
            let s = &mut self.running[p.index];
            s.guesser.proposed(s.proposed.len());
            self.proposed_tokens += s.proposed.len() as u64;
        }
    }

    /// Finds a block for the next token of `running[index]`, taking from the newest sequences; `false` when the
    /// sequence itself was the newest and gave way.
    fn make_room(&mut self, index: usize) -> bool {
        loop {
            let s = &mut self.running[index];
            if self.pool.grow(&mut s.blocks, s.tokens.len()) {
                return true;
            }
            let last = self.running.len() - 1;
            self.preempt_last();
            if last == index {
                return false;
            }
        }
    }

    fn preempt_last(&mut self) {
        if let Some(mut s) = self.running.pop() {
            self.pool.release(&mut s.blocks);
            self.set_back(s);
        }
    }

    /// Queues a sequence without blocks to be computed from its first token again.
    pub fn set_back(&mut self, mut s: Sequence) {
        (s.computed, s.draft_computed) = (0, 0);
        s.chain = s.root();
        if let Work::Generate(g) = &mut s.work {
            g.prompt_tokens.clear();
        }
        self.preemptions += 1;
        self.preempted.push_front(s);
    }

    /// The sequence whose turn it is, if it fits, with the blocks of its tokens. What others have computed of them
    /// already is taken over.
    fn admit(&mut self, waiting: &mut VecDeque<Sequence>) -> Option<Sequence> {
        let (at, queue) = match self.preempted.is_empty() {
            true => (self.turns.next(waiting.iter())?, waiting),
            false => (0, &mut self.preempted),
        };
        let next = queue.get(at)?;
        let width: usize = self.running.iter().map(Sequence::width).sum();
        if width + next.width() > self.max_sequences.max(next.width()) {
            return None;
        }
        let (mut blocks, chain) = self.pool.take_prefix(next.chain, next.reusable());
        // one more block than the tokens need, so that it does not give way in the very next step
        let needed = blocks_for(next.tokens.len() + 1).min(self.pool.total()) - blocks.len();
        if needed > self.pool.free() {
            self.pool.release(&mut blocks);
            return None;
        }
        let mut s = queue.remove(at)?;
        s.computed = blocks.len() * BLOCK_TOKENS;
        s.draft_computed = s.computed.min(self.draft_context);
        (s.blocks, s.chain) = (blocks, chain);
        if s.cached_tokens.is_none() {
            s.cached_tokens = Some(s.computed);
            self.cached_tokens += s.computed as u64;
        }
        self.turns.prompt(s.origin.workspace, s.remaining());
        let grown = self.pool.grow(&mut s.blocks, s.tokens.len());
        assert!(grown, "free blocks were counted");
        Some(s)
    }

    /// Makes the computed blocks of `running[index]` known to later requests, and forgets what it had guessed: what is
    /// left of that are the tokens that it took.
    pub fn settle(&mut self, index: usize) {
        let s = &mut self.running[index];
        s.guesser.note(s.proposed.len(), s.tokens.len());
        s.proposed.clear();
        // what the draft computed for guesses that were wrong is written over
        s.draft_computed = s.draft_computed.min(s.computed);
        // whoever finds a block finds it in both caches
        let found = if s.draft_computed < self.draft_context { s.draft_computed } else { s.computed };
        s.chain = self.pool.register(s.chain, &s.tokens[..found], &s.blocks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Origin;
    use crate::prefix_cache::{Chain, Scope};
    use crate::sequence::Client;
    use crate::speculation::Guesser;
    use proptest::prelude::*;
    use tokio::sync::mpsc;

    fn sequence(prompt: usize) -> (Sequence, mpsc::UnboundedReceiver<crate::Event>) {
        let (events, receiver) = mpsc::unbounded_channel();
        let origin = Origin { workspace: Scope(prompt as u128 % 3), priority: prompt as i32 % 2 };
        let s = Sequence {
            tokens: vec![1; prompt],
            prompt_len: prompt,
            computed: 0,
            blocks: vec![],
            chain: Chain::new(origin.workspace, None),
            origin,
            adapter: None,
            cached_tokens: None,
            proposed: Vec::new(),
            guesser: Guesser::default(),
            draft_computed: 0,
            work: Work::Embed,
            client: Client::new(events),
        };
        (s, receiver)
    }

    #[test]
    fn workspaces_take_turns_and_priorities_count_within_them() {
        let mut scheduler = Scheduler::new(100, 64, 1, 0);
        let mut waiting = VecDeque::new();
        let mut receivers = Vec::new();
        // one workspace asks much and urgently, another little and later
        for (i, (workspace, priority)) in
            [(1, 9), (1, 9), (1, 9), (1, 0), (2, 0), (2, 5)].into_iter().enumerate()
        {
            let (mut s, r) = sequence(40 + i);
            s.origin = Origin { workspace: Scope(workspace), priority };
            s.chain = s.root();
            waiting.push_back(s);
            receivers.push(r);
        }
        let mut order = Vec::new();
        while order.len() < 6 {
            scheduler.plan(&mut waiting, 64);
            let mut s = scheduler.running.remove(0);
            scheduler.pool.release(&mut s.blocks);
            order.push(s.prompt_len - 40);
        }
        assert_eq!(order, [0, 5, 1, 4, 2, 3]);
    }

    proptest! {
        /// Sequences of random lengths in a cache that holds few of them: all end, in bounded time, with every
        /// block given back, and no step is larger than it may be.
        #[test]
        fn every_sequence_ends_and_blocks_return(
            prompts in prop::collection::vec(1usize..150, 1..30),
            blocks in 8usize..20,
            step_tokens in 1usize..100,
            max_sequences in 1usize..9,
        ) {
            let mut scheduler = Scheduler::new(blocks, step_tokens, max_sequences, 0);
            let mut waiting = VecDeque::new();
            let mut receivers = Vec::new();
            for &prompt in &prompts {
                let (s, r) = sequence(prompt);
                waiting.push_back(s);
                receivers.push(r);
            }
            let mut steps = 0;
            let mut finished = 0;
            while finished < prompts.len() {
                steps += 1;
                prop_assert!(steps < 100_000, "no end in sight");
                let plan = scheduler.plan(&mut waiting, 16);
                prop_assert!(!plan.is_empty());
                prop_assert!(plan.iter().map(|p| p.len).sum::<usize>() <= step_tokens.max(max_sequences));
                prop_assert!(scheduler.running.len() <= max_sequences);
                for p in &plan {
                    let s = &mut scheduler.running[p.index];
                    s.computed += p.len;
                    prop_assert!(blocks_for(s.computed) <= s.blocks.len());
                    scheduler.settle(p.index);
                    let s = &mut scheduler.running[p.index];
                    if s.remaining() == 0 {
                        s.tokens.push(1);
                    }
                }
                let mut i = 0;
                while i < scheduler.running.len() {
                    let s = &scheduler.running[i];
                    // answers of 1 to 100 tokens, drawn from the prompt's length
                    if s.tokens.len() > s.prompt_len + s.prompt_len * 7 % 100 {
                        let mut s = scheduler.running.remove(i);
                        scheduler.pool.release(&mut s.blocks);
                        finished += 1;
                    } else {
                        i += 1;
                    }
                }
            }
            prop_assert_eq!(scheduler.pool.free(), scheduler.pool.total());
        }
    }
}
