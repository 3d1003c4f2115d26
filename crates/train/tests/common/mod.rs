//! The fixtures of `tests/data/parity`, and comparisons with them.

// each test file uses some of it
#![allow(dead_code)]

use models::CausalLm;
use models::checkpoint::{StoredTensor, safetensors};
use nn::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use train::Example;

/// Largest relative error of a tensor or a number: the length of the difference over the length of what is expected.
/// Gradients are 1e-6 to 5e-6 off.
pub const TOLERANCE: f64 = 1e-5;

/// Largest deviation of a single value, relative to the tensor's largest. AdamW divides a gradient by its own size, so that
/// one value of 10,752, whose gradient is nearly nothing, ends 1.5e-4 away.
pub const TOLERANCE_OF_VALUE: f32 = 2e-4;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity").join(name)
}

pub fn base() -> CausalLm {
    models::model::open_weights(&fixture("qwen3-train-base")).unwrap_or_else(|e| panic!("{e}")).1
}

pub fn recording() -> Context {
    Context::recording(Arc::new(kernels::Pool::new(2)))
}

/// The reference's tensors.
pub struct Expected {
    bytes: Vec<u8>,
    pub tensors: BTreeMap<String, StoredTensor>,
    pub json: serde_json::Value,
}

impl Expected {
    pub fn read(fixture_name: &str, file: &str) -> Expected {
        let dir = fixture(fixture_name);
        let bytes = std::fs::read(dir.join(file)).unwrap();
        let tensors = safetensors::parse(&bytes).unwrap().into_iter().collect();
        let json = serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
        Expected { bytes, tensors, json }
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        let bytes = self.bytes[self.tensors[name].range.clone()].chunks_exact(4);
        bytes.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub fn ids(&self, name: &str) -> Vec<i64> {
        let bytes = self.bytes[self.tensors[name].range.clone()].chunks_exact(8);
        bytes.map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// The rows of a padded batch without their padding.
    pub fn examples(&self, batch: &str) -> Vec<Example> {
        let [ids, mask, labels] =
            ["input_ids", "attention_mask", "labels"].map(|part| self.ids(&format!("{batch}.{part}")));
        let width = self.tensors[&format!("{batch}.input_ids")].shape[1];
        let rows = ids.chunks_exact(width).zip(mask.chunks_exact(width)).zip(labels.chunks_exact(width));
        rows.map(|((ids, mask), labels)| {
            let len = mask.iter().sum::<i64>() as usize;
            let tokens = ids[..len].iter().map(|&id| id as u32).collect();
            Example::new(tokens, labels[..len].iter().map(|&label| label != -100).collect())
        })
        .collect()
    }
}

#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let square = |v: f32| f64::from(v) * f64::from(v);
    let off: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    let error = (off / expected.iter().map(|v| square(*v)).sum::<f64>().max(1e-12)).sqrt();
    assert!(error <= TOLERANCE, "{what}: relative error {error:e}");
    let largest = expected.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    // written so that NaN fails
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let worst = off.fold(0.0f32, |m, d| if d <= m { m } else { d });
    assert!(
        worst <= TOLERANCE_OF_VALUE * largest,
        "{what}: off by {worst:e}, where the largest is {largest}"
    );
}

#[track_caller]
pub fn assert_number(what: &str, found: f64, expected: &serde_json::Value) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= TOLERANCE * expected.abs(), "{what}: {found} for {expected}");
}
