//! What a checkpoint is, without loading it.

use super::{ModelError, ModelKind, model_name};
use crate::checkpoint::TypeCount;
use crate::config::GroupQuantization;
use crate::{Checkpoint, Config};
use nn::DType;
use std::path::Path;

/// A checkpoint in figures, for people to look at.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Summary {
    /// What it is called.
    pub name: String,
    /// The kind of its architecture, such as `qwen3`.
    pub architecture: String,
    /// What it answers with.
    pub kind: ModelKind,
    /// Number of parameters.
    pub parameters: u64,
    /// Bytes of all tensors as stored.
    pub weight_bytes: u64,
    /// How matrices are stored that have codes in groups in place of values.
    pub quantization: Option<GroupQuantization>,
    /// How much is stored in which type, the largest first.
    pub types: Vec<TypeCount>,
    /// Decoder layers.
    pub layers: usize,
    /// Features of a token between layers.
    pub hidden_size: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub context_length: usize,
    /// Experts of a sparse layer and those that compute a token; `None` for a dense model.
    pub experts: Option<(usize, usize)>,
    /// Bytes that keys and values of 1,000 tokens take in a cache of 16-bit floats.
    pub kv_bytes_per_1000_tokens: u64,
}

impl Summary {
    /// Reads the configuration and the directories of the files at `path`; no tensor and no tokenizer.
    pub fn read(path: &Path) -> Result<Summary, ModelError> {
        let checkpoint = Checkpoint::open(path)?;
        let config = Config::read(&checkpoint)
            .map_err(|source| ModelError::Config { path: path.to_owned(), source })?;
        Summary::of(&checkpoint, &config)
    }

    /// The figures of an open checkpoint.
    pub fn of(checkpoint: &Checkpoint, config: &Config) -> Result<Summary, ModelError> {
        let types = checkpoint.types();
        let per_token = config.kv_cache_shape(DType::F16, 1, 1).bytes_per_block().unwrap_or(usize::MAX);
        Ok(Summary {
            name: model_name(checkpoint.path()),
            architecture: config.architecture.clone(),
            kind: ModelKind::of(checkpoint)?,
            parameters: types.iter().map(|t| t.parameters).sum(),
            weight_bytes: types.iter().map(|t| t.bytes).sum(),
            quantization: config.quantization,
            types,
            layers: config.layers,
            hidden_size: config.hidden_size,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            vocab_size: config.vocab_size,
            context_length: config.context_length,
            experts: config.experts.as_ref().map(|experts| (experts.count, experts.used)),
            kv_bytes_per_1000_tokens: (per_token as u64).saturating_mul(1000),
        })
    }
}
