//! What an architecture's sizes are.
use nn::DType;

/// Sizes and switches of a causal decoder, whatever file dialect they came from.
#[derive(Clone, Debug)]
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
    /// Rows of the embedding table: at least the tokenizer's size.
    pub vocab_size: usize,
    /// Longest sequence in tokens, prompt and answer together.
    pub context_length: usize,
    /// The type most weights are stored in.
    pub dtype: DType,
}
