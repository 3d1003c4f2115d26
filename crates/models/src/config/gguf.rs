//! A configuration from GGUF metadata.

use super::rope::{Rope, RopeScaling, yarn_mscale};
use super::{Config, ConfigError, Experts, FAMILIES, wrong};
use crate::checkpoint::{Checkpoint, GgufMetadata, MetadataError};
use crate::limits;
use nn::DType;
use nn::ops::RopeLayout;

/// Reads the metadata of `checkpoint`. What GGUF has no key for is told by the tensors that are there.
pub(super) fn read(metadata: &GgufMetadata, checkpoint: &Checkpoint) -> Result<Config, ConfigError> {
    let architecture = required("general.architecture", metadata.str("general.architecture")?)?;
    let Some(family) = FAMILIES.iter().find(|family| family.gguf == architecture) else {
        return Err(ConfigError::UnknownArchitecture { found: architecture.to_owned() });
    };
    let keys = Keys { metadata, architecture };
    if !family.experts && keys.optional_size("expert_count")?.is_some_and(|n| n > 0) {
        let found = format!("{architecture} with experts");
        return Err(ConfigError::UnknownArchitecture { found });
    }

    let hidden_size = keys.size("embedding_length")?;
    let layers = keys.size("block_count")?;
    let heads = keys.size("attention.head_count")?;
    super::size("block_count", layers, limits::MAX_LAYERS)?;
    super::size("attention.head_count", heads, limits::MAX_SIZE)?;
    let head_dim = keys.optional_size("attention.key_length")?.unwrap_or(hidden_size / heads);
    let value_dim = keys.optional_size("attention.value_length")?.unwrap_or(head_dim);
    if value_dim != head_dim {
        return Err(wrong("attention.value_length", value_dim, format!("the key length, {head_dim}")));
    }
    let rotated = keys.optional_size("rope.dimension_count")?.unwrap_or(head_dim);
    if rotated != head_dim {
        return Err(wrong("rope.dimension_count", rotated, format!("the head dimension, {head_dim}")));
    }
    let context_length = keys.size("context_length")?;
    if let Some(window) =
        keys.optional_size("attention.sliding_window")?.filter(|w| (1..context_length).contains(w))
    {
        let expected = format!("absent or at least the context length, {context_length}, in a GGUF file");
        return Err(wrong("attention.sliding_window", window, expected));
    }
    let vocab_size = vocab_size(&keys, checkpoint)?;
    let in_layer = |layer: usize, name: &str| checkpoint.contains(&format!("model.layers.{layer}.{name}"));
    Ok(Config {
        architecture: family.model_type.to_owned(),
        hidden_size,
        layers,
        heads,
        kv_heads: keys.optional_size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        intermediate_size: keys.size("feed_forward_length")?,
        vocab_size,
        context_length,
        dtype: DType::F32,
        rms_norm_eps: keys.float("attention.layer_norm_rms_epsilon")?,
        rope: rope(&keys, checkpoint, head_dim, context_length)?,
        qkv_bias: family.qkv_bias || in_layer(0, "self_attn.q_proj.bias"),
        output_bias: in_layer(0, "self_attn.o_proj.bias"),
        mlp_bias: in_layer(0, "mlp.down_proj.bias"),
        qk_norm: family.qk_norm,
        windows: vec![None; layers],
        experts: if family.experts {
            Some(Experts {
                count: keys.size("expert_count")?,
                used: keys.size("expert_used_count")?,
                intermediate_size: keys.size("expert_feed_forward_length")?,
                // llama.cpp scales Qwen3-MoE's probabilities always.
                norm_topk_prob: metadata.bool(&keys.name("expert_weights_norm"))?.unwrap_or(true),
                sparse: (0..layers).map(|layer| in_layer(layer, "mlp.gate.weight")).collect(),
            })
        } else {
            None
        },
        quantization: None,
        tie_word_embeddings: !checkpoint.contains("lm_head.weight"),
    })
}

/// Older files do not say it; the tokenizer's length and the embedding table do.
fn vocab_size(keys: &Keys<'_>, checkpoint: &Checkpoint) -> Result<usize, ConfigError> {
    if let Some(size) = keys.optional_size("vocab_size")? {
        return Ok(size);
    }
    let table = checkpoint.tensors().find(|(name, _)| *name == "model.embed_tokens.weight");
    match table.map(|(_, tensor)| tensor.shape.as_slice()) {
        Some([rows, _]) => Ok(*rows),
        _ => Err(MetadataError::Missing(keys.name("vocab_size")).into()),
    }
}

fn rope(
    keys: &Keys<'_>,
    checkpoint: &Checkpoint,
    head_dim: usize,
    context_length: usize,
) -> Result<Rope, ConfigError> {
    let theta = keys.optional_float("rope.freq_base")?.map_or(10_000.0, f64::from);
    let layout = if keys.architecture == "llama" { RopeLayout::Interleaved } else { RopeLayout::Half };
    let factor = match keys.optional_float("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.optional_float("rope.scale_linear")?,
    };
    let factor = factor.map(f64::from);
    let kind = keys.metadata.str(&keys.name("rope.scaling.type"))?;
    let scaling = match (kind, factor) {
        (Some("linear") | None, Some(factor)) if factor != 1.0 => RopeScaling::Linear { factor },
        (Some("yarn"), factor) => {
            let factor = factor.ok_or_else(|| MetadataError::Missing(keys.name("rope.scaling.factor")))?;
            let original =
                keys.optional_size("rope.scaling.original_context_length")?.unwrap_or(context_length);
            let attention_factor = keys.optional_float("rope.scaling.attn_factor")?.map_or(1.0, f64::from);
            RopeScaling::Yarn {
                factor,
                original_context: original as f64,
                beta_fast: keys.optional_float("rope.scaling.yarn_beta_fast")?.map_or(32.0, f64::from),
                beta_slow: keys.optional_float("rope.scaling.yarn_beta_slow")?.map_or(1.0, f64::from),
                truncate: true,
                attention_factor: attention_factor * yarn_mscale(factor, 1.0),
            }
        }
        (Some("linear" | "none") | None, _) => RopeScaling::Default,
        (Some(other), _) => {
            return Err(ConfigError::Unsupported {
                field: "rope.scaling.type",
                found: other.to_owned(),
                known: "none, linear, yarn, and rope_freqs.weight",
            });
        }
    };
    // Llama 3's scaling is stored as numbers by which the frequencies are divided.
    let name = "rope_freqs.weight";
    if !checkpoint.contains(name) {
        return Ok(Rope { theta, scaling, layout });
    }
    let factors = checkpoint.vector(name, head_dim / 2);
    let factors = factors.map_err(|e| wrong("rope_freqs.weight", e, format!("[{}]", head_dim / 2)))?;
    Ok(Rope { theta, scaling: RopeScaling::Factors(factors), layout })
}

/// Keys that begin with the architecture's name.
struct Keys<'a> {
    metadata: &'a GgufMetadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, MetadataError> {
        let key = self.name(key);
        let Some(value) = self.metadata.u64(&key)? else { return Ok(None) };
        match usize::try_from(value) {
            Ok(size) => Ok(Some(size)),
            Err(_) => Err(MetadataError::Range { key, expected: "a size", value: value.to_string() }),
        }
    }

    fn size(&self, key: &str) -> Result<usize, MetadataError> {
        required(&self.name(key), self.optional_size(key)?)
    }

    fn optional_float(&self, key: &str) -> Result<Option<f32>, MetadataError> {
        self.metadata.f32(&self.name(key))
    }

    fn float(&self, key: &str) -> Result<f32, MetadataError> {
        required(&self.name(key), self.optional_float(key)?)
    }
}

fn required<T>(key: &str, value: Option<T>) -> Result<T, MetadataError> {
    value.ok_or_else(|| MetadataError::Missing(key.to_owned()))
}
