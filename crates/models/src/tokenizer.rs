//! Text to token ids and back.

use std::sync::Arc;

/// A checkpoint's tokenizer.
pub struct Tokenizer {}

/// Why a tokenizer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    pub fn from_json(_json: &[u8]) -> Result<Tokenizer, TokenizerError> {
        todo!()
    }

    /// Number of ids that have a meaning; a model's `vocab_size` may be larger.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Ids of plain text: whatever looks like a control token in it stays text.
    pub fn encode_text(&self, _text: &str) -> Vec<u32> {
        todo!()
    }

    /// Ids of text in which added tokens (`<|im_start|>`, `<think>`, ...) are meant as such.
    pub fn encode_with_added(&self, _text: &str) -> Vec<u32> {
        todo!()
    }

    /// Ids of plain text with what the tokenizer adds around it (an end token for embeddings, a begin token for Llama).
    pub fn encode_wrapped(&self, _text: &str) -> Vec<u32> {
        todo!()
    }

    /// Text of `ids`; unknown ids give nothing, broken UTF-8 gives U+FFFD.
    pub fn decode(&self, _ids: &[u32], _skip_special: bool) -> String {
        todo!()
    }

    /// The bytes that a token stands for (its literal text for added tokens); `None` for an id without meaning.
    pub fn token_bytes(&self, _id: u32) -> Option<&[u8]> {
        todo!()
    }

    /// The id of an added token or a whole vocabulary entry given as text.
    pub fn token_id(&self, _text: &str) -> Option<u32> {
        todo!()
    }

    /// Whether `id` is a control token, which never shows in answers (`special` in `tokenizer.json`).
    pub fn is_special(&self, _id: u32) -> bool {
        todo!()
    }
}

/// Turns a stream of ids into text that never ends inside a character.
pub struct Detokenizer {
    _tokenizer: Arc<Tokenizer>,
}

impl Detokenizer {
    /// A new stream. Control tokens are left out.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Detokenizer {
        Detokenizer { _tokenizer: tokenizer }
    }

    /// The text that `id` completes; empty while a character is unfinished.
    pub fn push(&mut self, _id: u32) -> String {
        todo!()
    }

    /// What is left at the end: U+FFFD for an unfinished character, else nothing.
    pub fn finish(&mut self) -> String {
        todo!()
    }
}
