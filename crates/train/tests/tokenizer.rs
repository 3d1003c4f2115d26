//! Trained tokenizers: the same ones from the same texts, read alike by Wen and by the reference, with Qwen3's conversations.

use models::Tokenizer;
use models::chat::{ChatTemplate, RenderInput};
use serde_json::Value;
use std::path::{Path, PathBuf};
use train::tokenizer::{Pieces, Settings, TokenizerError, Trained, train};

fn settings(vocab_size: usize, pieces: Pieces) -> Settings {
    Settings { vocab_size, pieces, chat_template: None }
}

/// Texts of both languages, with numbers, code and marks.
fn texts(dir: &Path) -> Vec<PathBuf> {
    let mut plain = String::new();
    let mut lines = String::new();
    for i in 0..400 {
        plain.push_str(&format!(
            "Meeting {i}: Priya will send the report by Friday, and Tom reviews it.\n\
             会议{i}：请李娜在周五前把预算表发给财务部，谢谢大家。\n\n  SELECT name FROM orders WHERE id = {i};\n"
        ));
        lines.push_str(&format!(
            "{{\"messages\": [{{\"role\": \"user\", \"content\": \"问题{i}：今天怎么样？\"}}, \
             {{\"role\": \"assistant\", \"content\": \"It's fine, isn't it?\"}}]}}\n"
        ));
    }
    let files = [dir.join("a.txt"), dir.join("b.jsonl")];
    std::fs::write(&files[0], plain).unwrap();
    std::fs::write(&files[1], lines).unwrap();
    files.to_vec()
}

fn trained(pieces: Pieces) -> Trained {
    let dir = tempfile::tempdir().unwrap();
    train(&texts(dir.path()), &settings(500, pieces)).unwrap()
}

fn wen(trained: &Trained) -> Tokenizer {
    Tokenizer::from_json(&serde_json::to_vec(&trained.tokenizer).unwrap()).unwrap()
}

const SAMPLES: [&str; 7] = [
    "Priya will send the report by Friday.",
    "请李娜在周五前把预算表发给财务部。",
    "It's 2026-03-14,  两个空格\n\n\tand a tab",
    "e\u{301} is NFC, 𠮷 is rare, 🙂 too",
    "<|im_start|>user\nHello<|im_end|>\n<think>\n\n</think>\n<tool_call>",
    " leading and trailing ",
    "SELECT name FROM orders WHERE id = 17;",
];

#[test]
fn the_same_texts_give_the_same_tokens() {
    for pieces in [Pieces::Words, Pieces::Copyable] {
        assert_eq!(trained(pieces), trained(pieces));
    }
}

#[test]
fn the_reference_reads_the_file_and_splits_alike() {
    for pieces in [Pieces::Words, Pieces::Copyable] {
        let trained = trained(pieces);
        let json = serde_json::to_vec(&trained.tokenizer).unwrap();
        let reference = tokenizers::Tokenizer::from_bytes(&json).unwrap();
        assert_eq!(reference.get_vocab_size(true), trained.tokens);
        let wen = wen(&trained);
        for text in SAMPLES {
            let ids = wen.encode_with_added(text);
            assert_eq!(ids, reference.encode(text, true).unwrap().get_ids(), "{text}");
            let normalized = text.replace("e\u{301}", "é");
            assert_eq!(wen.decode(&ids, false), normalized);
        }
    }
}

#[test]
fn frequent_words_become_tokens() {
    let tokenizer = wen(&trained(Pieces::Words));
    let pieces = |text: &str| -> Vec<String> {
        tokenizer.encode_text(text).iter().map(|id| tokenizer.decode(&[*id], false)).collect()
    };
    assert_eq!(pieces(" send the report"), [" send", " the", " report"]);
    // digits stay alone, by Qwen's rule
    assert_eq!(pieces("2026"), ["2", "0", "2", "6"]);
}

#[test]
fn copyable_names_are_the_same_tokens_wherever_they_stand() {
    let tokenizer = wen(&trained(Pieces::Copyable));
    let name = tokenizer.encode_text("Priya");
    for text in ["by Priya.", "\"Priya\"", "(Priya)", "Priya"] {
        let ids = tokenizer.encode_text(text);
        assert!(ids.windows(name.len()).any(|part| part == name), "{text}");
    }
    let longest = (0..tokenizer.len() as u32)
        .filter(|id| !tokenizer.is_added(*id))
        .filter_map(|id| String::from_utf8(tokenizer.token_bytes(id)?.to_vec()).ok())
        .filter(|text| text.chars().any(|c| ('\u{4e00}'..'\u{a000}').contains(&c)))
        .map(|text| text.chars().count())
        .max();
    assert_eq!(longest, Some(1));
}

#[test]
fn the_template_renders_what_qwen3s_does() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity/chat-templates/qwen3.json");
    let fixture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let trained = trained(Pieces::Words);
    let template =
        ChatTemplate::new(trained.config["chat_template"].as_str().unwrap(), "", "<|im_end|>").unwrap();
    for case in fixture["cases"].as_array().unwrap() {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut variables = case["flags"].as_object().cloned().unwrap_or_default();
        let add_generation_prompt =
            variables.remove("add_generation_prompt").is_some_and(|flag| flag == true);
        let tools = variables.remove("tools").unwrap_or_else(|| case["tools"].clone());
        let (messages, tools) = (list(&case["messages"]), list(&tools));
        let input = RenderInput { messages, tools, add_generation_prompt, variables };
        assert_eq!(template.render(&input).unwrap(), case["rendered"].as_str().unwrap(), "{}", case["name"]);
    }
}

#[test]
fn a_model_directory_takes_the_written_files() {
    let dir = tempfile::tempdir().unwrap();
    trained(Pieces::Words).write(dir.path()).unwrap();
    let json = std::fs::read(dir.path().join("tokenizer.json")).unwrap();
    let tokenizer = Tokenizer::from_json(&json).unwrap();
    assert!(tokenizer.is_special(tokenizer.token_id("<|im_end|>").unwrap()));
    assert!(!tokenizer.is_special(tokenizer.token_id("<tool_call>").unwrap()));
    let config: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("tokenizer_config.json")).unwrap()).unwrap();
    assert_eq!(config["eos_token"], "<|im_end|>");
}

#[test]
fn what_cannot_be_learned_from_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let refused =
        |path: PathBuf, size| train(&[path], &settings(size, Pieces::Words)).unwrap_err().to_string();
    assert!(
        refused(file("a.csv", b"x"), 500).ends_with("a.csv is neither .jsonl nor .txt; rename or convert it")
    );
    assert!(
        refused(file("b.jsonl", b"{\"text\": \"a\"}\n{"), 500).contains("b.jsonl:2: the line is not JSON")
    );
    assert!(refused(file("c.txt", b"fine\nnot \xff"), 500).contains("c.txt:2: the line is not UTF-8"));
    assert_eq!(refused(file("d.txt", b""), 500), "the files hold no text");
    for size in [0, 264, 2_000_000] {
        assert!(refused(file("e.txt", b"x"), size).contains("265 to 1048576"));
    }
    let missing = train(&[dir.path().join("none.txt")], &settings(500, Pieces::Words)).unwrap_err();
    assert!(matches!(missing, TokenizerError::File(_)));
}
