//! Runs of each objective learn, tell how well, and go on after being cut off with the same bits.

mod common;

use common::{fixture, recording};
use models::{Model, ModelKind};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use train::objective;
use train::run::{Outcome, StepReport};
use train::{Example, Recipe, Run};

const PAIRS: &str = r#"{"prompt": "What is the capital?", "chosen": "Beijing.", "rejected": "Paris."}
{"prompt": "How are you?", "chosen": "Well.", "rejected": "No."}
{"prompt": "今天", "chosen": "好", "rejected": "坏"}
{"messages": [{"role": "user", "content": "one"}], "chosen": {"role": "assistant", "content": "two"}, "rejected": {"role": "assistant", "content": "nine"}}
"#;

const QUERIES: &str = r#"{"query": "capital", "positive": "Beijing is the capital.", "negatives": ["Paris is a city."]}
{"query": "weather", "positive": "It rains today."}
{"query": "数学", "positive": "一加一等于二", "negatives": ["今天下雨", "北京"]}
{"query": "food", "positive": "Noodles with beef."}
"#;

const TEXTS: &str =
    "{\"text\": \"one two three\"}\n{\"text\": \"four five six\"}\n{\"text\": \"seven eight\"}\n";

struct Setup {
    dir: tempfile::TempDir,
}

impl Setup {
    fn new() -> Setup {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [("pairs", PAIRS), ("queries", QUERIES), ("texts", TEXTS)] {
            std::fs::write(dir.path().join(format!("{name}.jsonl")), content).unwrap();
        }
        Setup { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A recipe of 30 epochs of two steps, whose objective decides what is learned.
    fn recipe(&self, output: &str, objective: &str, settings: &[&str]) -> Recipe {
        let (model, data) = match objective {
            "dpo" => ("qwen3-train-base", "pairs.jsonl"),
            "embedding" => ("qwen3-embedding", "queries.jsonl"),
            _ => ("qwen3-train-base", "texts.jsonl"),
        };
        let text = format!(
            "model = {:?}\noutput = {:?}\nseed = 3\nthreads = 2\n[objective]\nkind = {objective:?}\n\
             [method]\nrank = 4\nalpha = 8\ndropout = 0.1\n\
             [steps]\nepochs = 30\nbatch = 2\npart_tokens = 40\ncheckpoint_every = 7\nevaluate_every = 20\n\
             [optimizer]\nlearning_rate = 5e-3\n",
            fixture(model),
            self.path(output),
        );
        let data = format!("data.train=[{:?}]", self.path(data));
        let mix = settings.iter().any(|s| s.starts_with("data.mix"));
        let settings = settings.iter().map(|s| (*s).to_owned()).chain((!mix).then_some(data));
        Recipe::parse(&text, &settings.collect::<Vec<_>>()).unwrap_or_else(|e| panic!("{e}"))
    }
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

/// The weights of a run that was done.
fn weights(outcome: &Outcome) -> Vec<u8> {
    let Outcome::Done(path) = outcome else { panic!("{outcome:?}") };
    let files = ["adapter_model.safetensors", "model.safetensors"].map(|name| path.join(name));
    std::fs::read(files.iter().find(|file| file.exists()).unwrap()).unwrap()
}

fn metrics(output: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const NEVER: usize = usize::MAX;

#[test]
fn preferences_are_learned_from_where_the_model_stands() {
    let setup = Setup::new();
    for (name, settings) in [
        ("lora", &[][..]),
        ("int8", &["method.quantize=int8", "objective.label_smoothing=0.1"]),
        ("full", &["method.kind=full", "optimizer.learning_rate=1e-3"]),
        ("bf16", &["method.kind=full", "optimizer.learning_rate=1e-3", "method.precision=bf16"]),
        ("ipo", &["objective.loss=ipo"]),
    ] {
        let (_, reports) = train(&setup.recipe(name, "dpo", settings), NEVER);
        let (first, last) = (&reports[0], reports.last().unwrap());
        // neither answer is preferred more than before; dropout moves an adapter only when it has values
        let at_first = if name == "ipo" { (1.0f64 / 0.2).powi(2) } else { 2f64.ln() };
        assert!((first.loss - at_first).abs() < 1e-5, "{name}: {}", first.loss);
        assert!(first.measures["reward_margin"].abs() < 1e-5, "{name}");
        assert!(last.loss < first.loss * 0.9, "{name}: {}", last.loss);
        assert_eq!(last.measures["reward_accuracy"], 1.0, "{name}");
        assert!(last.measures["reward_margin"] > 0.1, "{name}: {:?}", last.measures);
    }
}

#[test]
fn queries_come_to_their_documents() {
    let setup = Setup::new();
    for (name, settings) in [
        ("last", &[][..]),
        ("mean", &["objective.pooling=mean"]),
        ("full", &["method.kind=full", "optimizer.learning_rate=1e-3"]),
    ] {
        let (_, reports) = train(&setup.recipe(name, "embedding", settings), NEVER);
        let mean = |part: &[StepReport]| part.iter().map(|r| r.loss).sum::<f64>() / part.len() as f64;
        let (first, last) = (mean(&reports[..4]), mean(&reports[reports.len() - 4..]));
        assert!(last < first * 0.5, "{name}: from {first} to {last}");
        assert!(reports.last().unwrap().measures["accuracy"] == 1.0, "{name}");
    }
}

#[test]
fn what_was_trained_to_embed_is_an_embedding_model() {
    let setup = Setup::new();
    let base = fixture("qwen3-train-base");
    let other = format!("model={:?}", base);
    for (name, settings) in [
        ("merged", vec!["method.merge=true"]),
        // a base that only generates, and whose tokenizer puts nothing behind a text
        ("full", vec!["method.kind=full", other.as_str()]),
    ] {
        let recipe = setup.recipe(name, "embedding", &[settings, vec!["steps.epochs=1"]].concat());
        train(&recipe, NEVER);
        let model = Model::open(&recipe.output.join("model")).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(model.kind, ModelKind::Embed, "{name}");
        let tokens = model.tokenizer.encode_wrapped("text");
        assert!(model.tokenizer.is_special(*tokens.last().unwrap()), "{name}: {tokens:?}");
        assert_eq!(tokens.len(), model.tokenizer.encode_text("text").len() + 1, "{name}");
    }
}

#[test]
fn every_objective_goes_on_with_the_same_bits() {
    let setup = Setup::new();
    let mix = format!(
        "data.mix=[{{files = [{:?}]}}, {{files = [{:?}], weight = 0.4}}]",
        setup.path("texts.jsonl"),
        setup.path("more.txt")
    );
    std::fs::write(setup.path("more.txt"), "a text of its own ".repeat(40)).unwrap();
    for (objective, settings) in [
        ("dpo", vec!["data.eval_share=0.25"]),
        ("dpo", vec!["method.kind=full"]),
        ("embedding", vec!["data.eval_share=0.25"]),
        ("next_token", vec![mix.as_str(), "data.max_tokens=50"]),
    ] {
        let name = |which: &str| format!("{objective}-{}-{which}", settings[0].len());
        let whole = setup.recipe(&name("whole"), objective, &settings);
        let (outcome, reports) = train(&whole, NEVER);
        let cut = setup.recipe(&name("cut"), objective, &settings);
        for step in [1, 10] {
            assert!(matches!(train(&cut, step).0, Outcome::Stopped(at) if at == step));
        }
        // what the reference was is found again even where it was lost
        drop(std::fs::remove_file(cut.output.join("reference.safetensors")));
        let (again, rest) = train(&cut, NEVER);
        assert!(weights(&again) == weights(&outcome), "{objective} {settings:?}");
        assert_eq!(rest.last().unwrap().measures, reports.last().unwrap().measures);
        assert_eq!(metrics(&cut.output).len(), reports.len());
    }
}

#[test]
fn references_are_kept_and_never_trusted_when_torn() {
    let setup = Setup::new();
    let recipe = setup.recipe("out", "dpo", &["method.kind=full"]);
    train(&recipe, 5);
    let path = recipe.output.join("reference.safetensors");
    let kept = std::fs::read(&path).unwrap();
    let written = || std::fs::metadata(&path).unwrap().modified().unwrap();
    let at = written();
    train(&recipe, 6);
    assert_eq!(written(), at, "what is kept is not computed again");
    let mut torn = kept.clone();
    *torn.last_mut().unwrap() ^= 1;
    std::fs::write(&path, torn).unwrap();
    train(&recipe, 7);
    // of the model as it was, not as it is by now
    assert!(std::fs::read(&path).unwrap() == kept);
}

#[test]
fn an_evaluation_is_told_and_changes_nothing() {
    let setup = Setup::new();
    std::fs::write(setup.path("eval.jsonl"), "{\"text\": \"one two four\"}\n").unwrap();
    let eval = format!("data.eval=[{:?}]", setup.path("eval.jsonl"));
    for (objective, settings, measure) in [
        ("next_token", vec![eval.as_str()], "eval_loss"),
        ("dpo", vec!["data.eval_share=0.3"], "eval_reward_accuracy"),
        ("embedding", vec!["data.eval_share=0.3"], "eval_accuracy"),
    ] {
        let output = |every: &str| {
            let settings: Vec<&str> = settings.iter().copied().chain([every, "steps.epochs=5"]).collect();
            let recipe = setup.recipe(&format!("{objective}-{every}"), objective, &settings);
            let (outcome, _) = train(&recipe, NEVER);
            let lines = metrics(&recipe.output);
            let steps = lines.iter().filter(|line| line[measure].is_number());
            let steps: Vec<u64> = steps.map(|line| line["step"].as_u64().unwrap()).collect();
            (weights(&outcome), steps, lines.len() as u64)
        };
        let (often, steps, last) = output("steps.evaluate_every=2");
        let expected: Vec<u64> = (1..=last).filter(|step| step % 2 == 0 || *step == last).collect();
        assert_eq!(steps, expected, "{objective}");
        let (seldom, steps, last) = output("steps.evaluate_every=1000");
        assert_eq!(steps, [last], "{objective}");
        assert!(often == seldom, "{objective}");
    }
}

#[test]
fn packed_texts_do_not_see_each_other() {
    let texts: Vec<Example> = [3usize, 40, 1, 17]
        .iter()
        .enumerate()
        .map(|(i, len)| {
            let tokens: Vec<u32> = (0..len + 1).map(|j| (i * 31 + j * 7) as u32 % 300).collect();
            Example::new(tokens.clone(), vec![true; tokens.len()])
        })
        .collect();
    let (lm, cx) = (common::base(), recording());
    let together = objective::log_probs(&cx, &lm, &texts.iter().collect::<Vec<_>>());
    for (text, found) in texts.iter().zip(&together) {
        assert_eq!(objective::log_probs(&cx, &lm, &[text])[0], *found);
    }
}
