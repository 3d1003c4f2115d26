//! Which cache block belongs to whom.

/// Tokens in a cache block. A sequence wastes at most one block less a token; smaller blocks would cost
/// attention more turns of its loop.
pub const BLOCK_TOKENS: usize = 32;

/// Blocks that hold `tokens` tokens.
pub fn blocks_for(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_TOKENS)
}

/// The blocks of a cache, counted: a block is free, or held by one or more sequences.
pub struct BlockPool {
    holders: Vec<u32>,
    /// Last in, first out, so that memory that was touched once is used again.
    free: Vec<u32>,
}

impl BlockPool {
    /// A pool of `blocks` free blocks.
    pub fn new(blocks: usize) -> BlockPool {
        BlockPool { holders: vec![0; blocks], free: (0..blocks as u32).rev().collect() }
    }

    /// All blocks.
    pub fn total(&self) -> usize {
        self.holders.len()
    }

    /// Blocks that nobody holds.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Extends `blocks` until it covers `tokens` tokens; all or nothing.
    #[must_use]
    pub fn grow(&mut self, blocks: &mut Vec<u32>, tokens: usize) -> bool {
        let missing = blocks_for(tokens).saturating_sub(blocks.len());
        if missing > self.free.len() {
            return false;
        }
        for block in self.free.drain(self.free.len() - missing..).rev() {
            self.holders[block as usize] = 1;
            blocks.push(block);
        }
        true
    }

    /// The same blocks for one holder more.
    pub fn share(&mut self, blocks: &[u32]) -> Vec<u32> {
        for &block in blocks {
            assert_ne!(self.holders[block as usize], 0, "only held blocks are shared");
            self.holders[block as usize] += 1;
        }
        blocks.to_vec()
    }

    /// Gives back all of a holder's blocks.
    pub fn release(&mut self, blocks: &mut Vec<u32>) {
        while let Some(block) = blocks.pop() {
            let holders = &mut self.holders[block as usize];
            assert_ne!(*holders, 0, "a block is released as often as it is held");
            *holders -= 1;
            if *holders == 0 {
                self.free.push(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blocks_are_conserved_and_never_held_twice(
            actions in prop::collection::vec((0u8..3, 0usize..6, 0usize..200), 1..200)
        ) {
            let mut pool = BlockPool::new(20);
            let mut held: Vec<(Vec<u32>, bool)> = vec![Default::default(); 6];
            for (action, who, tokens) in actions {
                match action {
                    0 => {
                        let before = held[who].0.clone();
                        let free = pool.free();
                        let grown = pool.grow(&mut held[who].0, tokens);
                        prop_assert_eq!(grown, blocks_for(tokens).saturating_sub(before.len()) <= free);
                        if !grown {
                            prop_assert_eq!(&held[who].0, &before);
                        }
                    }
                    1 => pool.release(&mut held[who].0),
                    _ => {
                        let other = (who + 1) % held.len();
                        pool.release(&mut held[other].0);
                        held[other].0 = pool.share(&held[who].0);
                    }
                }
                let mut used: Vec<u32> = held.iter().flat_map(|(b, _)| b.clone()).collect();
                used.sort_unstable();
                used.dedup();
                prop_assert_eq!(used.len() + pool.free(), pool.total());
            }
            held.iter_mut().for_each(|(blocks, _)| pool.release(blocks));
            prop_assert_eq!(pool.free(), pool.total());
        }
    }
}
