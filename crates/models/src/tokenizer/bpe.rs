//! Byte pair encoding (Sennrich et al., arXiv:1508.07909): symbols are joined by the rule of lowest rank, the leftmost
//! first, until no rule applies.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasher, RandomState};

/// No id.
const NONE: u32 = u32::MAX;
/// Pieces of at most this many symbols are joined by scanning them again after each step, which is quicker than a heap
/// for words.
const SCAN_SYMBOLS: usize = 48;

/// A merge rule: `left` and `right` become `joined`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Merge {
    pub left: u32,
    pub right: u32,
    pub joined: u32,
}

/// What a piece of text is made of before merging.
pub(super) enum Symbols {
    /// Byte-level: each byte has a token.
    Bytes(Box<[u32; 256]>),
    /// SentencePiece style: characters; those without a token become byte tokens or the unknown token.
    Chars {
        /// Tokens of one character.
        ids: HashMap<char, u32>,
        /// Byte tokens.
        bytes: Option<Box<[u32; 256]>>,
        /// The unknown token.
        unknown: Option<u32>,
        /// A run of unknown characters gives one token.
        fuse_unknown: bool,
    },
}

/// Symbols and the rules to join them.
pub(super) struct Bpe {
    symbols: Symbols,
    merges: MergeTable,
}

/// Memory that encoding one text reuses for each of its pieces.
#[derive(Default)]
pub(super) struct Scratch {
    /// Symbols with the rank of joining each with the next one.
    word: Vec<(u32, u32)>,
    links: Vec<Link>,
    /// (rank, position, left id, right id), smallest first.
    heap: BinaryHeap<Reverse<(u32, u32, u32, u32)>>,
}

#[derive(Clone, Copy)]
struct Link {
    id: u32,
    previous: u32,
    next: u32,
}

impl Bpe {
    /// `merges` in order of rank.
    pub(super) fn new(symbols: Symbols, merges: &[Merge]) -> Bpe {
        Bpe { symbols, merges: MergeTable::new(merges) }
    }

    /// Appends the ids of `piece` to `ids`.
    pub(super) fn encode(&self, piece: &str, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        scratch.word.clear();
        self.symbols.split(piece, &mut scratch.word);
        if scratch.word.len() <= SCAN_SYMBOLS {
            self.join_scanning(&mut scratch.word);
            ids.extend(scratch.word.iter().map(|symbol| symbol.0));
        } else {
            self.join_with_heap(scratch);
            let mut at = 0;
            while let Some(link) = scratch.links.get(at as usize) {
                ids.push(link.id);
                at = link.next;
            }
        }
    }

    fn rank(&self, left: u32, right: u32) -> u32 {
        self.merges.get(left, right).map_or(NONE, |(rank, _)| rank)
    }

    fn join_scanning(&self, word: &mut Vec<(u32, u32)>) {
        for i in 1..word.len() {
            word[i - 1].1 = self.rank(word[i - 1].0, word[i].0);
        }
        if let Some(last) = word.last_mut() {
            last.1 = NONE;
        }
        // `min_by_key` gives the first of equal ones: the leftmost
        while let Some((at, &(left, rank))) = word.iter().enumerate().min_by_key(|(_, symbol)| symbol.1) {
            if rank == NONE {
                break;
            }
            let Some((_, joined)) = self.merges.get(left, word[at + 1].0) else { break };
            word.remove(at + 1);
            word[at] = (joined, word.get(at + 1).map_or(NONE, |next| self.rank(joined, next.0)));
            if at > 0 {
                word[at - 1].1 = self.rank(word[at - 1].0, joined);
            }
        }
    }

    /// The same for long pieces in `n log n`: a doubly linked list of symbols, and a heap of pairs in which those that
    /// have changed since are skipped.
    fn join_with_heap(&self, Scratch { word, links, heap }: &mut Scratch) {
        links.clear();
        heap.clear();
        let last = word.len() as u32 - 1;
        links.extend(word.iter().enumerate().map(|(at, symbol)| {
            let at = at as u32;
            Link { id: symbol.0, previous: at.wrapping_sub(1), next: if at == last { NONE } else { at + 1 } }
        }));
        for at in 1..links.len() {
            self.push_pair(heap, links, at as u32 - 1, at as u32);
        }
        while let Some(Reverse((_, at, left, right))) = heap.pop() {
            let link = links[at as usize];
            let Some(&next) = links.get(link.next as usize) else { continue };
            if link.id != left || next.id != right {
                continue;
            }
            let Some((_, joined)) = self.merges.get(left, right) else { continue };
            links[link.next as usize].id = NONE;
            links[at as usize] = Link { id: joined, next: next.next, ..link };
            if let Some(after) = links.get_mut(next.next as usize) {
                after.previous = at;
                self.push_pair(heap, links, at, next.next);
            }
            if link.previous != NONE {
                self.push_pair(heap, links, link.previous, at);
            }
        }
    }

    fn push_pair(
        &self,
        heap: &mut BinaryHeap<Reverse<(u32, u32, u32, u32)>>,
        links: &[Link],
        at: u32,
        next: u32,
    ) {
        let (left, right) = (links[at as usize].id, links[next as usize].id);
        if let Some((rank, _)) = self.merges.get(left, right) {
            heap.push(Reverse((rank, at, left, right)));
        }
    }
}

impl Symbols {
    fn split(&self, piece: &str, word: &mut Vec<(u32, u32)>) {
        match self {
            Symbols::Bytes(ids) => {
                let ids = piece.bytes().map(|byte| ids[byte as usize]).filter(|&id| id != NONE);
                word.extend(ids.map(|id| (id, NONE)));
            }
            Symbols::Chars { ids, bytes, unknown, fuse_unknown } => {
                let mut after_unknown = false;
                for c in piece.chars() {
                    let mut is_unknown = false;
                    if let Some(&id) = ids.get(&c) {
                        word.push((id, NONE));
                    } else if let Some(bytes) = bytes {
                        word.extend(
                            c.encode_utf8(&mut [0; 4]).bytes().map(|byte| (bytes[byte as usize], NONE)),
                        );
                    } else if let Some(unknown) = unknown {
                        is_unknown = true;
                        if !(after_unknown && *fuse_unknown) {
                            word.push((*unknown, NONE));
                        }
                    }
                    after_unknown = is_unknown;
                }
            }
        }
    }
}

/// Rules by pair: an open-addressed table, a quarter of what a `HashMap` with the same content and quick hashing takes
/// in code and about the same in memory.
struct MergeTable {
    /// A power of two of slots, at most two thirds used.
    slots: Box<[Slot]>,
    seed: u64,
}

#[derive(Clone, Copy)]
struct Slot {
    left: u32,
    right: u32,
    rank: u32,
    joined: u32,
}

impl MergeTable {
    fn new(merges: &[Merge]) -> MergeTable {
        let capacity = (merges.len() * 3 / 2 + 1).next_power_of_two();
        let empty = Slot { left: NONE, right: NONE, rank: NONE, joined: NONE };
        // a seed from outside, so that no file can be made whose pairs all collide
        let seed = RandomState::new().hash_one(0) | 1;
        let mut table = MergeTable { slots: vec![empty; capacity].into(), seed };
        for (rank, merge) in merges.iter().enumerate() {
            let at = table.slot(merge.left, merge.right);
            // of two rules for one pair the later counts, as in the reference
            table.slots[at] =
                Slot { left: merge.left, right: merge.right, rank: rank as u32, joined: merge.joined };
        }
        table
    }

    /// Where the pair is, or the free slot where it belongs.
    #[inline]
    fn slot(&self, left: u32, right: u32) -> usize {
        let mask = self.slots.len() - 1;
        let product =
            ((u64::from(left) << 32 | u64::from(right)) ^ self.seed) as u128 * 0x9E37_79B9_7F4A_7C15;
        let mut at = (product as u64 ^ (product >> 64) as u64) as usize & mask;
        loop {
            let slot = &self.slots[at];
            if (slot.left == left && slot.right == right) || slot.joined == NONE {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    fn get(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let slot = &self.slots[self.slot(left, right)];
        (slot.joined != NONE).then_some((slot.rank, slot.joined))
    }
}
