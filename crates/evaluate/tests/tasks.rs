//! Task files: what is read, and what is refused with its place.

use evaluate::task::{Kind, Question};
use evaluate::{Task, TaskError};
use std::path::{Path, PathBuf};

fn write(dir: &Path, task: &str, lines: &str) -> PathBuf {
    std::fs::write(dir.join("cases.jsonl"), lines).unwrap();
    let path = dir.join("task.toml");
    std::fs::write(&path, task).unwrap();
    path
}

fn load(task: &str, lines: &str) -> Result<Task, TaskError> {
    let dir = tempfile::tempdir().unwrap();
    Task::load(&write(dir.path(), task, lines), None)
}

const EXACT: &str = "name = 'capitals'\nkind = 'exact'\ndata = 'cases.jsonl'\n";

fn line(id: &str, group: &str) -> String {
    format!(
        r#"{{"id": "{id}", "group": "{group}", "messages": [{{"role": "user", "content": "?"}}], "expected": "x"}}"#
    )
}

#[test]
fn a_task_is_its_settings_and_its_cases() {
    let dir = tempfile::tempdir().unwrap();
    let lines = [line("1", "zh"), line("2", "zh"), String::new(), line("3", "en")].join("\n");
    let task =
        "name = 'capitals'\nkind = 'exact'\ndata = ['cases.jsonl']\nsystem = 'Be brief.'\nmax_tokens = 9\n";
    let path = write(dir.path(), task, &lines);
    let task = Task::load(&path, None).unwrap();
    assert_eq!((task.name.as_str(), task.kind, task.max_tokens), ("capitals", Kind::Exact, 9));
    assert_eq!((task.temperature, task.thinking, task.cases.len()), (0.0, None, 3));
    let Question::Chat { messages, .. } = &task.cases[0].question else { panic!("{:?}", task.cases[0]) };
    assert_eq!((messages[0]["content"].as_str(), messages.len()), (Some("Be brief."), 2));
    // the first of each group
    let ids: Vec<String> =
        Task::load(&path, Some(1)).unwrap().cases.into_iter().map(|case| case.id).collect();
    assert_eq!(ids, ["1", "3"]);
}

#[test]
fn a_task_file_that_says_something_wrong_names_it() {
    let good = line("1", "");
    for (task, why) in [
        (
            "name = 'x'\nkind = 'exakt'\ndata = 'cases.jsonl'",
            "unknown variant `exakt`, expected one of `exact`",
        ),
        ("name = 'x'\nkind = 'exact'\ndata = 'cases.jsonl'\nmax_token = 1", "unknown field `max_token`"),
        ("name = 'x'\nkind = 'exact'", "missing field `data`"),
        ("name = ' '\nkind = 'exact'\ndata = 'cases.jsonl'", "`name` is empty"),
        ("name = 'x'\nkind = 'exact'\ndata = []", "names no file"),
        ("name = 'x'\nkind = 'exact'\ndata = 'none.jsonl'", "none.jsonl"),
        (&format!("{EXACT}fenced = true"), "`fenced` has no effect on tasks of the kind \"exact\""),
        (&format!("{EXACT}pattern = '('"), "`pattern`"),
        (&format!("{EXACT}max_tokens = 0"), "`max_tokens` is 0"),
        (&format!("{EXACT}temperature = -1"), "from 0 to 2"),
        ("name = 'x'\nkind = 'choice'\ndata = 'cases.jsonl'\nmax_tokens = 5", "`max_tokens` has no effect"),
    ] {
        let error = load(task, &good).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(load(EXACT, "\n \n").unwrap_err().to_string().contains("holds no case"));
}

#[test]
fn every_wrong_case_is_told_with_its_line_and_its_remedy() {
    let user = r#"{"role": "user", "content": "?"}"#;
    let tool = r#"{"type": "function", "function": {"name": "f"}}"#;
    for (kind, line, why) in [
        ("exact", "{".to_owned(), "EOF"),
        ("exact", "[1]".to_owned(), "a line is one object"),
        ("exact", format!(r#"{{"messages": [{user}], "expected": "x"}}"#), "missing field `id`"),
        ("exact", format!(r#"{{"id": "", "messages": [{user}], "expected": "x"}}"#), "`id` is empty"),
        ("exact", format!(r#"{{"id": 1, "messages": [{user}], "expectd": "x"}}"#), "unknown field `expectd`"),
        ("exact", format!(r#"{{"id": 1, "messages": [{user}]}}"#), "`expected` is missing"),
        ("exact", r#"{"id": 1, "expected": "x"}"#.to_owned(), "`messages` is missing"),
        ("exact", r#"{"id": 1, "messages": [], "expected": "x"}"#.to_owned(), "has 0 entries"),
        (
            "exact",
            r#"{"id": 1, "messages": [{"role": "robot", "content": ""}], "expected": "x"}"#.to_owned(),
            "messages[0]: the role `robot`",
        ),
        (
            "exact",
            format!(r#"{{"id": 1, "messages": [{user}, {{"role": "assistant", "content": "x"}}], "expected": "x"}}"#),
            "messages[1]: the last message is the assistant's",
        ),
        ("exact", r#"{"id": 1, "messages": [1], "expected": "x"}"#.to_owned(), "messages[0]: it must be"),
        (
            "exact",
            r#"{"id": 1, "messages": [{"role": "user", "content": [{"type": "image_url"}]}], "expected": ""}"#.to_owned(),
            "a part that is no text",
        ),
        (
            "exact",
            format!(r#"{{"id": 1, "messages": [{user}], "expected": "x", "database": ""}}"#),
            "`database` has no effect",
        ),
        ("json", format!(r#"{{"id": 1, "messages": [{user}], "expected": "x"}}"#), "an object or a list"),
        ("choice", format!(r#"{{"id": 1, "messages": [{user}], "expected": 0}}"#), "`choices` is missing"),
        (
            "choice",
            r#"{"id": 1, "prompt": " ", "choices": ["a", "b"], "expected": 0}"#.to_owned(),
            "`prompt` is empty",
        ),
        (
            "tools",
            format!(r#"{{"id": 1, "messages": [{user}], "tools": [{tool}], "expected": [{{"name": "g"}}]}}"#),
            "`g`, which is not one of",
        ),
        (
            "tools",
            format!(r#"{{"id": 1, "messages": [{user}], "tools": [{{"name": "f"}}], "expected": []}}"#),
            "tools[0] must be",
        ),
        ("sql", format!(r#"{{"id": 1, "messages": [{user}], "expected": "SELECT 1"}}"#), "`database` is missing"),
        (
            "sql",
            format!(r#"{{"id": 1, "messages": [{user}], "database": "", "expected": "SELECT x FROM y"}}"#),
            "`expected`: no such table",
        ),
        ("text", format!(r#"{{"id": 1, "messages": [{user}], "expected": {{}}}}"#), "says nothing"),
        ("judge", format!(r#"{{"id": 1, "messages": [{user}], "expected": 1}}"#), "must be a text"),
    ] {
        let task = format!("name = 'x'\nkind = '{kind}'\ndata = 'cases.jsonl'\n");
        let error = load(&task, &format!("\n{line}\n")).unwrap_err().to_string();
        assert!(error.contains("cases.jsonl:2: ") && error.contains(why), "{line}\n{error}");
    }
    let error =
        load(EXACT, &[line("1", ""), line("1", ""), "{}".to_owned()].join("\n")).unwrap_err().to_string();
    assert!(
        error.starts_with("2 cases") && error.contains("cases.jsonl:2: the id `1` is there already"),
        "{error}"
    );
    let long = format!("{{\"id\": \"{}\"}}\n{}", "x".repeat(1 << 20), line("1", ""));
    assert!(load(EXACT, &long).unwrap_err().to_string().contains("cases.jsonl:1: the line is longer than"));
}

#[test]
fn the_example_tasks_are_whole() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/tasks");
    let tasks: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    let mut kinds: Vec<Kind> = Vec::new();
    for path in &tasks {
        let task = Task::load(path, None).unwrap_or_else(|error| panic!("{error}"));
        kinds.push(task.kind);
    }
    for kind in [Kind::Exact, Kind::Json, Kind::Choice, Kind::Tools, Kind::Sql, Kind::Text, Kind::Judge] {
        assert!(kinds.contains(&kind), "no example of {kind:?}");
    }
}
