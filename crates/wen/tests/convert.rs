//! `wen convert`: what is written is read again as the same model.

mod common;

use common::{assert_fails, parity, stdout, wen};
use models::checkpoint::safetensors;
use models::checkpoint::writer::read_values;
use std::path::{Path, PathBuf};

const TOKENS: &str = "5,17,256,31,9,300,88,3,3,120,77,45";
/// Half a gigabyte of file is never read here.
const LIMIT: u64 = 1 << 29;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Converts and gives what was said on standard error.
#[track_caller]
fn convert(model: &Path, out: &Path, more: &[&str]) -> String {
    let output = wen(&[&["convert", text(model), "--out", text(out)], more].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stdout(output).trim_end(), text(out));
    said
}

/// Logits of [`TOKENS`], as `wen logits` computes them.
fn logits(model: &Path) -> Vec<f32> {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("logits");
    stdout(wen(&["logits", text(model), "--tokens", TOKENS, "--out", text(&out), "--threads", "1"]));
    read_values(&out, LIMIT).unwrap().remove("logits").unwrap().1
}

/// Names in a directory that are not meant to stay.
fn leftovers(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".writing")).collect()
}

#[test]
fn a_model_goes_to_a_file_and_back_with_adapters_and_types() {
    let dir = tempfile::tempdir().unwrap();
    let [file, back, merged, small] =
        ["model.gguf", "back", "merged", "small.GGUF"].map(|name| dir.path().join(name));
    let base = parity("qwen3-train-base");
    convert(&base, &file, &[]);
    convert(&file, &back, &["--type", "f32", "--shard-size", "60KB", "--threads", "1"]);
    convert(&base, &merged, &["--adapter", text(&parity("lora/adapter"))]);
    let said = convert(&parity("llama3-rope-tied"), &small, &["--type", "q8_0"]);
    assert!(
        said.contains("stored as F16, since rows of 48 values are no whole blocks of Q8_0: model."),
        "{said}"
    );
    assert!(said.contains(" in Q8_0") && said.contains(" in 1 file(s)"), "{said}");
    assert!(back.join("model.safetensors.index.json").exists());
    let card = |dir: &Path| std::fs::read_to_string(dir.join("README.md")).unwrap();
    assert!(
        card(&back).starts_with("---\nbase_model: [\"model\"]\nbase_model_relation: \"quantized\"\n"),
        "{}",
        card(&back)
    );
    for part in ["[\"qwen3-train-base\"]", "\"finetune\"", "with the adapter `adapter` merged"] {
        assert!(card(&merged).contains(part), "{part} is not in\n{}", card(&merged));
    }
    assert_eq!(logits(&file), logits(&base));
    assert_eq!(logits(&back), logits(&base));
    assert_ne!(logits(&merged), logits(&base));
    assert_eq!(leftovers(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn nothing_is_written_over_unless_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let model = parity("qwen3-train-base");
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("file.gguf"), "old").unwrap();
    std::fs::create_dir(at("other")).unwrap();
    std::fs::write(at("other/diary.txt"), "old").unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    let out = |name: &str| text(&at(name)).to_owned();
    let inside = model.join("inside");
    for (out, more, part) in [
        (out("file.gguf"), &[][..], "--force replaces it"),
        (out("other"), &[][..], "--force replaces it"),
        (out("other"), &["--force"][..], "holds no model"),
        (out("other"), &["--to", "gguf", "--force"][..], "is no file"),
        (out("file.gguf"), &["--to", "safetensors", "--force"][..], "is no directory"),
        (out("absent/x.gguf"), &[][..], "there is no directory"),
        (out("x.safetensors"), &[][..], "come in a directory"),
        (out("x"), &["--type", "q8_0"][..], "--type q8_0 is for GGUF files"),
        (out("x.gguf"), &["--shard-size", "1GB"][..], "--shard-size is for safetensors"),
        (text(&inside).to_owned(), &[][..], "is where the model is"),
        (text(&model).to_owned(), &["--force"][..], "is where the model is"),
    ] {
        let output = wen(&[&["convert", text(&model), "--out", &out], more].concat());
        assert_fails(&output, 2, &[part]);
    }
    assert_eq!(std::fs::read(at("file.gguf")).unwrap(), b"old");
    assert!(at("other/diary.txt").exists() && !inside.exists());
    convert(&model, &at("file.gguf"), &["--force"]);
    convert(&model, &at("empty"), &[]);
    std::fs::write(at("empty/stale.safetensors"), "old").unwrap();
    convert(&model, &at("empty"), &["--force"]);
    assert!(!at("empty/stale.safetensors").exists());
    assert_eq!(logits(&at("file.gguf")), logits(&at("empty")));
    assert_eq!(leftovers(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn broken_files_and_values_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(parity("gguf-qwen3/q8_0.gguf")).unwrap();
    let cut = dir.path().join("cut.gguf");
    std::fs::write(&cut, &whole[..whole.len() - 100]).unwrap();
    let out = dir.path().join("out");
    assert_fails(&wen(&["convert", text(&cut), "--out", text(&out)]), 3, &["cut off"]);
    let absent = dir.path().join("absent");
    assert_fails(&wen(&["convert", text(&absent), "--out", text(&out)]), 3, &["no file or directory"]);
    let adapter = parity("lora/adapter");
    let other =
        wen(&["convert", text(&parity("qwen2-tied")), "--adapter", text(&adapter), "--out", text(&out)]);
    assert_fails(&other, 3, &["belongs to another model"]);

    // a weight beyond float16
    let large = common::with_context("qwen3-train-base", 512);
    let path = large.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::parse(&bytes).unwrap();
    let (_, tensor) = tensors.iter().find(|(name, _)| name == "model.embed_tokens.weight").unwrap();
    bytes[tensor.range.start..tensor.range.start + 4].copy_from_slice(&1e6f32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    for to in ["gguf", "safetensors"] {
        let arguments = ["convert", text(large.path()), "--out", text(&out), "--to", to, "--type", "f16"];
        assert_fails(&wen(&arguments), 3, &["holds the value 1000000", "take bf16 or f32"]);
    }
    assert!(!out.exists());
    assert_eq!(leftovers(dir.path()), Vec::<PathBuf>::new());
}
