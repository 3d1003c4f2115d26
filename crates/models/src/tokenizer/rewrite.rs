//! A tokenizer in the other format: `tokenizer.json` as the arrays of a GGUF file, and back.
//!
//! Both are read into a [`Spec`], and what that says beyond the other format's words is refused: a tokenizer that comes out
//! gives the same ids or does not come out.

use super::added::AddedToken;
use super::detokenizer::Decoding;
use super::gguf::{self, LLAMA3_PATTERN, QWEN2_PATTERN, kind, merges_by_score};
use super::normalizer::Normalizer;
use super::spec::{Spec, byte_token};
use super::split::{GPT2_PATTERN, Keep, Prefix, Splitter};
use super::{TokenizerError, json, shorten};
use crate::checkpoint::GgufMetadata;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// What stands before SentencePiece's texts.
const SPACE: &str = "\u{2581}";

/// A tokenizer in the words of GGUF.
pub(crate) struct GgufTokenizer {
    /// `tokenizer.ggml.model`.
    pub(crate) model: &'static str,
    /// `tokenizer.ggml.pre`: how text is split.
    pub(crate) pre: &'static str,
    /// By id, one for each row of the embedding table.
    pub(crate) tokens: Vec<String>,
    /// `tokenizer.ggml.token_type` of each.
    pub(crate) kinds: Vec<i32>,
    /// Rules as two tokens with a space between; empty where scores take their place.
    pub(crate) merges: Vec<String>,
    /// SentencePiece's scores: a token of a higher one is joined first.
    pub(crate) scores: Option<Vec<f32>>,
    /// Whether SentencePiece's texts get a space in front.
    pub(crate) space_prefix: bool,
    /// The token for what has none.
    pub(crate) unknown: Option<u32>,
    /// Put before a text.
    pub(crate) begin: Option<u32>,
    /// Put behind a text.
    pub(crate) end: Option<u32>,
}

impl GgufTokenizer {
    /// The id of the token that is written `text`.
    pub(crate) fn id(&self, text: &str) -> Option<u32> {
        self.tokens.iter().position(|token| token == text).map(|id| id as u32)
    }
}

/// The tokenizer of a `tokenizer.json`, for a model with so many `rows` in its embedding table.
pub(crate) fn to_gguf(text: &[u8], rows: usize) -> Result<GgufTokenizer, TokenizerError> {
    let spec = json::read(text)?;
    let (tokens, kinds) = by_id(&spec, rows)?;
    let wrapping = |ids: &[u32]| match ids {
        [] => Ok(None),
        [id] => Ok(Some(*id)),
        _ => Err(unsupported("post_processor", "several tokens on one side of a text", "one")),
    };
    let (begin, end) = (wrapping(&spec.prefix)?, wrapping(&spec.suffix)?);
    let plain = |token: &AddedToken| !(token.single_word || token.lstrip || token.rstrip);
    if let Some(token) = spec.added.iter().find(|token| !plain(token)) {
        let found = format!("{:?}, which takes words or spaces around it into account", token.content);
        return Err(unsupported("added token", &found, "tokens that are found wherever they stand"));
    }
    let unknown = spec.unknown.as_ref().and_then(|text| tokens.iter().position(|token| token == text));
    let mut written = GgufTokenizer {
        model: "gpt2",
        pre: "",
        tokens,
        kinds,
        merges: Vec::new(),
        scores: None,
        space_prefix: false,
        unknown: unknown.map(|id| id as u32),
        begin,
        end,
    };
    if spec.byte_level {
        written.pre = preparation(&spec)?;
        written.merges = spec.merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
    } else {
        (written.model, written.pre) = ("llama", "default");
        written.space_prefix = space_prefix(&spec)?;
        written.scores = Some(scores(&spec, &written)?);
    }
    Ok(written)
}

/// The tokens and their kinds; rows of the table that have none are called so.
fn by_id(spec: &Spec<'_>, rows: usize) -> Result<(Vec<String>, Vec<i32>), TokenizerError> {
    let mut all: Vec<(String, i64)> = (0..rows).map(|id| (format!("[PAD{id}]"), kind::UNUSED)).collect();
    let normal = spec.tokens.iter().map(|(token, id)| {
        let kind = match byte_token(token) {
            Some(_) if spec.byte_fallback => kind::BYTE,
            _ if spec.unknown.as_deref() == Some(token) && !spec.byte_level => kind::UNKNOWN,
            _ => kind::NORMAL,
        };
        (*id, token.as_ref(), kind)
    });
    let added = spec.added.iter().map(|token| {
        let kind = if token.special { kind::CONTROL } else { kind::USER_DEFINED };
        (token.id, token.content.as_str(), kind)
    });
    for (id, token, kind) in normal.chain(added) {
        let Some(place) = all.get_mut(id as usize) else {
            let found = format!("token {id}, but the model has {rows} rows");
            return Err(unsupported("vocabulary", &found, "ids below the model's vocab_size"));
        };
        // the unknown token is a special one as well
        let kind = if place.1 == kind::UNKNOWN { place.1 } else { kind };
        *place = (token.to_owned(), kind);
    }
    Ok(all.into_iter().map(|(token, kind)| (token, kind as i32)).unzip())
}

/// `tokenizer.ggml.pre` of a byte-level tokenizer.
fn preparation(spec: &Spec<'_>) -> Result<&'static str, TokenizerError> {
    const KNOWN: &str = "those of Qwen2 and later, Llama 3 and GPT-2";
    let plain = spec.prepare.prefix == Prefix::None && !spec.prepare.meta_space && !spec.byte_fallback;
    let pattern = match &spec.splitters[..] {
        [Splitter::Pattern { regex, keep: Keep::Both }] if plain => regex.as_str(),
        _ => return Err(unsupported("pre_tokenizer", "a way of splitting of its own", KNOWN)),
    };
    let as_is = spec.normalizers.is_empty();
    let composed = matches!(spec.normalizers[..], [Normalizer::Nfc]);
    match (pattern, spec.whole_pieces) {
        // llama.cpp composes nothing, whatever the name
        (QWEN2_PATTERN, false) if as_is || composed => Ok("qwen2"),
        (LLAMA3_PATTERN, true) if as_is => Ok("llama-bpe"),
        (GPT2_PATTERN, false) if as_is => Ok("gpt-2"),
        (other, _) => Err(unsupported("pre_tokenizer", &format!("splitting by {}", shorten(other)), KNOWN)),
    }
}

/// Whether a SentencePiece tokenizer puts a space before a text.
fn space_prefix(spec: &Spec<'_>) -> Result<bool, TokenizerError> {
    let is_space = |text: &str| text == SPACE;
    let replaces = |from: &str, to: &str| from == " " && is_space(to);
    let marks = spec.prepare.meta_space;
    if spec.byte_fallback
        && spec.splitters.is_empty()
        && matches!(spec.decoding, Decoding::SentencePiece { .. })
    {
        match (&spec.normalizers[..], spec.prepare.prefix) {
            ([Normalizer::Prepend(space), Normalizer::Replace(from, to)], Prefix::None)
                if !marks && is_space(space) && replaces(from, to) =>
            {
                return Ok(true);
            }
            ([Normalizer::Replace(from, to)], Prefix::None) if !marks && replaces(from, to) => {
                return Ok(false);
            }
            ([], prefix) if marks => return Ok(prefix != Prefix::None),
            _ => {}
        }
    }
    let known = "byte-level ones, and SentencePiece's with byte fallback and ▁ for spaces";
    Err(unsupported("normalizer", "another than GGUF files stand for", known))
}

/// Scores that make of any text what the rules make of it: a token's is the lower the later its rules come.
fn scores(spec: &Spec<'_>, written: &GgufTokenizer) -> Result<Vec<f32>, TokenizerError> {
    let mut order: HashMap<String, usize> = HashMap::new();
    for (left, right) in &spec.merges {
        let next = order.len();
        order.entry(format!("{left}{right}")).or_insert(next);
    }
    let score = |token: &String| -(*order.get(token).unwrap_or(&order.len()) as f32);
    let scores: Vec<f32> = written.tokens.iter().map(score).collect();
    let tokens: Vec<&str> = written.tokens.iter().map(String::as_str).collect();
    let kinds: Vec<i64> = written.kinds.iter().map(|kind| i64::from(*kind)).collect();
    let back = merges_by_score(&tokens, &kinds, &scores)?;
    // of the rules that make the same token, the order is that of their places in the text
    let joined = |rules: &[(Cow<'_, str>, Cow<'_, str>)]| {
        let mut all: Vec<String> = rules.iter().map(|(left, right)| format!("{left}{right}")).collect();
        all.dedup();
        all
    };
    let pairs = |rules: &[(Cow<'_, str>, Cow<'_, str>)]| -> HashSet<(String, String)> {
        rules.iter().map(|(left, right)| (left.to_string(), right.to_string())).collect()
    };
    if joined(&back) != joined(&spec.merges) || pairs(&back) != pairs(&spec.merges) {
        let known = "for each token all rules that make it, one token after the other, as they come from SentencePiece";
        return Err(unsupported("merge rules", "others than scores stand for", known));
    }
    Ok(scores)
}

/// The `tokenizer.json` of the tokenizer in a GGUF file.
pub(crate) fn to_json(metadata: &GgufMetadata) -> Result<Value, TokenizerError> {
    // what it is built of has been compared with each other then
    gguf::read(metadata)?.build()?;
    let spec = gguf::read(metadata)?;
    let added: HashSet<u32> = spec.added.iter().map(|token| token.id).collect();
    let mut vocab = Map::new();
    for (token, id) in &spec.tokens {
        // byte-level vocabularies are written in an alphabet of their own, which added tokens are not
        if spec.byte_level && added.contains(id) {
            continue;
        }
        if vocab.insert(token.clone().into_owned(), (*id).into()).is_some() {
            let found = format!("{:?} as two tokens", shorten(token));
            return Err(unsupported("vocabulary", &found, "vocabularies in which a text is one token"));
        }
    }
    let merges: Vec<Value> = spec.merges.iter().map(|(left, right)| json!([left, right])).collect();
    let content = |token: &AddedToken| {
        json!({
            "id": token.id,
            "content": token.content,
            "single_word": token.single_word,
            "lstrip": token.lstrip,
            "rstrip": token.rstrip,
            "normalized": token.normalized,
            "special": token.special,
        })
    };
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": spec.added.iter().map(content).collect::<Vec<_>>(),
        "normalizer": normalizer(&spec),
        "pre_tokenizer": pre_tokenizer(&spec),
        "post_processor": post_processor(&spec),
        "decoder": decoder(&spec),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": spec.unknown,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": spec.fuse_unknown,
            "byte_fallback": spec.byte_fallback,
            "ignore_merges": spec.whole_pieces,
            "vocab": vocab,
            "merges": merges,
        },
    }))
}

fn normalizer(spec: &Spec<'_>) -> Value {
    let mut steps: Vec<Value> = spec
        .normalizers
        .iter()
        .map(|step| match step {
            Normalizer::Nfc => json!({"type": "NFC"}),
            Normalizer::Nfd => json!({"type": "NFD"}),
            Normalizer::Nfkc => json!({"type": "NFKC"}),
            Normalizer::Nfkd => json!({"type": "NFKD"}),
            Normalizer::Prepend(prefix) => json!({"type": "Prepend", "prepend": prefix}),
            Normalizer::Replace(from, to) => replace(from, to),
        })
        .collect();
    if spec.prepare.meta_space {
        steps.push(replace(" ", SPACE));
    }
    match steps.len() {
        0 => Value::Null,
        1 => steps.swap_remove(0),
        _ => json!({"type": "Sequence", "normalizers": steps}),
    }
}

fn replace(from: &str, to: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": from}, "content": to})
}

fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false})
}

fn pre_tokenizer(spec: &Spec<'_>) -> Value {
    let patterns = spec.splitters.iter().filter_map(|splitter| match splitter {
        Splitter::Pattern { regex, .. } => Some(json!({
            "type": "Split",
            "pattern": {"Regex": regex.as_str()},
            "behavior": "Isolated",
            "invert": false,
        })),
        // GGUF files have none of these
        Splitter::Words | Splitter::Digits { .. } => None,
    });
    let steps: Vec<Value> = patterns.chain(spec.byte_level.then(byte_level)).collect();
    if steps.is_empty() { Value::Null } else { json!({"type": "Sequence", "pretokenizers": steps}) }
}

/// What is put around a text.
fn post_processor(spec: &Spec<'_>) -> Value {
    let text_of = |id: &u32| {
        let added = spec.added.iter().find(|token| token.id == *id).map(|token| token.content.as_str());
        let plain = || spec.tokens.iter().find(|(_, of)| of == id).map(|(token, _)| token.as_ref());
        added.or_else(plain).unwrap_or_default()
    };
    let around = |ids: &[u32]| -> Vec<Value> {
        ids.iter().map(|id| json!({"SpecialToken": {"id": text_of(id), "type_id": 0}})).collect()
    };
    let (before, behind) = (around(&spec.prefix), around(&spec.suffix));
    let wrapped = |name: &str| {
        let text = vec![json!({"Sequence": {"id": name, "type_id": 0}})];
        [before.clone(), text, behind.clone()].concat()
    };
    let special = spec.prefix.iter().chain(&spec.suffix).map(|id| {
        let text = text_of(id);
        (text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}))
    });
    let pair = [wrapped("A"), wrapped("B")].concat();
    let template = json!({
        "type": "TemplateProcessing",
        "single": wrapped("A"),
        "pair": pair,
        "special_tokens": special.collect::<Map<String, Value>>(),
    });
    match (before.len() + behind.len(), spec.byte_level) {
        (0, true) => byte_level(),
        (0, false) => Value::Null,
        (_, true) => json!({"type": "Sequence", "processors": [byte_level(), template]}),
        (_, false) => template,
    }
}

fn decoder(spec: &Spec<'_>) -> Value {
    match spec.decoding {
        Decoding::ByteLevel => byte_level(),
        Decoding::SentencePiece { strip_first_space } => {
            let mut steps =
                vec![replace(SPACE, " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
            if strip_first_space {
                steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
            }
            json!({"type": "Sequence", "decoders": steps})
        }
    }
}

fn unsupported(part: &'static str, found: &str, known: &'static str) -> TokenizerError {
    TokenizerError::Unsupported { part, found: found.to_owned(), known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::gguf_writer::{MetadataValue, write_gguf};
    use crate::checkpoint::writer::write_file;
    use crate::{Checkpoint, Tokenizer};

    fn metadata(tokenizer: &GgufTokenizer) -> GgufMetadata {
        let id = |id: Option<u32>| MetadataValue::U32(id.unwrap_or(0));
        let entries = [
            ("model", MetadataValue::Text(tokenizer.model.to_owned())),
            ("tokens", MetadataValue::Texts(tokenizer.tokens.clone())),
            ("token_type", MetadataValue::I32s(tokenizer.kinds.clone())),
            ("scores", MetadataValue::F32s(tokenizer.scores.clone().unwrap_or_default())),
            ("add_space_prefix", MetadataValue::Bool(tokenizer.space_prefix)),
            ("bos_token_id", id(tokenizer.begin)),
            ("unknown_token_id", id(tokenizer.unknown)),
        ];
        let entries = entries.map(|(key, value)| (format!("tokenizer.ggml.{key}"), value));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.gguf");
        write_file(&path, |out| write_gguf(out, &entries, &[])).unwrap();
        Checkpoint::open(&path).unwrap().gguf().unwrap().clone()
    }

    /// The vocabulary of `tests/data/sentencepiece`, whose cases come from the library.
    fn sentence_piece() -> (GgufTokenizer, Value) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/sentencepiece/llama-bpe.json");
        let data: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let list = |name: &str| data[name].as_array().unwrap().clone();
        let written = GgufTokenizer {
            model: "llama",
            pre: "default",
            tokens: list("tokens").iter().map(|token| token.as_str().unwrap().to_owned()).collect(),
            kinds: list("token_type").iter().map(|kind| kind.as_i64().unwrap() as i32).collect(),
            merges: Vec::new(),
            scores: Some(list("scores").iter().map(|score| score.as_f64().unwrap() as f32).collect()),
            space_prefix: true,
            unknown: Some(0),
            begin: Some(1),
            end: None,
        };
        (written, data)
    }

    #[test]
    fn sentence_piece_goes_to_json_and_back_with_the_same_ids() {
        let (written, data) = sentence_piece();
        let json = to_json(&metadata(&written)).unwrap().to_string();
        let from_json = Tokenizer::from_json(json.as_bytes()).unwrap();
        let back = to_gguf(json.as_bytes(), written.tokens.len() + 2).unwrap();
        assert_eq!(back.tokens[..written.tokens.len()], written.tokens);
        assert_eq!(back.kinds[..written.tokens.len()], written.kinds);
        assert_eq!((back.begin, back.end, back.unknown), (Some(1), None, Some(0)));
        assert_eq!(back.id("[PAD421]"), Some(421));
        let from_back = Tokenizer::from_gguf(&metadata(&back)).unwrap();
        for case in data["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids: Vec<u32> =
                case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            for tokenizer in [&from_json, &from_back] {
                assert_eq!(tokenizer.encode_text(text), ids, "{text:?}");
                assert_eq!(tokenizer.encode_wrapped(text), [&[1], &ids[..]].concat(), "{text:?}");
                assert_eq!(tokenizer.decode(&ids, true), case["decoded"].as_str().unwrap(), "{text:?}");
            }
        }
    }

    #[test]
    fn what_the_other_format_has_no_words_for_is_refused() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/parity/qwen3-tied/tokenizer.json");
        let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let refused =
            |json: &Value, rows| to_gguf(json.to_string().as_bytes(), rows).err().unwrap().to_string();
        assert!(to_gguf(json.to_string().as_bytes(), 512).is_ok());
        assert!(refused(&json, 500).contains("the model has 500 rows"));
        for (pointer, value, part) in [
            ("/pre_tokenizer/pretokenizers/0/pattern/Regex", json!("\\w+"), "splitting by \\w+"),
            ("/model/ignore_merges", json!(true), "splitting by"),
            ("/normalizer", json!({"type": "NFKC"}), "splitting by"),
            ("/added_tokens/1/lstrip", json!(true), "<|im_start|>"),
        ] {
            let mut changed = json.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            let message = refused(&changed, 512);
            assert!(message.contains(part), "{pointer}: {message}");
        }
    }
}
