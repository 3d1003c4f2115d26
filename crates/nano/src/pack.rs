//! The trained model as one GGUF file with 8-bit weights, tokenizer and chat template inside.

use anyhow::Context;
use models::checkpoint::gguf_writer::{MetadataValue, q8_0_tensor, write_gguf};
use models::checkpoint::writer::{NewTensor, write_file};
use models::model::open_weights;
use serde_json::Value;
use std::path::Path;

/// GGUF's number for files of mostly Q8_0.
const MOSTLY_Q8_0: u32 = 7;
/// Kinds of tokens in GGUF.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// Packs the checkpoint directory `dir` into the file `path`.
///
/// # Errors
/// When the checkpoint can't be read, or the file not written.
pub fn pack(dir: &Path, path: &Path) -> anyhow::Result<()> {
    let (_, mut lm) = open_weights(dir)?;
    let metadata = metadata(dir, lm.config())?;
    let tensors = lm.with_tensors(|tensors| {
        let encode = |(name, tensor): (String, models::causal_lm::TensorMut<'_>)| {
            let (shape, values) = (tensor.shape(), tensor.to_f32());
            match shape.len() {
                2 => q8_0_tensor(name, shape, &values),
                _ => {
                    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into();
                    NewTensor { name, type_name: "F32", shape, bytes }
                }
            }
        };
        tensors.into_iter().map(encode).collect::<Vec<_>>()
    });
    write_file(path, |out| write_gguf(out, &metadata, &tensors))?;
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

fn metadata(dir: &Path, config: &models::Config) -> anyhow::Result<Vec<(String, MetadataValue)>> {
    use MetadataValue::{F32, I32s, Text, Texts, U32};
    let size = |n: usize| U32(n as u32);
    let (tokens, kinds) = tokens(&read(&dir.join("tokenizer.json"))?);
    let merges = merges(&read(&dir.join("tokenizer.json"))?);
    let template =
        read(&dir.join("tokenizer_config.json"))?["chat_template"].as_str().unwrap_or("").to_owned();
    let end = tokens.iter().position(|token| token == "<|im_end|>").context("there is no <|im_end|>")?;
    let pad = tokens.iter().position(|token| token == "<|endoftext|>").unwrap_or(end);
    let all = [
        ("general.architecture", Text("qwen3".to_owned())),
        ("general.name", Text("wen-nano".to_owned())),
        ("general.license", Text("apache-2.0".to_owned())),
        ("general.file_type", U32(MOSTLY_Q8_0)),
        ("general.quantization_version", U32(2)),
        // the likeliest token: it has one answer for each question
        ("general.sampling.temp", F32(0.0)),
        ("qwen3.context_length", size(config.context_length)),
        ("qwen3.embedding_length", size(config.hidden_size)),
        ("qwen3.block_count", size(config.layers)),
        ("qwen3.feed_forward_length", size(config.intermediate_size)),
        ("qwen3.attention.head_count", size(config.heads)),
        ("qwen3.attention.head_count_kv", size(config.kv_heads)),
        ("qwen3.attention.key_length", size(config.head_dim)),
        ("qwen3.attention.value_length", size(config.head_dim)),
        ("qwen3.attention.layer_norm_rms_epsilon", F32(config.rms_norm_eps)),
        ("qwen3.rope.freq_base", F32(config.rope.theta as f32)),
        ("tokenizer.ggml.model", Text("gpt2".to_owned())),
        ("tokenizer.ggml.pre", Text("qwen2".to_owned())),
        ("tokenizer.ggml.tokens", Texts(tokens)),
        ("tokenizer.ggml.token_type", I32s(kinds)),
        ("tokenizer.ggml.merges", Texts(merges)),
        ("tokenizer.ggml.eos_token_id", size(end)),
        ("tokenizer.ggml.padding_token_id", size(pad)),
        ("tokenizer.chat_template", Text(template)),
    ];
    Ok(all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// The tokens of a `tokenizer.json` by their ids, and their kinds.
fn tokens(json: &Value) -> (Vec<String>, Vec<i32>) {
    let vocab = json["model"]["vocab"].as_object().into_iter().flatten();
    let mut all: Vec<(u64, String, i32)> =
        vocab.map(|(token, id)| (id.as_u64().unwrap_or(0), token.clone(), NORMAL)).collect();
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = if added["special"] == true { CONTROL } else { USER_DEFINED };
        let content = added["content"].as_str().unwrap_or_default().to_owned();
        all.push((added["id"].as_u64().unwrap_or(0), content, kind));
    }
    all.sort_unstable();
    all.into_iter().map(|(_, token, kind)| (token, kind)).unzip()
}

fn merges(json: &Value) -> Vec<String> {
    let rules = json["model"]["merges"].as_array().into_iter().flatten();
    let text = |rule: &Value| match rule {
        Value::Array(pair) => pair.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    rules.map(text).collect()
}
