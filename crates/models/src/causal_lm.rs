//! The causal decoder of Qwen2, Qwen2.5, Qwen3, Qwen3-MoE and Llama.

use crate::Config;
use nn::{Batch, Context, DType, KvCache, KvCacheShape, Tensor};

/// A decoder-only language model.
pub struct CausalLm {
    config: Config,
}

impl CausalLm {
    /// Its sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The cache this model needs, with `blocks` blocks of `block_tokens` tokens.
    pub fn kv_cache_shape(&self, dtype: DType, block_tokens: usize, blocks: usize) -> KvCacheShape {
        let c = &self.config;
        KvCacheShape {
            layers: c.layers,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            dtype,
            block_tokens,
            blocks,
        }
    }

    /// Hidden states `[rows, hidden]` after the final norm, for every row of the batch.
    pub fn forward(&self, _cx: &Context, _batch: &Batch, _cache: &mut KvCache) -> Tensor {
        todo!()
    }

    /// Logits `[rows, vocab]` of hidden states `[rows, hidden]`.
    pub fn logits(&self, _cx: &Context, _hidden: &Tensor) -> Tensor {
        todo!()
    }
}
