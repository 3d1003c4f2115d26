//! Ids back to text.

use super::Tokenizer;
use std::sync::Arc;

/// How a tokenizer's tokens make text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoding {
    /// Tokens are bytes of UTF-8.
    ByteLevel,
    /// Tokens are text and single bytes.
    SentencePiece {
        /// The first space of the whole text is left out: encoding has put it there.
        strip_first_space: bool,
    },
}

/// Turns a stream of ids into text that never ends inside a character.
///
/// The pieces joined are [`Tokenizer::decode`] of all ids. Each id costs no more than its own bytes.
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    stream: TextStream,
}

impl Detokenizer {
    /// A new stream. Control tokens are left out.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Detokenizer {
        let stream = TextStream::new(tokenizer.decoding);
        Detokenizer { tokenizer, stream }
    }

    /// The text that `id` completes; empty while a character is unfinished.
    pub fn push(&mut self, id: u32) -> String {
        let mut text = String::new();
        self.stream.push(&self.tokenizer, id, true, &mut text);
        text
    }

    /// What is left at the end: U+FFFD for an unfinished character, else nothing.
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        self.stream.finish(&mut text);
        text
    }
}

/// The state between one id and the next.
pub(super) struct TextStream {
    /// The beginning of a character.
    pending: [u8; 4],
    pending_len: usize,
    /// Broken bytes become a U+FFFD each, not one for each broken character.
    replace_bytes: bool,
    strip_space: bool,
}

impl TextStream {
    pub(super) fn new(decoding: Decoding) -> TextStream {
        let (replace_bytes, strip_space) = match decoding {
            Decoding::ByteLevel => (false, false),
            Decoding::SentencePiece { strip_first_space } => (true, strip_first_space),
        };
        TextStream { pending: [0; 4], pending_len: 0, replace_bytes, strip_space }
    }

    /// Appends the text that `id` completes to `text`.
    pub(super) fn push(&mut self, tokenizer: &Tokenizer, id: u32, skip_special: bool, text: &mut String) {
        if skip_special && tokenizer.is_special(id) {
            return;
        }
        let Some(mut bytes) = tokenizer.token_bytes(id) else { return };
        if self.strip_space && !bytes.is_empty() {
            self.strip_space = false;
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        // at most three bytes are pending, so this handles them one by one until the character is decided
        while self.pending_len > 0 {
            let Some((&byte, rest)) = bytes.split_first() else { return };
            self.pending[self.pending_len] = byte;
            match std::str::from_utf8(&self.pending[..self.pending_len + 1]) {
                Ok(character) => {
                    text.push_str(character);
                    self.pending_len = 0;
                    bytes = rest;
                }
                Err(error) if error.error_len().is_none() => {
                    self.pending_len += 1;
                    bytes = rest;
                }
                // the new byte does not belong to it
                Err(_) => self.finish(text),
            }
        }
        loop {
            match std::str::from_utf8(bytes) {
                Ok(valid) => return text.push_str(valid),
                Err(error) => {
                    let (valid, rest) = bytes.split_at(error.valid_up_to());
                    text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    let Some(broken) = error.error_len() else {
                        self.pending_len = rest.len();
                        self.pending[..rest.len()].copy_from_slice(rest);
                        return;
                    };
                    self.replace(broken, text);
                    bytes = &rest[broken..];
                }
            }
        }
    }

    /// Appends what an unfinished character becomes.
    pub(super) fn finish(&mut self, text: &mut String) {
        if self.pending_len > 0 {
            self.replace(self.pending_len, text);
            self.pending_len = 0;
        }
    }

    fn replace(&self, broken: usize, text: &mut String) {
        for _ in 0..if self.replace_bytes { broken } else { 1 } {
            text.push('\u{FFFD}');
        }
    }
}
