//! Adapters beside a model, over the real binary: served, come and gone while it runs, talked to and measured.

mod common;

use common::{Response, Server, assert_fails, parity, stdout, wait_until, wen, with_context};
use models::{Adapter, Model};
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};

const CHAT: &str = "/v1/chat/completions";
const LOAD: &str = "/v1/load_lora_adapter";
const UNLOAD: &str = "/v1/unload_lora_adapter";

/// Two adapters that PEFT has made for the same base.
const NAMES: [&str; 2] = ["adapter", "adapter-rslora"];

fn peft(name: &str) -> PathBuf {
    parity("lora").join(name)
}

/// Their base, with 2,048 tokens of context.
fn base() -> tempfile::TempDir {
    with_context("qwen3-train-base", 2048)
}

/// The base with an adapter merged into its weights.
fn merged(base: &Path, name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::open(base).unwrap();
    Adapter::read(&peft(name)).unwrap().merge(&mut model.lm, &kernels::Pool::new(1)).unwrap();
    train::export::write_model(base, &mut model.lm, dir.path()).unwrap();
    dir
}

fn named(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

fn ask(server: &Server, model: &str, question: &str) -> Response {
    let messages = json!([{"role": "user", "content": question}]);
    let body = json!({
        "model": model, "messages": messages, "max_tokens": 40, "temperature": 0, "ignore_eos": true,
    });
    server.post(CHAT, &body)
}

#[track_caller]
fn text(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_refused(response: &Response, status: u16, param: Option<&str>, parts: &[&str]) {
    assert_eq!(response.status, status, "{response:?}");
    let error = &response.json()["error"];
    assert_eq!(error["param"].as_str(), param, "{error}");
    let message = error["message"].as_str().unwrap();
    parts.iter().for_each(|part| assert!(message.contains(part), "the message lacks `{part}`: {message}"));
}

#[test]
fn answers_through_adapters_are_those_of_merged_models_also_all_at_once() {
    let base = base();
    let merged = NAMES.map(|name| merged(base.path(), name));
    let server = Server::start(&[
        "--model",
        &named("base", base.path()),
        "--model",
        &named("merged-0", merged[0].path()),
        "--model",
        &named("merged-1", merged[1].path()),
        "--adapter",
        &named("base:a", &peft(NAMES[0])),
        "--adapter",
        &named("base:b", &peft(NAMES[1])),
    ]);
    let questions: Vec<String> = (0..4).map(|i| format!("Question {i}: what is new?")).collect();
    let texts = |model: &str| questions.iter().map(|q| text(&ask(&server, model, q))).collect::<Vec<_>>();
    let expected = ["base", "merged-0", "merged-1"].map(texts);
    assert!(expected[0] != expected[1] && expected[0] != expected[2], "the adapters change nothing");
    for (model, expected) in [("base:a", &expected[1]), ("base:b", &expected[2]), ("a", &expected[1])] {
        assert_eq!(&texts(model), expected, "{model}");
    }
    std::thread::scope(|scope| {
        for (model, expected) in ["base", "base:a", "base:b"].into_iter().zip(&expected) {
            for (question, expected) in questions.iter().zip(expected) {
                let server = &server;
                scope.spawn(move || assert_eq!(&text(&ask(server, model, question)), expected, "{model}"));
            }
        }
    });

    let prompt = json!({"model": "base:a", "prompt": "Once", "max_tokens": 8, "temperature": 0});
    let through = server.post("/v1/completions", &prompt).json();
    assert_eq!(through["model"], "base:a");
    let prompt = json!({"model": "merged-0", "prompt": "Once", "max_tokens": 8, "temperature": 0});
    assert_eq!(
        through["choices"][0]["text"],
        server.post("/v1/completions", &prompt).json()["choices"][0]["text"]
    );

    let listed = server.get("/v1/models").json();
    let listed: Vec<(&str, Option<&str>)> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["id"].as_str().unwrap(), m["parent"].as_str()))
        .collect();
    let (a, b) = (("base:a", Some("base")), ("base:b", Some("base")));
    assert_eq!(listed, [("base", None), a, b, ("merged-0", None), ("merged-1", None)]);
    assert_eq!(server.get("/v1/models/base:a").json()["parent"], "base");
    let unknown = ask(&server, "base:c", "?");
    assert_refused(&unknown, 404, Some("model"), &["base:c", "base:a", "base:b", "merged-1"]);
    assert_eq!(ask(&server, "merged-0:a", "?").status, 404, "it is beside another model");
    assert_refused(
        &server.post(LOAD, &json!({"lora_name": "c", "lora_path": "c"})),
        403,
        None,
        &["--adapter-dir"],
    );
    assert_refused(&server.post(UNLOAD, &json!({"lora_name": "a"})), 403, None, &["--adapter-dir"]);
}

/// A directory with both adapters, and beside it one that must not be found.
fn adapter_directory() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (to, from) in [("all/one", NAMES[0]), ("all/two", NAMES[1]), ("other", NAMES[0])] {
        std::fs::create_dir_all(root.path().join(to)).unwrap();
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(peft(from).join(file), root.path().join(to).join(file)).unwrap();
        }
    }
    root
}

#[test]
fn adapters_come_and_go_while_requests_run() {
    let (base, root) = (base(), adapter_directory());
    let all = root.path().join("all");
    let server =
        Server::start(&["--model", &named("base", base.path()), "--adapter-dir", all.to_str().unwrap()]);
    let load = |name: &str, path: &str| server.post(LOAD, &json!({"lora_name": name, "lora_path": path}));
    let unload = |name: &str| server.post(UNLOAD, &json!({"lora_name": name}));
    let tell = |model: &str| text(&ask(&server, model, "Hello!"));
    let plain = tell("base");

    assert_refused(&ask(&server, "base:x", "?"), 404, Some("model"), &["base:x", "base"]);
    let loaded = load("x", "one");
    assert_eq!((loaded.status, loaded.text().contains("'x' added")), (200, true), "{loaded:?}");
    let one = tell("base:x");
    assert_ne!(one, plain);

    // unloaded while an answer runs: that answer goes on, the next request finds nothing
    let body = json!({
        "model": "base:x", "messages": [{"role": "user", "content": "Hello!"}], "temperature": 0,
        "stream": true, "max_tokens": 1900, "ignore_eos": true,
    });
    let mut stream = server.open(CHAT, body.to_string().as_bytes());
    let mut begin = [0; 64];
    stream.read_exact(&mut begin).unwrap();
    assert_eq!(unload("x").status, 200);
    assert_eq!(ask(&server, "base:x", "?").status, 404);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"finish_reason\":\"length\"") && rest.contains("data: [DONE]"), "it was cut");
    assert_refused(&unload("x"), 404, Some("lora_name"), &["`x`", "none"]);
    wait_until("its memory is free", || server.metric("wen_engine_adapter_bytes") == 0.0);

    // the name comes back as another adapter
    assert_eq!(load("x", &all.join("two").display().to_string()).status, 200);
    let two = tell("base:x");
    assert!(two != one && two != plain);
    assert_refused(&load("x", "one"), 400, Some("lora_name"), &["`x`", "loaded already"]);
    let replace = json!({"lora_name": "x", "lora_path": "one", "load_inplace": true, "model": "base"});
    assert_eq!(server.post(LOAD, &replace).status, 200);
    assert_eq!((tell("base:x"), tell("base")), (one, plain));

    // nothing of this becomes an adapter, or a way to another's files
    for (name, path, param) in [
        ("y", "../other", "lora_path"),
        ("y", "/etc", "lora_path"),
        ("y", "three", "lora_path"),
        ("y", ".", "lora_path"),
        ("a b", "one", "lora_name"),
        ("y:z", "one", "lora_name"),
        ("", "one", "lora_name"),
    ] {
        assert_refused(&load(name, path), 400, Some(param), &[]);
    }
    let nowhere = load("y", ".");
    assert!(!nowhere.text().contains(root.path().to_str().unwrap()), "{nowhere:?}");
    let model = json!({"lora_name": "y", "lora_path": "one", "model": "other"});
    assert_refused(&server.post(LOAD, &model), 404, Some("model"), &["other"]);
    std::fs::write(all.join("two/adapter_model.safetensors"), b"\xff").unwrap();
    assert_refused(&load("y", "two"), 400, Some("lora_path"), &["two/adapter_model.safetensors"]);
    assert_eq!(server.metric("wen_engine_adapters"), 1.0);
}

#[test]
fn many_requests_run_while_adapters_are_loaded_and_unloaded() {
    let (base, root) = (base(), adapter_directory());
    let all = root.path().join("all");
    let server =
        Server::start(&["--model", &named("base", base.path()), "--adapter-dir", all.to_str().unwrap()]);
    let body = |name: &str, path: &str| json!({"lora_name": name, "lora_path": path, "load_inplace": true});
    let expected = ["one", "two"].map(|path| {
        assert_eq!(server.post(LOAD, &body("x", path)).status, 200);
        text(&ask(&server, "base:x", "Hello!"))
    });
    std::thread::scope(|scope| {
        let ask = |_| {
            scope.spawn(|| {
                for _ in 0..12 {
                    let answer = ask(&server, "base:x", "Hello!");
                    // it has one or the other, never a mixture
                    assert!(answer.status == 404 || expected.contains(&text(&answer)), "{answer:?}");
                }
            })
        };
        let asking: Vec<_> = (0..3).map(ask).collect();
        for i in 0.. {
            if asking.iter().all(|thread| thread.is_finished()) {
                break;
            }
            if i % 5 == 4 {
                assert_eq!(server.post(UNLOAD, &json!({"lora_name": "x"})).status, 200);
            }
            assert_eq!(server.post(LOAD, &body("x", ["one", "two"][i % 2])).status, 200);
        }
    });
    assert_eq!(server.post(UNLOAD, &json!({"lora_name": "x"})).status, 200);
    wait_until("all memory is free", || server.metric("wen_engine_adapter_bytes") == 0.0);
}

#[test]
fn loading_needs_the_key() {
    let (base, root) = (base(), adapter_directory());
    let all = root.path().join("all");
    let arguments = ["--adapter-dir", all.to_str().unwrap(), "--api-key", "sk-right"];
    let server = Server::start(&[&["--model", &named("base", base.path())][..], &arguments].concat());
    assert_eq!(server.post(LOAD, &json!({"lora_name": "x", "lora_path": "one"})).status, 401);
    assert_eq!(server.post(UNLOAD, &json!({"lora_name": "x"})).status, 401);
}

#[test]
fn chat_goes_through_an_adapter() {
    let base = base();
    let model = base.path().to_str().unwrap();
    let adapter = peft(NAMES[0]);
    let say = |more: &[&str]| {
        stdout(wen(
            &[&["chat", model, "Hello!", "--temperature", "0", "--max-tokens", "30"][..], more].concat()
        ))
    };
    let merged = merged(base.path(), NAMES[0]);
    let expected =
        wen(&["chat", merged.path().to_str().unwrap(), "Hello!", "--temperature", "0", "--max-tokens", "30"]);
    let found = say(&["--adapter", adapter.to_str().unwrap()]);
    assert_eq!(found, stdout(expected));
    assert_ne!(found, say(&[]));
}

#[test]
fn adapters_that_cannot_be_used_say_why() {
    let tied = parity("qwen3-tied").display().to_string();
    let adapter = peft(NAMES[0]).display().to_string();
    let base = parity("qwen3-train-base").display().to_string();
    let serve = |more: &[&str]| wen(&[&["serve", "--port", "0", "--model", &base][..], more].concat());
    let to = |name: &str| format!("{name}={adapter}");
    assert_fails(
        &wen(&["chat", &tied, "Hello!", "--adapter", &adapter]),
        3,
        &["belongs to another model", "mlp.down_proj"],
    );
    assert_fails(&wen(&["chat", &base, "Hello!", "--adapter", &base]), 3, &["adapter_config.json"]);
    assert_fails(&wen(&["chat", &base, "Hello!", "--adapter", "./no/such"]), 3, &["no/such"]);
    assert_fails(&serve(&["--adapter", &adapter]), 2, &["NAME=DIR"]);
    assert_fails(&serve(&["--adapter", &to("other:a")]), 2, &["`other`"]);
    assert_fails(&serve(&["--adapter", &to("a b")]), 2, &["`a b`"]);
    assert_fails(&serve(&["--adapter", &to("a"), "--adapter", &to("a")]), 3, &["`a` is loaded already"]);
    assert_fails(&serve(&["--adapter", &to("a"), "--model", &tied]), 2, &["MODEL:NAME=DIR"]);
    assert_fails(&serve(&["--adapter-dir", "no/such"]), 2, &["no/such"]);
}

#[test]
fn bench_measures_a_batch_through_adapters() {
    let model = parity("qwen3-tied").display().to_string();
    let sizes = ["--prompt", "16", "--generate", "300", "--repeat", "1", "--batch", "3", "--adapters", "2"];
    let json = stdout(wen(&[&["bench", &model, "--json"][..], &sizes].concat()));
    let json: Value = serde_json::from_str(&json).unwrap();
    let with = &json["batches"][0]["with_adapters"];
    assert_eq!((&with["adapters"], &with["rank"]), (&json!(2), &json!(16)), "{json}");
    assert!(with["decode_of_base"]["median"].as_f64() > Some(0.0), "{json}");
    let table = stdout(wen(&[&["bench", &model][..], &sizes].concat()));
    assert!(table.contains("3, 2 adapters") && table.contains("of the base's speed"), "{table}");
}
