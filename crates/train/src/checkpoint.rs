//! The state of a run on disk: one file, complete or absent, from which the run goes on with the same bits.

use crate::optimizer::Optimizer;
use crate::parameters::Parameters;
use models::CausalLm;
use models::checkpoint::writer::{NewTensor, write_file, write_safetensors};
use models::checkpoint::{FileError, StoredTensor, safetensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a run has done, and what it was to do: it goes on only with the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// The recipe, the data and the base that it was done with, as one hash.
    pub identity: String,
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
    std::fs::create_dir_all(dir).map_err(|source| FileError::Io { path: dir.to_owned(), source })?;
    let mut values = Vec::new();
    parameters.visit(lm, |id, of| values.push((id, of.to_vec())));
    values.sort_by_key(|(id, _)| *id);
    let mut tensors = Vec::new();
    for (id, values) in &values {
        let (info, moments) = (parameters.info(*id), &optimizer.moments()[id.0]);
        tensors.push(NewTensor::f32(format!("values.{}", info.name), info.shape.clone(), values));
        if moments.steps > 0 {
            for (which, values) in [("m", &moments.m), ("v", &moments.v)] {
                tensors.push(NewTensor::f32(format!("{which}.{}", info.name), info.shape.clone(), values));
            }
            tensors.push(bytes_tensor(format!("steps.{}", info.name), moments.steps.to_le_bytes().to_vec()));
        }
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

fn bytes_tensor(name: String, bytes: Vec<u8>) -> NewTensor<'static> {
    NewTensor { name, type_name: "U8", shape: vec![bytes.len()], bytes: Cow::Owned(bytes) }
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

/// Goes on from the newest checkpoint in `dir` that is whole. Returns its step, or 0 when there is none.
///
/// # Errors
/// When it belongs to another run, or all there are are broken.
pub fn resume(
    dir: &Path,
    identity: &str,
    lm: &mut CausalLm,
    parameters: &Parameters,
    optimizer: &mut Optimizer,
) -> Result<usize, CheckpointError> {
    let mut broken = None;
    for (_, path) in list(dir).into_iter().rev() {
        match read(&path) {
            Ok(stored) if stored.progress.identity != identity => {
                return Err(CheckpointError::OtherRun(path));
            }
            Ok(stored) => {
                stored.restore(&path, lm, parameters, optimizer)?;
                return Ok(stored.progress.step);
            }
            Err(error) => broken = broken.or(Some(error)),
        }
    }
    broken.map_or(Ok(0), Err)
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
    fn floats(&self, name: &str, len: usize) -> Option<Vec<f32>> {
        let bytes = &self.bytes[self.tensors.get(name)?.range.clone()];
        let (words, _) = bytes.as_chunks::<4>();
        (bytes.len() == len * 4).then(|| words.iter().map(|b| f32::from_le_bytes(*b)).collect())
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
            let moments = &mut optimizer.moments_mut()[id.0];
            match self.floats(&format!("values.{name}"), values.len()) {
                Some(stored) => values.copy_from_slice(&stored),
                None => missing = Some(name.clone()),
            }
            let Some(steps) = self.tensors.get(&format!("steps.{name}")) else { return };
            let of = |which: &str| self.floats(&format!("{which}.{name}"), values.len());
            match (self.bytes[steps.range.clone()].first_chunk(), of("m"), of("v")) {
                (Some(steps), Some(m), Some(v)) => {
                    (moments.steps, moments.m, moments.v) = (u32::from_le_bytes(*steps), m, v);
                }
                _ => missing = Some(name.clone()),
            }
        });
        let reason = |name| format!("it lacks the parameter `{name}`");
        match missing.map(reason) {
            Some(reason) => Err(CheckpointError::Broken { path: path.to_owned(), reason }),
            None => Ok(()),
        }
    }
}
