//! `config.json` and what stands beside it, of a model that came from a GGUF file.

use super::{DIRECTORY, ExportError, unsupported};
use crate::Config;
use crate::checkpoint::{GgufMetadata, MetadataError};
use crate::config::{Rope, RopeScaling};
use crate::model::{GenerationDefaults, PromptFiles};
use nn::DType;
use serde_json::{Map, Value, json};

/// The values of Llama 3.1 and later that its GGUF files do not name: they hold what comes of them.
const LLAMA3_LOW: f64 = 1.0;
const LLAMA3_HIGH: f64 = 4.0;
/// By how much a factor may be off that was computed from these values.
const LLAMA3_TOLERANCE: f32 = 1e-4;

/// How transformers calls a type of floats.
pub(super) fn torch_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        _ => "bfloat16",
    }
}

/// `config.json`, of a model whose head shares the embedding table if it is `tied`.
pub(super) fn config_json(
    config: &Config,
    metadata: &GgufMetadata,
    dtype: DType,
    tied: bool,
) -> Result<Value, ExportError> {
    let mut fields = json!({
        "architectures": [config.hugging_face_class()],
        "model_type": config.architecture,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": short(config.rms_norm_eps),
        "rope_theta": config.rope.theta,
        "rope_scaling": rope_scaling(config)?,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": true,
        "tie_word_embeddings": tied,
        "torch_dtype": torch_type(dtype),
    });
    let mut put = |key: &str, value: Value| fields[key] = value;
    match config.architecture.as_str() {
        "qwen2" if config.output_bias => {
            return unsupported(DIRECTORY, "a bias", "that of qwen2's output projection", "others are");
        }
        "qwen2" => {}
        _ if config.qkv_bias != config.output_bias => {
            let known = "queries, keys, values and outputs all have some, or none has";
            return unsupported(DIRECTORY, "a bias", "that of some projections of the attention", known);
        }
        _ => put("attention_bias", config.qkv_bias.into()),
    }
    match config.architecture.as_str() {
        "llama" => put("mlp_bias", config.mlp_bias.into()),
        _ if config.mlp_bias => {
            return unsupported(DIRECTORY, "a bias", "that of a feed-forward layer", "Llama's are");
        }
        _ => put("use_sliding_window", false.into()),
    }
    if let Some(experts) = &config.experts {
        let dense = experts.sparse.iter().enumerate().filter(|(_, sparse)| !**sparse).map(|(layer, _)| layer);
        put("mlp_only_layers", dense.collect::<Vec<_>>().into());
        put("decoder_sparse_step", 1.into());
        put("num_experts", experts.count.into());
        put("num_experts_per_tok", experts.used.into());
        put("moe_intermediate_size", experts.intermediate_size.into());
        put("norm_topk_prob", experts.norm_topk_prob.into());
    }
    for (key, of) in special_ids(metadata).map_err(crate::ModelError::from)? {
        put(key, of.into());
    }
    Ok(fields)
}

/// Ids of tokens with a meaning of their own, by their keys.
fn special_ids(metadata: &GgufMetadata) -> Result<Vec<(&'static str, u32)>, MetadataError> {
    let mut ids = Vec::new();
    for (key, gguf) in [("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")] {
        ids.extend(metadata.token_id(&format!("tokenizer.ggml.{gguf}_token_id"))?.map(|id| (key, id)));
    }
    Ok(ids)
}

fn rope_scaling(config: &Config) -> Result<Value, ExportError> {
    Ok(match config.rope.scaling {
        RopeScaling::Default => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": whole(original_context),
        }),
        RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, attention_factor } => {
            json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": whole(original_context),
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "truncate": truncate,
                "attention_factor": short(attention_factor as f32),
            })
        }
        RopeScaling::Factors(ref factors) => match llama3(config, factors) {
            Some(scaling) => {
                let known = Config { rope: Rope { scaling, ..config.rope.clone() }, ..config.clone() };
                return rope_scaling(&known);
            }
            None => {
                let known = "those of Llama 3.1 and later are";
                return unsupported(DIRECTORY, "rope scaling", "a factor for each frequency", known);
            }
        },
    })
}

/// Llama 3's scaling that gives these factors, if there is one: long waves are divided by the largest of them, and one wave
/// between them and the short ones tells the context of pre-training.
fn llama3(config: &Config, factors: &[f32]) -> Option<RopeScaling> {
    let plain = Rope { scaling: RopeScaling::Default, ..config.rope.clone() };
    let plain = plain.frequencies(config.head_dim).inv_freq;
    let factor = f64::from(factors.iter().copied().reduce(f32::max)?);
    let between = |f: f32| f64::from(f) > 1.001 && f64::from(f) < factor * 0.999;
    let contexts = factors.iter().zip(&plain).filter(|(f, _)| between(**f)).map(|(f, frequency)| {
        // 1/f = keep + (1 - keep) / factor, and keep grows with the turns within that context
        let keep = (1.0 / f64::from(*f) - 1.0 / factor) / (1.0 - 1.0 / factor);
        let turns = keep * (LLAMA3_HIGH - LLAMA3_LOW) + LLAMA3_LOW;
        turns * 2.0 * std::f64::consts::PI / f64::from(*frequency)
    });
    let scaling = |context: f64| RopeScaling::Llama3 {
        factor,
        low_freq_factor: LLAMA3_LOW,
        high_freq_factor: LLAMA3_HIGH,
        original_context: context.round(),
    };
    contexts.map(scaling).find(|scaling| {
        let rope = Rope { scaling: scaling.clone(), ..config.rope.clone() };
        let scaled = rope.frequencies(config.head_dim).inv_freq;
        let computed = plain.iter().zip(scaled).map(|(plain, scaled)| plain / scaled);
        factors.iter().zip(computed).all(|(f, computed)| (f / computed - 1.0).abs() < LLAMA3_TOLERANCE)
    })
}

/// `tokenizer_config.json`.
pub(super) fn tokenizer_config_json(
    config: &Config,
    metadata: &GgufMetadata,
    prompt: &PromptFiles,
) -> Result<Value, MetadataError> {
    let tokens = metadata.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
    let text = |key: &str| -> Result<Option<&str>, MetadataError> {
        let id = metadata.token_id(&format!("tokenizer.ggml.{key}_token_id"))?;
        Ok(id.and_then(|id| tokens.get(id as usize)).copied())
    };
    // a token that no text begins with has that id only because readers want one
    let begins = metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(false);
    let padding = text("padding")?;
    let begin = text("bos")?.filter(|begin| begins || Some(*begin) != padding);
    Ok(json!({
        // takes tokenizer.json as it is, whatever the family
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": begin,
        "eos_token": text("eot")?.or(text("eos")?),
        "pad_token": padding,
        "unk_token": text("unknown")?,
        "chat_template": prompt.template,
        "clean_up_tokenization_spaces": false,
        "model_max_length": config.context_length,
    }))
}

/// `generation_config.json`.
pub(super) fn generation_config_json(
    metadata: &GgufMetadata,
    generation: &GenerationDefaults,
) -> Result<Value, MetadataError> {
    let mut fields = Map::new();
    for (key, id) in special_ids(metadata)? {
        fields.insert(key.to_owned(), id.into());
    }
    let ends = &generation.eos_token_ids;
    if !ends.is_empty() {
        fields.insert("eos_token_id".to_owned(), ends.clone().into());
    }
    let sampled = [
        ("temperature", generation.temperature),
        ("top_p", generation.top_p),
        ("min_p", generation.min_p),
        ("repetition_penalty", generation.repetition_penalty),
    ];
    let draws = generation.temperature.is_some_and(|t| t > 0.0);
    fields.insert("do_sample".to_owned(), draws.into());
    for (key, value) in sampled {
        // a temperature of 0 is what `do_sample` says
        let value = value.filter(|_| draws || key == "repetition_penalty");
        fields.extend(value.map(|value| (key.to_owned(), short(value).into())));
    }
    let top_k = generation.top_k.filter(|_| draws);
    fields.extend(top_k.map(|k| ("top_k".to_owned(), k.into())));
    Ok(fields.into())
}

/// The shortest number that is this one in float32: 0.000001, and not 0.0000009999999974752427.
fn short(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// A count as such, where it is one.
fn whole(value: f64) -> Value {
    if value.fract() == 0.0 && (0.0..9e15).contains(&value) { json!(value as u64) } else { json!(value) }
}
