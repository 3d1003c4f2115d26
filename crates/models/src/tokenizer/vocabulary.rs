//! What every id stands for.

use super::TokenizerError;
use super::limits::{MAX_TOKEN_BYTES, MAX_TOKENS};

/// The id has a meaning.
const KNOWN: u8 = 1;
/// Matched in text before anything else (`<|im_start|>`, `<think>`).
const ADDED: u8 = 2;
/// Never shown in answers.
const SPECIAL: u8 = 4;
/// A SentencePiece byte token such as `<0x0A>`.
const BYTE: u8 = 8;

/// Bytes and kind of each id: one array of bytes with offsets, since a `String` for each of 150,000 ids would cost
/// four times as much.
pub(super) struct Vocabulary {
    bytes: Box<[u8]>,
    /// Where each id's bytes end.
    ends: Box<[u32]>,
    kinds: Box<[u8]>,
    /// Known ids by their bytes, for looking a text up.
    sorted: Box<[u32]>,
}

/// What a vocabulary is built from.
#[derive(Default)]
pub(super) struct VocabularyBuilder {
    bytes: Vec<u8>,
    /// Start and length in `bytes` of each id, and its kind.
    entries: Vec<(u32, u32, u8)>,
}

impl VocabularyBuilder {
    /// Gives `id` its bytes; a later call for the same id replaces them.
    pub(super) fn insert(&mut self, id: u32, bytes: &[u8]) -> Result<(), TokenizerError> {
        if id as usize >= MAX_TOKENS {
            return Err(TokenizerError::TooLarge {
                what: "token id",
                found: id as usize,
                limit: MAX_TOKENS - 1,
            });
        }
        if bytes.len() > MAX_TOKEN_BYTES {
            return Err(TokenizerError::TooLarge {
                what: "bytes of a token",
                found: bytes.len(),
                limit: MAX_TOKEN_BYTES,
            });
        }
        if self.entries.len() <= id as usize {
            self.entries.resize(id as usize + 1, (0, 0, 0));
        }
        let kind = self.entries[id as usize].2 | KNOWN;
        self.entries[id as usize] = (self.bytes.len() as u32, bytes.len() as u32, kind);
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Marks a token that [`Self::insert`] has given bytes as an added one.
    pub(super) fn mark_added(&mut self, id: u32, special: bool) {
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.2 |= ADDED | if special { SPECIAL } else { 0 };
        }
    }

    /// Marks a token that [`Self::insert`] has given bytes as a SentencePiece byte token.
    pub(super) fn mark_byte(&mut self, id: u32) {
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.2 |= BYTE;
        }
    }

    pub(super) fn build(self) -> Vocabulary {
        let slice =
            |&(start, length, _): &(u32, u32, u8)| &self.bytes[start as usize..(start + length) as usize];
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut ends = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            bytes.extend_from_slice(slice(entry));
            ends.push(bytes.len() as u32);
        }
        let by_text = |&(_, entry): &(usize, &(u32, u32, u8))| entry.2 & (KNOWN | BYTE) == KNOWN;
        let mut sorted: Vec<u32> =
            self.entries.iter().enumerate().filter(by_text).map(|(id, _)| id as u32).collect();
        sorted.sort_unstable_by_key(|&id| (slice(&self.entries[id as usize]), id));
        let kinds = self.entries.iter().map(|entry| entry.2).collect();
        Vocabulary { bytes: bytes.into(), ends: ends.into(), kinds, sorted: sorted.into() }
    }
}

impl Vocabulary {
    /// One past the largest id.
    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// The bytes of `id`, if it has a meaning.
    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        self.has(id, KNOWN).then(|| self.slice(id))
    }

    /// The id whose bytes are `bytes`: an added token if one is, else the smallest.
    pub(super) fn id(&self, bytes: &[u8]) -> Option<u32> {
        let first = self.sorted.partition_point(|&id| self.slice(id) < bytes);
        let same = || self.sorted[first..].iter().copied().take_while(|&id| self.slice(id) == bytes);
        same().find(|&id| self.is_added(id)).or_else(|| same().next())
    }

    /// The same for a piece of plain text, which is never an added token.
    pub(super) fn text_id(&self, bytes: &[u8]) -> Option<u32> {
        let first = self.sorted.partition_point(|&id| self.slice(id) < bytes);
        let mut same = self.sorted[first..].iter().copied().take_while(|&id| self.slice(id) == bytes);
        same.find(|&id| !self.is_added(id))
    }

    pub(super) fn is_added(&self, id: u32) -> bool {
        self.has(id, ADDED)
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.has(id, SPECIAL)
    }

    fn has(&self, id: u32, kind: u8) -> bool {
        self.kinds.get(id as usize).is_some_and(|kinds| kinds & kind != 0)
    }

    /// `id` must be below [`Self::len`].
    fn slice(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start as usize..self.ends[id] as usize]
    }
}
