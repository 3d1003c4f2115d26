//! The state of a run on disk: one file, complete or absent, from which the run goes on with the same bits.

use crate::optimizer::{Optimizer, StatePart};
use crate::parameters::Parameters;
use crate::run::Cost;
use models::CausalLm;
use models::checkpoint::writer::{NewTensor, create_dir, write_file, write_safetensors};
use models::checkpoint::{FileError, StoredTensor, safetensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a run has done, and what it was to do: it goes on only with the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// The recipe, the data and the base that it was done with, as one hash.
    pub identity: String,
    /// What it has taken.
    #[serde(default)]
    pub cost: Cost,
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// All checkpoints are broken.
    #[error("{} is broken ({reason}); remove it to go on from an older one, or to begin anew", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Made by another run.
    #[error(
        "{} is of a run with another recipe, other data or another model; give another `output`, or remove it",
        .0.display()
    )]
    OtherRun(PathBuf),
}

/// The tensor that holds [`Progress`] as JSON.
const PROGRESS: &str = "progress";
/// The tensor that holds the SHA-256 of all others.
const CHECKSUM: &str = "sha256";

fn path_of(dir: &Path, step: usize) -> PathBuf {
    dir.join(format!("step-{step:08}.safetensors"))
}

/// Writes a checkpoint into `dir` and removes all but the newest `keep`.
///
/// # Errors
/// When the directory can't be written or is full; older checkpoints are as they were.
pub fn save(
    dir: &Path,
    keep: usize,
    progress: &Progress,
    lm: &mut CausalLm,
    parameters: &Parameters,
    optimizer: &Optimizer,
) -> Result<(), CheckpointError> {
    create_dir(dir)?;
    let mut values = Vec::new();
    parameters.visit(lm, |id, of| values.push((id, of.to_vec())));
    values.sort_by_key(|(id, _)| *id);
    let mut tensors = Vec::new();
    for (id, values) in &values {
        let (info, steps) = (parameters.info(*id), optimizer.steps(*id));
        tensors.push(NewTensor::f32(format!("values.{}", info.name), info.shape.clone(), values));
        if steps == 0 {
            continue;
        }
        for (which, part) in optimizer.state(*id) {
            let name = format!("{which}.{}", info.name);
            tensors.push(match part {
                StatePart::Floats(values) => NewTensor::f32(name, vec![values.len()], values),
                StatePart::Bytes(bytes) => bytes_tensor(name, bytes),
            });
        }
        tensors.push(bytes_tensor(format!("steps.{}", info.name), steps.to_le_bytes().to_vec()));
    }
    let json = serde_json::to_vec(progress).expect("plain values");
    tensors.push(bytes_tensor(PROGRESS.to_owned(), json));
    let sum = checksum(tensors.iter().map(|t| (t.name.as_str(), &*t.bytes)).collect());
    tensors.push(bytes_tensor(CHECKSUM.to_owned(), sum));
    write_file(&path_of(dir, progress.step), |out| write_safetensors(out, tensors))?;
    for (_, old) in list(dir).into_iter().rev().skip(keep.max(1)) {
        // one more than wanted does no harm
        let _ = std::fs::remove_file(old);
    }
    Ok(())
}

fn bytes_tensor<'a>(name: String, bytes: impl Into<Cow<'a, [u8]>>) -> NewTensor<'a> {
    let bytes = bytes.into();
    NewTensor { name, type_name: "U8", shape: vec![bytes.len()], bytes }
}

fn checksum(mut tensors: Vec<(&str, &[u8])>) -> Vec<u8> {
    tensors.sort_unstable();
    let mut hash = Sha256::new();
    for (name, bytes) in tensors {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().to_vec()
}

/// The checkpoints in `dir` by step, the oldest first.
fn list(dir: &Path) -> Vec<(usize, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<(usize, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let step = name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()?;
            Some((step, entry.path()))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Goes on from the newest checkpoint in `dir` that is whole. Returns what was done by then, which is nothing when there is
/// none.
///
/// # Errors
/// When it belongs to another run, or all there are are broken.
pub fn resume(
    dir: &Path,
    identity: &str,
    lm: &mut CausalLm,
    parameters: &Parameters,
    optimizer: &mut Optimizer,
) -> Result<Progress, CheckpointError> {
    let mut broken = None;
    for (_, path) in list(dir).into_iter().rev() {
        match read(&path) {
            Ok(stored) if stored.progress.identity != identity => {
                return Err(CheckpointError::OtherRun(path));
            }
            Ok(stored) => {
                stored.restore(&path, lm, parameters, optimizer)?;
                return Ok(stored.progress);
            }
            Err(error) => broken = broken.or(Some(error)),
        }
    }
    broken.map_or(Ok(Progress::default()), Err)
}

/// A checkpoint as it was read, its checksum proven.
struct Stored {
    progress: Progress,
    bytes: Vec<u8>,
    tensors: BTreeMap<String, StoredTensor>,
}

fn read(path: &Path) -> Result<Stored, CheckpointError> {
    let broken = |reason: String| CheckpointError::Broken { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|source| FileError::Io { path: path.to_owned(), source })?;
    let parsed = safetensors::parse(&bytes).map_err(|error| broken(error.to_string()))?;
    let tensors: BTreeMap<String, StoredTensor> = parsed.into_iter().collect();
    let part = |name: &str| tensors.get(name).map(|t| &bytes[t.range.clone()]);
    let (Some(sum), Some(json)) = (part(CHECKSUM), part(PROGRESS)) else {
        return Err(broken("it has no checksum".to_owned()));
    };
    let others = tensors.iter().filter(|(name, _)| *name != CHECKSUM);
    if checksum(others.map(|(name, t)| (name.as_str(), &bytes[t.range.clone()])).collect()) != sum {
        return Err(broken("its checksum is another".to_owned()));
    }
    let progress = serde_json::from_slice(json).map_err(|error| broken(error.to_string()))?;
    Ok(Stored { progress, bytes, tensors })
}

impl Stored {
    fn part(&self, name: &str) -> Option<&[u8]> {
        self.tensors.get(name).map(|tensor| &self.bytes[tensor.range.clone()])
    }

    fn restore(
        &self,
        path: &Path,
        lm: &mut CausalLm,
        parameters: &Parameters,
        optimizer: &mut Optimizer,
    ) -> Result<(), CheckpointError> {
        let mut missing = None;
        parameters.visit(lm, |id, values| {
            let name = &parameters.info(id).name;
            let part = |which: &str| self.part(&format!("{which}.{name}"));
            match part("values").map(|bytes| bytes.as_chunks::<4>().0) {
                Some(words) if words.len() == values.len() => {
                    values.iter_mut().zip(words).for_each(|(value, word)| *value = f32::from_le_bytes(*word));
                }
                _ => missing = Some(name.clone()),
            }
            let Some(steps) = part("steps") else { return };
            let steps = steps.first_chunk().map(|steps| u32::from_le_bytes(*steps));
            if steps.and_then(|steps| optimizer.restore(id, values.len(), steps, part)).is_none() {
                missing = Some(name.clone());
            }
        });
        let reason = |name| format!("it lacks the parameter `{name}`, or has it in another size");
        match missing.map(reason) {
            Some(reason) => Err(CheckpointError::Broken { path: path.to_owned(), reason }),
            None => Ok(()),
        }
    }
}
