//! The tokenizer against the reference's results and against the reference itself.

mod reference_data;

use models::Tokenizer;
use models::tokenizer::Detokenizer;
use proptest::prelude::*;
use serde_json::Value;
use std::sync::{Arc, LazyLock};

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn tokenizer(path: &str) -> Tokenizer {
    Tokenizer::from_json(&reference_data::read(path)).unwrap()
}

/// One small tokenizer for all properties, and the reference reading the same file.
static QWEN: LazyLock<(Arc<Tokenizer>, tokenizers::Tokenizer)> = LazyLock::new(|| {
    let json = reference_data::read("qwen3-tied/tokenizer.json");
    (Arc::new(Tokenizer::from_json(&json).unwrap()), tokenizers::Tokenizer::from_bytes(&json).unwrap())
});

#[test]
fn encodes_and_decodes_as_the_reference() {
    let mut cases = 0;
    for name in ["qwen", "qwen-embedding", "bart"] {
        let Some(fixture) = reference_data::json(&format!("tokenizers/{name}.json")) else { continue };
        let tokenizer = tokenizer(&format!("{}/tokenizer.json", fixture["source"].as_str().unwrap()));
        for case in fixture["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let expected = ids(&case["ids"]);
            assert_eq!(tokenizer.encode_with_added(text), expected, "{name}: {text:?}");
            assert_eq!(
                tokenizer.decode(&expected, false),
                case["decoded"].as_str().unwrap(),
                "{name}: {text:?}"
            );
            assert_eq!(
                tokenizer.decode(&expected, true),
                case["decoded_skip_special"].as_str().unwrap(),
                "{text:?}"
            );
            if !expected.iter().any(|&id| tokenizer.is_added(id)) {
                assert_eq!(tokenizer.encode_text(text), expected, "{name}: {text:?}");
                assert_eq!(tokenizer.encode_wrapped(text), ids(&case["with_special"]), "{name}: {text:?}");
            }
            cases += 1;
        }
        let Some(prefixes) = fixture["prefixes"].as_array() else { continue };
        let prefix_ids = ids(&fixture["prefix_ids"]);
        for (length, prefix) in prefixes.iter().enumerate() {
            assert_eq!(tokenizer.decode(&prefix_ids[..length], false), prefix.as_str().unwrap());
        }
    }
    assert!(cases >= 96, "only {cases} cases found");
}

/// Text with what matters to tokenizers: control tokens and parts of them, white space, several scripts, combining marks.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[ a-zA-Z0-9.,'!\n\r\t]{0,12}",
        2 => "\\PC{0,6}",
        1 => any::<char>().prop_map(String::from),
        1 => prop::sample::select(vec![
            "<|im_start|>", "<|im_end|>", "<think>", "</think>\n", "<|im_", "end|>", "<tool_call>", "北京", "\u{1F600}",
            "e\u{301}", "\u{AC00}\u{11A8}", "   ", "\n\n", "don't", "I'LL", "\u{2581}", "\u{FDD0}", "\u{0}",
        ]).prop_map(String::from),
        1 => "(ab){0,80}| {0,80}",
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_text_gives_the_ids_of_the_reference(text in text()) {
        let (ours, reference) = &*QWEN;
        let expected = reference.encode_fast(text.as_str(), false).unwrap();
        prop_assert_eq!(ours.encode_with_added(&text), expected.get_ids());
    }

    #[test]
    fn plain_text_never_becomes_an_added_token(text in text()) {
        let (ours, _) = &*QWEN;
        let ids = ours.encode_text(&text);
        prop_assert!(!ids.iter().any(|&id| ours.is_added(id)));
        let normal: String = unicode_normalization_alignments::UnicodeNormalization::nfc(text.as_str()).map(|(c, _)| c).collect();
        prop_assert_eq!(ours.decode(&ids, true), normal);
    }

    #[test]
    fn any_ids_decode_as_the_reference_and_in_pieces(ids in prop::collection::vec(0u32..540, 0..60)) {
        let (ours, reference) = &*QWEN;
        for skip_special in [true, false] {
            prop_assert_eq!(ours.decode(&ids, skip_special), reference.decode(&ids, skip_special).unwrap());
        }
        let mut stream = Detokenizer::new(ours.clone());
        let mut pieces: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
        pieces.push(stream.finish());
        prop_assert_eq!(pieces.concat(), ours.decode(&ids, true));
    }
}

#[test]
fn a_character_is_released_when_it_is_complete() {
    let (ours, _) = &*QWEN;
    let mut stream = Detokenizer::new(ours.clone());
    let pieces: Vec<String> = ours.encode_text("😀!").iter().map(|&id| stream.push(id)).collect();
    assert_eq!(pieces.iter().filter(|piece| !piece.is_empty()).collect::<Vec<_>>(), ["😀", "!"]);
    assert_eq!(stream.finish(), "");
}

#[test]
fn tokens_are_found_by_text_and_know_their_bytes() {
    let (ours, _) = &*QWEN;
    for text in ["<|im_start|>", "<think>", "yes", " ", "\n"] {
        let id = ours.token_id(text).unwrap();
        assert_eq!(ours.token_bytes(id), Some(text.as_bytes()));
        assert_eq!(ours.is_added(id), text.starts_with('<'));
        assert_eq!(ours.is_special(id), text == "<|im_start|>");
    }
    assert_eq!(ours.len(), 506);
    assert_eq!(ours.token_bytes(506), None);
    assert_eq!(ours.token_id("no such token"), None);
    assert_eq!(ours.decode(&[511, 4_000_000_000], false), "");
}
