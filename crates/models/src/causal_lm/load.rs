//! Takes a decoder's weights out of a checkpoint.

use super::{Attention, CausalLm, FeedForward, Layer, Linear, Mlp, SparseMlp};
use crate::Config;
use crate::checkpoint::{Checkpoint, CheckpointError, NameList};
use crate::config::GroupQuantization;
use kernels::attention::AttentionShape;
use nn::{Vector, Weight};

impl CausalLm {
    /// The model of `config` with the weights of `checkpoint`. Matrices stay in the mapped files; norms and biases
    /// are decoded.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`] names all tensors that are not there.
    pub fn load(checkpoint: &Checkpoint, config: Config) -> Result<CausalLm, CheckpointError> {
        let c = &config;
        let quantization = config.quantization.as_ref();
        let mut loader = Loader { checkpoint, quantization, missing: NameList::default(), error: None };
        let embed_tokens = loader.weight("model.embed_tokens.weight", c.vocab_size, c.hidden_size);
        // A file's own head counts even where the configuration calls it tied; without one the embedding table
        // serves, as some files that call it untied need.
        let lm_head = if checkpoint.contains("lm_head.weight") || checkpoint.has_codes("lm_head.weight") {
            loader.weight("lm_head.weight", c.vocab_size, c.hidden_size)
        } else {
            if !c.tie_word_embeddings {
                tracing::warn!(
                    "no lm_head.weight though the embeddings are not tied: using the embedding table"
                );
            }
            embed_tokens.clone()
        };
        let layers = (0..c.layers).map(|index| loader.layer(c, index)).collect();
        let norm = loader.vector("model.norm.weight", c.hidden_size);
        loader.finish()?;
        let frequencies = config.rope.frequencies(config.head_dim);
        Ok(CausalLm { config, frequencies, embed_tokens, layers, norm, lm_head })
    }
}

/// Takes tensors and remembers what was wrong with them, so that one message names all that are missing. A tensor
/// that cannot be had is replaced by an empty one, which [`Loader::finish`] keeps from being used.
struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    quantization: Option<&'a GroupQuantization>,
    missing: NameList,
    error: Option<CheckpointError>,
}

impl Loader<'_> {
    fn finish(self) -> Result<(), CheckpointError> {
        match (self.error, self.missing.count()) {
            (Some(error), _) => Err(error),
            (None, 0) => Ok(()),
            (None, _) => Err(CheckpointError::Missing(self.missing)),
        }
    }

    fn layer(&mut self, c: &Config, index: usize) -> Layer {
        let prefix = format!("model.layers.{index}");
        let sparse = c.experts.as_ref().filter(|experts| experts.sparse[index]);
        Layer {
            input_layernorm: self.vector(&format!("{prefix}.input_layernorm.weight"), c.hidden_size),
            self_attn: self.attention(c, index, &format!("{prefix}.self_attn")),
            post_attention_layernorm: self
                .vector(&format!("{prefix}.post_attention_layernorm.weight"), c.hidden_size),
            mlp: match sparse {
                None => FeedForward::Dense(Box::new(self.mlp(
                    &format!("{prefix}.mlp"),
                    c.hidden_size,
                    c.intermediate_size,
                    c.mlp_bias,
                ))),
                Some(experts) => FeedForward::Experts(SparseMlp {
                    gate: self.weight(&format!("{prefix}.mlp.gate.weight"), experts.count, c.hidden_size),
                    experts: (0..experts.count)
                        .map(|e| {
                            let prefix = format!("{prefix}.mlp.experts.{e}");
                            self.mlp(&prefix, c.hidden_size, experts.intermediate_size, false)
                        })
                        .collect(),
                    used: experts.used,
                    norm_topk_prob: experts.norm_topk_prob,
                }),
            },
        }
    }

    fn attention(&mut self, c: &Config, layer: usize, prefix: &str) -> Attention {
        let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        Attention {
            q_proj: self.linear(&format!("{prefix}.q_proj"), q, c.hidden_size, c.qkv_bias),
            k_proj: self.linear(&format!("{prefix}.k_proj"), kv, c.hidden_size, c.qkv_bias),
            v_proj: self.linear(&format!("{prefix}.v_proj"), kv, c.hidden_size, c.qkv_bias),
            o_proj: self.linear(&format!("{prefix}.o_proj"), c.hidden_size, q, c.output_bias),
            qk_norm: c.qk_norm.then(|| {
                let mut norm = |name| self.vector(&format!("{prefix}.{name}.weight"), c.head_dim);
                (norm("q_norm"), norm("k_norm"))
            }),
            shape: AttentionShape {
                heads: c.heads,
                scale: (c.head_dim as f32).powf(-0.5),
                window: c.windows[layer],
            },
        }
    }

    fn mlp(&mut self, prefix: &str, hidden: usize, intermediate: usize, bias: bool) -> Mlp {
        Mlp {
            gate_proj: self.linear(&format!("{prefix}.gate_proj"), intermediate, hidden, bias),
            up_proj: self.linear(&format!("{prefix}.up_proj"), intermediate, hidden, bias),
            down_proj: self.linear(&format!("{prefix}.down_proj"), hidden, intermediate, bias),
        }
    }

    fn linear(&mut self, prefix: &str, rows: usize, cols: usize, bias: bool) -> Linear {
        Linear {
            weight: self.weight(&format!("{prefix}.weight"), rows, cols),
            bias: bias.then(|| self.vector(&format!("{prefix}.bias"), rows)),
            adapter: None,
        }
    }

    fn weight(&mut self, name: &str, rows: usize, cols: usize) -> Weight {
        let weight = self.checkpoint.matrix(name, self.quantization, rows, cols);
        weight.unwrap_or_else(|error| {
            self.note(name, error);
            Weight::from_f32(Vec::new(), 0, 0)
        })
    }

    fn vector(&mut self, name: &str, len: usize) -> Vector {
        let vector = self.checkpoint.vector(name, len);
        Vector::new(vector.unwrap_or_else(|error| {
            self.note(name, error);
            Vec::new()
        }))
    }

    fn note(&mut self, name: &str, error: CheckpointError) {
        match error {
            CheckpointError::Missing(_) => self.missing.push(name),
            error => self.error = self.error.take().or(Some(error)),
        }
    }
}
