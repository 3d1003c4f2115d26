//! `wen train` over the real binary: preferences, embeddings and mixtures are learned, and go on after being stopped with
//! the same bits.

mod common;

use common::{assert_fails, command, parity, stdout, wen};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A recipe in `dir` of 400 steps, with its data.
fn recipe(dir: &Path, objective: &str, model: &str, data: &str) -> PathBuf {
    std::fs::write(dir.join("data.jsonl"), data).unwrap();
    let path = dir.join("recipe.toml");
    let text = format!(
        "model = {:?}\noutput = {:?}\n[data]\ntrain = [{:?}]\n[objective]\nkind = {objective:?}\n\
         [method]\nrank = 2\ndropout = 0.1\n[steps]\nbatch = 2\nepochs = 200\npart_tokens = 64\n\
         [optimizer]\nlearning_rate = 2e-3\n",
        parity(model),
        dir.join("out"),
        dir.join("data.jsonl"),
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// The values of `name` in the metrics of a run.
fn metric(output: &Path, name: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line[name].as_f64()).collect()
}

/// Runs the recipe to its end, and once more into another directory with a SIGTERM in between: both end alike.
fn learns_and_resumes(dir: &Path, path: &Path) {
    let path = path.to_str().unwrap();
    let whole = PathBuf::from(stdout(wen(&["train", path])).trim());
    let losses = metric(&dir.join("out"), "loss");
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..10]), mean(&losses[losses.len() - 10..]));
    assert!(last < first * 0.7, "the loss went from {first} to {last}");

    let output = format!("output={}", dir.join("cut").display());
    let again = ["train", path, "--set", &output];
    let mut child =
        command(&again).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.starts_with("step ")).expect("steps are reported");
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    lines.find(|line| line.starts_with("stopped after step ")).expect("it says where it stopped");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let cut = PathBuf::from(stdout(wen(&again)).trim());
    let weights = |dir: &Path| std::fs::read(dir.join("adapter_model.safetensors")).unwrap();
    assert!(weights(&whole) == weights(&cut));
    assert_eq!(metric(&dir.join("cut"), "loss"), losses);
}

const PAIRS: &str = r#"{"messages": [{"role": "user", "content": "Capital?"}], "chosen": {"role": "assistant", "content": "Beijing."}, "rejected": {"role": "assistant", "content": "Paris."}}
{"prompt": "How are you?", "chosen": "Well.", "rejected": "No."}
{"conversations": [{"from": "human", "value": "今天"}], "chosen": {"from": "gpt", "value": "好"}, "rejected": {"from": "gpt", "value": "坏"}}
"#;

#[test]
fn preferences_are_learned_and_go_on_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let path = recipe(dir.path(), "dpo", "qwen3-train-base", PAIRS);
    learns_and_resumes(dir.path(), &path);
    let accuracy = metric(&dir.path().join("out"), "reward_accuracy");
    assert_eq!(accuracy.last(), Some(&1.0));
}

#[test]
fn embeddings_are_learned_and_go_on_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let data = r#"{"query": "capital", "positive": "Beijing is the capital.", "negatives": ["Paris is a city."]}
{"query": "weather", "positive": "It rains today."}
{"anchor": "food", "positive": "Noodles with beef."}
"#;
    let path = recipe(dir.path(), "embedding", "qwen3-embedding", data);
    learns_and_resumes(dir.path(), &path);
}

#[test]
fn what_is_wrong_with_data_and_keys_is_said_before_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = recipe(dir.path(), "dpo", "qwen3-train-base", PAIRS);
    let train = |settings: &[&str]| {
        let mut all = vec!["train", path.to_str().unwrap()];
        settings.iter().for_each(|setting| all.extend(["--set", setting]));
        wen(&all)
    };
    let other =
        ["it is data for objective.kind = \"dpo\", but the recipe's is \"next_token\"", "data.jsonl:2: "];
    assert_fails(&train(&["objective.kind=next_token"]), 1, &other);
    let nearest = ["`objective.bta`, which does not exist; the nearest that does is `objective.beta`"];
    assert_fails(&train(&["objective.bta=1"]), 2, &nearest);
    assert_fails(&train(&["data.train=[\"nothing/*.jsonl\"]"]), 1, &["nothing/*.jsonl matches no"]);
    assert!(!dir.path().join("out").exists());
}
