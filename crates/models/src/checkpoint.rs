//! Model files: tensors by name, mapped into memory.

pub mod gguf;
pub mod metadata;
pub mod safetensors;

pub use metadata::{GgufMetadata, MetadataError};

use nn::DType;
use std::ops::Range;

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// The element type as the file names it.
    pub type_name: &'static str,
    /// The storage type, when it is one that is computed with.
    pub dtype: Option<DType>,
    /// Outermost dimension first; empty for a scalar. No dimension is zero.
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub range: Range<usize>,
}

/// Finds two tensors that share bytes, and names them.
fn check_overlap(tensors: &[(String, StoredTensor)]) -> Result<(), (String, String)> {
    let mut order: Vec<&(String, StoredTensor)> = tensors.iter().collect();
    order.sort_by_key(|(_, tensor)| (tensor.range.start, tensor.range.end));
    for pair in order.windows(2) {
        if pair[1].1.range.start < pair[0].1.range.end {
            return Err((pair[0].0.clone(), pair[1].0.clone()));
        }
    }
    Ok(())
}

/// An open checkpoint: a Hugging Face directory or a GGUF file.
pub struct Checkpoint {}
