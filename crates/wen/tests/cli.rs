//! The commands, over the real binary and real checkpoints.

mod common;

use common::{assert_fails, command, parity, stdout, wen, wen_with_input, with_context};
use models::checkpoint::safetensors;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

fn path(name: &str) -> String {
    parity(name).to_str().unwrap().to_owned()
}

/// A float32 tensor of a safetensors file, with its last dimension.
fn tensor(file: &Path, name: &str) -> (Vec<f32>, usize) {
    let bytes = std::fs::read(file).unwrap();
    let tensors = safetensors::parse(&bytes).unwrap();
    let (_, stored) = tensors.into_iter().find(|(found, _)| found == name).unwrap();
    let values =
        bytes[stored.range].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (values, *stored.shape.last().unwrap())
}

fn ids(file: &Path, name: &str) -> String {
    let bytes = std::fs::read(file).unwrap();
    let tensors = safetensors::parse(&bytes).unwrap();
    let (_, stored) = tensors.into_iter().find(|(found, _)| found == name).unwrap();
    let ids =
        bytes[stored.range].chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()).to_string());
    ids.collect::<Vec<_>>().join(",")
}

#[test]
fn logits_equal_the_reference_and_need_only_config_and_weights() {
    for name in ["qwen3-tied", "qwen2-tied", "qwen3-moe", "llama3-rope-tied"] {
        let expected = parity(name).join("expected.safetensors");
        let bare = tempfile::tempdir().unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(parity(name).join(file), bare.path().join(file)).unwrap();
        }
        let out = bare.path().join("out.safetensors");
        let tokens = ids(&expected, "case0.input_ids");
        let arguments =
            ["logits", bare.path().to_str().unwrap(), "--tokens", &tokens, "--out", out.to_str().unwrap()];
        stdout(wen(&arguments));
        for tensor_name in ["logits", "last_hidden_state"] {
            let ((found, cols), (expected, width)) =
                (tensor(&out, tensor_name), tensor(&expected, &format!("case0.{tensor_name}")));
            assert_eq!(
                (cols, found.len() / cols),
                (width, tokens.split(',').count()),
                "{name} {tensor_name}"
            );
            let largest = expected.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            // the reference keeps the logits of the last positions
            for (a, b) in found[found.len() - expected.len()..].iter().zip(&expected) {
                assert!((a - b).abs() <= 2e-4 * largest, "{name} {tensor_name}: {a} is not {b}");
            }
        }
    }
}

#[test]
fn inspect_tells_what_a_checkpoint_is() {
    let text = stdout(wen(&["inspect", &path("qwen3-moe")]));
    for part in ["qwen3_moe", "parameters", "memory per 1,000 tokens", "F32", "of which 2 compute"] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let json: Value =
        serde_json::from_str(&stdout(wen(&["inspect", &path("qwen3-tied"), "--json"]))).unwrap();
    assert_eq!((&json["architecture"], &json["parameters"]), (&json!("qwen3"), &json!(125_376)));
    let gguf = path("gguf-qwen3/q4_0.gguf");
    assert!(stdout(wen(&["inspect", &gguf])).contains("Q4_0"));
}

#[test]
fn tokens_and_prompts_are_the_references() {
    let model = path("qwen3-tied");
    let cases: Value =
        serde_json::from_slice(&std::fs::read(parity("chat-templates/qwen3.json")).unwrap()).unwrap();
    let case = &cases["cases"][0];
    let messages = case["messages"].to_string();
    let rendered = stdout(wen_with_input(&["render", &model, "-"], messages.as_bytes()));
    assert_eq!(rendered, case["rendered"].as_str().unwrap());
    let found = stdout(wen_with_input(&["tokenize", &model, "-", "--added", "--ids"], rendered.as_bytes()));
    let expected: Vec<String> = case["ids"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert_eq!(found.trim(), expected.join(","));
    assert_eq!(stdout(wen(&["tokenize", &model, "--decode", found.trim()])), format!("{rendered}\n"));
    // without --added control tokens are text
    let text = stdout(wen(&["tokenize", &model, "<|im_start|>", "--ids"]));
    assert!(text.trim().split(',').count() > 1, "{text}");
}

#[test]
fn chat_answers_one_question() {
    let model = with_context("qwen3-tied", 2048);
    let model = model.path().to_str().unwrap();
    let fixed = ["--temperature", "0", "--max-tokens", "12", "--no-thinking"];
    let by_argument = stdout(wen(&[&["chat", model, "Hello!"][..], &fixed].concat()));
    let by_input = stdout(wen_with_input(&[&["chat", model, "-"][..], &fixed].concat(), b"Hello!"));
    assert_eq!(by_argument, by_input);
    let by_draft = stdout(wen(&[&["chat", model, "Hello!", "--draft", model][..], &fixed].concat()));
    assert_eq!(by_argument, by_draft);
    let json = stdout(wen(&[&["chat", model, "Hello!", "--json"][..], &fixed].concat()));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["text"].as_str().map(str::trim), Some(by_argument.trim()), "{json}");
    assert_eq!(json["usage"]["completion_tokens"], 12, "{json}");
}

#[test]
fn without_a_model_the_one_inside_answers() {
    let [cache, hub] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    std::fs::write(hub.path().join("settings.toml"), "[aliases]\nmine = 'wen-nano'\n").unwrap();
    let ask = |arguments: &[&str], input: &[u8]| {
        let mut command = command(arguments);
        command
            .env("XDG_CACHE_HOME", cache.path())
            .env("WEN_HUB", hub.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        stdout(child.wait_with_output().unwrap())
    };
    assert!(ask(&["chat"], "Who are you?".as_bytes()).contains("wen-nano"));
    for arguments in
        [&["chat", "wen-nano", "你是谁？"][..], &["chat", "mine", "你是谁？"], &["chat", "你是谁？"]]
    {
        assert!(ask(arguments, b"").contains("wen-nano"), "{arguments:?}");
    }
    // a file that was cut or changed is written again
    std::fs::write(cache.path().join("wen/wen-nano.gguf"), "no model").unwrap();
    assert!(ask(&["chat"], "Who are you?".as_bytes()).contains("wen-nano"));
}

#[test]
fn bench_gives_a_table_and_json() {
    let model = path("qwen3-tied");
    // long answers: the second must begin before the first is complete, also on a busy machine
    let sizes = ["--prompt", "16", "--generate", "300", "--repeat", "1", "--batch", "1", "--batch", "2"];
    let table = stdout(wen(&[&["bench", &model][..], &sizes].concat()));
    assert!(table.contains("prefill") && table.contains("decode") && table.contains("memory"), "{table}");
    let json = stdout(wen(&[&["bench", &model, "--json"][..], &sizes].concat()));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["batches"].as_array().map(Vec::len), Some(2), "{json}");
    assert!(json["batches"][1]["decode_tokens_per_second"]["median"].as_f64() > Some(0.0), "{json}");
    assert!(json["peak_memory_bytes"].as_u64() > Some(0) && json["load_seconds"].is_number(), "{json}");
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(stdout(wen(&["completions", shell])).contains("serve"), "{shell}");
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in
        ["chat", "serve", "inspect", "logits", "tokenize", "render", "bench", "eval", "completions"]
    {
        let help = stdout(wen(&[command, "--help"]));
        assert!(help.contains(&format!("wen {command}")) && help.contains("Examples:"), "{command}: {help}");
    }
}

#[test]
fn flags_that_cannot_be_are_usage_errors() {
    let model = path("qwen3-tied");
    let cases: &[(&[&str], &str)] = &[
        (&["nonsense"], "nonsense"),
        (&["tokenize"], "<MODEL>"),
        (&["chat", &model, "x", "--temperature", "-1"], "-1"),
        (&["chat", &model, "x", "--temperature", "NaN"], "NaN"),
        (&["logits", &model, "--tokens", "1,x", "--out", "f"], "x"),
        (&["logits", &model, "--tokens", "99999", "--out", "f"], "99999"),
        (&["serve", "--model", &model, "--port", "99999"], "99999"),
        (&["chat", &model, "x", "--draft", &model, "--speculate", "off"], "--draft"),
    ];
    for (arguments, part) in cases {
        assert_fails(&wen(arguments), 2, &[part]);
    }
}

#[test]
fn models_that_cannot_be_used_say_why() {
    let changed = |change: &dyn Fn(&Path)| {
        let dir = with_context("qwen3-tied", 512);
        change(dir.path());
        dir
    };
    let edit = |dir: &Path, file: &str, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(dir.join(file)).unwrap();
        edit(&mut bytes);
        std::fs::write(dir.join(file), bytes).unwrap();
    };
    let replace = |dir: &Path, file: &str, from: &str, to: &str| {
        edit(dir, file, &|bytes| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            assert!(text.contains(from), "{file} has {from}");
            *bytes = text.replace(from, to).into_bytes();
        });
    };
    let rename_tensor = |dir: &Path| {
        // the header's length must stay
        edit(dir, "model.safetensors", &|bytes| {
            let at = bytes.windows(12).position(|w| w == b"q_proj.weigh").unwrap();
            bytes[at] = b'x';
        });
    };
    let cases = [
        (
            "truncated weights",
            changed(&|dir| edit(dir, "model.safetensors", &|b| b.truncate(b.len() - 1))),
            vec!["model.safetensors"],
        ),
        (
            "no weights",
            changed(&|dir| std::fs::remove_file(dir.join("model.safetensors")).unwrap()),
            vec!["safetensors"],
        ),
        ("a missing tensor", changed(&rename_tensor), vec!["q_proj.weight"]),
        (
            "another architecture",
            changed(&|dir| replace(dir, "config.json", "qwen3", "mamba")),
            vec!["mamba", "qwen2", "qwen3", "llama"],
        ),
        (
            "a broken tokenizer",
            changed(&|dir| edit(dir, "tokenizer.json", &|b| b.truncate(100))),
            vec!["tokenizer"],
        ),
        (
            "a broken config",
            changed(&|dir| edit(dir, "config.json", &|b| b.truncate(20))),
            vec!["config.json"],
        ),
        (
            "a broken template",
            changed(&|dir| replace(dir, "tokenizer_config.json", "{%- ", "{%- nonsense ")),
            vec!["template"],
        ),
    ];
    for (what, dir, parts) in &cases {
        let output = wen(&["chat", dir.path().to_str().unwrap(), "Hello!"]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{what}: {errors}");
        parts
            .iter()
            .for_each(|part| assert!(errors.contains(part), "{what}: the message lacks `{part}`: {errors}"));
    }
    assert_fails(&wen(&["chat", "no/such/model", "Hello!"]), 3, &["no/such/model"]);
    assert_fails(&wen(&["chat", &path("qwen3-embedding"), "Hello!"]), 3, &["embedding"]);
    let draft = path("qwen3-embedding");
    assert_fails(&wen(&["chat", &path("qwen3-tied"), "Hello!", "--draft", &draft]), 3, &["draft", "Embed"]);
}

#[test]
fn a_prompt_over_the_context_is_refused_with_both_counts() {
    let model = path("qwen3-tied");
    assert_fails(&wen(&["chat", &model, &"river ".repeat(2000)]), 5, &["512"]);
    let tokens = vec!["1"; 600].join(",");
    assert_fails(&wen(&["logits", &model, "--tokens", &tokens, "--out", "f"]), 5, &["600", "512"]);
}

#[test]
fn perplexity_is_that_of_the_logits_and_smaller_formats_cost_little() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("text.txt");
    std::fs::write(&text, "The river runs past the old mill, and the mill turns no more. <|im_end|>")
        .unwrap();
    // a copy: packed weights are kept beside the model
    let copy = with_context("qwen3-tied", 512);
    let model = copy.path().to_str().unwrap();
    let arguments = ["eval", "perplexity", model, text.to_str().unwrap(), "--json"];
    let whole = [&arguments[..], &["--formats", "none,int8"]].concat();
    let report: Value = serde_json::from_str(&stdout(wen(&whole))).unwrap();

    let ids = stdout(wen(&["tokenize", model, &std::fs::read_to_string(&text).unwrap(), "--ids"]));
    let out = directory.path().join("logits.safetensors");
    stdout(wen(&["logits", model, "--tokens", ids.trim(), "--out", out.to_str().unwrap()]));
    let (logits, vocab) = tensor(&out, "logits");
    let ids: Vec<usize> = ids.trim().split(',').map(|id| id.parse().unwrap()).collect();
    let surprise = |(row, id): (&[f32], &usize)| -> f64 {
        row.iter().map(|l| f64::from(*l).exp()).sum::<f64>().ln() - f64::from(row[*id])
    };
    let nats: f64 = logits.chunks_exact(vocab).zip(&ids[1..]).map(surprise).sum();
    let expected = nats / (ids.len() - 1) as f64;

    let formats = report["formats"].as_array().unwrap();
    assert_eq!(formats[0]["tokens"], ids.len() - 1);
    assert!((formats[0]["nats_per_token"].as_f64().unwrap() - expected).abs() < 1e-4, "{report} {expected}");
    assert!((formats[0]["perplexity"].as_f64().unwrap().ln() - expected).abs() < 1e-4);
    assert!(formats[1]["difference_percent"].as_f64().unwrap().abs() < 1.0, "{report}");

    // windows without enough context foretell otherwise, but each token once
    let short = [&arguments[..], &["--window", "8", "--stride", "3"]].concat();
    let report: Value = serde_json::from_str(&stdout(wen(&short))).unwrap();
    assert_eq!(report["formats"][0]["tokens"], ids.len() - 1);

    for (extra, code, why) in [
        (&["--window", "8", "--stride", "8"][..], 2, "--stride 8 leaves gaps"),
        (&["--limit", "1"], 2, "1"),
        (&["--quantize", "int3"], 2, "[possible values: auto, none, int8, int4]"),
        (&["--window", "100000"], 2, "100000"),
    ] {
        assert_fails(&wen(&[&arguments[..], extra].concat()), code, &[why]);
    }
    std::fs::write(&text, b"ab\xffcd").unwrap();
    assert_fails(&wen(&arguments), 2, &["byte 2"]);
}

#[test]
fn a_cache_over_the_memory_is_refused_with_what_would_fit() {
    let arguments = ["serve", "--model", &path("qwen3-tied"), "--port", "0", "--cache-tokens", "4000000000"];
    assert_fails(&wen(&arguments), 2, &["4,000,000,000 tokens", "memory has room for"]);
}
