//! Text to token ids and back.
//!
//! Byte pair encoding as Qwen, Llama and GPT use it: byte-level, or SentencePiece style with byte fallback. A text goes
//! through added tokens, normalization, splitting and merging, in this order; the results are those of Hugging Face's
//! `tokenizers`, whose file format is read.

mod added;
mod bpe;
mod detokenizer;
mod gguf;
mod json;
pub mod limits;
mod normalizer;
pub(crate) mod rewrite;
mod spec;
mod split;
mod vocabulary;

pub use detokenizer::Detokenizer;

pub(crate) use added::{AddedTokens, Mark};

use added::Piece;
use bpe::{Bpe, Scratch};
use detokenizer::{Decoding, TextStream};
use normalizer::Normalizer;
use split::{Prepare, Splitter};
use std::borrow::Cow;
use vocabulary::Vocabulary;

/// A checkpoint's tokenizer.
pub struct Tokenizer {
    bpe: Bpe,
    vocabulary: Vocabulary,
    /// All added tokens by their literal text.
    added: AddedTokens,
    /// Those matched in raw text.
    added_raw: AddedTokens,
    /// Those matched in normalized text, by their normalized text.
    added_normalized: AddedTokens,
    normalizers: Vec<Normalizer>,
    prepare: Prepare,
    splitters: Vec<Splitter>,
    whole_pieces: bool,
    decoding: Decoding,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
}

/// Why a tokenizer cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenizerError {
    /// A size over its bound in [`limits`].
    #[error("the tokenizer has {found} {what}; at most {limit} are read")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much is allowed.
        limit: usize,
    },
    /// Not JSON, or not of the shape that this part has.
    #[error("the tokenizer's {part} cannot be read: {message}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A kind that is not implemented.
    #[error("the tokenizer's {part} is {found}; known: {known}")]
    Unsupported {
        /// Which part.
        part: &'static str,
        /// What the file says.
        found: String,
        /// What is implemented.
        known: &'static str,
    },
    /// A token that should be in the vocabulary.
    #[error("the tokenizer's {part} names {token:?}, which the vocabulary lacks")]
    UnknownToken {
        /// Where it is named.
        part: &'static str,
        /// The token.
        token: String,
    },
    /// Text with this byte could not be encoded.
    #[error("the vocabulary has no token for the byte {byte:#04x}")]
    MissingByte {
        /// The byte.
        byte: u8,
    },
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    pub fn from_json(json: &[u8]) -> Result<Tokenizer, TokenizerError> {
        json::read(json)?.build()
    }

    /// Reads the tokenizer inside a GGUF file.
    pub fn from_gguf(metadata: &crate::checkpoint::GgufMetadata) -> Result<Tokenizer, TokenizerError> {
        gguf::read(metadata)?.build()
    }

    /// One past the largest id that has a meaning; a model's `vocab_size` may be larger.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.vocabulary.len()
    }

    /// Ids of plain text: whatever looks like a control token in it stays text.
    pub fn encode_text(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encode_raw(text, true, &mut ids);
        ids
    }

    /// Ids of text in which added tokens (`<|im_start|>`, `<think>`, ...) are meant as such.
    pub fn encode_with_added(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        for piece in self.added_raw.split(text) {
            match piece {
                Piece::Added(id) => ids.push(id),
                Piece::Text(text, at) if self.added_normalized.is_empty() => {
                    self.encode_raw(text, at == 0, &mut ids)
                }
                Piece::Text(text, at) => {
                    for piece in self.added_normalized.split(&self.normalize(text)) {
                        match piece {
                            Piece::Added(id) => ids.push(id),
                            Piece::Text(text, within) => {
                                self.encode_normalized(text.into(), at + within == 0, &mut ids)
                            }
                        }
                    }
                }
            }
        }
        ids
    }

    /// Ids of plain text with what the tokenizer adds around it (an end token for embeddings, a begin token for Llama).
    pub fn encode_wrapped(&self, text: &str) -> Vec<u32> {
        let mut ids = self.prefix.clone();
        self.encode_raw(text, true, &mut ids);
        ids.extend(&self.suffix);
        ids
    }

    /// What [`Self::encode_wrapped`] puts before a text.
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// Text of `ids`; unknown ids give nothing, broken UTF-8 gives U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut text = String::new();
        let mut stream = TextStream::new(self.decoding);
        for &id in ids {
            stream.push(self, id, skip_special, &mut text);
        }
        stream.finish(&mut text);
        text
    }

    /// The bytes that a token stands for (its literal text for added tokens); `None` for an id without meaning.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.vocabulary.bytes(id)
    }

    /// The id of an added token, or of the vocabulary's token that stands for exactly `text`.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.vocabulary.id(text.as_bytes())
    }

    /// Whether `id` is a control token, which never shows in answers (`special` in `tokenizer.json`).
    pub fn is_special(&self, id: u32) -> bool {
        self.vocabulary.is_special(id)
    }

    /// Whether `id` is an added token: cut out of text as a whole, special or not (`<think>`).
    pub fn is_added(&self, id: u32) -> bool {
        self.vocabulary.is_added(id)
    }

    /// All added tokens.
    pub(crate) fn added_tokens(&self) -> &AddedTokens {
        &self.added
    }

    /// Ids of text in which added tokens are meant as such, unless `sentinel` breaks them up; it is left out.
    pub(crate) fn encode_guarded(&self, text: &str, sentinel: char) -> Vec<u32> {
        let mut ids = Vec::new();
        for piece in self.added.split(text) {
            match piece {
                Piece::Added(id) => ids.push(id),
                Piece::Text(text, at) => self.encode_raw(&text.replace(sentinel, ""), at == 0, &mut ids),
            }
        }
        ids
    }

    fn encode_raw(&self, text: &str, first: bool, ids: &mut Vec<u32>) {
        self.encode_normalized(self.normalize(text), first, ids);
    }

    fn normalize<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.normalizers.iter().fold(Cow::Borrowed(text), |text, step| step.apply(text))
    }

    /// `first`: nothing comes before the text.
    fn encode_normalized(&self, text: Cow<str>, first: bool, ids: &mut Vec<u32>) {
        let text = self.prepare.apply(text, first);
        let mut scratch = Scratch::default();
        Splitter::split_all(&self.splitters, &text, &mut |piece| {
            let whole = if self.whole_pieces { self.vocabulary.text_id(piece.as_bytes()) } else { None };
            match whole {
                Some(id) => ids.push(id),
                None => self.bpe.encode(piece, &mut scratch, ids),
            }
        });
    }
}

/// The beginning of a text from a file, for messages.
fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}
