//! Tokenizers inside GGUF files.

use crate::assert_refused;
use crate::files::{Gguf, parity};
use models::checkpoint::gguf;
use models::tokenizer::TokenizerError;
use models::{Model, Tokenizer};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

fn read(file: &Gguf) -> Result<Tokenizer, TokenizerError> {
    let bytes: nn::Bytes = Arc::new(file.bytes());
    Tokenizer::from_gguf(&gguf::parse(&bytes).unwrap().metadata)
}

fn array<T: Copy>(kind: u32, values: &[T], bytes: impl Fn(T) -> [u8; 4]) -> Vec<u8> {
    let mut array = [&kind.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
    values.iter().for_each(|value| array.extend(bytes(*value)));
    array
}

fn with_kinds(file: Gguf, kinds: &[i32]) -> Gguf {
    file.entry("tokenizer.ggml.token_type", 9, &array(5, kinds, i32::to_le_bytes))
}

#[test]
fn a_byte_level_tokenizer_is_that_of_the_directory_it_was_made_from() {
    for (file, directory) in [
        ("gguf-qwen3/q4_0.gguf", "gguf-qwen3/hf"),
        ("gguf-qwen3-kquants/q4_k_m.gguf", "gguf-qwen3-kquants/hf"),
    ] {
        let ours = Model::open(&parity(file)).unwrap().tokenizer;
        let json = std::fs::read(parity(directory).join("tokenizer.json")).unwrap();
        let theirs = Tokenizer::from_json(&json).unwrap();
        assert_eq!(ours.len(), theirs.len());
        for text in [
            "",
            "Hello, 世界!  12345 don't I'LL",
            "<|im_start|>user\nhi<|im_end|>\n<think>\n\n</think>",
            "e\u{301} \u{1F600}\r\n\t \u{3000}x",
            "<tool_call>\n{\"a\": [1, 2.5e-3]}\n</tool_call>",
        ] {
            let ids = ours.encode_with_added(text);
            assert_eq!(ids, theirs.encode_with_added(text), "{text:?}");
            assert_eq!(ours.encode_text(text), theirs.encode_text(text), "{text:?}");
            for skip_special in [true, false] {
                assert_eq!(ours.decode(&ids, skip_special), theirs.decode(&ids, skip_special), "{text:?}");
            }
        }
    }
}

/// The vocabulary of `tests/data/sentencepiece`, as llama.cpp writes it.
fn sentence_piece() -> (Gguf, Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/sentencepiece/llama-bpe.json");
    let data: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let list = |name: &str| data[name].as_array().unwrap().clone();
    let tokens: Vec<Value> = list("tokens");
    let tokens: Vec<&str> = tokens.iter().map(|token| token.as_str().unwrap()).collect();
    let scores: Vec<f32> = list("scores").iter().map(|score| score.as_f64().unwrap() as f32).collect();
    let kinds: Vec<i32> = list("token_type").iter().map(|kind| kind.as_i64().unwrap() as i32).collect();
    let file = Gguf::default()
        .text("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &tokens)
        .entry("tokenizer.ggml.scores", 9, &array(6, &scores, f32::to_le_bytes))
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.unknown_token_id", 0);
    (with_kinds(file, &kinds), data)
}

#[test]
fn a_sentence_piece_tokenizer_gives_the_ids_of_the_library() {
    let (file, data) = sentence_piece();
    let tokenizer = read(&file).unwrap();
    let cases = data["cases"].as_array().unwrap();
    assert!(cases.len() >= 12);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let ids: Vec<u32> =
            case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(tokenizer.encode_text(text), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids, true), case["decoded"].as_str().unwrap(), "{text:?}");
        assert_eq!(tokenizer.encode_wrapped(text), [&[1], &ids[..]].concat(), "{text:?}");
    }
}

#[test]
fn tokenizers_that_cannot_be_are_refused_with_the_reason() {
    let base = || Gguf::default().text("tokenizer.ggml.model", "gpt2");
    let qwen2 = || base().text("tokenizer.ggml.pre", "qwen2");
    let llama = || {
        Gguf::default().text("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", &["a", "b"])
    };
    let cases: &[(&str, Gguf, &[&str])] = &[
        ("no model", Gguf::default(), &["tokenizer.ggml.model", "gpt2"]),
        ("another model", Gguf::default().text("tokenizer.ggml.model", "bert"), &["bert", "gpt2", "llama"]),
        ("another splitting", base().text("tokenizer.ggml.pre", "mystery"), &["mystery", "qwen2"]),
        ("no tokens", qwen2(), &["no token for the byte"]),
        ("tokens of another type", qwen2().u32("tokenizer.ggml.tokens", 1), &["tokenizer.ggml.tokens"]),
        ("half a rule", qwen2().strings("tokenizer.ggml.merges", &["ab"]), &["\"ab\"", "two tokens"]),
        (
            "a rule of an unknown token",
            qwen2().strings("tokenizer.ggml.merges", &["a b"]),
            &["merge rule", "\"a\""],
        ),
        ("no scores", llama(), &["0 scores for 2 tokens"]),
    ];
    for (what, file, parts) in cases {
        assert_refused(what, read(file), parts);
    }
}
