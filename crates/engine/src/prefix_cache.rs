//! Which computed blocks can be used again: those that hold the same tokens behind the same tokens.
//!
//! A block's key is its tokens and the block before it, so that keys are compared and not only hashed: two prefixes are
//! never taken for each other. The chain begins at a [`Scope`] and the adapter that was computed with; nothing is shared
//! between scopes or adapters.

use crate::adapters::AdapterId;
use crate::block_pool::BLOCK_TOKENS;
use std::collections::{BTreeMap, HashMap};

/// Whose tokens they are: requests share computed prefixes only with those of the same scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(pub u128);

/// Where a sequence stands in the chain of its full blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    last: Parent,
    /// Blocks that are in the chain already.
    pub blocks: usize,
}

impl Chain {
    /// Before the first block.
    pub fn new(scope: Scope, adapter: Option<AdapterId>) -> Chain {
        Chain { last: Parent::Root(scope, adapter), blocks: 0 }
    }
}

/// What a block follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Parent {
    Root(Scope, Option<AdapterId>),
    Node(u64),
}

type Key = (Parent, [u32; BLOCK_TOKENS]);

/// The registered blocks. A node for each at most, so it is bounded by the pool.
#[derive(Default)]
pub(crate) struct PrefixCache {
    nodes: HashMap<Key, Node>,
    /// Of each registered block: its key, and its place among the idle ones while nobody holds it.
    blocks: HashMap<u32, (Key, Option<u64>)>,
    /// Idle blocks, the longest unused first.
    idle: BTreeMap<u64, u32>,
    /// Counts nodes and times; never goes back.
    clock: u64,
}

#[derive(Clone, Copy)]
struct Node {
    id: u64,
    block: u32,
}

impl PrefixCache {
    /// Registered blocks that nobody holds.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The block that follows `chain` with the first tokens of `tokens`, and the chain after it.
    pub fn next(&self, chain: Chain, tokens: &[u32]) -> Option<(u32, Chain)> {
        let node = self.nodes.get(&(chain.last, *tokens.first_chunk()?))?;
        Some((node.block, Chain { last: Parent::Node(node.id), blocks: chain.blocks + 1 }))
    }

    /// Registers a computed block behind `chain`. Where another block holds the same, that one stays registered.
    pub fn register(&mut self, chain: Chain, tokens: &[u32; BLOCK_TOKENS], block: u32) -> Chain {
        let key = (chain.last, *tokens);
        let id = match self.nodes.get(&key) {
            Some(node) => node.id,
            None => {
                let id = self.tick();
                self.nodes.insert(key, Node { id, block });
                self.blocks.insert(block, (key, None));
                id
            }
        };
        Chain { last: Parent::Node(id), blocks: chain.blocks + 1 }
    }

    /// Takes note that nobody holds `block` any more; `false` when it is not registered and so free.
    pub fn rest(&mut self, block: u32) -> bool {
        let now = self.tick();
        let Some((_, since)) = self.blocks.get_mut(&block) else { return false };
        *since = Some(now);
        self.idle.insert(now, block);
        true
    }

    /// Takes note that somebody holds `block` again.
    pub fn wake(&mut self, block: u32) {
        if let Some(since) = self.blocks.get_mut(&block).and_then(|(_, since)| since.take()) {
            self.idle.remove(&since);
        }
    }

    #[cfg(test)]
    pub fn is_registered(&self, block: u32) -> bool {
        self.blocks.contains_key(&block)
    }

    /// Forgets the idle block that was not used for longest, and gives it away.
    pub fn evict(&mut self) -> Option<u32> {
        let (_, block) = self.idle.pop_first()?;
        if let Some((key, _)) = self.blocks.remove(&block) {
            self.nodes.remove(&key);
        }
        Some(block)
    }
}
