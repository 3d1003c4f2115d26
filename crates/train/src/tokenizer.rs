//! Training of a tokenizer: byte-level BPE with Qwen's splitting rule, written as Hugging Face's files.
//!
//! Texts are cut into pieces, pieces are counted, and pairs of symbols within them are joined, the most frequent first (with
//! `tokenizers`, which keeps counts of pairs up to date instead of counting again). The same texts give the same tokens.

use models::checkpoint::FileError;
use models::checkpoint::writer::write_file;
use models::lines::Lines;
use models::tokenizer::limits::MAX_TOKENS;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{NormalizedString, Normalizer, PreTokenizedString, PreTokenizer};

/// The pattern by which Qwen cuts text into the pieces that merges stay within.
pub const QWEN_PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// How [`Pieces::Copyable`] cuts the pieces of [`QWEN_PATTERN`] further.
const COPYABLE_PATTERN: &str = r"\p{Han}|\p{Lu}{2,}(?!\p{Ll})|\p{Lu}\p{Ll}*| ?\p{Ll}+|[^\p{L}]+|\p{L}";

/// The tokens that Qwen3's conversations are marked with; the first three are control tokens.
const ADDED: [&str; 9] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
];
const CONTROL: usize = 3;
/// Tokens that every vocabulary has: a byte each, and the added ones.
const SMALLEST: usize = 256 + ADDED.len();

/// Qwen3's conversations in our words.
const CHAT_TEMPLATE: &str = include_str!("tokenizer/chat_template.jinja");

/// Bytes of all texts together. The library counts pairs in 31 bits, and no pair can be more frequent than there are bytes.
pub const MAX_TEXT_BYTES: u64 = (1 << 31) - 1;
/// Bytes of a line. Longer lines are no text, and would be held in memory whole.
const MAX_LINE_BYTES: usize = 16 << 20;
/// Different pieces that are counted at once: some 500 MB. When there are more, the rarest go, and with them next to nothing
/// that could become a token.
const MAX_PIECES: usize = 4 << 20;

/// What a token may be made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pieces {
    /// All that Qwen's rule leaves together: words with the space or sign before them, Chinese of any length.
    #[default]
    Words,
    /// Less: each Chinese character alone, capitals apart from the space before, letters apart from signs. Texts take more tokens,
    /// but a name is the same tokens wherever it stands, which very small models need to copy it.
    Copyable,
}

/// What to train.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tokens in all, with the added ones.
    pub vocab_size: usize,
    /// What a token may be made of.
    pub pieces: Pieces,
    /// The chat template, where it is not to be Qwen3's.
    pub chat_template: Option<String>,
}

/// What was trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trained {
    /// Content of `tokenizer.json`.
    pub tokenizer: Value,
    /// Content of `tokenizer_config.json`.
    pub config: Value,
    /// Tokens in all; fewer than wanted where the texts have no more pairs to join.
    pub tokens: usize,
    /// Bytes of text that were read.
    pub text_bytes: u64,
}

/// Why a tokenizer cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of another kind.
    #[error("{} is neither .jsonl nor .txt; rename or convert it", .0.display())]
    Kind(PathBuf),
    /// A line that cannot be learned from.
    #[error("{}:{line}: {what}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// A vocabulary that cannot be.
    #[error("a vocabulary of {0} tokens is not possible; give {SMALLEST} to {MAX_TOKENS}")]
    VocabSize(usize),
    /// More text than is counted.
    #[error(
        "the texts have more than {MAX_TEXT_BYTES} bytes; give fewer of them, the tokens will be nearly the same"
    )]
    TooMuchText,
    /// No text at all.
    #[error("the files hold no text")]
    Empty,
    /// The library refused.
    #[error("the tokenizer cannot be trained: {0}")]
    Training(String),
}

/// Trains a tokenizer on `.txt` files and on all texts in `.jsonl` files.
///
/// # Errors
/// When a file can't be read or has a line that is no text, and when the vocabulary can't be that large or small.
pub fn train(files: &[PathBuf], settings: &Settings) -> Result<Trained, TokenizerError> {
    if !(SMALLEST..=MAX_TOKENS).contains(&settings.vocab_size) {
        return Err(TokenizerError::VocabSize(settings.vocab_size));
    }
    let mut counter = PieceCounter::new(settings.pieces)?;
    files.iter().try_for_each(|path| read(path, &mut |text| counter.count(text)))?;
    let text_bytes = counter.text_bytes;
    if text_bytes == 0 {
        return Err(TokenizerError::Empty);
    }
    let (vocab, merges) = join_pairs(counter, settings.vocab_size - ADDED.len())?;
    let tokens = vocab.as_object().map_or(0, |vocab| vocab.len());
    let template = settings.chat_template.as_deref().unwrap_or(CHAT_TEMPLATE);
    Ok(Trained {
        tokenizer: tokenizer_json(vocab, merges, tokens),
        config: config_json(template, tokens),
        tokens: tokens + ADDED.len(),
        text_bytes,
    })
}

impl Trained {
    /// Writes `tokenizer.json` and `tokenizer_config.json` into `dir`.
    ///
    /// # Errors
    /// When the directory can't be written.
    pub fn write(&self, dir: &Path) -> Result<(), FileError> {
        std::fs::create_dir_all(dir).map_err(|source| FileError::Write { path: dir.to_owned(), source })?;
        for (name, content) in [("tokenizer.json", &self.tokenizer), ("tokenizer_config.json", &self.config)]
        {
            write_file(&dir.join(name), |out| {
                serde_json::to_writer_pretty(&mut *out, content)?;
                out.write_all(b"\n")
            })?;
        }
        Ok(())
    }
}

/// Calls `text` with each text of a file.
fn read(path: &Path, text: &mut dyn FnMut(&str) -> Result<(), TokenizerError>) -> Result<(), TokenizerError> {
    let is_json = match path.extension().and_then(|extension| extension.to_str()) {
        Some("txt") => false,
        Some("jsonl") => true,
        _ => return Err(TokenizerError::Kind(path.to_owned())),
    };
    let failed = |source: io::Error| FileError::Io { path: path.to_owned(), source };
    let mut lines = Lines::open(path, MAX_LINE_BYTES).map_err(failed)?;
    while let Some(line) = lines.next_line().map_err(failed)? {
        let number = line.number;
        let fault = |what: String| TokenizerError::Line { path: path.to_owned(), line: number, what };
        let Some(bytes) = line.bytes else {
            return Err(fault(format!("the line is longer than {MAX_LINE_BYTES} bytes; break it up")));
        };
        let content = std::str::from_utf8(bytes).map_err(|_| {
            fault("the line is not UTF-8; convert the file, for example with iconv -t utf-8".into())
        })?;
        if !is_json {
            text(content)?;
        } else if !content.trim().is_empty() {
            let value: Value =
                serde_json::from_str(content).map_err(|e| fault(format!("the line is not JSON: {e}")))?;
            each_text(&value, text)?;
        }
    }
    Ok(())
}

/// Calls `text` with all strings in `value`. Its depth is bounded by the parser.
fn each_text(
    value: &Value,
    text: &mut dyn FnMut(&str) -> Result<(), TokenizerError>,
) -> Result<(), TokenizerError> {
    match value {
        Value::String(string) => text(string),
        Value::Array(items) => items.iter().try_for_each(|item| each_text(item, text)),
        Value::Object(fields) => fields.values().try_for_each(|field| each_text(field, text)),
        _ => Ok(()),
    }
}

/// How often each piece of the texts is there.
struct PieceCounter {
    pattern: fancy_regex::Regex,
    finer: Option<fancy_regex::Regex>,
    pieces: HashMap<String, u64>,
    text_bytes: u64,
}

impl PieceCounter {
    fn new(pieces: Pieces) -> Result<PieceCounter, TokenizerError> {
        let regex = |pattern| {
            fancy_regex::Regex::new(pattern).map_err(|error| TokenizerError::Training(error.to_string()))
        };
        let finer = if pieces == Pieces::Copyable { Some(regex(COPYABLE_PATTERN)?) } else { None };
        Ok(PieceCounter { pattern: regex(QWEN_PATTERN)?, finer, pieces: HashMap::new(), text_bytes: 0 })
    }

    fn count(&mut self, text: &str) -> Result<(), TokenizerError> {
        self.text_bytes += text.len() as u64;
        if self.text_bytes > MAX_TEXT_BYTES {
            return Err(TokenizerError::TooMuchText);
        }
        let mut normalized = NormalizedString::from(text);
        if !text.is_ascii() {
            NFC.normalize(&mut normalized).map_err(|error| TokenizerError::Training(error.to_string()))?;
        }
        // a match that the pattern can't find within its bounds ends the line's pieces
        for piece in self.pattern.find_iter(normalized.get()).map_while(Result::ok) {
            match &self.finer {
                None => add(&mut self.pieces, piece.as_str()),
                Some(finer) => {
                    let parts = finer.find_iter(piece.as_str()).map_while(Result::ok);
                    parts.for_each(|part| add(&mut self.pieces, part.as_str()));
                }
            }
        }
        let mut rarest = 1;
        while self.pieces.len() > MAX_PIECES {
            self.pieces.retain(|_, count| *count > rarest);
            rarest *= 2;
        }
        Ok(())
    }
}

fn add(pieces: &mut HashMap<String, u64>, piece: &str) {
    match pieces.get_mut(piece) {
        Some(count) => *count += 1,
        None => drop(pieces.insert(piece.to_owned(), 1)),
    }
}

/// The vocabulary, and the rules that join it.
fn join_pairs(counter: PieceCounter, vocab_size: usize) -> Result<(Value, Value), TokenizerError> {
    let failed = |error: &dyn std::fmt::Display| TokenizerError::Training(error.to_string());
    let bytes = ByteLevel::new(false, false, false);
    let spelled = counter.pieces.into_iter().map(|(piece, count)| {
        // each byte as the character that stands for it in files
        let mut spelled = PreTokenizedString::from(piece);
        bytes.pre_tokenize(&mut spelled)?;
        let parts = spelled.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::Byte);
        Ok((parts.iter().map(|part| part.0).collect::<String>().into(), count))
    });
    let counts = spelled.collect::<tokenizers::Result<_>>().map_err(|error| failed(&error))?;
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut bpe = BPE::default();
    trainer.do_train(&counts, &mut bpe).map_err(|error| failed(&error))?;
    let mut model = serde_json::to_value(&bpe).map_err(|error| failed(&error))?;
    Ok((model["vocab"].take(), model["merges"].take()))
}

/// As Qwen's `tokenizer.json`.
fn tokenizer_json(vocab: Value, merges: Value, tokens: usize) -> Value {
    let byte_level = |trim_offsets| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": trim_offsets, "use_regex": false});
    let added: Vec<Value> = ADDED
        .iter()
        .enumerate()
        .map(|(at, content)| {
            let mut token = added_token(content, at < CONTROL);
            token["id"] = (tokens + at).into();
            token
        })
        .collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN_PATTERN}, "behavior": "Isolated", "invert": false},
            byte_level(false),
        ]},
        "post_processor": byte_level(false),
        "decoder": byte_level(false),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        },
    })
}

fn added_token(content: &str, special: bool) -> Value {
    json!({
        "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": special,
    })
}

/// As Qwen's `tokenizer_config.json`.
fn config_json(chat_template: &str, tokens: usize) -> Value {
    let decoder: serde_json::Map<String, Value> = ADDED
        .iter()
        .enumerate()
        .map(|(at, content)| ((tokens + at).to_string(), added_token(content, at < CONTROL)))
        .collect();
    json!({
        "tokenizer_class": "Qwen2Tokenizer",
        "add_bos_token": false,
        "add_prefix_space": false,
        "added_tokens_decoder": decoder,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": null,
        "clean_up_tokenization_spaces": false,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131_072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": false,
        "unk_token": null,
        "chat_template": chat_template,
    })
}
