//! What the model thinks of preferences before it learns: computed once, and kept on disk for the whole run.

use crate::data::micro_batches;
use crate::objective::{Preference, Reference};
use models::CausalLm;
use models::checkpoint::writer::{NewTensor, write_file, write_safetensors};
use models::checkpoint::{FileError, safetensors};
use nn::Context;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The tensor with the values, `[preferences, 2]`.
const LOG_PROBS: &str = "log_probs";
/// The tensor with the run's identity and a checksum.
const SEAL: &str = "seal";

/// What `lm` without its adapters thinks of `preferences`; `None` when it was stopped.
pub fn compute(
    cx: &Context,
    lm: &mut CausalLm,
    preferences: &[&Preference],
    part_tokens: usize,
    stop: &AtomicBool,
) -> Option<Vec<Reference>> {
    let adapters: Vec<_> = lm.linears_mut().into_iter().map(|(_, linear)| linear.adapter.take()).collect();
    let mut found = Vec::with_capacity(preferences.len());
    for part in micro_batches(preferences, part_tokens, Preference::tokens) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        found.extend(Reference::of(cx, lm, &part));
    }
    for ((_, linear), adapter) in lm.linears_mut().into_iter().zip(adapters) {
        linear.adapter = adapter;
    }
    (found.len() == preferences.len()).then_some(found)
}

/// Keeps `references` of the run `identity`.
///
/// # Errors
/// When the file can't be written.
pub fn save(path: &Path, identity: &str, references: &[Reference]) -> Result<(), FileError> {
    let dir = path.parent().unwrap_or(path);
    std::fs::create_dir_all(dir).map_err(|source| FileError::Io { path: dir.to_owned(), source })?;
    let values: Vec<u8> =
        references.iter().flat_map(|r| [r.chosen, r.rejected]).flat_map(f64::to_le_bytes).collect();
    let seal = seal(identity, &values);
    let tensor = |name: &str, type_name, shape, bytes| NewTensor {
        name: name.to_owned(),
        type_name,
        shape,
        bytes: Cow::Owned(bytes),
    };
    let tensors = vec![
        tensor(SEAL, "U8", vec![seal.len()], seal),
        tensor(LOG_PROBS, "F64", vec![references.len(), 2], values),
    ];
    write_file(path, |out| write_safetensors(out, tensors))
}

/// What was kept of the run `identity`; `None` where there is nothing, or nothing that can be trusted.
pub fn load(path: &Path, identity: &str, count: usize) -> Option<Vec<Reference>> {
    let bytes = std::fs::read(path).ok()?;
    let tensors: BTreeMap<_, _> = safetensors::parse(&bytes).ok()?.into_iter().collect();
    let part = |name: &str| tensors.get(name).map(|tensor| &bytes[tensor.range.clone()]);
    let values = part(LOG_PROBS)?;
    let (words, rest) = values.as_chunks::<8>();
    if part(SEAL)? != seal(identity, values) || !rest.is_empty() || words.len() != count * 2 {
        return None;
    }
    let pairs = words.as_chunks::<2>().0.iter().map(|pair| pair.map(f64::from_le_bytes));
    Some(pairs.map(|[chosen, rejected]| Reference { chosen, rejected }).collect())
}

fn seal(identity: &str, values: &[u8]) -> Vec<u8> {
    Sha256::new().chain_update(identity).chain_update(values).finalize().to_vec()
}
