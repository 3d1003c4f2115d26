//! Runs learn, and go on after being cut off with the same bits.

mod common;

use common::fixture;
use models::Model;
use models::adapter::Adapter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use train::run::{Outcome, RunError, StepReport};
use train::{Recipe, Run};

const DATA: &str = r#"{"messages": [{"role": "user", "content": "What is the capital?"}, {"role": "assistant", "content": "Beijing."}]}
{"messages": [{"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Well."}]}
{"messages": [{"role": "user", "content": "今天"}, {"role": "assistant", "content": "好"}]}
{"text": "one two three"}
{"text": "four five"}
"#;

/// A recipe of 12 steps with a checkpoint every 4.
fn recipe(dir: &Path, output: &str, settings: &[&str]) -> Recipe {
    std::fs::write(dir.join("data.jsonl"), DATA).unwrap();
    let text = format!(
        "model = {:?}\noutput = {:?}\nseed = 3\nthreads = 2\n[data]\ntrain = [{:?}]\n\
         [method]\nrank = 4\nalpha = 8\ndropout = 0.1\n\
         [steps]\nepochs = 4\nbatch = 2\npart_tokens = 40\ncheckpoint_every = 4\n\
         [optimizer]\nlearning_rate = 1e-2\n",
        fixture("qwen3-train-base"),
        dir.join(output),
        dir.join("data.jsonl"),
    );
    let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
    Recipe::parse(&text, &settings).unwrap_or_else(|e| panic!("{e}"))
}

/// Runs to the end, or until after step `stop_after`.
fn train(recipe: &Recipe, stop_after: usize) -> (Outcome, Vec<StepReport>) {
    let run = Run::prepare(recipe.clone()).unwrap_or_else(|e| panic!("{e}"));
    let (stop, mut reports) = (AtomicBool::new(false), Vec::new());
    let outcome = run.train(&stop, &mut |report| {
        reports.push(report.clone());
        stop.store(report.step >= stop_after, Ordering::Relaxed);
    });
    (outcome.unwrap_or_else(|e| panic!("{e}")), reports)
}

const NEVER: usize = usize::MAX;

fn result(outcome: Outcome) -> PathBuf {
    match outcome {
        Outcome::Done(path) => path,
        Outcome::Stopped(step) => panic!("stopped after {step}"),
    }
}

#[test]
fn an_adapter_and_all_weights_learn_what_they_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    for (name, settings) in [
        ("lora", &["steps.epochs=30"][..]),
        ("int8", &["steps.epochs=30", "method.quantize=int8"]),
        ("full", &["steps.epochs=30", "method.kind=full"]),
    ] {
        let (outcome, reports) = train(&recipe(dir.path(), name, settings), NEVER);
        let [first, last] = [&reports[..5], &reports[reports.len() - 5..]]
            .map(|part| part.iter().map(|r| r.loss).sum::<f64>() / 5.0);
        assert!(last < first * 0.5, "{name}: from {first} to {last}");
        let path = result(outcome);
        if name == "full" {
            let mut model = Model::open(&path).unwrap_or_else(|e| panic!("{e}"));
            assert!(model.lm.with_tensors(|tensors| tensors.len()) > 20);
        } else {
            let adapter = Adapter::read(&path).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(adapter.layers.len(), 14);
            adapter.attach(&mut common::base()).unwrap();
        }
        let metrics = std::fs::read_to_string(dir.path().join(name).join("metrics.jsonl")).unwrap();
        assert_eq!(metrics.lines().count(), reports.len());
    }
}

#[test]
fn a_merged_adapter_is_a_plain_model() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(dir.path(), "out", &["method.merge=true", "method.quantize=int8"]);
    let adapter = Adapter::read(&result(train(&recipe, NEVER).0)).unwrap();
    let mut expected = common::base();
    adapter.merge(&mut expected, &kernels::Pool::new(1)).unwrap();
    let mut merged = Model::open(&recipe.output.join("model")).unwrap_or_else(|e| panic!("{e}")).lm;
    let values = |lm: &mut models::CausalLm| {
        lm.with_tensors(|t| t.into_iter().map(|(name, t)| (name, t.to_f32())).collect::<Vec<_>>())
    };
    assert!(values(&mut merged) == values(&mut expected));
}

fn weights(path: &Path) -> Vec<u8> {
    let files = ["adapter_model.safetensors", "model.safetensors"].map(|name| path.join(name));
    std::fs::read(files.iter().find(|file| file.exists()).unwrap()).unwrap()
}

#[test]
fn a_run_that_was_cut_off_ends_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ["method.kind=lora", "method.kind=full"] {
        let whole = recipe(dir.path(), &format!("{kind}-whole"), &[kind]);
        let (outcome, reports) = train(&whole, NEVER);
        let expected = weights(&result(outcome));
        let cut = recipe(dir.path(), &format!("{kind}-cut"), &[kind]);
        for step in [1, 6] {
            assert!(matches!(train(&cut, step).0, Outcome::Stopped(at) if at == step));
        }
        // as if it had been killed later, in the middle of a checkpoint
        let checkpoints = cut.output.join("checkpoints");
        std::fs::write(checkpoints.join("step-00000007.safetensors"), b"torn").unwrap();
        std::fs::write(checkpoints.join(".writing-x"), b"torn").unwrap();
        let (outcome, rest) = train(&cut, NEVER);
        assert!(weights(&result(outcome)) == expected, "{kind}");
        assert_eq!((rest[0].step, rest.len()), (7, reports.len() - 6));
        assert_eq!(rest.last().unwrap().loss.to_bits(), reports.last().unwrap().loss.to_bits());
        let metrics = std::fs::read_to_string(cut.output.join("metrics.jsonl")).unwrap();
        assert_eq!(metrics.lines().count(), reports.len());
    }
}

#[test]
fn threads_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut results = ["one", "three"]
        .iter()
        .zip(["threads=1", "threads=3"])
        .map(|(name, threads)| weights(&result(train(&recipe(dir.path(), name, &[threads]), NEVER).0)));
    assert!(results.next() == results.next());
}

#[test]
fn another_recipe_does_not_go_on_from_this_ones_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    train(&recipe(dir.path(), "out", &[]), 2);
    let error = Run::prepare(recipe(dir.path(), "out", &["seed=4"])).err().unwrap().to_string();
    assert!(error.contains("another recipe, other data or another model"), "{error}");
    // where and how fast it is done is not what is done
    assert_eq!(Run::prepare(recipe(dir.path(), "out", &["threads=1"])).unwrap().done(), 2);
}

#[test]
fn a_broken_checkpoint_is_told_from_a_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(dir.path(), "out", &[]);
    train(&recipe, 2);
    let path = recipe.output.join("checkpoints/step-00000002.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Run::prepare(recipe).err().unwrap().to_string();
    assert!(error.contains("step-00000002.safetensors is broken (its checksum is another)"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(dir.path(), "out", &["optimizer.learning_rate=1e30", "optimizer.warmup=0"]);
    let run = Run::prepare(recipe).unwrap();
    let error = run.train(&AtomicBool::new(false), &mut |_| {}).unwrap_err();
    assert!(matches!(error, RunError::NotFinite { .. }), "{error}");
}

#[test]
fn targets_that_no_layer_has_are_named_with_those_that_exist() {
    let dir = tempfile::tempdir().unwrap();
    let error = Run::prepare(recipe(dir.path(), "out", &["method.targets=[\"query\"]"])).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("`query`") && text.contains("q_proj, k_proj"), "{text}");
}
