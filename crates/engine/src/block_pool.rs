//! Which cache block belongs to whom.

use crate::prefix_cache::{Chain, PrefixCache};

/// Tokens in a cache block. A sequence wastes at most one block less a token; smaller blocks would cost
/// attention more turns of its loop.
pub const BLOCK_TOKENS: usize = 32;

/// Blocks that hold `tokens` tokens.
pub fn blocks_for(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_TOKENS)
}

/// The blocks of a cache, counted: a block is held by one or more sequences, or idle (nobody holds it, but its content may
/// be asked for again), or empty.
pub struct BlockPool {
    holders: Vec<u32>,
    /// Last in, first out, so that memory that was touched once is used again.
    empty: Vec<u32>,
    prefixes: PrefixCache,
}

impl BlockPool {
    /// A pool of `blocks` free blocks.
    pub fn new(blocks: usize) -> BlockPool {
        BlockPool {
            holders: vec![0; blocks],
            empty: (0..blocks as u32).rev().collect(),
            prefixes: PrefixCache::default(),
        }
    }

    /// All blocks.
    pub fn total(&self) -> usize {
        self.holders.len()
    }

    /// Blocks that nobody holds.
    pub fn free(&self) -> usize {
        self.empty.len() + self.prefixes.idle()
    }

    /// Extends `blocks` until it covers `tokens` tokens; all or nothing.
    #[must_use]
    pub fn grow(&mut self, blocks: &mut Vec<u32>, tokens: usize) -> bool {
        let missing = blocks_for(tokens).saturating_sub(blocks.len());
        if missing > self.free() {
            return false;
        }
        for _ in 0..missing {
            let block = self.empty.pop().or_else(|| self.prefixes.evict()).expect("free blocks were counted");
            self.holders[block as usize] = 1;
            blocks.push(block);
        }
        true
    }

    /// The computed blocks that hold the beginning of `tokens` behind `chain`, for one holder more, and the chain after
    /// them.
    pub(crate) fn take_prefix(&mut self, mut chain: Chain, mut tokens: &[u32]) -> (Vec<u32>, Chain) {
        let mut blocks = Vec::new();
        while let Some((block, next)) = self.prefixes.next(chain, tokens) {
            self.prefixes.wake(block);
            self.holders[block as usize] += 1;
            blocks.push(block);
            (chain, tokens) = (next, &tokens[BLOCK_TOKENS..]);
        }
        (blocks, chain)
    }

    /// Makes held blocks known whose tokens are computed: those of `blocks` behind `chain` that `tokens` (all of the
    /// sequence that is computed) fill. Returns the chain after them.
    pub(crate) fn register(&mut self, mut chain: Chain, tokens: &[u32], blocks: &[u32]) -> Chain {
        while let (Some(block), Some(tokens)) = (
            blocks.get(chain.blocks),
            tokens.get(chain.blocks * BLOCK_TOKENS..).and_then(<[u32]>::first_chunk),
        ) {
            assert_ne!(self.holders[*block as usize], 0, "only held blocks are registered");
            chain = self.prefixes.register(chain, tokens, *block);
        }
        chain
    }

    /// The same blocks for one holder more.
    pub fn share(&mut self, blocks: &[u32]) -> Vec<u32> {
        for &block in blocks {
            assert_ne!(self.holders[block as usize], 0, "only held blocks are shared");
            self.holders[block as usize] += 1;
        }
        blocks.to_vec()
    }

    /// Gives back all of a holder's blocks, the last first: of idle blocks it is the first to be forgotten.
    pub fn release(&mut self, blocks: &mut Vec<u32>) {
        while let Some(block) = blocks.pop() {
            let holders = &mut self.holders[block as usize];
            assert_ne!(*holders, 0, "a block is released as often as it is held");
            *holders -= 1;
            if *holders == 0 && !self.prefixes.rest(block) {
                self.empty.push(block);
            }
        }
    }
}

#[cfg(test)]
impl BlockPool {
    /// Whether nobody else holds or finds these blocks, so that they may be written.
    fn release_would_free(&self, blocks: &[u32]) -> bool {
        blocks.iter().all(|b| self.holders[*b as usize] == 1 && !self.prefixes.is_registered(*b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix_cache::Scope;
    use proptest::prelude::*;

    /// Tokens of which two sequences share the first `shared`.
    fn tokens(who: usize, shared: usize, len: usize) -> Vec<u32> {
        (0..len).map(|i| if i < shared { i as u32 } else { (who * 1000 + i) as u32 }).collect()
    }

    proptest! {
        #[test]
        fn blocks_are_conserved_and_never_held_twice(
            actions in prop::collection::vec((0u8..5, 0usize..6, 0usize..200), 1..200)
        ) {
            let mut pool = BlockPool::new(20);
            let mut held: Vec<Vec<u32>> = vec![Vec::new(); 6];
            // what was written into each block: tokens of the whole prefix
            let mut written: Vec<Vec<u32>> = vec![Vec::new(); 20];
            for (action, who, len) in actions {
                match action {
                    0 => {
                        let before = held[who].clone();
                        let free = pool.free();
                        let grown = pool.grow(&mut held[who], len);
                        prop_assert_eq!(grown, blocks_for(len).saturating_sub(before.len()) <= free);
                        prop_assert!(held[who].starts_with(&before) && (grown || held[who] == before));
                    }
                    1 => pool.release(&mut held[who]),
                    2 => {
                        let other = (who + 1) % held.len();
                        pool.release(&mut held[other]);
                        held[other] = pool.share(&held[who]);
                    }
                    // computed: as if written and registered, unless somebody else reads the blocks
                    3 if pool.release_would_free(&held[who]) => {
                        let scope = Scope((who % 2) as u128);
                        let tokens = tokens(who, len, held[who].len() * BLOCK_TOKENS);
                        for (i, block) in held[who].iter().enumerate() {
                            written[*block as usize] = tokens[..(i + 1) * BLOCK_TOKENS].to_vec();
                            written[*block as usize].push(scope.0 as u32);
                        }
                        pool.register(Chain::new(scope, None), &tokens, &held[who]);
                    }
                    3 => {}
                    _ => {
                        pool.release(&mut held[who]);
                        let scope = Scope((who % 2) as u128);
                        let tokens = tokens(who, len, 200);
                        let (found, chain) = pool.take_prefix(Chain::new(scope, None), &tokens);
                        prop_assert_eq!(found.len(), chain.blocks);
                        for (i, block) in found.iter().enumerate() {
                            let mut expected = tokens[..(i + 1) * BLOCK_TOKENS].to_vec();
                            expected.push(scope.0 as u32);
                            prop_assert_eq!(&written[*block as usize], &expected, "a hit is what was registered");
                        }
                        held[who] = found;
                    }
                }
                let mut used: Vec<u32> = held.concat();
                used.sort_unstable();
                used.dedup();
                prop_assert_eq!(used.len() + pool.free(), pool.total());
            }
            held.iter_mut().for_each(|blocks| pool.release(blocks));
            prop_assert_eq!(pool.free(), pool.total());
        }
    }
}
