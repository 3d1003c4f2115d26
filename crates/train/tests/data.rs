//! Datasets: what carries loss, and what is refused with which words.

mod common;

use common::fixture;
use models::Model;
use std::path::{Path, PathBuf};
use train::Example;
use train::data::{self, DataError, Datasets, Item, Language};
use train::objective::{Contrast, Preference};
use train::recipe::Data;

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
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn language(&self) -> Language<'_> {
        Language {
            tokenizer: &self.model.tokenizer,
            template: self.model.chat_template.as_ref(),
            end: self.model.tokenizer.token_id("<|endoftext|>"),
            max_tokens: 1000,
        }
    }

    fn data<T: Item>(&self, data: &Data) -> Result<Datasets<T>, DataError> {
        data::load(data, 1, &self.language())
    }

    fn load<T: Item>(&self, name: &str, content: &str) -> Result<Datasets<T>, DataError> {
        self.data(&Data { train: vec![self.file(name, content)], ..Data::default() })
    }

    /// The items of one line.
    fn line<T: Item>(&self, line: &str) -> Vec<T> {
        self.load("line.jsonl", line).unwrap_or_else(|e| panic!("{line}: {e}")).train
    }

    fn text(&self, example: &Example) -> String {
        self.model.tokenizer.decode(example.tokens(), false)
    }

    /// What is learned of an example, with `|` where something else is between.
    fn learned(&self, example: &Example) -> String {
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
    }

    fn all_learned(&self, examples: &[Example]) -> Vec<String> {
        examples.iter().map(|example| self.learned(example)).collect()
    }
}

/// A conversation as Qwen's template shows it.
fn rendered(turns: &[(&str, &str)]) -> String {
    turns.iter().map(|(role, text)| format!("<|im_start|>{role}\n{text}<|im_end|>\n")).collect()
}

#[test]
fn every_form_of_texts_gives_its_conversation_and_learns_its_answers() {
    let setup = Setup::new();
    let simple = [("user", "Hi"), ("assistant", "Hello!")];
    let system = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello!")];
    let long = [("user", "a"), ("assistant", "b"), ("user", "Hi"), ("assistant", "Hello!")];
    let two = [("user", "Hi\nthere"), ("assistant", "Hello!")];
    // a line, its conversation, and what is learned
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: &[Case<'_>] = &[
        (
            r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}"#,
            &simple,
            "Hello!",
        ),
        (
            r#"{"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}, {"role": "assistant", "content": [{"text": "Hello!"}]}], "id": 7}"#,
            &system,
            "Hello!",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!", "loss_weight": 0.5}]}"#,
            &long,
            "Hello!",
        ),
        (
            r#"{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}"#,
            &simple,
            "Hello!",
        ),
        (
            r#"{"system": "Be brief.", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}], "tools": ""}"#,
            &system,
            "Hello!",
        ),
        (r#"{"instruction": "Hi", "input": "", "output": "Hello!"}"#, &simple, "Hello!"),
        (r#"{"instruction": "Hi", "input": "there", "output": "Hello!"}"#, &two, "Hello!"),
        (r#"{"instruction": "Hi", "output": "Hello!", "system": "Be brief."}"#, &system, "Hello!"),
        (r#"{"prompt": "Hi", "completion": "Hello!"}"#, &simple, "Hello!"),
        (r#"{"query": "Hi", "response": "Hello!", "history": [["a", "b"]]}"#, &long, "Hello!"),
        (
            r#"{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Hello!"}]}"#,
            &long,
            "Hello!",
        ),
    ];
    for (line, conversation, learned) in cases {
        let examples: Vec<Example> = setup.line(line);
        let [example] = &examples[..] else { panic!("{line}: {} examples", examples.len()) };
        let text = setup.text(example).replace("<think>\n\n</think>\n\n", "");
        assert_eq!(text, rendered(conversation), "{line}");
        assert_eq!(setup.learned(example), format!("{learned}<|im_end|>\n"), "{line}");
        let weight = if line.contains("loss_weight") { 0.5 } else { 1.0 };
        assert_eq!(example.weight(), example.learned() as f64 * weight, "{line}");
    }
    // what was answered before is learned as well
    let line = r#"{"instruction": "Hi", "output": "Hello!", "history": [["a", "b"]]}"#;
    assert_eq!(setup.all_learned(&setup.line(line)), ["b<|im_end|>\n", "Hello!<|im_end|>\n"]);
}

#[test]
fn control_tokens_in_what_is_said_stay_text() {
    let setup = Setup::new();
    let line = r#"{"messages": [{"role": "user", "content": "Hi <|im_end|> there"}, {"role": "assistant", "content": "Hello!"}]}"#;
    let examples: Vec<Example> = setup.line(line);
    let end = setup.model.tokenizer.token_id("<|im_end|>").unwrap();
    assert_eq!(examples[0].tokens().iter().filter(|token| **token == end).count(), 2);
}

#[test]
fn each_answer_of_a_conversation_is_learned_as_it_will_be_asked_for() {
    let setup = Setup::new();
    let line = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "one", "reasoning_content": "hm"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "two"}]}"#;
    // Qwen3 drops the reasoning of earlier answers, so that one rendering can't hold both
    let learned = setup.all_learned(&setup.line(line));
    assert_eq!(learned, ["<think>\nhm\n</think>\n\none<|im_end|>\n", "two<|im_end|>\n"]);
    let weighted = line.replace(r#""content": "one""#, r#""content": "one", "weight": 0"#);
    assert_eq!(setup.all_learned(&setup.line(&weighted)), ["two<|im_end|>\n"]);
}

#[test]
fn tool_calls_are_learned_and_results_are_not() {
    let setup = Setup::new();
    let openai = r#"{"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]}, {"role": "tool", "tool_call_id": "1", "content": "2"}, {"role": "assistant", "content": "It is 2."}]}"#;
    let share_gpt = r#"{"tools": "[{\"name\": \"f\", \"parameters\": {}}]", "conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1}}"}, {"from": "observation", "value": "2"}, {"from": "gpt", "value": "It is 2."}]}"#;
    for line in [openai, share_gpt] {
        let examples: Vec<Example> = setup.line(line);
        let learned = setup.all_learned(&examples).join("|");
        assert!(
            learned.contains("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>"),
            "{learned}"
        );
        assert!(learned.contains("It is 2.<|im_end|>") && !learned.contains("tool_response"), "{learned}");
        let text = setup.text(&examples[0]);
        assert!(
            text.contains(r#"{"type": "function", "function": {"name": "f", "parameters": {}}}"#),
            "{text}"
        );
    }
}

#[test]
fn texts_are_learned_whole_and_in_pieces() {
    let setup = Setup::new();
    let examples: Vec<Example> = setup.line("{\"text\": \"One two three\"}");
    assert_eq!(examples[0].learned(), examples[0].tokens().len() - 1);
    assert_eq!(setup.text(&examples[0]), "One two three<|endoftext|>");
    let long: Datasets<Example> = setup.load("b.txt", &"ab ".repeat(3000)).unwrap();
    assert!(long.train.len() > 2 && long.train.iter().all(|e| e.tokens().len() <= 1000));
}

#[test]
fn a_model_without_a_template_learns_completions_as_texts_that_go_on() {
    let setup = Setup::new();
    let language = Language { template: None, ..setup.language() };
    let line = r#"{"prompt": "One two", "completion": " three"}
{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}"#;
    let only = |text| {
        let data = Data { train: vec![setup.file("a.jsonl", text)], ..Data::default() };
        data::load::<Example>(&data, 1, &language)
    };
    let examples = only(line.lines().next().unwrap()).unwrap().train;
    assert_eq!(setup.text(&examples[0]), "One two three<|endoftext|>");
    assert_eq!(setup.learned(&examples[0]), " three<|endoftext|>");
    let error = only(line).unwrap_err().to_string();
    assert!(error.contains("a.jsonl:2: the model has no chat template"), "{error}");
}

#[test]
fn every_form_of_preferences_gives_the_same_pair() {
    let setup = Setup::new();
    let answer = |text| format!(r#"[{{"role": "assistant", "content": "{text}"}}]"#);
    let whole = |text| {
        format!(r#"[{{"role": "user", "content": "Hi"}}, {{"role": "assistant", "content": "{text}"}}]"#)
    };
    let (good, bad) = (answer("Good"), answer("Bad"));
    let lines = [
        r#"{"messages": [{"role": "user", "content": "Hi"}], "chosen": {"role": "assistant", "content": "Good"}, "rejected": {"role": "assistant", "content": "Bad"}}"#.to_owned(),
        r#"{"prompt": "Hi", "chosen": "Good", "rejected": "Bad"}"#.to_owned(),
        format!(r#"{{"prompt": [{{"role": "user", "content": "Hi"}}], "chosen": {good}, "rejected": {bad}}}"#),
        format!(r#"{{"prompt": "Hi", "chosen": {}, "rejected": {}, "messages": {}}}"#, whole("Good"), whole("Bad"), whole("Good")),
        format!(r#"{{"chosen": {}, "rejected": {}}}"#, whole("Good"), whole("Bad")),
        r#"{"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "Good"}, "rejected": {"from": "gpt", "value": "Bad"}}"#.to_owned(),
        r#"{"instruction": "Hi", "input": "", "chosen": "Good", "rejected": "Bad"}"#.to_owned(),
        r#"{"question": "Hi", "chosen": "Good", "rejected": "Bad"}"#.to_owned(),
        format!(r#"{{"input": {{"messages": [{{"role": "user", "content": "Hi"}}]}}, "preferred_output": {good}, "non_preferred_output": {bad}}}"#),
    ];
    for line in lines {
        let pairs: Vec<Preference> = setup.line(&line);
        let [Preference { chosen, rejected }] = &pairs[..] else { panic!("{line}: {} pairs", pairs.len()) };
        for (example, text) in [(chosen, "Good"), (rejected, "Bad")] {
            let shown = setup.text(example).replace("<think>\n\n</think>\n\n", "");
            assert_eq!(shown, rendered(&[("user", "Hi"), ("assistant", text)]), "{line}");
            assert_eq!(setup.learned(example), format!("{text}<|im_end|>\n"), "{line}");
        }
    }
    // texts that hold their prompt
    let pairs: Vec<Preference> = setup.line(r#"{"chosen": "Q: x? A: yes", "rejected": "Q: x? A: no"}"#);
    assert_eq!(setup.learned(&pairs[0].chosen), "yes<|endoftext|>");
    assert_eq!(setup.text(&pairs[0].rejected), "Q: x? A: no<|endoftext|>");
}

#[test]
fn every_form_of_queries_gives_their_documents() {
    let setup = Setup::new();
    let texts = |line: &str| -> Vec<Vec<String>> {
        let items: Vec<Contrast> = setup.line(line);
        items.iter().map(|item| item.texts().map(|text| setup.text(text)).collect()).collect()
    };
    let ends = |texts: &[&str]| texts.iter().map(|text| format!("{text}<|endoftext|>")).collect::<Vec<_>>();
    assert_eq!(texts(r#"{"query": "q", "positive": "p"}"#), [ends(&["q", "p"])]);
    for line in [
        r#"{"query": "q", "positive": "p", "negatives": ["m", "n"]}"#,
        r#"{"query": "q", "pos": ["p"], "neg": ["m", "n"]}"#,
        r#"{"anchor": "q", "positive": "p", "negative": ["m", "n"]}"#,
    ] {
        assert_eq!(texts(line), [ends(&["q", "p", "m", "n"])], "{line}");
    }
    assert_eq!(texts(r#"{"query": "q", "pos": ["p", "o"]}"#), [ends(&["q", "p"]), ends(&["q", "o"])]);
    let line = r#"{"query": "q", "positive": "p", "instruction": "Find it"}"#;
    assert_eq!(texts(line), [ends(&["Instruct: Find it\nQuery:q", "p"])]);
}

/// Checks that each line is refused, where it stands, with its words.
fn assert_faults<T: Item>(setup: &Setup, cases: &[(&str, &str)]) {
    let lines: Vec<&str> = cases.iter().map(|(line, _)| *line).collect();
    let error = match setup.load::<T>("a.jsonl", &lines.join("\n")) {
        Ok(_) => panic!("nothing is wrong"),
        Err(error) => error.to_string(),
    };
    assert!(error.starts_with(&format!("{} places can't be learned from", cases.len())), "{error}");
    for (i, (line, words)) in cases.iter().enumerate() {
        let place = format!("a.jsonl:{}: ", i + 1);
        let found = error.lines().find(|l| l.contains(&place)).unwrap_or_default();
        assert!(found.contains(words), "{line}: {found:?} should say {words:?}");
    }
}

#[test]
fn every_fault_of_texts_has_its_line_and_a_remedy() {
    let user = r#"{"role": "user", "content": "x"}"#;
    let answer = r#"{"role": "assistant", "content": "y"}"#;
    let chat = |messages: &str| format!(r#"{{"messages": [{messages}]}}"#);
    let cases = [
        ("{\"messages\": [".to_owned(), "write one object a line"),
        ("[1, 2]".to_owned(), "it is not a JSON object"),
        (chat(r#"{"role": "narrator", "content": "x"}"#), "messages[0].role: `narrator` is no role; use system, user, assistant or tool"),
        (chat(user), "no message is the assistant's"),
        (chat(&format!(r#"{{"role": "user"}}, {answer}"#)), "messages[0].content: it is missing"),
        (chat(&format!(r#"{user}, {{"role": "assistant", "content": ""}}"#)), "messages[1].content: the answer is empty"),
        (chat(&format!(r#"{{"role": "user", "content": 3}}, {answer}"#)), "messages[0].content: it must be a text or a list of parts"),
        (chat(&format!(r#"{{"role": "user", "content": [{{"type": "image_url"}}]}}, {answer}"#)), "a part of type `image_url` can't be learned from"),
        (chat(&format!(r#"{user}, {{"role": "assistant", "content": "y", "weight": 3}}"#)), "messages[1].weight: it is 3; give 0 to 1"),
        (chat(&format!(r#"{user}, {{"role": "assistant", "content": "y", "weight": 0}}"#)), "there is nothing to learn"),
        (r#"{"conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "f()"}]}"#.to_owned(), "a function_call must be JSON"),
        (r#"{"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}], "tools": "["}"#.to_owned(), "tools: it is no JSON"),
        (r#"{"prompt": "x"}"#.to_owned(), "its keys are `prompt`, which is no known form; known for next_token are {\"messages\""),
        (r#"{"text": ""}"#.to_owned(), "`text` is empty"),
        (r#"{"text": 5}"#.to_owned(), "text: invalid type: integer `5`, expected a string"),
        (r#"{"instruction": "", "output": "y"}"#.to_owned(), "`instruction` is empty"),
        (r#"{"instruction": "x", "output": " "}"#.to_owned(), "`output` is empty"),
        (r#"{"prompt": "x", "completion": ""}"#.to_owned(), "`completion` is empty"),
        (r#"{"prompt": "x", "chosen": "a", "rejected": "b"}"#.to_owned(), "it is data for objective.kind = \"dpo\", but the recipe's is \"next_token\""),
        (r#"{"query": "x", "positive": "a"}"#.to_owned(), "objective.kind = \"embedding\""),
    ];
    let cases: Vec<(&str, &str)> = cases.iter().map(|(line, words)| (line.as_str(), *words)).collect();
    assert_faults::<Example>(&Setup::new(), &cases);
}

#[test]
fn every_fault_of_preferences_and_queries_has_its_line_and_a_remedy() {
    let setup = Setup::new();
    assert_faults::<Preference>(
        &setup,
        &[
            (r#"{"prompt": "x", "chosen": "a", "rejected": "a"}"#, "are the same, so nothing is preferred"),
            (r#"{"prompt": "x", "chosen": "", "rejected": "a"}"#, "`chosen` is empty"),
            (
                r#"{"prompt": "x", "chosen": 1, "rejected": "a"}"#,
                "chosen: it must be a text, a message or a list of messages",
            ),
            (
                r#"{"system": "x", "chosen": {"role": "assistant", "content": "a"}, "rejected": {"role": "assistant", "content": "b"}}"#,
                "there is nothing that they answer",
            ),
            (r#"{"text": "x"}"#, "objective.kind = \"next_token\", but the recipe's is \"dpo\""),
            (
                r#"{"messages": [{"role": "user", "content": "x"}], "chosen": {"role": "user", "content": "a"}, "rejected": "b"}"#,
                "no message is the assistant's",
            ),
            (
                r#"{"prompt": "x", "chosen": {"role": "user", "content": "a"}, "rejected": "b"}"#,
                "no message is the assistant's",
            ),
            (r#"{"question": "x"}"#, "known for dpo are {\"messages\": [...], \"chosen\""),
        ],
    );
    assert_faults::<Contrast>(
        &setup,
        &[
            (r#"{"query": "", "positive": "p"}"#, "`query` is empty"),
            (r#"{"query": "q", "positive": []}"#, "`positive` is empty"),
            (
                r#"{"query": "q", "positive": {"text": "p"}}"#,
                "positive: it must be a text or a list of texts",
            ),
            (r#"{"query": "q", "positive": "p", "negatives": ["p"]}"#, "\"p\" is a positive as well"),
            (r#"{"query": "q", "positive": "p", "negatives": [" "]}"#, "`negatives` is empty"),
            (r#"{"query": "q", "documents": []}"#, "its keys are `query`, `documents`"),
        ],
    );
}

#[test]
fn a_template_that_shows_answers_otherwise_is_named() {
    let setup = Setup::new();
    let template = models::chat::ChatTemplate::new(
        "{% for m in messages %}{{ m.role }}: {{ m.content | upper if loop.last and not add_generation_prompt else m.content }}\n{% endfor %}{% if add_generation_prompt %}bot: {% endif %}",
        "",
        "",
    )
    .unwrap();
    let language = Language { template: Some(&template), ..setup.language() };
    let line = r#"{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}"#;
    let data = Data { train: vec![setup.file("a.jsonl", line)], ..Data::default() };
    let error = data::load::<Example>(&data, 1, &language).unwrap_err().to_string();
    assert!(
        error.contains("a.jsonl:1: messages[1]: the chat template does not continue its prompt"),
        "{error}"
    );
}

#[test]
fn files_are_found_by_directory_and_pattern() {
    let setup = Setup::new();
    let root = setup.dir.path().join("d");
    let text = |word: &str| format!("{{\"text\": \"{word}\"}}\n");
    setup.file("d/b.jsonl", &text("two"));
    setup.file("d/a.json", &format!("[\n{},\n{}]", text("zero"), text("one")));
    setup.file("d/sub/c.txt", "three");
    setup.file("d/.hidden.jsonl", "broken");
    setup.file("d/README.md", "none");
    let learned = |path: PathBuf| -> Vec<String> {
        let data = Data { train: vec![path], ..Data::default() };
        let read = setup.data::<Example>(&data).unwrap_or_else(|e| panic!("{e}"));
        read.train.iter().map(|e| setup.text(e).replace("<|endoftext|>", "")).collect()
    };
    assert_eq!(learned(root.clone()), ["zero", "one", "two", "three"]);
    assert_eq!(learned(root.join("*.jsonl")), ["two"]);
    assert_eq!(learned(root.join("**/*.txt")), ["three"]);
    let error = |path: &Path| {
        setup.data::<Example>(&Data { train: vec![path.to_owned()], ..Data::default() }).unwrap_err()
    };
    assert!(matches!(error(&root.join("*.parquet")), DataError::NoMatch(_)));
    assert!(matches!(error(&root.join("README.md")), DataError::Kind(_)));
    assert!(matches!(error(&root.join("*.md")), DataError::Kind(_)));
    assert!(matches!(error(&root.join("[.jsonl")), DataError::Pattern { .. }));
    assert!(matches!(error(&root.join("nothing.csv")), DataError::Kind(_)));
    assert!(matches!(error(&root.join("nothing.jsonl")), DataError::File { .. }));
    assert!(matches!(setup.load::<Example>("c.jsonl", "\n"), Err(DataError::Empty { .. })));
}

#[test]
fn faults_in_arrays_and_bytes_have_their_lines() {
    let setup = Setup::new();
    let error = |name: &str, content: &[u8]| {
        let path = setup.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        setup.data::<Example>(&Data { train: vec![path], ..Data::default() }).unwrap_err().to_string()
    };
    let array = error("a.json", b"[\n{\"text\": \"a\"},\n{\"text\": \"\"},\n{\"txt\": 1}\n]");
    assert!(
        array.contains("a.json:3: `text` is empty") && array.contains("a.json:4: its keys are `txt`"),
        "{array}"
    );
    assert!(error("b.json", b"[\n{\"text\": \"a\"}\n").contains("b.json:3: it is not a JSON object"));
    assert!(error("c.jsonl", b"{\"text\": \"a\"}\n\xff\n").contains("c.jsonl:2: it is not UTF-8"));
    assert!(error("d.txt", b"a\nb\xff").contains("d.txt:2: it is not UTF-8"));
    let mut long = b"{\"text\": \"".to_vec();
    long.resize(train::limits::MAX_LINE_BYTES + 100, b'a');
    long.extend(b"\"}\n{}\n");
    let long = error("e.jsonl", &long);
    assert!(
        long.contains("e.jsonl:1: it is longer than") && long.contains("e.jsonl:2: its keys are none"),
        "{long}"
    );
    let mark: Datasets<Example> = setup.load("f.jsonl", "\u{feff}{\"text\": \"a\"}").unwrap();
    assert_eq!(setup.text(&mark.train[0]), "a<|endoftext|>");
}

#[test]
fn what_is_there_twice_or_too_long_is_told_with_its_places() {
    let setup = Setup::new();
    let lines = [
        "{\"text\": \"One two three\"}".to_owned(),
        String::new(),
        "{\"text\": \"One two three\"}".to_owned(),
        "{\"text\": \"one  TWO, three!\"}".to_owned(),
        format!("{{\"prompt\": \"x\", \"completion\": \"{}\"}}", "ab ".repeat(2000)),
    ];
    let train = vec![setup.file("a.jsonl", &lines.join("\n"))];
    let eval = vec![setup.file("b.jsonl", "{\"text\": \"four\"}\n{\"text\": \"One two three\"}\n")];
    let read: Datasets<Example> = setup.data(&Data { train, eval, ..Data::default() }).unwrap();
    assert_eq!((read.train.len(), read.evaluation.len()), (3, 2));
    let places = |repeats: &[data::Repeat]| -> Vec<(usize, usize)> {
        repeats.iter().map(|r| (r.place.line, r.of.line)).collect()
    };
    assert_eq!(places(&read.findings.duplicates), [(3, 1)]);
    assert_eq!(places(&read.findings.near_duplicates), [(4, 1)]);
    assert_eq!(places(&read.findings.evaluated_and_learned), [(2, 1)]);
    let too_long: Vec<usize> = read.findings.too_long.iter().map(|place| place.line).collect();
    assert_eq!(too_long, [5]);
    assert!(read.findings.too_long[0].to_string().ends_with("a.jsonl:5"));
}

#[test]
fn a_share_is_held_out_of_every_source() {
    let setup = Setup::new();
    let lines = |word: &str, count: usize| -> PathBuf {
        let text: String = (0..count).map(|i| format!("{{\"text\": \"{word} {i}\"}}\n")).collect();
        setup.file(&format!("{word}.jsonl"), &text)
    };
    let mix = |word: &str, count, weight| train::recipe::Mix { files: vec![lines(word, count)], weight };
    let mix = vec![mix("a", 20, 1.0), mix("b", 10, 3.0)];
    let data = Data { mix, eval_share: 0.1, ..Data::default() };
    let read: Datasets<Example> = setup.data(&data).unwrap();
    let counts: Vec<(usize, f64)> = read.sources.iter().map(|s| (s.items, s.weight)).collect();
    assert_eq!(counts, [(18, 1.0), (9, 3.0)]);
    assert_eq!(read.evaluation.len(), 3);
    let again: Datasets<Example> = setup.data(&data).unwrap();
    assert_eq!(again.evaluation, read.evaluation);
    assert!(read.evaluation.iter().all(|held| !read.train.contains(held)));
    let all = Data { eval_share: 0.99, ..data };
    assert!(matches!(setup.data::<Example>(&all), Err(DataError::NothingLeft { .. })));
}
