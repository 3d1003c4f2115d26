//! What an architecture's sizes are.

mod gguf;
mod hugging_face;
mod quantization;
mod rope;

pub use quantization::{GroupLayout, GroupQuantization};
pub use rope::{Frequencies, Rope, RopeScaling};

use crate::checkpoint::{Checkpoint, FileError, MetadataError};
use crate::limits;
use nn::{DType, KvCacheShape};

/// Sizes and switches of a causal decoder, whatever file dialect they came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// As the checkpoint names it: `qwen2`, `qwen3`, `qwen3_moe`, `llama`.
    pub architecture: String,
    /// Features of a token between layers.
    pub hidden_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Values in a head; `heads * head_dim` need not be `hidden_size`.
    pub head_dim: usize,
    /// Features inside the dense MLP.
    pub intermediate_size: usize,
    /// Rows of the embedding table: at least the tokenizer's size.
    pub vocab_size: usize,
    /// Longest sequence in tokens, prompt and answer together.
    pub context_length: usize,
    /// The type most weights are stored in.
    pub dtype: DType,
    /// Added to the mean square in norms.
    pub rms_norm_eps: f32,
    /// Rotary positions.
    pub rope: Rope,
    /// Whether the query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub output_bias: bool,
    /// Whether the dense MLP's projections have biases.
    pub mlp_bias: bool,
    /// Whether each head of queries and keys is normed before it is rotated.
    pub qk_norm: bool,
    /// For each layer, how many positions a position sees, itself included; `None` sees all before it.
    pub windows: Vec<Option<usize>>,
    /// The mixture of experts, if there is one.
    pub experts: Option<Experts>,
    /// How matrices are stored that have codes in groups in place of values.
    pub quantization: Option<GroupQuantization>,
    /// Whether the file says that logits use the embedding table. A `lm_head` in the file is used all the same.
    pub tie_word_embeddings: bool,
}

/// A mixture of experts in place of the dense MLP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experts {
    /// Experts of a layer.
    pub count: usize,
    /// Experts that compute a token.
    pub used: usize,
    /// Features inside an expert.
    pub intermediate_size: usize,
    /// Whether the used experts' probabilities are scaled to sum to one.
    pub norm_topk_prob: bool,
    /// Which layers have experts; the others are dense.
    pub sparse: Vec<bool>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `config.json` cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// GGUF metadata of the wrong type, or missing.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A directory without `config.json`.
    #[error("{} has no config.json, which says how the model computes", .0.display())]
    NoConfig(std::path::PathBuf),
    /// A field that the model cannot do without.
    #[error("config.json has no `{0}`")]
    MissingField(&'static str),
    /// An architecture that is not here.
    #[error("architecture `{found}` is not supported; known are {}", known_architectures())]
    UnknownArchitecture {
        /// As the checkpoint names it.
        found: String,
    },
    /// A value of a switch that is not here.
    #[error("{field} `{found}` is not supported; known are {known}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// Values that are supported.
        known: &'static str,
    },
    /// A number that cannot be.
    #[error("{field} is {found}, but must be {expected}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it has to be.
        expected: String,
    },
}

/// What tells one family's definition from another's beyond sizes.
#[derive(Debug)]
struct Family {
    /// Hugging Face's `model_type`.
    model_type: &'static str,
    /// GGUF's `general.architecture`.
    gguf: &'static str,
    /// Begins the names in `architectures`.
    class: &'static str,
    qkv_bias: bool,
    qk_norm: bool,
    experts: bool,
}

/// The known families; a new one of the same shape is a line here.
#[rustfmt::skip]
const FAMILIES: [Family; 4] = [
    Family { model_type: "qwen2",     gguf: "qwen2",    class: "Qwen2",    qkv_bias: true,  qk_norm: false, experts: false },
    Family { model_type: "qwen3",     gguf: "qwen3",    class: "Qwen3",    qkv_bias: false, qk_norm: true,  experts: false },
    Family { model_type: "qwen3_moe", gguf: "qwen3moe", class: "Qwen3Moe", qkv_bias: false, qk_norm: true,  experts: true },
    Family { model_type: "llama",     gguf: "llama",    class: "Llama",    qkv_bias: false, qk_norm: false, experts: false },
];

fn known_architectures() -> String {
    FAMILIES.map(|family| family.model_type).join(", ")
}

impl Config {
    /// Reads the configuration that belongs to `checkpoint`: `config.json` of its directory, or GGUF metadata.
    pub fn read(checkpoint: &Checkpoint) -> Result<Config, ConfigError> {
        let mut config = match checkpoint.gguf() {
            Some(metadata) => gguf::read(metadata, checkpoint)?,
            None => hugging_face::read(checkpoint.path())?,
        };
        config.validate()?;
        config.dtype = checkpoint.main_dtype().unwrap_or(DType::F32);
        Ok(config)
    }

    /// Reads the text of a `config.json`.
    pub fn from_json(json: &[u8]) -> Result<Config, ConfigError> {
        let config = hugging_face::parse(json, std::path::Path::new("config.json"))?;
        config.validate()?;
        Ok(config)
    }

    /// GGUF's name of the architecture.
    pub(crate) fn gguf_architecture(&self) -> &'static str {
        self.family().gguf
    }

    /// The class of the causal model in transformers.
    pub(crate) fn hugging_face_class(&self) -> String {
        format!("{}ForCausalLM", self.family().class)
    }

    fn family(&self) -> &'static Family {
        // every configuration that is read is of a known one
        FAMILIES.iter().find(|family| family.model_type == self.architecture).unwrap_or(&FAMILIES[0])
    }

    /// The cache that this model needs, with `blocks` blocks of `block_tokens` tokens.
    pub fn kv_cache_shape(&self, dtype: DType, block_tokens: usize, blocks: usize) -> KvCacheShape {
        let &Config { layers, kv_heads, head_dim, .. } = self;
        KvCacheShape { layers, kv_heads, head_dim, dtype, block_tokens, blocks }
    }

    /// Checks that the sizes go together and stay inside the bounds, so that whoever multiplies or divides them
    /// need not.
    fn validate(&self) -> Result<(), ConfigError> {
        size("the number of layers", self.layers, limits::MAX_LAYERS)?;
        size("the hidden size", self.hidden_size, limits::MAX_SIZE)?;
        size("the number of attention heads", self.heads, limits::MAX_SIZE)?;
        size("the number of key-value heads", self.kv_heads, limits::MAX_SIZE)?;
        size("the head dimension", self.head_dim, limits::MAX_SIZE)?;
        size("the intermediate size", self.intermediate_size, limits::MAX_SIZE)?;
        size("the vocabulary size", self.vocab_size, limits::MAX_SIZE)?;
        size("the context length", self.context_length, limits::MAX_SIZE)?;
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(wrong(
                "the number of attention heads",
                self.heads,
                format!("a multiple of the {} key-value heads", self.kv_heads),
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(wrong("the head dimension", self.head_dim, "even, for rotary positions".to_owned()));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps > 0.0) {
            return Err(wrong("rms_norm_eps", self.rms_norm_eps, "above 0".to_owned()));
        }
        if let Some(window) = self.windows.iter().flatten().find(|window| **window == 0) {
            return Err(wrong("the sliding window", window, "at least 1".to_owned()));
        }
        self.rope.validate()?;
        self.experts.as_ref().map_or(Ok(()), |experts| experts.validate(self.layers))
    }
}

impl Experts {
    fn validate(&self, layers: usize) -> Result<(), ConfigError> {
        size("the number of experts", self.count, limits::MAX_EXPERTS)?;
        size("the number of experts used by a token", self.used, self.count)?;
        size("the experts' intermediate size", self.intermediate_size, limits::MAX_SIZE)?;
        // Every expert of every layer is a tensor of its own.
        size("the number of experts in all layers", self.count * layers, limits::MAX_TENSORS)
    }
}

/// A size between 1 and `limit`.
fn size(field: &'static str, found: usize, limit: usize) -> Result<(), ConfigError> {
    if (1..=limit).contains(&found) {
        return Ok(());
    }
    Err(wrong(field, found, format!("between 1 and {limit}")))
}

fn wrong(field: &'static str, found: impl ToString, expected: String) -> ConfigError {
    ConfigError::Value { field, found: found.to_string(), expected }
}
