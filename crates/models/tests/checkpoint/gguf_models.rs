//! Models written as GGUF compute what their Hugging Face originals compute.

use crate::files::{Gguf, parity};
use models::{CausalLm, Checkpoint, Config};
use nn::{Batch, Context, DType, KvCache};
use std::path::Path;
use std::sync::Arc;

/// Final hidden states of a fixed prompt.
fn hidden_states(path: &Path) -> Vec<f32> {
    let checkpoint = Checkpoint::open(path).unwrap();
    let lm = CausalLm::load(&checkpoint, Config::read(&checkpoint).unwrap()).unwrap();
    let mut cache = KvCache::new(lm.kv_cache_shape(DType::F32, 32, 1)).unwrap();
    let tokens: Vec<u32> = (0..32).map(|i| i * 7 % 500).collect();
    let cx = Context::new(Arc::new(kernels::Pool::new(1)));
    lm.forward(&cx, &Batch::single(&tokens, 0, vec![0]), &mut cache).values().to_vec()
}

/// Writes the tensors of the fixture `name` as a GGUF file of `architecture`, changed as its conversion does.
fn convert(name: &str, architecture: &str, add: impl FnOnce(Gguf, &Config) -> Gguf, dir: &Path) {
    let checkpoint = Checkpoint::open(&parity(name)).unwrap();
    let config = Config::read(&checkpoint).unwrap();
    let key = |key: &str| format!("{architecture}.{key}");
    let mut file = Gguf::default()
        .text("general.architecture", architecture)
        .u32(&key("context_length"), config.context_length as u32)
        .u32(&key("embedding_length"), config.hidden_size as u32)
        .u32(&key("block_count"), config.layers as u32)
        .u32(&key("feed_forward_length"), config.intermediate_size as u32)
        .u32(&key("attention.head_count"), config.heads as u32)
        .u32(&key("attention.head_count_kv"), config.kv_heads as u32)
        .u32(&key("attention.key_length"), config.head_dim as u32)
        .f32(&key("attention.layer_norm_rms_epsilon"), config.rms_norm_eps)
        .f32(&key("rope.freq_base"), config.rope.theta as f32);
    let mut experts = std::collections::BTreeMap::<String, Vec<(usize, Vec<f32>, [usize; 2])>>::new();
    for (name, tensor) in checkpoint.tensors() {
        let (rows, cols) = match tensor.shape[..] {
            [rows, cols] => (rows, cols),
            [len] => (1, len),
            _ => panic!("{name} has another shape"),
        };
        let values = match tensor.shape.len() {
            1 => checkpoint.vector(name, cols).unwrap(),
            _ => checkpoint.weight(name, rows, cols).unwrap().to_f32(),
        };
        let name = gguf_name(name);
        if let Some((stack, expert)) = name.split_once('#') {
            let expert = expert.parse().unwrap();
            experts.entry(stack.to_owned()).or_default().push((expert, values, [rows, cols]));
            continue;
        }
        let paired = architecture == "llama" && (name.contains("attn_q.") || name.contains("attn_k."));
        let values = if paired { interleaved(&values, config.head_dim, cols) } else { values };
        file = file.tensor_of(&name, &tensor.shape, &values);
    }
    for (name, mut matrices) in experts {
        matrices.sort_by_key(|(expert, ..)| *expert);
        let [rows, cols] = matrices[0].2;
        let values: Vec<f32> = matrices.iter().flat_map(|(_, values, _)| values.clone()).collect();
        file = file.tensor_of(&name, &[matrices.len(), rows, cols], &values);
    }
    std::fs::write(dir.join("model.gguf"), add(file, &config).bytes()).unwrap();
}

/// llama.cpp's name; for an expert, that of its stack, `#` and its number.
fn gguf_name(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        ["lm_head", kind] => format!("output.{kind}"),
        ["model", "embed_tokens", kind] => format!("token_embd.{kind}"),
        ["model", "norm", kind] => format!("output_norm.{kind}"),
        ["model", "layers", n, "mlp", "experts", e, proj, kind] => {
            format!("blk.{n}.ffn_{}_exps.{kind}#{e}", proj.trim_end_matches("_proj"))
        }
        ["model", "layers", n, "mlp", "gate", kind] => format!("blk.{n}.ffn_gate_inp.{kind}"),
        ["model", "layers", n, "mlp", proj, kind] => {
            format!("blk.{n}.ffn_{}.{kind}", proj.trim_end_matches("_proj"))
        }
        ["model", "layers", n, "self_attn", "o_proj", kind] => format!("blk.{n}.attn_output.{kind}"),
        ["model", "layers", n, "self_attn", part, kind] => {
            format!("blk.{n}.attn_{}.{kind}", part.trim_end_matches("_proj"))
        }
        ["model", "layers", n, "input_layernorm", kind] => format!("blk.{n}.attn_norm.{kind}"),
        ["model", "layers", n, "post_attention_layernorm", kind] => format!("blk.{n}.ffn_norm.{kind}"),
        _ => panic!("no GGUF name for {name}"),
    }
}

/// Rows of each head reordered so that the pairs `(i, i + d/2)` become neighbours.
fn interleaved(values: &[f32], head_dim: usize, cols: usize) -> Vec<f32> {
    let half = head_dim / 2;
    let rows: Vec<&[f32]> = values.chunks_exact(cols).collect();
    let order = (0..rows.len()).map(|row| row / head_dim * head_dim + row % 2 * half + row % head_dim / 2);
    order.flat_map(|row| rows[row].iter().copied()).collect()
}

fn assert_same_model(name: &str, architecture: &str, add: impl FnOnce(Gguf, &Config) -> Gguf) {
    let dir = tempfile::tempdir().unwrap();
    convert(name, architecture, add, dir.path());
    let (found, expected) = (hidden_states(&dir.path().join("model.gguf")), hidden_states(&parity(name)));
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let off = found.iter().zip(&expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(off <= 1e-5 * largest, "{name}: off by {off} of {largest}");
}

#[test]
fn llama_with_neighbouring_pairs_and_frequency_factors() {
    assert_same_model("llama3-rope-tied", "llama", |file, config| {
        let plain =
            models::config::Rope { scaling: models::config::RopeScaling::Default, ..config.rope.clone() };
        let plain = plain.frequencies(config.head_dim).inv_freq;
        let scaled = config.rope.frequencies(config.head_dim).inv_freq;
        let factors: Vec<f32> = plain.iter().zip(&scaled).map(|(plain, scaled)| plain / scaled).collect();
        assert!(factors.iter().any(|f| *f > 1.5), "the scaling does something");
        file.tensor_of("rope_freqs.weight", &[factors.len()], &factors)
    });
}

#[test]
fn qwen2_with_biases() {
    assert_same_model("qwen2-tied", "qwen2", |file, _| file);
}

#[test]
fn qwen3_moe_with_stacked_experts_and_a_dense_layer() {
    assert_same_model("qwen3-moe", "qwen3moe", |file, config| {
        let experts = config.experts.as_ref().unwrap();
        file.u32("qwen3moe.expert_count", experts.count as u32)
            .u32("qwen3moe.expert_used_count", experts.used as u32)
            .u32("qwen3moe.expert_feed_forward_length", experts.intermediate_size as u32)
    });
}
