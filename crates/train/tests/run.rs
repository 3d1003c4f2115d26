//! Runs learn, and go on after being cut off with the same bits.

mod common;

use common::fixture;
use models::Model;
use models::adapter::Adapter;
use nn::{Batch, Context, DType, KvCache};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use train::run::{Base, Outcome, RunError, StepReport};
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
        ("dora", &["steps.epochs=30", "method.dora=true", "method.quantize=int8"]),
        ("full", &["steps.epochs=30", "method.kind=full"]),
        ("bf16", &["steps.epochs=30", "method.kind=full", "method.precision=bf16"]),
    ] {
        let (outcome, reports) = train(&recipe(dir.path(), name, settings), NEVER);
        let [first, last] = [&reports[..5], &reports[reports.len() - 5..]]
            .map(|part| part.iter().map(|r| r.loss).sum::<f64>() / 5.0);
        assert!(last < first * 0.5, "{name}: from {first} to {last}");
        let path = result(outcome);
        if settings.contains(&"method.kind=full") {
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

/// Logits of a text.
fn logits(model: &Model) -> Vec<f32> {
    let cx = Context::new(std::sync::Arc::new(kernels::Pool::new(1)));
    let tokens = model.tokenizer.encode_with_added("<|im_start|>What is 今天?");
    let batch = Batch::packed([&tokens[..]], 32);
    let mut cache = KvCache::new(model.lm.kv_cache_shape(DType::F32, 32, batch.blocks())).unwrap();
    let hidden = model.lm.forward(&cx, &batch, &mut cache);
    model.lm.logits(&cx, &hidden).values().to_vec()
}

#[test]
fn a_gguf_file_is_the_model_with_its_tokenizer_and_template() {
    let dir = tempfile::tempdir().unwrap();
    for (gguf, kind, allowed) in [("f32", "full", 0.0), ("f32", "lora", 0.0), ("f16", "lora", 2e-3)] {
        let settings = [&format!("method.gguf={gguf}"), &format!("method.kind={kind}"), "method.merge=true"];
        let recipe = recipe(dir.path(), &format!("{gguf}-{kind}"), &settings.map(|s| s as &str));
        train(&recipe, NEVER);
        let [plain, file] = ["model", "model.gguf"]
            .map(|name| Model::open(&recipe.output.join(name)).unwrap_or_else(|e| panic!("{gguf}: {e}")));
        let (expected, found) = (logits(&plain), logits(&file));
        let largest = expected.iter().fold(0f32, |max, v| max.max(v.abs()));
        let off = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        println!("{gguf} {kind}: {}", off / largest);
        assert!(
            expected.len() == found.len() && off <= allowed * largest,
            "{gguf} {kind}: {off} of {largest}"
        );
        assert!(plain.chat_template.is_some() && file.chat_template.is_some());
        assert_eq!(plain.tokenizer.len(), file.tokenizer.len());
        assert_eq!(plain.generation.eos_token_ids[0], file.generation.eos_token_ids[0]);
    }
}

#[test]
fn a_gguf_type_that_rows_do_not_fit_is_refused_before_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let error = Run::prepare(recipe(dir.path(), "q8_0", &["method.gguf=q8_0"])).err().unwrap().to_string();
    assert!(error.contains("rows of 48 values") && error.contains("take f16"), "{error}");
}

fn weights(path: &Path) -> Vec<u8> {
    let files = ["adapter_model.safetensors", "model.safetensors"].map(|name| path.join(name));
    std::fs::read(files.iter().find(|file| file.exists()).unwrap()).unwrap()
}

#[test]
fn a_run_that_was_cut_off_ends_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, optimizer, precision) in [
        ("lora", "adamw", "float32"),
        ("lora", "adamw8bit", "float32"),
        ("full", "adamw", "float32"),
        ("full", "adamw8bit", "float32"),
        ("full", "muon", "float32"),
        ("full", "muon", "bf16"),
    ] {
        let settings = [
            format!("method.kind={kind}"),
            format!("optimizer.kind={optimizer}"),
            format!("method.precision={precision}"),
        ];
        let settings = settings.each_ref().map(String::as_str);
        let kind = format!("{kind}-{optimizer}-{precision}");
        let whole = recipe(dir.path(), &format!("{kind}-whole"), &settings);
        let (outcome, reports) = train(&whole, NEVER);
        let expected = weights(&result(outcome));
        let cut = recipe(dir.path(), &format!("{kind}-cut"), &settings);
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
    for precision in ["method.precision=float32", "method.precision=bf16"] {
        let results = ["threads=1", "threads=3"].map(|threads| {
            let recipe = recipe(dir.path(), &format!("{precision}-{threads}"), &[threads, precision]);
            weights(&result(train(&recipe, NEVER).0))
        });
        assert!(results[0] == results[1], "{precision}");
    }
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
    assert!(matches!(&error, RunError::NotFinite { step: 2 | 3, saved: 0, .. }), "{error}");
    assert!(error.to_string().contains("`model.layers."), "{error}");
}

#[test]
fn a_number_that_is_lost_is_found_where_it_was_lost_and_the_last_good_checkpoint_stays() {
    let dir = tempfile::tempdir().unwrap();
    // values overflow in the step after which a checkpoint is due
    let rate = ["optimizer.learning_rate=1e38", "optimizer.schedule=linear", "optimizer.warmup=0.5"];
    let settings = [&rate[..], &["steps.checkpoint_every=1", "method.kind=full"]].concat();
    let recipe = recipe(dir.path(), "out", &settings);
    let error =
        Run::prepare(recipe.clone()).unwrap().train(&AtomicBool::new(false), &mut |_| {}).unwrap_err();
    let RunError::NotFinite { saved, .. } = error else { panic!("{error}") };
    // what was saved can be gone on from
    assert_eq!(Run::prepare(recipe).unwrap().done(), saved, "{error}");
}

#[test]
fn activations_that_are_computed_again_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ["method.kind=lora", "method.kind=full"] {
        let results = ["off", "on"].map(|recompute| {
            let settings = [kind, &format!("steps.recompute={recompute}")];
            let recipe = recipe(dir.path(), &format!("{kind}-{recompute}"), &settings);
            let (outcome, reports) = train(&recipe, NEVER);
            (weights(&result(outcome)), reports.iter().map(|r| r.gradient_norm.to_bits()).collect::<Vec<_>>())
        });
        assert!(results[0] == results[1], "{kind}");
    }
}

#[test]
fn the_card_says_what_was_trained_on_what_and_at_what_cost() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(dir.path(), "out", &[]);
    train(&recipe, 5);
    let path = result(train(&recipe, NEVER).0);
    let card = std::fs::read_to_string(recipe.output.join("README.md")).unwrap();
    assert_eq!(std::fs::read_to_string(path.join("README.md")).unwrap(), card);
    let tokens: usize = std::fs::read_to_string(recipe.output.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["tokens"].as_u64().unwrap() as usize
        })
        .sum();
    for expected in [
        "base_model: \"qwen3-train-base\"\nbase_model_relation: adapter\n",
        "wen: {\"data_sha256\":\"",
        "A LoRA adapter of rank 4 for `qwen3-train-base`",
        "| steps | 12 |",
        &format!("| tokens | {tokens} computed"),
        "| examples | 5 of ",
        "| `data.jsonl` | `",
        "| `model.safetensors` | `",
        "| energy | not measured |",
        "rank = 4",
    ] {
        assert!(card.contains(expected), "{expected} is not in\n{card}");
    }
    let chart = std::fs::read_to_string(recipe.output.join("loss.svg")).unwrap();
    assert!(chart.starts_with("<svg") && chart.contains("Loss over 12 steps"), "{chart}");
}

#[test]
fn each_result_has_a_card_of_its_own_that_names_no_path() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["method.merge=true", "method.gguf=f32", "steps.at_most=1", "model=hf:Qwen/Tiny"];
    let recipe = recipe(dir.path(), "out", &settings);
    let base = Base {
        path: fixture("qwen3-train-base"),
        name: "Qwen/Tiny".to_owned(),
        license: Some("apache-2.0".to_owned()),
        lineage: serde_json::json!({"base_models": ["Qwen/Tiny-Base"]}),
    };
    let place = base.path.display().to_string();
    let run = Run::prepare_from(base, recipe.clone()).unwrap_or_else(|e| panic!("{e}"));
    run.train(&AtomicBool::new(false), &mut |_| {}).unwrap_or_else(|e| panic!("{e}"));
    let file = models::Checkpoint::open(&recipe.output.join("model.gguf")).unwrap();
    let metadata = file.gguf().unwrap();
    assert_eq!(metadata.str("general.base_model.0.name").unwrap(), Some("Tiny"));
    let in_file = metadata.str("wen.card").unwrap().unwrap().to_owned();
    let read = |name: &str| std::fs::read_to_string(recipe.output.join(name)).unwrap();
    let merged = "`Qwen/Tiny` with a LoRA adapter of rank 4 merged";
    for (card, relation, library, what) in [
        (read("README.md"), "adapter", "peft", "A LoRA adapter of rank 4 for `Qwen/Tiny`"),
        (read("adapter/README.md"), "adapter", "peft", "A LoRA adapter of rank 4 for `Qwen/Tiny`"),
        (read("model/README.md"), "finetune", "transformers", merged),
        (in_file, "finetune", "gguf", merged),
    ] {
        for expected in [
            &format!("base_model: \"Qwen/Tiny\"\nbase_model_relation: {relation}\nlibrary_name: {library}\n"),
            "license: \"apache-2.0\"\n",
            "\"base\":{\"base_models\":[\"Qwen/Tiny-Base\"]}",
            &format!("# out\n\n{what}, trained"),
            "model = \"hf:Qwen/Tiny\"\n",
        ] {
            assert!(card.contains(expected), "{expected} is not in\n{card}");
        }
        assert!(!card.contains(&place), "{card}");
        assert_eq!(card.contains("loss.svg"), library != "gguf");
    }
    assert!(read("adapter/adapter_config.json").contains("\"base_model_name_or_path\": \"Qwen/Tiny\""));
}

#[test]
fn one_run_at_a_time_writes_to_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(dir.path(), "out", &[]);
    let first = Run::prepare(recipe.clone()).unwrap();
    let error = Run::prepare(recipe.clone()).err().unwrap();
    assert!(matches!(error, RunError::Busy(_)), "{error}");
    drop(first);
    // what a killed run has left unfinished goes
    let left = recipe.output.join("checkpoints/.writing-x");
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::write(&left, b"torn").unwrap();
    drop(Run::prepare(recipe).unwrap());
    assert!(!left.exists());
}

#[test]
fn targets_that_no_layer_has_are_named_with_those_that_exist() {
    let dir = tempfile::tempdir().unwrap();
    let error = Run::prepare(recipe(dir.path(), "out", &["method.targets=[\"query\"]"])).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("`query`") && text.contains("q_proj, k_proj"), "{text}");
}
