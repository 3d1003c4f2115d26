//! The model before training: a Qwen3 with random weights, as a checkpoint directory.

use kernels::dtype::f32_bytes;
use models::checkpoint::FileError;
use models::checkpoint::writer::{NewTensor, write_file, write_safetensors};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::Path;
use train::random::Random;

/// Sizes of a Qwen3.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Layers.
    pub layers: usize,
    /// Heads that ask.
    pub heads: usize,
    /// Heads that are asked.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Longest sequence.
    pub context_length: usize,
}

/// wen-nano's, with 4,096 tokens: 5.2 million parameters.
pub const NANO: Shape = Shape {
    hidden_size: 256,
    intermediate_size: 640,
    layers: 6,
    heads: 8,
    kv_heads: 4,
    head_dim: 32,
    context_length: 1024,
};

/// Standard deviation of the tokens' vectors. They are the scale of the residual stream: where it is small, what the first
/// layers add drowns which token stands there.
const TOKEN_DEVIATION: f32 = 0.04;
/// Standard deviation of other random weights; of those that write to the residual stream it is divided by the square root of how
/// many there are (GPT-2).
const DEVIATION: f32 = 0.02;

impl Shape {
    /// Every tensor with its shape, in a model of `tokens` tokens.
    fn tensors(&self, tokens: usize) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut all = vec![
            ("model.embed_tokens.weight".to_owned(), vec![tokens, hidden]),
            ("model.norm.weight".to_owned(), vec![hidden]),
        ];
        for layer in 0..self.layers {
            let parts: [(&str, Vec<usize>); 11] = [
                ("input_layernorm", vec![hidden]),
                ("self_attn.q_proj", vec![queries, hidden]),
                ("self_attn.k_proj", vec![keys, hidden]),
                ("self_attn.v_proj", vec![keys, hidden]),
                ("self_attn.o_proj", vec![hidden, queries]),
                ("self_attn.q_norm", vec![self.head_dim]),
                ("self_attn.k_norm", vec![self.head_dim]),
                ("post_attention_layernorm", vec![hidden]),
                ("mlp.gate_proj", vec![inner, hidden]),
                ("mlp.up_proj", vec![inner, hidden]),
                ("mlp.down_proj", vec![hidden, inner]),
            ];
            all.extend(parts.map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape)));
        }
        all
    }

    fn config(&self, tokens: usize, end: u32) -> Value {
        json!({
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.context_length,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10_000.0,
            "attention_bias": false,
            "attention_dropout": 0.0,
            "initializer_range": DEVIATION,
            "tie_word_embeddings": true,
            "vocab_size": tokens,
            "eos_token_id": end,
            "torch_dtype": "float32",
        })
    }
}

/// Writes `config.json`, `generation_config.json` and `model.safetensors` into `dir`. `ends` are the tokens that end an
/// answer, the usual one first.
///
/// # Errors
/// When the directory can't be written.
pub fn write(dir: &Path, shape: &Shape, tokens: usize, ends: &[u32], seed: u64) -> Result<(), FileError> {
    let end = ends.first().copied().unwrap_or_default();
    // a model of one answer for each question has nothing to gain from chance
    let generation = json!({"eos_token_id": ends, "do_sample": false, "temperature": 0.0});
    for (name, content) in
        [("config.json", shape.config(tokens, end)), ("generation_config.json", generation)]
    {
        write_file(&dir.join(name), |out| {
            serde_json::to_writer_pretty(&mut *out, &content)?;
            out.write_all(b"\n")
        })?;
    }
    let tensors = shape.tensors(tokens).into_iter().map(|(name, dims)| {
        let values = values(&name, &dims, shape.layers, seed);
        let bytes = Cow::Owned(f32_bytes(&values).to_vec());
        NewTensor { name, type_name: "F32", shape: dims, bytes }
    });
    write_file(&dir.join("model.safetensors"), |out| write_safetensors(out, tensors.collect()))
}

/// Evenly distributed values: they are the same on every machine, which logarithms and cosines are not.
fn values(name: &str, dims: &[usize], layers: usize, seed: u64) -> Vec<f32> {
    let count = dims.iter().product();
    if dims.len() == 1 {
        return vec![1.0; count];
    }
    let writes = name.contains("o_proj") || name.contains("down_proj");
    let deviation = match name {
        "model.embed_tokens.weight" => TOKEN_DEVIATION,
        _ if writes => DEVIATION / ((2 * layers) as f32).sqrt(),
        _ => DEVIATION,
    };
    let mut random = Random::new(seed, name, 0);
    (0..count).map(|_| random.uniform(deviation * 3f32.sqrt())).collect()
}
