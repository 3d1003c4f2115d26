//! `wen eval run` and `wen eval compare`, over the real binary and real checkpoints.

mod common;

use common::{Server, assert_fails, command, parity, stdout, wen, with_context};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A file of the example tasks.
fn task(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/tasks").join(name);
    path.to_str().unwrap().to_owned()
}

/// All example tasks that need no judge.
fn tasks() -> Vec<String> {
    ["capitals", "todo", "sense", "tools", "sql", "passages"].map(|name| task(&format!("{name}.toml"))).into()
}

fn with<'a>(arguments: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    arguments.iter().copied().chain(more.iter().map(String::as_str)).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(json).collect()
}

/// A task of one kind with one case.
fn write_task(dir: &Path, kind: &str, case: &str) -> String {
    std::fs::write(dir.join("cases.jsonl"), case).unwrap();
    let path = dir.join("task.toml");
    std::fs::write(&path, format!("name = 'one'\nkind = '{kind}'\ndata = 'cases.jsonl'\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

const CHOICE: &str = r#"{"id": 1, "messages": [{"role": "user", "content": "?"}], "choices": ["river", "mill", "song"], "expected": 1}"#;

#[test]
fn tasks_are_run_scored_and_written_the_same_each_time() {
    let model = with_context("qwen3-tied", 4096);
    let model = model.path().to_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (cases, out) = (dir.path().join("cases.jsonl"), dir.path().join("report.json"));
    let files = ["--cases", cases.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let tasks = tasks();
    let run = with(&["eval", "run", model, "--json", files[0], files[1], files[2], files[3]], &tasks);
    let printed = stdout(wen(&run));
    assert_eq!(json(&printed), json(&std::fs::read_to_string(&out).unwrap()));
    let report = json(&printed);
    let rows = report["rows"].as_array().unwrap();
    for (task, metrics) in [
        ("capitals", &["exact"][..]),
        ("todo", &["fields", "exact", "valid"]),
        ("sense", &["acc", "acc_norm"]),
        ("tools", &["calls", "names", "fields"]),
        ("sql", &["rows", "runs"]),
        ("passages", &["pass", "any", "cites", "contains", "not"]),
    ] {
        for group in ["all", "zh", "en"] {
            let of_task: Vec<&Value> =
                rows.iter().filter(|row| row["task"] == task && row["group"] == group).collect();
            for row in &of_task {
                let [low, score, high] = ["low", "score", "high"].map(|field| row[field].as_f64().unwrap());
                assert!(0.0 <= low && low <= score && score <= high && high <= 1.0, "{row}");
            }
            let found: Vec<&str> = of_task.iter().map(|row| row["metric"].as_str().unwrap()).collect();
            assert!(found.iter().all(|metric| metrics.contains(metric)), "{task} {found:?}");
            assert_eq!(found[0], metrics[0]);
        }
    }
    let answers = lines(&cases);
    let asked: usize =
        tasks.iter().map(|task| lines(Path::new(&task.replace(".toml", ".jsonl"))).len()).sum();
    assert_eq!(answers.len(), asked);
    for line in &answers {
        let choice = line["task"] == "sense";
        assert_eq!(line["log_likelihoods"].is_array(), choice, "{line}");
        assert_eq!(line["answer"]["text"].is_string(), !choice, "{line}");
        assert!(line["metrics"][0]["value"].is_number() && line["id"].is_string(), "{line}");
    }
    // one at a time gives the same
    let alone = with(&["eval", "run", model, "--json", "--parallel", "1"], &tasks);
    assert_eq!(stdout(wen(&alone)), printed);
    // a folder, a bound, a table
    let table = stdout(wen(&["eval", "run", model, "--limit", "1", &task("sense.toml"), &task("sql.toml")]));
    assert!(table.contains("95% interval") && table.contains("acc_norm"), "{table}");
    assert!(
        table.lines().any(|line| line.split_whitespace().take(4).eq(["sql", "all", "rows", "2"])),
        "{table}"
    );
}

#[test]
fn a_model_behind_an_endpoint_answers_as_it_does_in_an_engine() {
    let model = with_context("qwen3-tied", 4096);
    let server = Server::start(&["--model", &format!("m={}", model.path().display())]);
    let endpoint = format!("http://{}/v1#m", server.address);
    let dir = tempfile::tempdir().unwrap();
    let cases = dir.path().join("cases.jsonl");
    let tasks: Vec<String> = ["todo", "tools", "sql"].map(|name| task(&format!("{name}.toml"))).into();
    let arguments = [
        "eval",
        "compare",
        model.path().to_str().unwrap(),
        &endpoint,
        "--json",
        "--cases",
        cases.to_str().unwrap(),
    ];
    let report = json(&stdout(wen(&with(&arguments, &tasks))));
    for row in report["rows"].as_array().unwrap() {
        assert_eq!(
            (row["difference"].as_f64(), row["low"].as_f64(), row["high"].as_f64()),
            (Some(0.0), Some(0.0), Some(0.0))
        );
        assert_eq!(row["a"], row["b"]);
        assert!(row["p"] == Value::Null || row["p"] == 1.0, "{row}");
    }
    let (of_b, of_a): (Vec<Value>, Vec<Value>) =
        lines(&cases).into_iter().partition(|line| line["model"] == "m");
    assert_eq!((of_a.len(), of_b.len()), (10, 10));
    for (a, b) in of_a.iter().zip(&of_b) {
        assert_eq!((&a["id"], &a["answer"]), (&b["id"], &b["answer"]));
    }
    let sense = task("sense.toml");
    assert_fails(
        &wen(&["eval", "run", &endpoint, &sense]),
        2,
        &["log-likelihoods", "chat endpoints do not tell"],
    );
    let unknown = format!("http://{}/v1#other", server.address);
    assert_fails(&wen(&["eval", "run", &unknown, &tasks[0]]), 1, &["of todo: ", "404", "`other`"]);
}

#[test]
fn a_judge_behind_a_server_is_asked_in_both_orders() {
    let model = with_context("qwen3-tied", 4096);
    let model = model.path().to_str().unwrap();
    let key = "key-of-the-judge";
    let named = format!("judge={model}");
    let server = Server::start(&["--model", &named, "--api-key", key]);
    let judge = format!("http://{}/v1#judge", server.address);
    let copy = task("copy.toml");
    let arguments =
        ["eval", "compare", model, model, &copy, "--json", "--judge", &judge, "--judge-key-env", "JUDGE_KEY"];
    let output = command(&arguments).env("JUDGE_KEY", key).output().unwrap();
    let report = json(&stdout(output));
    let row = |metric: &str| {
        let rows = report["rows"].as_array().unwrap();
        rows.iter().find(|row| row["metric"] == metric && row["group"] == "all").unwrap().clone()
    };
    // a model of random weights gives no verdicts, and that is told
    assert_eq!((row("win_rate")["a"].as_f64(), row("win_rate")["b"].as_f64()), (Some(0.5), Some(0.5)));
    assert_eq!((row("unclear")["n"].as_u64(), row("unclear")["a"].as_f64()), (Some(2), Some(1.0)));
    // two cases, two orders
    let asked: f64 = lines_of(&server, key, "wen_http_requests_total").iter().sum();
    assert_eq!(asked, 4.0);
    let output = command(&arguments).env("JUDGE_KEY", "wrong").output().unwrap();
    assert_fails(&output, 1, &["judging case ", "of copy: ", "401"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("wrong\""));
    let output = command(&arguments).env_remove("JUDGE_KEY").output().unwrap();
    assert_fails(&output, 2, &["JUDGE_KEY holds no API key"]);
    assert_fails(&wen(&["eval", "run", model, &copy]), 2, &["the task `copy` needs a judge; give --judge"]);
}

/// Values of a metric's chat route.
fn lines_of(server: &Server, key: &str, metric: &str) -> Vec<f64> {
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    );
    let text = common::Response::read(server.send(request.as_bytes())).text();
    let of_chat = |line: &&str| line.starts_with(metric) && line.contains("/v1/chat/completions");
    text.lines().filter(of_chat).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

#[test]
fn an_adapter_beside_a_model_is_another_model() {
    let base = with_context("qwen3-train-base", 1024);
    let base = base.path().to_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let task = write_task(dir.path(), "choice", CHOICE);
    let cases = dir.path().join("out.jsonl");
    let adapter: PathBuf = parity("lora/adapter");
    let arguments = [
        "eval",
        "compare",
        base,
        base,
        &task,
        "--adapter-b",
        adapter.to_str().unwrap(),
        "--cases",
        cases.to_str().unwrap(),
    ];
    let table = stdout(wen(&arguments));
    assert!(table.contains("A: ") && table.contains("lora/adapter") && table.contains("B - A"), "{table}");
    let found = lines(&cases);
    assert_eq!(found.len(), 2);
    assert_ne!(found[0]["log_likelihoods"], found[1]["log_likelihoods"]);
    // the headline is that of the numbers
    let sums: Vec<f64> =
        found[0]["log_likelihoods"].as_array().unwrap().iter().map(|sum| sum.as_f64().unwrap()).collect();
    let right = sums[1] > sums[0] && sums[1] > sums[2];
    assert_eq!(found[0]["metrics"][0]["value"].as_f64(), Some(f64::from(u8::from(right))));

    let none = dir.path().to_str().unwrap();
    assert_fails(&wen(&["eval", "run", base, &task, "--adapter", none]), 3, &["adapter_config.json"]);
    let other = parity("qwen3-tied");
    let arguments = ["eval", "run", other.to_str().unwrap(), &task, "--adapter", adapter.to_str().unwrap()];
    assert_fails(&wen(&arguments), 3, &["belongs to another model"]);
}

#[test]
fn what_cannot_be_evaluated_is_said_before_a_model_is_loaded() {
    let model = parity("qwen3-tied");
    let model = model.to_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    let good = write_task(dir.path(), "choice", CHOICE);
    let other = tempfile::tempdir().unwrap();
    let bad = write_task(other.path(), "exact", "{\"id\": 1}\n{");
    for (arguments, code, parts) in [
        (&["eval", "run", "nowhere", &good][..], 3, &["no file or directory nowhere"][..]),
        (
            &["eval", "run", "nowhere", &bad],
            2,
            &["2 cases", "cases.jsonl:1: `messages` is missing", "cases.jsonl:2: "],
        ),
        (&["eval", "run", model, "none.toml"], 2, &["none.toml"]),
        (&["eval", "run", model, empty], 2, &["holds no task (*.toml)"]),
        (&["eval", "run", model, &good, &good], 2, &["two of the tasks are called `one`"]),
        (&["eval", "run", model], 2, &["<TASK>"]),
        (&["eval", "run", "http://localhost:1/v1", &good], 2, &["http(s)://HOST/v1#MODEL"]),
        (
            &["eval", "run", "http://localhost:1/v1#m", &good, "--adapter", empty],
            2,
            &["an endpoint serves it"],
        ),
        (&["eval", "run", "http://localhost:1/v1#m", &good, "--key-env", "NO_SUCH"], 2, &["NO_SUCH"]),
        (&["eval", "run", model, &good, "--cases", "/no/such/folder/file"], 1, &["/no/such/folder/file"]),
        (&["eval", "run", model, &good, "--limit", "0"], 2, &["--limit"]),
        (&["eval", "run", parity("qwen3-embedding").to_str().unwrap(), &good], 3, &["makes embeddings"]),
    ] {
        assert_fails(&wen(arguments), code, parts);
    }
}

#[test]
fn a_case_over_the_context_counts_as_wrong_and_the_others_go_on() {
    let model = with_context("qwen3-tied", 128);
    let dir = tempfile::tempdir().unwrap();
    let case = |id: &str, text: &str| {
        format!(
            r#"{{"id": "{id}", "messages": [{{"role": "user", "content": "{text}"}}], "expected": ["x"]}}"#
        )
    };
    let task = write_task(
        dir.path(),
        "exact",
        &[case("long", &"river ".repeat(200)), case("short", "Hi")].join("\n"),
    );
    let cases = dir.path().join("out.jsonl");
    let output =
        wen(&["eval", "run", model.path().to_str().unwrap(), &task, "--cases", cases.to_str().unwrap()]);
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(notes.contains("one: 1 cases are longer than the context and count as wrong"), "{notes}");
    assert!(notes.contains("one: 1 answers were cut"), "{notes}");
    stdout(output);
    let found = lines(&cases);
    assert_eq!((&found[0]["metrics"][0]["value"], &found[0]["too_long"]), (&0.0.into(), &true.into()));
    assert!(found[0]["why"].as_str().unwrap().contains("context is 128 tokens"), "{}", found[0]);
    assert!(found[0].get("answer").is_none() && found[1]["answer"]["cut"] == true, "{found:?}");
}
