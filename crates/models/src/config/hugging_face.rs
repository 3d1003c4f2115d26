//! `config.json` in both dialects: that of published files (`rope_theta` beside `rope_scaling`) and that of
//! transformers 5 (`rope_parameters`, `layer_types`).

use super::rope::{Rope, RopeScaling, yarn_mscale};
use super::{Config, ConfigError, Experts, FAMILIES, Family, GroupQuantization, wrong};
use crate::checkpoint::FileError;
use crate::checkpoint::mapped_file::read_bounded;
use crate::limits;
use nn::DType;
use nn::ops::RopeLayout;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

/// The fields that are read. Where the reference has a default for the class, it stands in [`parse`].
#[derive(Deserialize)]
struct Fields {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f32>,
    hidden_act: Option<String>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeFields>,
    /// Of all layers, or for each type of layer.
    rope_parameters: Option<Map<String, Value>>,
    use_sliding_window: Option<bool>,
    sliding_window: Option<usize>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    num_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    moe_intermediate_size: Option<usize>,
    norm_topk_prob: Option<bool>,
    decoder_sparse_step: Option<usize>,
    mlp_only_layers: Option<Vec<usize>>,
    quantization_config: Option<Value>,
}

/// `rope_scaling`, and `rope_parameters` of all layers or of one type of them.
#[derive(Clone, Deserialize)]
struct RopeFields {
    rope_type: Option<String>,
    r#type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    truncate: Option<bool>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

/// Reads `config.json` in `dir`.
pub(super) fn read(dir: &Path) -> Result<Config, ConfigError> {
    let path = dir.join("config.json");
    let json = read_bounded(&path, limits::MAX_CONFIG_BYTES)?;
    parse(&json.ok_or_else(|| ConfigError::NoConfig(dir.to_owned()))?, &path)
}

/// Reads the text of a `config.json`; `path` is for messages.
pub(super) fn parse(json: &[u8], path: &Path) -> Result<Config, ConfigError> {
    let fields: Fields =
        serde_json::from_slice(json).map_err(|source| FileError::Json { path: path.to_owned(), source })?;
    let family = fields.family()?;
    if let Some(activation) = fields.hidden_act.as_deref().filter(|name| !matches!(*name, "silu" | "swish")) {
        let found = activation.to_owned();
        return Err(ConfigError::Unsupported { field: "hidden_act", found, known: "silu" });
    }
    let quantization = fields.quantization_config.as_ref().map(|q| GroupQuantization::read(q, path));

    let hidden_size = fields.hidden_size.ok_or(ConfigError::MissingField("hidden_size"))?;
    let layers = fields.num_hidden_layers.ok_or(ConfigError::MissingField("num_hidden_layers"))?;
    let heads = fields.num_attention_heads.ok_or(ConfigError::MissingField("num_attention_heads"))?;
    super::size("num_hidden_layers", layers, limits::MAX_LAYERS)?;
    super::size("num_attention_heads", heads, limits::MAX_SIZE)?;
    let context_length =
        fields.max_position_embeddings.ok_or(ConfigError::MissingField("max_position_embeddings"))?;
    let attention_bias = fields.attention_bias.unwrap_or(false);
    Ok(Config {
        architecture: family.model_type.to_owned(),
        hidden_size,
        layers,
        heads,
        kv_heads: fields.num_key_value_heads.unwrap_or(heads),
        head_dim: fields.head_dim.unwrap_or(hidden_size / heads),
        intermediate_size: fields.intermediate_size.ok_or(ConfigError::MissingField("intermediate_size"))?,
        vocab_size: fields.vocab_size.ok_or(ConfigError::MissingField("vocab_size"))?,
        context_length,
        dtype: DType::F32,
        rms_norm_eps: fields.rms_norm_eps.unwrap_or(1e-6),
        rope: fields.rope(context_length, path)?,
        qkv_bias: family.qkv_bias || attention_bias,
        output_bias: !family.qkv_bias && attention_bias,
        mlp_bias: fields.mlp_bias.unwrap_or(false),
        qk_norm: family.qk_norm,
        windows: fields.windows(family, layers)?,
        experts: if family.experts { Some(fields.experts(layers)?) } else { None },
        quantization: quantization.transpose()?,
        tie_word_embeddings: fields.tie_word_embeddings.unwrap_or(false),
    })
}

impl Fields {
    /// By `model_type`, else by the first of `architectures`.
    fn family(&self) -> Result<&'static Family, ConfigError> {
        let class = self.architectures.as_ref().and_then(|classes| classes.first());
        let family = match (&self.model_type, class) {
            (Some(model_type), _) => FAMILIES.iter().find(|family| family.model_type == model_type),
            (None, Some(class)) => FAMILIES.iter().find(|family| family.is_class(class)),
            (None, None) => return Err(ConfigError::MissingField("model_type")),
        };
        let unknown = |name: Option<&String>| ConfigError::UnknownArchitecture {
            found: name.map_or_else(String::new, Clone::clone),
        };
        let family = family.ok_or_else(|| unknown(self.model_type.as_ref().or(class)))?;
        // A classifier of a known family has another head: its logits would be meaningless.
        match class {
            Some(name) if !family.is_class(name) => Err(unknown(class)),
            _ => Ok(family),
        }
    }

    fn rope(&self, context_length: usize, path: &Path) -> Result<Rope, ConfigError> {
        let fields = match &self.rope_parameters {
            Some(parameters) => self.rope_of_all_layers(parameters, path)?,
            None => self.rope_scaling.clone(),
        };
        let theta = fields.as_ref().and_then(|f| f.rope_theta).or(self.rope_theta).unwrap_or(10_000.0);
        let scaling = fields.map_or(Ok(RopeScaling::Default), |f| f.scaling(context_length))?;
        Ok(Rope { theta, scaling, layout: RopeLayout::Half })
    }

    /// `rope_parameters`, which must not differ between the layer types in use.
    fn rope_of_all_layers(
        &self,
        parameters: &Map<String, Value>,
        path: &Path,
    ) -> Result<Option<RopeFields>, ConfigError> {
        let read = |value: &Value| {
            RopeFields::deserialize(value).map_err(|source| FileError::Json { path: path.to_owned(), source })
        };
        if !parameters.values().any(Value::is_object) {
            return Ok(Some(read(&Value::Object(parameters.clone()))?));
        }
        let in_use =
            |name: &String| self.layer_types.as_ref().is_none_or(|layer_types| layer_types.contains(name));
        let mut used = parameters.iter().filter(|(name, _)| in_use(name)).map(|(_, value)| value);
        let first = used.next();
        if used.any(|value| Some(value) != first) {
            return Err(ConfigError::Unsupported {
                field: "rope_parameters",
                found: "different for each type of layer".to_owned(),
                known: "the same for all layers",
            });
        }
        first.map(read).transpose().map_err(ConfigError::from)
    }

    /// What each layer sees. The reference gives Qwen3-MoE one mask for all layers; the others get the window from
    /// `max_window_layers` on. `layer_types` overrides both.
    fn windows(&self, family: &Family, layers: usize) -> Result<Vec<Option<usize>>, ConfigError> {
        let window = self.sliding_window.filter(|_| self.use_sliding_window.unwrap_or(false));
        let Some(layer_types) = &self.layer_types else {
            let first = if family.experts { 0 } else { self.max_window_layers.unwrap_or(28) };
            return Ok((0..layers).map(|layer| window.filter(|_| layer >= first)).collect());
        };
        if layer_types.len() != layers {
            return Err(wrong(
                "the length of layer_types",
                layer_types.len(),
                format!("{layers}, the layers"),
            ));
        }
        let windows = layer_types.iter().map(|layer_type| match layer_type.as_str() {
            "full_attention" => Ok(None),
            "sliding_attention" if window.is_some() => Ok(window),
            "sliding_attention" => {
                Err(wrong("sliding_window", "off", "on, as layer_types has `sliding_attention`".to_owned()))
            }
            other => Err(ConfigError::Unsupported {
                field: "layer type",
                found: other.to_owned(),
                known: "full_attention, sliding_attention",
            }),
        });
        windows.collect()
    }

    fn experts(&self, layers: usize) -> Result<Experts, ConfigError> {
        let count = self.num_experts.ok_or(ConfigError::MissingField("num_experts"))?;
        let step = self.decoder_sparse_step.unwrap_or(1);
        super::size("decoder_sparse_step", step, limits::MAX_SIZE)?;
        let dense = self.mlp_only_layers.as_deref().unwrap_or_default();
        Ok(Experts {
            count,
            used: self.num_experts_per_tok.ok_or(ConfigError::MissingField("num_experts_per_tok"))?,
            intermediate_size: self
                .moe_intermediate_size
                .ok_or(ConfigError::MissingField("moe_intermediate_size"))?,
            norm_topk_prob: self.norm_topk_prob.unwrap_or(false),
            sparse: (0..layers).map(|l| !dense.contains(&l) && (l + 1).is_multiple_of(step)).collect(),
        })
    }
}

impl Family {
    /// Whether `class` is the causal model or the bare decoder of this family.
    fn is_class(&self, class: &str) -> bool {
        matches!(class.strip_prefix(self.class), Some("ForCausalLM" | "Model"))
    }
}

impl RopeFields {
    fn scaling(&self, context_length: usize) -> Result<RopeScaling, ConfigError> {
        if let Some(part) = self.partial_rotary_factor.filter(|part| *part != 1.0) {
            let found = part.to_string();
            return Err(ConfigError::Unsupported { field: "partial_rotary_factor", found, known: "1" });
        }
        let kind = self.rope_type.as_deref().or(self.r#type.as_deref()).unwrap_or("default");
        let factor = || self.factor.ok_or(ConfigError::MissingField("rope_scaling.factor"));
        let original_context = self.original_max_position_embeddings.unwrap_or(context_length as f64);
        match kind {
            "default" => Ok(RopeScaling::Default),
            "linear" => Ok(RopeScaling::Linear { factor: factor()? }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: factor()?,
                low_freq_factor: self
                    .low_freq_factor
                    .ok_or(ConfigError::MissingField("rope_scaling.low_freq_factor"))?,
                high_freq_factor: self
                    .high_freq_factor
                    .ok_or(ConfigError::MissingField("rope_scaling.high_freq_factor"))?,
                original_context,
            }),
            "yarn" => {
                let factor = self.factor.unwrap_or(context_length as f64 / original_context);
                let default = match (self.mscale, self.mscale_all_dim) {
                    (Some(m), Some(all)) if m != 0.0 && all != 0.0 => {
                        yarn_mscale(factor, m) / yarn_mscale(factor, all)
                    }
                    _ => yarn_mscale(factor, 1.0),
                };
                Ok(RopeScaling::Yarn {
                    factor,
                    original_context,
                    beta_fast: self.beta_fast.filter(|b| *b != 0.0).unwrap_or(32.0),
                    beta_slow: self.beta_slow.filter(|b| *b != 0.0).unwrap_or(1.0),
                    truncate: self.truncate.unwrap_or(true),
                    attention_factor: self.attention_factor.unwrap_or(default),
                })
            }
            other => Err(ConfigError::Unsupported {
                field: "rope scaling",
                found: other.to_owned(),
                known: "default, linear, llama3, yarn",
            }),
        }
    }
}
