//! Reading the tokenizer inside a GGUF file (`tokenizer.ggml.*`, ggml's `docs/gguf.md`).

use super::added::AddedToken;
use super::detokenizer::Decoding;
use super::limits::{MAX_MERGES, MAX_TOKENS};
use super::normalizer::Normalizer;
use super::spec::Spec;
use super::split::{GPT2_PATTERN, Keep, META_SPACE, Prefix, Prepare, Splitter};
use super::{TokenizerError, shorten};
use crate::checkpoint::{GgufMetadata, MetadataError};
use std::borrow::Cow;
use std::collections::HashMap;

/// How Qwen2 and later split text: digits one by one.
pub(super) const QWEN2_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// How Llama 3 does: up to three digits together.
pub(super) const LLAMA3_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Kinds of tokens (llama.cpp's `enum llama_token_type`).
pub(super) mod kind {
    pub const NORMAL: i64 = 1;
    pub const UNKNOWN: i64 = 2;
    pub const CONTROL: i64 = 3;
    pub const USER_DEFINED: i64 = 4;
    pub const UNUSED: i64 = 5;
    pub const BYTE: i64 = 6;
}

/// What the metadata says about text before merging, in terms of `tokenizer.json`.
struct Preparation {
    normalizers: Vec<Normalizer>,
    pattern: &'static str,
    whole_pieces: bool,
}

/// Reads the description of a tokenizer.
pub(super) fn read(metadata: &GgufMetadata) -> Result<Spec<'_>, TokenizerError> {
    let model = get(metadata.str("tokenizer.ggml.model"))?.unwrap_or("nothing");
    let tokens = get(metadata.strings("tokenizer.ggml.tokens"))?.unwrap_or_default();
    if tokens.len() > MAX_TOKENS {
        return Err(TokenizerError::TooLarge { what: "tokens", found: tokens.len(), limit: MAX_TOKENS });
    }
    let kinds = get(metadata.integers("tokenizer.ggml.token_type"))?.unwrap_or_default();
    let spec = match model {
        "gpt2" => byte_level(metadata)?,
        "llama" => sentence_piece(metadata, &tokens, &kinds)?,
        other => {
            return Err(TokenizerError::Unsupported {
                part: "tokenizer.ggml.model",
                found: shorten(other),
                known: "gpt2 (byte-level) and llama (SentencePiece)",
            });
        }
    };
    let kind = |id: usize| kinds.get(id).copied().unwrap_or(kind::NORMAL);
    let added =
        tokens.iter().enumerate().filter(|(id, _)| matches!(kind(*id), kind::CONTROL | kind::USER_DEFINED));
    let added = added.map(|(id, content)| AddedToken {
        id: id as u32,
        content: (*content).to_owned(),
        special: kind(id) == kind::CONTROL,
        normalized: false,
        single_word: false,
        lstrip: false,
        rstrip: false,
    });
    let added = added.collect();
    let (prefix, suffix) = wrapping(metadata, model == "llama")?;
    // padding has no meaning
    let tokens = tokens.into_iter().enumerate().filter(|(id, _)| kind(*id) != kind::UNUSED);
    let tokens = tokens.map(|(id, token)| (Cow::Borrowed(token), id as u32)).collect();
    Ok(Spec { tokens, added, prefix, suffix, ..spec })
}

/// Byte-level BPE with its merge rules.
fn byte_level(metadata: &GgufMetadata) -> Result<Spec<'_>, TokenizerError> {
    let Preparation { normalizers, pattern, whole_pieces } =
        preparation(get(metadata.str("tokenizer.ggml.pre"))?.unwrap_or("default"))?;
    let rules = get(metadata.strings("tokenizer.ggml.merges"))?.unwrap_or_default();
    if rules.len() > MAX_MERGES {
        return Err(TokenizerError::TooLarge { what: "merge rules", found: rules.len(), limit: MAX_MERGES });
    }
    let rule = |rule: &'_ str| rule.split_once(' ').map(|(left, right)| (left.len(), right.len()));
    let mut merges = Vec::with_capacity(rules.len());
    for text in rules {
        let Some((left, _)) = rule(text).filter(|&(left, right)| left > 0 && right > 0) else {
            let message = format!("{:?} is not two tokens with a space between", shorten(text));
            return Err(TokenizerError::Malformed { part: "merge rule", message });
        };
        merges.push((Cow::Borrowed(&text[..left]), Cow::Borrowed(&text[left + 1..])));
    }
    Ok(Spec {
        tokens: Vec::new(),
        merges,
        added: Vec::new(),
        normalizers,
        prepare: Prepare { prefix: Prefix::None, meta_space: false },
        splitters: vec![Splitter::pattern(pattern, Keep::Both)?],
        byte_level: true,
        byte_fallback: false,
        unknown: None,
        fuse_unknown: false,
        whole_pieces,
        decoding: Decoding::ByteLevel,
        prefix: Vec::new(),
        suffix: Vec::new(),
    })
}

/// `tokenizer.ggml.pre` names what `tokenizer.json` spells out.
fn preparation(name: &str) -> Result<Preparation, TokenizerError> {
    let plain = |pattern| Preparation { normalizers: Vec::new(), pattern, whole_pieces: false };
    match name {
        "qwen2" | "deepseek-r1-qwen" => {
            Ok(Preparation { normalizers: vec![Normalizer::Nfc], ..plain(QWEN2_PATTERN) })
        }
        "llama-bpe" | "llama3" | "llama-v3" => {
            Ok(Preparation { whole_pieces: true, ..plain(LLAMA3_PATTERN) })
        }
        "gpt-2" => Ok(plain(GPT2_PATTERN)),
        other => Err(TokenizerError::Unsupported {
            part: "tokenizer.ggml.pre",
            found: shorten(other),
            known: "qwen2, deepseek-r1-qwen, llama-bpe, llama3, llama-v3 and gpt-2",
        }),
    }
}

/// SentencePiece's BPE: there are no rules, a pair is merged if it is a token, the token of the highest score first.
fn sentence_piece<'a>(
    metadata: &GgufMetadata,
    tokens: &[&'a str],
    kinds: &[i64],
) -> Result<Spec<'a>, TokenizerError> {
    let scores = get(metadata.floats("tokenizer.ggml.scores"))?.unwrap_or_default();
    if scores.len() != tokens.len() {
        let message = format!("there are {} scores for {} tokens", scores.len(), tokens.len());
        return Err(TokenizerError::Malformed { part: "tokenizer.ggml.scores", message });
    }
    let unknown = get(metadata.token_id("tokenizer.ggml.unknown_token_id"))?;
    let unknown = unknown.and_then(|id| tokens.get(id as usize)).map(|token| (*token).to_owned());
    let add_space = get(metadata.bool("tokenizer.ggml.add_space_prefix"))?.unwrap_or(true);
    Ok(Spec {
        tokens: Vec::new(),
        merges: merges_by_score(tokens, kinds, &scores)?,
        added: Vec::new(),
        // a space even before a space, unlike `Prefix::Always`
        normalizers: add_space.then(|| Normalizer::Prepend(META_SPACE.to_string())).into_iter().collect(),
        prepare: Prepare { prefix: Prefix::None, meta_space: true },
        splitters: Vec::new(),
        byte_level: false,
        byte_fallback: true,
        unknown,
        fuse_unknown: true,
        whole_pieces: false,
        decoding: Decoding::SentencePiece { strip_first_space: add_space },
        prefix: Vec::new(),
        suffix: Vec::new(),
    })
}

/// Merge rules in order of rank.
pub(super) type Rules<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Every way to make a token of two, in the order of the tokens' scores.
pub(super) fn merges_by_score<'a>(
    tokens: &[&'a str],
    kinds: &[i64],
    scores: &[f32],
) -> Result<Rules<'a>, TokenizerError> {
    let normal = |id: usize| kinds.get(id).is_none_or(|&kind| kind == kind::NORMAL);
    let ids: HashMap<&str, usize> =
        tokens.iter().enumerate().filter(|(id, _)| normal(*id)).map(|(id, token)| (*token, id)).collect();
    let mut order: Vec<usize> = (0..tokens.len()).filter(|&id| normal(id)).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let mut merges = Vec::new();
    for token in order.into_iter().map(|id| tokens[id]) {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if ids.contains_key(left) && ids.contains_key(right) {
                merges.push((Cow::Borrowed(left), Cow::Borrowed(right)));
            }
        }
        if merges.len() > MAX_MERGES {
            let found = merges.len();
            return Err(TokenizerError::TooLarge { what: "merge rules", found, limit: MAX_MERGES });
        }
    }
    Ok(merges)
}

/// Ids before and after a text that is to be wrapped. Without a word on it, SentencePiece models begin with `bos`.
fn wrapping(metadata: &GgufMetadata, begins: bool) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
    let token = |end: &str, default: bool| {
        let add = get(metadata.bool(&format!("tokenizer.ggml.add_{end}_token")))?.unwrap_or(default);
        let id = get(metadata.token_id(&format!("tokenizer.ggml.{end}_token_id")))?;
        Ok::<Vec<u32>, TokenizerError>(id.filter(|_| add).into_iter().collect())
    };
    Ok((token("bos", begins)?, token("eos", false)?))
}

fn get<T>(value: Result<T, MetadataError>) -> Result<T, TokenizerError> {
    value.map_err(|error| TokenizerError::Malformed { part: "GGUF metadata", message: error.to_string() })
}
