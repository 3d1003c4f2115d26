//! `wen train` over the real binary.

mod common;

use common::{assert_fails, command, parity, stdout, wen};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A recipe in `dir`, with data of one conversation.
fn recipe(dir: &Path) -> PathBuf {
    let data =
        r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}"#;
    std::fs::write(dir.join("data.jsonl"), data).unwrap();
    let path = dir.join("recipe.toml");
    let text = format!(
        "model = {:?}\noutput = {:?}\n[data]\ntrain = [{:?}]\n[method]\nrank = 2\n[steps]\nepochs = 20\n",
        parity("qwen3-train-base"),
        dir.join("out"),
        dir.join("data.jsonl"),
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_recipe_becomes_an_adapter() {
    let dir = tempfile::tempdir().unwrap();
    let path = recipe(dir.path());
    let printed = stdout(wen(&["train", path.to_str().unwrap(), "--set", "steps.epochs=3"]));
    let adapter = PathBuf::from(printed.trim());
    assert_eq!(adapter, dir.path().join("out/adapter"));
    let config = std::fs::read_to_string(adapter.join("adapter_config.json")).unwrap();
    assert!(config.contains("\"peft_type\": \"LORA\"") && config.contains("\"r\": 2"), "{config}");
    assert!(config.contains("base_model_sha256"), "{config}");
    let metrics = std::fs::read_to_string(dir.path().join("out/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 3);
}

#[test]
fn a_base_given_by_a_path_is_published_as_its_card_calls_it() {
    let dir = tempfile::tempdir().unwrap();
    let base = common::with_context("qwen3-train-base", 512);
    let card = "---\nlicense: apache-2.0\nbase_model: Qwen/Tiny-Base\n---\n\n# Tiny\n";
    std::fs::write(base.path().join("README.md"), card).unwrap();
    let settings = format!("[aliases]\nsmall = {:?}\n", base.path());
    std::fs::write(dir.path().join("settings.toml"), settings).unwrap();
    let path = recipe(dir.path());
    let arguments = ["train", path.to_str().unwrap(), "--set", "steps.epochs=1", "--set", "model=small"];
    let run = command(&arguments).env("WEN_HUB", dir.path()).stdin(Stdio::null()).output().unwrap();
    let adapter = PathBuf::from(stdout(run).trim());
    let read = |name: &str| std::fs::read_to_string(adapter.join(name)).unwrap();
    let (card, config) = (read("README.md"), read("adapter_config.json"));
    for expected in [
        "base_model: \"Tiny\"\n",
        "license: \"apache-2.0\"\n",
        "\"base_models\":[\"Qwen/Tiny-Base\"]",
        "model = \"small\"\n",
        "| base | `Tiny` |",
    ] {
        assert!(card.contains(expected), "{expected} is not in\n{card}");
    }
    assert!(config.contains("\"base_model_name_or_path\": \"Tiny\""), "{config}");
    let place = base.path().to_str().unwrap();
    assert!(!card.contains(place) && !config.contains(place), "{card}\n{config}");
}

#[test]
fn what_is_wrong_is_said_before_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = recipe(dir.path());
    let path = path.to_str().unwrap();
    let nearest = ["`steps.epoch`, which does not exist", "`steps.epochs`"];
    assert_fails(&wen(&["train", path, "--set", "steps.epoch=3"]), 2, &nearest);
    assert_fails(
        &wen(&["train", path, "--set", "model=nowhere"]),
        3,
        &["there is no file or directory nowhere"],
    );
    let empty = format!("model={}", dir.path().display());
    assert_fails(&wen(&["train", path, "--set", &empty]), 3, &["holds no weights"]);
    let data = dir.path().join("data.jsonl");
    std::fs::write(&data, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\n{").unwrap();
    assert_fails(
        &wen(&["train", path]),
        1,
        &["data.jsonl:1: no message is the assistant's", "data.jsonl:2: "],
    );
    assert!(!dir.path().join("out").exists());
}

#[test]
fn sigterm_ends_a_run_with_a_checkpoint_from_which_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = recipe(dir.path());
    let path = path.to_str().unwrap();
    let endless = ["train", path, "--set", "steps.epochs=100000", "--set", "steps.checkpoint_every=100000"];
    let mut child =
        command(&endless).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.starts_with("step ")).expect("steps are reported");
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let said = lines.find(|line| line.starts_with("stopped after step ")).expect("it says where it stopped");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let step: usize = said.split(' ').nth(3).unwrap().trim_end_matches(';').parse().unwrap();
    assert!(dir.path().join(format!("out/checkpoints/step-{step:08}.safetensors")).exists(), "{said}");
    let more = format!("steps.at_most={}", step + 2);
    // as many steps as that is another recipe, and is told so
    let other = ["train", path, "--set", "steps.epochs=100000", "--set", &more];
    assert_fails(&wen(&other), 1, &["another recipe"]);
}

#[test]
fn a_full_disk_stops_a_run_that_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = recipe(dir.path());
    let args = |output: &str, every: usize| {
        let output = format!("output={}", dir.path().join(output).display());
        let every = format!("steps.checkpoint_every={every}");
        ["train", path.to_str().unwrap(), "--set", &output, "--set", &every].map(str::to_owned)
    };
    let run = |args: [String; 6]| stdout(wen(&args.each_ref().map(String::as_str)));
    run(args("whole", 5));
    // files may have so many blocks of 512 bytes: the first checkpoint does not fit, then the metrics
    for (blocks, every, said) in
        [(2, 1, ["step-00000001", "begins anew"]), (4, 100, ["metrics.jsonl", "begins anew"])]
    {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut limited = Command::new("sh");
        limited.args(["-c", &script]).arg(env!("CARGO_BIN_EXE_wen")).args(args("cut", every));
        let [what, then] = said;
        assert_fails(
            &limited.output().unwrap(),
            1,
            &["cannot write", what, "make room and run it again", then],
        );
    }
    // what is torn is done again
    run(args("cut", 5));
    let [whole, cut] = ["whole", "cut"].map(|output| dir.path().join(output));
    let weights = |dir: &Path| std::fs::read(dir.join("adapter/adapter_model.safetensors")).unwrap();
    assert!(weights(&cut) == weights(&whole));
    let metrics = std::fs::read_to_string(cut.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 20, "{metrics}");
}
