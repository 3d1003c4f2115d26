//! Datasets: what carries loss, and what is refused with which words.

mod common;

use common::fixture;
use models::Model;
use std::path::PathBuf;
use train::data::{self, DataError, Dataset, Language};

struct Setup {
    model: Model,
    dir: tempfile::TempDir,
}

impl Setup {
    fn new() -> Setup {
        let model = Model::open(&fixture("qwen3-train-base")).unwrap_or_else(|e| panic!("{e}"));
        Setup { model, dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn load(&self, name: &str, content: &str) -> Result<Dataset, DataError> {
        let language = Language {
            tokenizer: &self.model.tokenizer,
            template: self.model.chat_template.as_ref(),
            end: self.model.tokenizer.token_id("<|endoftext|>"),
            max_tokens: 1000,
        };
        data::load(&[self.file(name, content)], &language)
    }

    /// Of each example what is learned, with `|` where something else is between.
    fn learned(&self, dataset: &Dataset) -> Vec<String> {
        let texts = dataset.examples.iter().map(|example| {
            let mut runs: Vec<Vec<u32>> = vec![Vec::new()];
            for (&token, &learned) in example.tokens().iter().zip(example.marks()) {
                match learned {
                    true => runs.last_mut().unwrap().push(token),
                    false if runs.last().unwrap().is_empty() => {}
                    false => runs.push(Vec::new()),
                }
            }
            let runs = runs.iter().filter(|run| !run.is_empty());
            runs.map(|run| self.model.tokenizer.decode(run, false)).collect::<Vec<_>>().join("|")
        });
        texts.collect()
    }
}

#[test]
fn only_what_the_assistant_said_is_learned() {
    let setup = Setup::new();
    let line = r#"{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <|im_end|> there"}, {"role": "assistant", "content": "Hello!"}]}"#;
    let dataset = setup.load("a.jsonl", line).unwrap();
    assert_eq!(setup.learned(&dataset), ["Hello!<|im_end|>\n"]);
}

#[test]
fn each_answer_of_a_conversation_is_learned_as_it_will_be_asked_for() {
    let setup = Setup::new();
    let line = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "one", "reasoning_content": "hm"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "two"}]}"#;
    let dataset = setup.load("a.jsonl", line).unwrap();
    let learned = setup.learned(&dataset);
    // Qwen3 drops the reasoning of earlier answers, so that one rendering can't hold both
    assert_eq!(learned, ["<think>\nhm\n</think>\n\none<|im_end|>\n", "two<|im_end|>\n"]);
    let weighted = line.replace(r#""content": "one""#, r#""content": "one", "weight": 0"#);
    assert_eq!(setup.learned(&setup.load("b.jsonl", &weighted).unwrap()), ["two<|im_end|>\n"]);
}

#[test]
fn tool_calls_are_learned_and_results_are_not() {
    let setup = Setup::new();
    let line = r#"{"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]}, {"role": "tool", "tool_call_id": "1", "content": "2"}, {"role": "assistant", "content": "It is 2."}]}"#;
    let learned = setup.learned(&setup.load("a.jsonl", line).unwrap()).join("|");
    assert!(
        learned.contains("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>"),
        "{learned}"
    );
    assert!(learned.contains("It is 2.<|im_end|>") && !learned.contains("tool_response"), "{learned}");
}

#[test]
fn texts_are_learned_whole_and_in_pieces() {
    let setup = Setup::new();
    let dataset =
        setup.load("a.jsonl", "{\"text\": \"One two three\"}\n\n{\"text\": \"One two three\"}\n").unwrap();
    assert_eq!(dataset.examples.len(), 2);
    assert_eq!(dataset.duplicates.len(), 1);
    assert_eq!(dataset.duplicates[0].line, 3);
    let example = &dataset.examples[0];
    assert_eq!(example.learned(), example.tokens().len() - 1);
    assert!(setup.model.tokenizer.decode(example.tokens(), false).ends_with("three<|endoftext|>"));
    let long = setup.load("b.txt", &"ab ".repeat(3000)).unwrap();
    assert!(long.examples.len() > 2 && long.examples.iter().all(|e| e.tokens().len() <= 1000));
}

#[test]
fn every_fault_has_its_line_and_a_remedy() {
    let setup = Setup::new();
    let lines = [
        "{\"messages\": [",
        r#"{"messages": [{"role": "narrator", "content": "x"}]}"#,
        r#"{"messages": [{"role": "user", "content": "x"}, {"role": "narrator", "content": "x"}, {"role": "assistant", "content": "y"}]}"#,
        r#"{"messages": [{"role": "user", "content": "x"}]}"#,
        r#"{"messages": [{"role": "user"}, {"role": "assistant", "content": "y"}]}"#,
        r#"{"prompt": "x"}"#,
        r#"{"text": ""}"#,
        r#"{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]}"#,
    ];
    let error = setup.load("a.jsonl", &lines.join("\n")).unwrap_err();
    let text = error.to_string();
    let expected = [
        (1, "each line must be one JSON object"),
        (2, "there is nothing to learn"),
        (3, "messages[1].role: `narrator` is no role; use system, user, assistant or tool"),
        (4, "no message is the assistant's"),
        (5, "messages[0].content: it is missing"),
        (6, "neither `messages` nor `text`"),
        (7, "the text is empty"),
        (8, "messages[1].content: the answer is empty"),
    ];
    for (line, words) in expected {
        let found = text.lines().find(|l| l.contains(&format!("a.jsonl:{line}: "))).unwrap_or_default();
        assert!(found.contains(words), "line {line}: {found:?} should say {words:?}");
    }
    assert!(text.starts_with("8 lines can't be learned from"));
    assert!(matches!(setup.load("a.csv", "x"), Err(DataError::Kind(_))));
    assert!(matches!(setup.load("c.jsonl", "\n"), Err(DataError::Empty { .. })));
}
