//! Tiny checkpoints, and what the reference implementations compute with them.
//!
//! Those under `tests/data/parity` always count. The whole set is covered as well where `WEN_PARITY_DIR` names it or
//! it lies in `../shared/parity/fixtures` beside the repository.

use models::checkpoint::safetensors;
use models::{Model, Quantization};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// The model of tests that would be the same with any.
pub static QWEN3: LazyLock<Arc<Model>> = LazyLock::new(|| open(&fixture("qwen3-tied")));

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity")
}

/// The directory of a committed fixture.
pub fn fixture(name: &str) -> PathBuf {
    committed().join(name)
}

pub fn open(path: &Path) -> Arc<Model> {
    Arc::new(Model::open(path).unwrap_or_else(|e| panic!("{e}")))
}

/// The model of a committed fixture with its weights packed; the packed copy is made beside a copy of the fixture.
pub fn packed(name: &str, quantization: Quantization) -> Arc<Model> {
    if quantization == Quantization::None {
        return open(&fixture(name));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = match fixture(name) {
        file if file.is_file() => {
            let copy = dir.path().join(file.file_name().unwrap());
            std::fs::copy(file, &copy).unwrap();
            copy
        }
        from => {
            copy_files(&from, dir.path());
            dir.path().to_owned()
        }
    };
    let mut model = Model::open(&path).unwrap();
    model.pack(quantization, &kernels::Pool::new(2), &mut |_, _| ()).unwrap();
    Arc::new(model)
}

/// The model of a committed fixture with a change in one of its JSON files.
pub fn altered(name: &str, file: &str, change: impl FnOnce(&mut serde_json::Value)) -> Arc<Model> {
    let dir = tempfile::tempdir().unwrap();
    copy_files(&fixture(name), dir.path());
    let file = dir.path().join(file);
    let mut json = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(&file, json.to_string()).unwrap();
    open(dir.path())
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten().filter(|e| e.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The checkpoints whose expected tensors hold `tensor`: those of the committed set, which must be `at_least`, and
/// those of the whole set.
pub fn checkpoints_with(tensor: &str, at_least: &[&str]) -> Vec<(PathBuf, Expected)> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/parity/fixtures");
    let whole = std::env::var_os("WEN_PARITY_DIR").map_or(beside, PathBuf::from);
    let mut found = Vec::new();
    for root in [committed(), whole] {
        for entry in std::fs::read_dir(&root).into_iter().flatten().flatten() {
            let dir = entry.path();
            if is_decoder(&dir) && dir.join("expected.safetensors").exists() {
                let expected = Expected::read(&dir);
                if expected.range(tensor).is_some() {
                    found.push((dir, expected));
                }
            }
        }
    }
    for name in at_least {
        assert!(found.iter().any(|(dir, _)| *dir == fixture(name)), "fixture {name} is not covered");
    }
    found
}

fn is_decoder(dir: &Path) -> bool {
    let Ok(json) = std::fs::read(dir.join("config.json")) else { return false };
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    matches!(json["model_type"].as_str(), Some("qwen2" | "qwen3" | "qwen3_moe" | "llama"))
}

/// Tensors of a fixture's `expected.safetensors`.
pub struct Expected {
    bytes: Vec<u8>,
    ranges: Vec<(String, Range<usize>)>,
}

impl Expected {
    pub fn read(dir: &Path) -> Expected {
        let bytes = std::fs::read(dir.join("expected.safetensors")).unwrap();
        let tensors = safetensors::parse(&bytes).unwrap();
        let ranges = tensors.into_iter().map(|(name, stored)| (name, stored.range)).collect();
        Expected { bytes, ranges }
    }

    pub fn of(name: &str) -> Expected {
        Expected::read(&fixture(name))
    }

    fn range(&self, tensor: &str) -> Option<Range<usize>> {
        self.ranges.iter().find(|(name, _)| name == tensor).map(|(_, range)| range.clone())
    }

    fn words<const N: usize>(&self, tensor: &str) -> impl Iterator<Item = [u8; N]> {
        let range = self.range(tensor).unwrap_or_else(|| panic!("there is no tensor {tensor}"));
        self.bytes[range].chunks_exact(N).map(|word| word.try_into().unwrap())
    }

    pub fn ids(&self, tensor: &str) -> Vec<u32> {
        self.words(tensor).map(|word| i64::from_le_bytes(word) as u32).collect()
    }

    pub fn f32(&self, tensor: &str) -> Vec<f32> {
        self.words(tensor).map(f32::from_le_bytes).collect()
    }

    /// `prefix0`, `prefix1`, ... as far as they go, with their `input_ids`.
    pub fn inputs(&self, prefix: &str) -> Vec<(String, Vec<u32>)> {
        let cases = (0..).map(|i| format!("{prefix}{i}"));
        let cases = cases.map(|case| (format!("{case}.input_ids"), case));
        let cases = cases.take_while(|(tensor, _)| self.range(tensor).is_some());
        cases.map(|(tensor, case)| (case, self.ids(&tensor))).collect()
    }
}

/// Prompts of 5 to 166 tokens, from a reference prompt.
pub fn prompts() -> Vec<Vec<u32>> {
    let base = Expected::of("qwen3-tied").ids("case0.input_ids");
    (0..8).map(|i| base.iter().cycle().skip(i).take(5 + 23 * i).copied().collect()).collect()
}
