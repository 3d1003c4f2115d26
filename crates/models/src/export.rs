//! Models written for others: one GGUF file, or a directory as Hugging Face has them.
//!
//! What is written streams from the model's files tensor by tensor, so that memory holds a few tensors and not the model, and
//! appears complete or not at all. Adapters are merged on the way.

mod config;
pub mod directory;
pub mod gguf;
mod provenance;
pub mod sentence_transformers;
mod tensors;

pub use provenance::Provenance;
pub use tensors::Storage;

use crate::adapter::{Adapter, AdapterError};
use crate::checkpoint::writer::free_bytes;
use crate::checkpoint::{Checkpoint, FileError, GgufMetadata};
use crate::model::ModelError;
use kernels::Pool;
use nn::DType;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Where what stands around a model's weights comes from.
#[derive(Clone, Copy)]
pub enum Origin<'a> {
    /// A directory as Hugging Face has them.
    Directory(&'a Path),
    /// A GGUF file, with its metadata.
    Gguf(&'a Path, &'a GgufMetadata),
}

impl<'a> Origin<'a> {
    /// Of the model in `checkpoint`.
    pub fn of(checkpoint: &'a Checkpoint) -> Origin<'a> {
        match checkpoint.gguf() {
            Some(metadata) => Origin::Gguf(checkpoint.path(), metadata),
            None => Origin::Directory(checkpoint.path()),
        }
    }
}

/// How a model is written.
pub struct Options<'a> {
    /// How matrices are stored.
    pub storage: Storage,
    /// Merged into the weights, one after the other.
    pub adapters: &'a [Adapter],
    /// What a GGUF file says of where the model comes from; without it, what its origin says.
    pub provenance: Option<Provenance<'a>>,
    /// What it computes on.
    pub pool: &'a Pool,
    /// Hears of bytes written and in all, and may stop it.
    pub progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

/// Progress that nobody follows.
pub fn unheard(_done: u64, _total: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Bytes of all weights' files.
    pub bytes: u64,
    /// Files of weights.
    pub files: usize,
    /// How many matrices are stored in each type; experts of a layer that lie in one tensor count as one.
    pub matrices: Vec<(DType, usize)>,
    /// Matrices that the wanted type can't hold.
    pub fallbacks: Vec<Fallback>,
}

/// A matrix that is stored in another type than the wanted one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The matrix.
    pub name: String,
    /// Values in a row of it.
    pub cols: usize,
    /// What was wanted.
    pub wanted: DType,
    /// What it is.
    pub stored: DType,
}

/// Why a model can't be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// What stands around the weights.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An adapter that does not go with the model.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A directory without a tokenizer.
    #[error("{} has no tokenizer.json, which a GGUF file holds", .0.display())]
    NoTokenizer(PathBuf),
    /// Something that the format, or this version, has no words for.
    #[error("{what} is {found}, which is not written to {format}; {known}")]
    Unsupported {
        /// Of what.
        what: &'static str,
        /// What was found.
        found: String,
        /// The format.
        format: &'static str,
        /// What is written.
        known: &'static str,
    },
    /// Rows that are no whole blocks.
    #[error("`{name}` has rows of {cols} values, but q8_0 has blocks of 32; take f16")]
    Blocks {
        /// The matrix.
        name: String,
        /// Its columns.
        cols: usize,
    },
    /// A value that the type has no number for.
    #[error("`{name}` holds the value {value}, which {} has no number for; take bf16 or f32", .dtype.name())]
    Value {
        /// The tensor.
        name: String,
        /// Its value.
        value: f32,
        /// The type.
        dtype: DType,
    },
    /// A disk with too little room.
    #[error("{needed} bytes are to be written, but the disk of {} has {free} left; make room, or write elsewhere", .dir.display())]
    Room {
        /// The directory.
        dir: PathBuf,
        /// Bytes to be written.
        needed: u64,
        /// Bytes that are there.
        free: u64,
    },
    /// Whoever watches the progress has had enough.
    #[error("interrupted")]
    Stopped,
}

const GGUF: &str = "GGUF files";
const DIRECTORY: &str = "safetensors directories";

fn unsupported<T>(
    format: &'static str,
    what: &'static str,
    found: impl ToString,
    known: &'static str,
) -> Result<T, ExportError> {
    Err(ExportError::Unsupported { what, found: found.to_string(), format, known })
}

/// Bytes that stay free on a disk: room for directories, logs, and what others write meanwhile.
const SPARE_BYTES: u64 = 16 << 20;

/// Refuses to begin where the end is sure to be a full disk.
fn check_room(dir: &Path, needed: u64) -> Result<(), ExportError> {
    let free = free_bytes(dir)?;
    if needed.saturating_add(SPARE_BYTES) <= free {
        return Ok(());
    }
    Err(ExportError::Room { dir: dir.to_owned(), needed, free })
}
