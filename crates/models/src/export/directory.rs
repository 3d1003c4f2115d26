//! A model as a directory: safetensors, whole or in shards, with the files that transformers and others read beside them.

use super::config::{config_json, generation_config_json, tokenizer_config_json, torch_type};
use super::sentence_transformers::{self, Pooling, write_json};
use super::tensors::{Container, Outgoing, Sink, Steps, Storage, check_adapters, count, plan};
use super::{DIRECTORY, ExportError, Options, Origin, Written, check_room, unsupported};
use crate::checkpoint::mapped_file::read_json;
use crate::checkpoint::writer::{TensorHead, create_dir, safetensors_header, write_file, write_file_or};
use crate::checkpoint::{FileError, GgufMetadata};
use crate::model::{GenerationDefaults, ModelError, ModelKind, PromptFiles};
use crate::tokenizer::{Tokenizer, rewrite};
use crate::{CausalLm, Config, limits};
use nn::DType;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

/// Bytes of weights in a file where nobody says otherwise: what hubs and their clients handle well.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// The index's name.
const INDEX: &str = "model.safetensors.index.json";
/// Endings of the files that belong to a model besides its weights.
const KEPT: [&str; 4] = ["json", "txt", "jinja", "model"];

/// Writes `lm` into the directory `dir`, in files of at most `shard_bytes` of weights where one tensor isn't larger, with what
/// belongs to it from `origin`. Each file is complete or as it was.
///
/// # Errors
/// When the model is not one that such directories hold, an adapter does not go with it, or a file can't be read or written.
pub fn write(
    lm: &mut CausalLm,
    origin: Origin<'_>,
    dir: &Path,
    shard_bytes: u64,
    options: Options<'_>,
) -> Result<Written, ExportError> {
    check_adapters(lm, &options)?;
    let config = lm.config().clone();
    let Options { storage, adapters, provenance: _, pool, progress } = options;
    if let Storage::In(dtype) = storage
        && dtype.block_len() > 1
    {
        return unsupported(DIRECTORY, "the type", dtype.name(), "f32, bf16 and f16 are");
    }
    create_dir(dir)?;
    lm.with_tensors(|tensors| {
        let tied = !tensors.iter().any(|(name, _)| name == "lm_head.weight");
        let (tensors, fallbacks) = plan(tensors, &config, Container::Safetensors, storage, adapters);
        let matrices = tensors.iter().filter(|tensor| tensor.is_matrix()).map(|tensor| tensor.dtype);
        let matrices = count(matrices);
        let main = main_type(&tensors);
        let shards = Shard::fill(tensors, shard_bytes)?;
        let total = shards.iter().map(|shard| shard.header.len() as u64 + shard.bytes).sum();
        check_room(dir, total)?;
        match origin {
            Origin::Directory(base) => copy_files(base, dir, &config, main)?,
            Origin::Gguf(path, metadata) => make_files(path, metadata, &config, main, tied, dir)?,
        }
        let mut steps = Steps { done: 0, total };
        for (number, shard) in shards.iter().enumerate() {
            let path = dir.join(shard_name(number, shards.len()));
            write_file_or(&path, |out| {
                let mut sink = Sink { out, path: &path, steps: &mut steps, progress: &mut *progress };
                sink.put(&shard.header)?;
                shard.tensors.iter().try_for_each(|tensor| tensor.write(pool, &mut sink))
            })?;
        }
        if shards.len() > 1 {
            write_index(&shards, dir)?;
        }
        Ok(Written { bytes: total, files: shards.len(), matrices, fallbacks })
    })
}

/// The type of most bytes.
fn main_type(tensors: &[Outgoing<'_>]) -> DType {
    let bytes = |dtype: &DType| -> u64 {
        tensors.iter().filter(|tensor| tensor.dtype == *dtype).map(Outgoing::bytes).sum()
    };
    [DType::F32, DType::F16, DType::BF16].into_iter().max_by_key(bytes).unwrap_or(DType::BF16)
}

/// A file of weights.
struct Shard<'a> {
    tensors: Vec<Outgoing<'a>>,
    header: Vec<u8>,
    /// Bytes of the tensors.
    bytes: u64,
}

impl<'a> Shard<'a> {
    fn fill(tensors: Vec<Outgoing<'a>>, shard_bytes: u64) -> Result<Vec<Shard<'a>>, ExportError> {
        let mut shards: Vec<Shard<'a>> = Vec::new();
        for tensor in tensors {
            let bytes = tensor.bytes();
            match shards.last_mut().filter(|shard| shard.bytes.saturating_add(bytes) <= shard_bytes) {
                Some(shard) => {
                    shard.bytes += bytes;
                    shard.tensors.push(tensor);
                }
                None => shards.push(Shard { tensors: vec![tensor], header: Vec::new(), bytes }),
            }
        }
        if shards.len() > limits::MAX_SHARDS {
            let known = "1024 files and fewer are; allow larger ones";
            return unsupported(DIRECTORY, "the number of files", shards.len(), known);
        }
        for shard in &mut shards {
            // the widest first, so that each lies at a multiple of its values' size
            shard
                .tensors
                .sort_by(|a, b| (b.dtype.block_bytes(), &a.name).cmp(&(a.dtype.block_bytes(), &b.name)));
            let heads: Vec<TensorHead> = shard.tensors.iter().map(head).collect();
            let failed = |source| FileError::Write { path: DIRECTORY.into(), source };
            shard.header = safetensors_header(&heads).map_err(failed)?;
        }
        Ok(shards)
    }
}

fn head(tensor: &Outgoing<'_>) -> TensorHead {
    let (name, shape) = (tensor.name.clone(), tensor.shape());
    TensorHead { name, type_name: tensor.dtype.name(), shape, bytes: tensor.bytes() }
}

fn shard_name(number: usize, count: usize) -> String {
    match count {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
    }
}

fn write_index(shards: &[Shard<'_>], dir: &Path) -> Result<(), FileError> {
    let mut places = BTreeMap::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = shard_name(number, shards.len());
        places.extend(shard.tensors.iter().map(|tensor| (tensor.name.as_str(), name.clone())));
    }
    let bytes: u64 = shards.iter().map(|shard| shard.bytes).sum();
    write_json(&dir.join(INDEX), &json!({"metadata": {"total_size": bytes}, "weight_map": places}))
}

/// Copies what belongs to the model in `base` besides its weights: configuration, tokenizer, and the parts of an embedding
/// model.
fn copy_files(base: &Path, dir: &Path, config: &Config, main: DType) -> Result<(), ExportError> {
    let entries = |from: &Path| {
        let failed = |source| FileError::Io { path: from.to_owned(), source };
        let entries = std::fs::read_dir(from).map_err(failed)?;
        Ok::<_, FileError>(entries.flatten().map(|entry| (entry.path(), entry.file_name())))
    };
    for (path, name) in entries(base)? {
        let kept = path.extension().and_then(|e| e.to_str()).is_some_and(|e| KEPT.contains(&e));
        if path.is_file() && kept && name != INDEX {
            copy(&path, &dir.join(name))?;
        } else if path.is_dir() && path.join("config.json").is_file() && is_part(&path) {
            let part = dir.join(name);
            create_dir(&part)?;
            copy(&path.join("config.json"), &part.join("config.json"))?;
        }
    }
    let path = dir.join("config.json");
    let fields = read_json::<Map<String, Value>>(&path)?;
    let Some(mut fields) = fields else { return Ok(()) };
    let before = fields.clone();
    // newer files call it `dtype`
    let key = if fields.contains_key("dtype") { "dtype" } else { "torch_dtype" };
    fields.insert(key.to_owned(), torch_type(main).into());
    if config.quantization.is_some() {
        fields.shift_remove("quantization_config");
    }
    if fields != before {
        write_json(&path, &fields.into())?;
    }
    Ok(())
}

/// Whether a directory beside the weights is a step of sentence-transformers (`1_Pooling`).
fn is_part(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split_once('_').is_some_and(|(number, _)| number.bytes().all(|b| b.is_ascii_digit()))
}

fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::Io { path: from.to_owned(), source };
    let mut file = File::open(from).map_err(failed)?;
    write_file(to, |out| io::copy(&mut file, out).map(|_| ()))
}

/// Makes of a GGUF file's metadata what stands beside the weights.
fn make_files(
    path: &Path,
    metadata: &GgufMetadata,
    config: &Config,
    main: DType,
    tied: bool,
    dir: &Path,
) -> Result<(), ExportError> {
    let file = |name: &str, value: &Value| write_json(&dir.join(name), value);
    file("config.json", &config_json(config, metadata, main, tied)?)?;
    if ModelKind::of_gguf(path, metadata)? == ModelKind::Embed {
        sentence_transformers::write(dir, config.hidden_size, Pooling::Last)?;
    }
    if !metadata.contains("tokenizer.ggml.model") {
        return Ok(());
    }
    let failed = |source| ModelError::Tokenizer { path: path.to_owned(), source };
    let tokenizer = Tokenizer::from_gguf(metadata).map_err(failed)?;
    let json = rewrite::to_json(metadata).map_err(failed)?;
    write_file(&dir.join("tokenizer.json"), |out| Ok(serde_json::to_writer(out, &json)?))?;
    let prompt = PromptFiles::read_gguf(metadata)?;
    let settings = tokenizer_config_json(config, metadata, &prompt).map_err(ModelError::from)?;
    file("tokenizer_config.json", &settings)?;
    let generation = GenerationDefaults::read_gguf(metadata, &tokenizer)?;
    let generation = generation_config_json(metadata, &generation).map_err(ModelError::from)?;
    Ok(file("generation_config.json", &generation)?)
}
