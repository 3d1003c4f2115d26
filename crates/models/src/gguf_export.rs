//! A model as one GGUF file, with its tokenizer and chat template inside: what llama.cpp and all that is built on it read.

use crate::checkpoint::FileError;
use crate::checkpoint::gguf_writer::{MetadataValue, q8_0_tensor, write_gguf};
use crate::checkpoint::mapped_file::read_bounded;
use crate::checkpoint::writer::{NewTensor, write_file};
use crate::config::RopeScaling;
use crate::model::{GenerationDefaults, ModelError, PromptFiles};
use crate::tokenizer::{self, QWEN2_PATTERN};
use crate::{CausalLm, Config};
use half::{bf16, f16};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// How the matrices are stored; vectors are float32 in all files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufType {
    /// As trained.
    F32,
    /// 16 bits, with the range of float32.
    BF16,
    /// 16 bits, with a small range.
    F16,
    /// 8 bits with a scale for each 32 values of a row.
    Q8_0,
}

/// Why a model can't be written as GGUF.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of the checkpoint's directory.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A directory without a tokenizer.
    #[error("{} has no tokenizer.json, which a GGUF file holds", .0.display())]
    NoTokenizer(PathBuf),
    /// Something that GGUF files, or this version, have no words for.
    #[error("{what} is {found}, which is not written to GGUF files; {known}")]
    Unsupported {
        /// Of what.
        what: &'static str,
        /// What was found.
        found: String,
        /// What is written.
        known: &'static str,
    },
    /// Rows that are no whole blocks.
    #[error("`{name}` has rows of {cols} values, but q8_0 has blocks of 32; take f16")]
    Blocks {
        /// The matrix.
        name: String,
        /// Its columns.
        cols: usize,
    },
}

/// GGUF's numbers for what most of a file is stored in (`enum llama_ftype`).
fn file_type(matrices: GgufType) -> u32 {
    match matrices {
        GgufType::F32 => 0,
        GgufType::F16 => 1,
        GgufType::Q8_0 => 7,
        GgufType::BF16 => 32,
    }
}

/// Kinds of tokens (`enum llama_token_type`).
mod kind {
    pub const NORMAL: i32 = 1;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const UNUSED: i32 = 5;
}

/// Writes `lm` to the file `path`, with the tokenizer, the chat template and the sampling values of the checkpoint directory
/// `dir`. The file is complete or as it was.
///
/// # Errors
/// When the model is not one that GGUF files are written of, or a file can't be read or written.
pub fn export_gguf(
    lm: &mut CausalLm,
    dir: &Path,
    path: &Path,
    matrices: GgufType,
) -> Result<(), ExportError> {
    let metadata = metadata(lm.config(), dir, matrices)?;
    let tensors = lm.with_tensors(|tensors| {
        let encoded = tensors.into_iter().map(|(name, tensor)| {
            let (shape, values) = (tensor.shape(), tensor.to_f32());
            // llama.cpp adds and multiplies by vectors in float32 only
            let stored = if shape.len() == 1 { GgufType::F32 } else { matrices };
            encode(name, shape, &values, stored)
        });
        encoded.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(write_file(path, |out| write_gguf(out, &metadata, &tensors))?)
}

/// Checks all that [`export_gguf`] needs but for the disk, so that a long run does not end with a model that can't be written.
///
/// # Errors
/// As for [`export_gguf`].
pub fn check(lm: &mut CausalLm, dir: &Path, matrices: GgufType) -> Result<(), ExportError> {
    metadata(lm.config(), dir, matrices)?;
    let uneven = lm.with_tensors(|tensors| {
        let mut shapes = tensors.into_iter().map(|(name, tensor)| (name, tensor.shape()));
        shapes.find_map(|(name, shape)| match shape[..] {
            [_, cols] if !cols.is_multiple_of(32) => Some((name, cols)),
            _ => None,
        })
    });
    match uneven {
        Some((name, cols)) if matrices == GgufType::Q8_0 => Err(ExportError::Blocks { name, cols }),
        _ => Ok(()),
    }
}

fn encode(
    name: String,
    shape: Vec<usize>,
    values: &[f32],
    stored: GgufType,
) -> Result<NewTensor<'static>, ExportError> {
    let (type_name, bytes): (_, Vec<u8>) = match stored {
        GgufType::F32 => ("F32", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        GgufType::BF16 => ("BF16", values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect()),
        GgufType::F16 => ("F16", values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect()),
        GgufType::Q8_0 => {
            return match shape.last() {
                Some(&cols) if !cols.is_multiple_of(32) => Err(ExportError::Blocks { name, cols }),
                _ => Ok(q8_0_tensor(name, shape, values)),
            };
        }
    };
    Ok(NewTensor { name, type_name, shape, bytes: bytes.into() })
}

type Metadata = Vec<(String, MetadataValue)>;

fn metadata(config: &Config, dir: &Path, matrices: GgufType) -> Result<Metadata, ExportError> {
    use MetadataValue::{F32, Text, U32};
    let architecture = match config.architecture.as_str() {
        known @ ("qwen2" | "qwen3") => known,
        other => {
            let known = "only qwen2 and qwen3 are";
            return Err(ExportError::Unsupported {
                what: "the architecture",
                found: other.to_owned(),
                known,
            });
        }
    };
    if let Some(window) = config.windows.iter().flatten().next() {
        let (what, known) = ("a layer's sliding window", "only layers that see everything are");
        return Err(ExportError::Unsupported { what, found: window.to_string(), known });
    }
    let name = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut all: Metadata = Vec::new();
    let mut put = |key: &str, value| all.push((key.to_owned(), value));
    put("general.architecture", Text(architecture.to_owned()));
    put("general.name", Text(name));
    put("general.file_type", U32(file_type(matrices)));
    put("general.quantization_version", U32(2));
    for (key, size) in [
        ("context_length", config.context_length),
        ("embedding_length", config.hidden_size),
        ("block_count", config.layers),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("vocab_size", config.vocab_size),
    ] {
        put(&format!("{architecture}.{key}"), U32(size as u32));
    }
    put(&format!("{architecture}.attention.layer_norm_rms_epsilon"), F32(config.rms_norm_eps));
    put(&format!("{architecture}.rope.freq_base"), F32(config.rope.theta as f32));
    for (key, value) in rope_scaling(&config.rope.scaling)? {
        put(&format!("{architecture}.rope.scaling.{key}"), value);
    }
    let generation = GenerationDefaults::read_directory(dir)?;
    for (key, value) in [
        ("temp", generation.temperature),
        ("top_p", generation.top_p),
        ("min_p", generation.min_p),
        ("penalty_repeat", generation.repetition_penalty),
    ] {
        value.into_iter().for_each(|value| put(&format!("general.sampling.{key}"), F32(value)));
    }
    generation.top_k.into_iter().for_each(|k| put("general.sampling.top_k", U32(k)));
    all.extend(vocabulary(dir, config.vocab_size, generation.eos_token_ids.first().copied())?);
    Ok(all)
}

fn rope_scaling(scaling: &RopeScaling) -> Result<Vec<(&'static str, MetadataValue)>, ExportError> {
    use MetadataValue::{F32, Text, U32};
    let unsupported = |found: &str| {
        let (what, known) = ("rope scaling", "only none, linear and YaRN as in Qwen's cards are");
        Err(ExportError::Unsupported { what, found: found.to_owned(), known })
    };
    match *scaling {
        RopeScaling::Default => Ok(Vec::new()),
        RopeScaling::Linear { factor } => {
            Ok(vec![("type", Text("linear".to_owned())), ("factor", F32(factor as f32))])
        }
        RopeScaling::Yarn {
            factor,
            original_context,
            beta_fast,
            beta_slow,
            truncate: true,
            attention_factor,
        } => {
            // readers multiply by the factor that follows from the scaling
            let of_scaling = 0.1 * factor.ln() + 1.0;
            Ok(vec![
                ("type", Text("yarn".to_owned())),
                ("factor", F32(factor as f32)),
                ("original_context_length", U32(original_context as u32)),
                ("yarn_beta_fast", F32(beta_fast as f32)),
                ("yarn_beta_slow", F32(beta_slow as f32)),
                ("attn_factor", F32((attention_factor / of_scaling) as f32)),
            ])
        }
        RopeScaling::Yarn { .. } => unsupported("YaRN without truncation"),
        RopeScaling::Llama3 { .. } => unsupported("Llama 3's"),
        RopeScaling::Factors(_) => unsupported("a factor for each frequency"),
    }
}

/// The parts of a `tokenizer.json` that a GGUF file holds. What it has no words for must be what `qwen2` stands for there.
#[derive(Deserialize)]
struct TokenizerFile {
    model: Bpe,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    pre_tokenizer: Value,
}

#[derive(Deserialize)]
struct Bpe {
    vocab: std::collections::HashMap<String, u32>,
    merges: Vec<Merge>,
}

/// A rule as two tokens, or as both with a space between.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Text(String),
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

fn vocabulary(dir: &Path, size: usize, end: Option<u32>) -> Result<Metadata, ExportError> {
    use MetadataValue::{I32s, Text, Texts, U32};
    let path = dir.join("tokenizer.json");
    let json = read_bounded(&path, tokenizer::limits::MAX_FILE_BYTES as u64)?;
    let json = json.ok_or_else(|| ExportError::NoTokenizer(dir.to_owned()))?;
    let file: TokenizerFile =
        serde_json::from_slice(&json).map_err(|source| FileError::Json { path, source })?;
    if !file.pre_tokenizer.to_string().contains(&Value::from(QWEN2_PATTERN).to_string()) {
        let (what, known) = ("the tokenizer's pattern", "only that of Qwen2 and later is");
        return Err(ExportError::Unsupported { what, found: "another".to_owned(), known });
    }
    // rows of the embedding table that no token has
    let mut tokens: Vec<(String, i32)> = (0..size).map(|id| (format!("[PAD{id}]"), kind::UNUSED)).collect();
    let normal = file.model.vocab.into_iter().map(|(token, id)| (id, token, kind::NORMAL));
    let added = file.added_tokens.into_iter().map(|added| {
        (added.id, added.content, if added.special { kind::CONTROL } else { kind::USER_DEFINED })
    });
    for (id, token, kind) in normal.chain(added) {
        let Some(place) = tokens.get_mut(id as usize) else {
            let (what, known) = ("a token's id", "ids must be below the model's vocab_size");
            return Err(ExportError::Unsupported { what, found: id.to_string(), known });
        };
        *place = (token, kind);
    }
    let prompt = PromptFiles::read_directory(dir)?;
    let id_of = |text: &str| tokens.iter().position(|(token, _)| token == text).map(|id| id as u32);
    let [bos, eos, pad] = [id_of(&prompt.bos), id_of(&prompt.eos).or(end), id_of("<|endoftext|>")];
    let merges = file.model.merges.into_iter().map(|merge| match merge {
        Merge::Pair(left, right) => format!("{left} {right}"),
        Merge::Text(text) => text,
    });
    let merges = Texts(merges.collect());
    let (tokens, kinds) = tokens.into_iter().unzip();
    let mut all = vec![
        ("model", Text("gpt2".to_owned())),
        ("pre", Text("qwen2".to_owned())),
        ("tokens", Texts(tokens)),
        ("token_type", I32s(kinds)),
        ("merges", merges),
    ];
    // Qwen begins with nothing, but readers want an id
    for (key, id) in [("bos_token_id", bos.or(pad)), ("eos_token_id", eos), ("padding_token_id", pad)] {
        all.extend(id.map(|id| (key, U32(id))));
    }
    let mut all: Metadata =
        all.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect();
    all.extend(prompt.template.map(|template| ("tokenizer.chat_template".to_owned(), Text(template))));
    Ok(all)
}
