//! A judge that has a taste: whichever answer is better wins, wherever it stands.

use evaluate::run::{self, RunOptions};
use evaluate::{Answer, CaseResult, Endpoint, Task};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;

const OPTIONS: RunOptions = RunOptions { parallel: 3, seed: 0 };

/// A judge that gives `replies` to what it is asked, as often as it is asked.
fn judge(reply: fn(&str) -> &'static str) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1#judge", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let body = loop {
                let read = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&request);
                let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                if let Ok(body) = serde_json::from_str::<Value>(body) {
                    break body;
                }
                assert!(read > 0, "{text}");
            };
            let question = body["messages"][1]["content"].as_str().unwrap();
            let answer = json!({"choices": [{"message": {"content": reply(question)}}]}).to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            stream.write_all((head + &answer).as_bytes()).unwrap();
        }
    });
    Endpoint::new(&address, None).unwrap()
}

fn task(expected: &str) -> Task {
    let dir = tempfile::tempdir().unwrap();
    let case = |id: usize| {
        format!(r#"{{"id": {id}, "messages": [{{"role": "user", "content": "Praise it."}}]{expected}}}"#)
    };
    std::fs::write(dir.path().join("c.jsonl"), (0..4).map(case).collect::<Vec<_>>().join("\n")).unwrap();
    let path = dir.path().join("t.toml");
    std::fs::write(&path, "name = 'copy'\nkind = 'judge'\ndata = 'c.jsonl'\n").unwrap();
    Task::load(&path, None).unwrap()
}

fn results(answers: [&str; 4]) -> Vec<CaseResult> {
    let result = |(id, text): (usize, &&str)| CaseResult {
        id: id.to_string(),
        group: String::new(),
        answer: Some(Answer::text(*text)),
        log_likelihoods: None,
        too_long: false,
        verdict: Default::default(),
    };
    answers.iter().enumerate().map(result).collect()
}

fn run(
    task: &Task,
    results: &mut [CaseResult],
    others: Option<&mut [CaseResult]>,
    endpoint: &Endpoint,
) -> Result<(), evaluate::RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run::judge(task, results, others, endpoint, OPTIONS, &|| {}))
}

fn rates(results: &[CaseResult]) -> Vec<f64> {
    results.iter().map(|result| result.verdict.headline()).collect()
}

/// Prefers what is called good; likes both equally or has no opinion otherwise.
fn taste(question: &str) -> &'static str {
    let (a, b) = question.split_once("# Answer A").unwrap().1.split_once("# Answer B").unwrap();
    match (a.contains("good"), b.contains("good")) {
        (true, false) => "A is better.\n[[A]]",
        (false, true) => "B is better.\n[[B]]",
        (true, true) => "[[C]]",
        (false, false) => "Hm.",
    }
}

#[test]
fn the_better_answer_wins_in_both_orders_and_for_both_sides() {
    let (task, judge) = (task(""), judge(taste));
    let (mut a, mut b) = (results(["good", "bad", "good", "bad"]), results(["bad", "good", "good", "bad"]));
    run(&task, &mut a, Some(&mut b), &judge).unwrap();
    assert_eq!(rates(&a), [1.0, 0.0, 0.5, 0.5]);
    assert_eq!(rates(&b), [0.0, 1.0, 0.5, 0.5]);
    // wins, ties, unclear of the last
    let last: Vec<f64> = a[3].verdict.metrics.iter().map(|metric| metric.value).collect();
    assert_eq!(last, [0.5, 0.0, 1.0, 1.0]);
    assert!(a[3].verdict.why.as_deref().unwrap().contains("no verdict"));
}

#[test]
fn a_judge_that_looks_at_the_order_alone_decides_nothing() {
    let (task, judge) = (task(", \"expected\": \"x\""), judge(|_| "[[A]]"));
    let mut a = results(["good"; 4]);
    run(&task, &mut a, None, &judge).unwrap();
    assert_eq!(rates(&a), [0.5; 4]);
    assert!(a[0].verdict.why.as_deref().unwrap().contains("differ with the order"));
}

#[test]
fn an_answer_is_compared_with_the_cases_own_where_there_is_no_other() {
    let judge = judge(taste);
    let mut a = results(["good", "bad", "good", "bad"]);
    run(&task(", \"expected\": \"no\""), &mut a, None, &judge).unwrap();
    assert_eq!(rates(&a), [1.0, 0.5, 1.0, 0.5]);
    let error = run(&task(""), &mut a, None, &judge).unwrap_err().to_string();
    assert!(error.contains("case `0` of copy has no `expected`"), "{error}");
}
