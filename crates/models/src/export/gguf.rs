//! A model as one GGUF file, with its tokenizer and chat template inside: what llama.cpp and all that is built on it read.
//!
//! Names, keys and the order of rows are those of llama.cpp's `convert_hf_to_gguf.py` and its loaders (`src/models`).

use super::provenance::is_provenance;
use super::tensors::{Container, Outgoing, Sink, Steps, Storage, check_adapters, count, plan};
use super::{ExportError, GGUF, Options, Origin, Written, check_room, unsupported};
use crate::causal_lm::TensorMut;
use crate::checkpoint::gguf_writer::{MetadataValue, gguf_header, padding};
use crate::checkpoint::mapped_file::read_bounded;
use crate::checkpoint::names::stack_of_expert;
use crate::checkpoint::quantize::is_encoded;
use crate::checkpoint::writer::{TensorHead, directory_of, write_file_or};
use crate::checkpoint::{FileError, GgufMetadata};
use crate::config::{Rope, RopeScaling};
use crate::model::{GenerationDefaults, ModelError, ModelKind, PromptFiles, model_name};
use crate::tokenizer::rewrite::{self, GgufTokenizer};
use crate::{CausalLm, Config, limits, tokenizer};
use nn::{DType, Vector};
use std::path::Path;

/// The tensor by which Llama's frequencies are divided.
const ROPE_FACTORS: &str = "rope_freqs.weight";
/// `enum llama_pooling_type`: the last token's.
const LAST_TOKEN_POOLING: u32 = 3;
/// The version of the block formats.
const QUANTIZATION_VERSION: u32 = 2;
/// What the file is mostly stored in.
const FILE_TYPE: &str = "general.file_type";

/// GGUF's numbers for what most of a file is stored in (`enum llama_ftype`).
fn file_type(dtype: DType) -> u32 {
    match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::Q4_0 => 2,
        DType::Q4_1 => 3,
        DType::Q8_0 => 7,
        DType::Q5_0 => 8,
        DType::Q5_1 => 9,
        DType::Q4_K => 15,
        DType::Q5_K => 17,
        DType::Q6_K => 18,
        DType::BF16 => 32,
    }
}

/// A tensor of the file: one of the model's, or those of all experts of a layer.
struct Stack<'a> {
    head: TensorHead,
    parts: Vec<Outgoing<'a>>,
}

/// Writes `lm` to the file `path`, with the tokenizer, the chat template and the sampling values of `origin`. The file is
/// complete or as it was.
///
/// # Errors
/// When the model is not one that GGUF files are written of, an adapter does not go with it, or a file can't be read or
/// written.
pub fn write(
    lm: &mut CausalLm,
    origin: Origin<'_>,
    path: &Path,
    options: Options<'_>,
) -> Result<Written, ExportError> {
    check_adapters(lm, &options)?;
    let config = lm.config().clone();
    let mut metadata = metadata(&config, origin)?;
    let mut factors = rope_factors(&config)?;
    let Options { storage, adapters, provenance, pool, progress } = options;
    if let Some(provenance) = provenance {
        metadata.retain(|(key, _)| !is_provenance(key));
        // at the head, where it is read without the vocabulary
        metadata.splice(..0, provenance.metadata());
    }
    if let Storage::In(dtype) = storage
        && !is_encoded(dtype)
    {
        return unsupported(GGUF, "the type", dtype.name(), "f32, bf16, f16, q8_0, q4_0 and q4_k are");
    }
    lm.with_tensors(|tensors| {
        let factors = factors.as_mut().map(|factors| (ROPE_FACTORS.to_owned(), TensorMut::Vector(factors)));
        let tensors = tensors.into_iter().chain(factors).collect();
        let (tensors, fallbacks) = plan(tensors, &config, Container::Gguf, storage, adapters);
        let stacks = stacked(tensors);
        let matrices = stacks.iter().filter(|stack| stack.parts[0].is_matrix());
        metadata.push((FILE_TYPE.to_owned(), MetadataValue::U32(file_type(main_type(&stacks)))));
        let matrices = count(matrices.map(|stack| stack.parts[0].dtype));
        let heads: Vec<TensorHead> = stacks.iter().map(|stack| stack.head.clone()).collect();
        let failed = |source| FileError::Write { path: path.to_owned(), source };
        let header = gguf_header(&metadata, &heads).map_err(failed)?;
        let values: u64 = heads.iter().map(|head| head.bytes + padding(head.bytes).len() as u64).sum();
        let total = header.len() as u64 + values;
        check_room(directory_of(path), total)?;
        write_file_or(path, |out| {
            let mut steps = Steps { done: 0, total };
            let mut sink = Sink { out, path, steps: &mut steps, progress };
            sink.put(&header)?;
            stacks.iter().try_for_each(|stack| {
                stack.parts.iter().try_for_each(|part| part.write(pool, &mut sink))?;
                sink.put(padding(stack.head.bytes))
            })
        })?;
        Ok(Written { bytes: total, files: 1, matrices, fallbacks })
    })
}

/// Checks all that [`write`] needs but for the disk, and that rows fit `matrices`, so that a long run does not end with a model
/// that can't be written.
///
/// # Errors
/// As for [`write`].
pub fn check(lm: &mut CausalLm, dir: &Path, matrices: DType) -> Result<(), ExportError> {
    let config = lm.config().clone();
    metadata(&config, Origin::Directory(dir))?;
    rope_factors(&config)?;
    let storage = Storage::In(matrices);
    lm.with_tensors(|tensors| match plan(tensors, &config, Container::Gguf, storage, &[]).1.pop() {
        Some(uneven) => Err(ExportError::Blocks { name: uneven.name, cols: uneven.cols }),
        None => Ok(()),
    })
}

/// Puts the experts of each layer together. They follow each other in the model.
fn stacked(tensors: Vec<Outgoing<'_>>) -> Vec<Stack<'_>> {
    let mut stacks: Vec<Stack<'_>> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for tensor in tensors {
        let stack = stack_of_expert(&tensor.name);
        let name = stack.clone().unwrap_or_else(|| tensor.name.clone());
        match stack.and_then(|name| places.get(&name).copied()) {
            Some(at) => {
                let stack: &mut Stack<'_> = &mut stacks[at];
                stack.parts.push(tensor);
            }
            None => {
                places.insert(name.clone(), stacks.len());
                let head = TensorHead { name, type_name: "", shape: tensor.shape(), bytes: 0 };
                stacks.push(Stack { head, parts: vec![tensor] });
            }
        }
    }
    for Stack { head, parts } in &mut stacks {
        if parts.iter().any(|part| part.dtype != parts[0].dtype) {
            parts.iter_mut().for_each(|part| part.dtype = DType::BF16);
        }
        if stack_of_expert(&parts[0].name).is_some() {
            head.shape.insert(0, parts.len());
        }
        head.type_name = parts[0].dtype.name();
        head.bytes = parts.iter().map(Outgoing::bytes).sum();
    }
    stacks
}

/// The type of most bytes.
fn main_type(stacks: &[Stack<'_>]) -> DType {
    let bytes = |dtype: &DType| -> u64 {
        stacks.iter().filter(|stack| stack.parts[0].dtype == *dtype).map(|stack| stack.head.bytes).sum()
    };
    DType::ALL.into_iter().max_by_key(bytes).unwrap_or(DType::F32)
}

type Metadata = Vec<(String, MetadataValue)>;

/// All but the file's type.
fn metadata(config: &Config, origin: Origin<'_>) -> Result<Metadata, ExportError> {
    match origin {
        Origin::Gguf(_, metadata) => Ok(copied(metadata)),
        Origin::Directory(dir) => of_directory(config, dir),
    }
}

/// What another file says, but for what this one stores otherwise.
fn copied(metadata: &GgufMetadata) -> Metadata {
    let mut keys: Vec<&str> = metadata.keys().collect();
    keys.sort_unstable();
    let own = |key: &str| matches!(key, FILE_TYPE | "general.alignment") || key.starts_with("split.");
    let values = keys
        .into_iter()
        .filter(|key| !own(key))
        .filter_map(|key| Some((key.to_owned(), MetadataValue::Encoded(metadata.encoded(key)?.to_owned()))));
    values.collect()
}

fn of_directory(config: &Config, dir: &Path) -> Result<Metadata, ExportError> {
    use MetadataValue::{F32, Text, U32};
    check_architecture(config)?;
    let architecture = config.gguf_architecture();
    let mut all: Metadata = Vec::new();
    let mut put = |key: &str, value| all.push((key.to_owned(), value));
    put("general.architecture", Text(architecture.to_owned()));
    put("general.type", Text("model".to_owned()));
    put("general.name", Text(model_name(dir)));
    put("general.quantization_version", U32(QUANTIZATION_VERSION));
    let mut sizes = vec![
        ("context_length", config.context_length),
        ("embedding_length", config.hidden_size),
        ("block_count", config.layers),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
        ("vocab_size", config.vocab_size),
    ];
    if let Some(experts) = &config.experts {
        sizes.extend([
            ("expert_count", experts.count),
            ("expert_used_count", experts.used),
            ("expert_feed_forward_length", experts.intermediate_size),
        ]);
    }
    for (key, size) in sizes {
        put(&format!("{architecture}.{key}"), U32(size as u32));
    }
    put(&format!("{architecture}.attention.layer_norm_rms_epsilon"), F32(config.rms_norm_eps));
    put(&format!("{architecture}.rope.freq_base"), F32(config.rope.theta as f32));
    for (key, value) in rope_scaling(&config.rope.scaling)? {
        put(&format!("{architecture}.rope.scaling.{key}"), value);
    }
    if ModelKind::of_directory(dir)? == ModelKind::Embed {
        put(&format!("{architecture}.pooling_type"), U32(LAST_TOKEN_POOLING));
    }
    let generation = GenerationDefaults::read_directory(dir).map_err(ModelError::from)?;
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

/// Refuses what llama.cpp does not compute, or computes otherwise.
fn check_architecture(config: &Config) -> Result<(), ExportError> {
    let is_llama = config.architecture == "llama";
    if let Some(window) = config.windows.iter().flatten().next() {
        return unsupported(GGUF, "a layer's sliding window", window, "only layers that see everything are");
    }
    if (config.output_bias || config.mlp_bias) && !is_llama {
        let found = "that of an output projection or a feed-forward layer";
        return unsupported(
            GGUF,
            "a bias",
            found,
            "of this architecture those of queries, keys and values are",
        );
    }
    if let Some(experts) = &config.experts {
        if !experts.norm_topk_prob {
            return unsupported(GGUF, "norm_topk_prob", false, "llama.cpp takes it for true");
        }
        if !experts.sparse.iter().all(|sparse| *sparse) {
            let known = "llama.cpp wants experts in all layers or in none";
            return unsupported(GGUF, "a layer of a model of experts", "one without experts", known);
        }
    }
    if config.vocab_size > limits::MAX_ARRAY_LEN {
        return unsupported(GGUF, "the vocabulary's size", config.vocab_size, "2,000,000 and less are");
    }
    if matches!(config.rope.scaling, RopeScaling::Llama3 { .. } | RopeScaling::Factors(_)) && !is_llama {
        return unsupported(GGUF, "rope scaling", "Llama 3's", "llama.cpp knows it of Llama alone");
    }
    Ok(())
}

fn rope_scaling(scaling: &RopeScaling) -> Result<Vec<(&'static str, MetadataValue)>, ExportError> {
    use MetadataValue::{F32, Text, U32};
    match *scaling {
        // those of Llama 3 are a tensor
        RopeScaling::Default | RopeScaling::Llama3 { .. } | RopeScaling::Factors(_) => Ok(Vec::new()),
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
        RopeScaling::Yarn { .. } => {
            unsupported(GGUF, "rope scaling", "YaRN without truncation", "YaRN as in Qwen's cards is")
        }
    }
}

/// By what each frequency is divided, where the scaling is stored so.
fn rope_factors(config: &Config) -> Result<Option<Vector>, ExportError> {
    let factors = match &config.rope.scaling {
        RopeScaling::Factors(factors) => factors.clone(),
        RopeScaling::Llama3 { .. } => {
            let plain = Rope { scaling: RopeScaling::Default, ..config.rope.clone() };
            let [plain, scaled] =
                [&plain, &config.rope].map(|rope| rope.frequencies(config.head_dim).inv_freq);
            plain.iter().zip(scaled).map(|(plain, scaled)| plain / scaled).collect()
        }
        _ => return Ok(None),
    };
    Ok(Some(Vector::new(factors)))
}

fn vocabulary(dir: &Path, size: usize, end: Option<u32>) -> Result<Metadata, ExportError> {
    use MetadataValue::{Bool, F32s, I32s, Text, Texts, U32};
    let path = dir.join("tokenizer.json");
    let json = read_bounded(&path, tokenizer::limits::MAX_FILE_BYTES as u64)?;
    let json = json.ok_or_else(|| ExportError::NoTokenizer(dir.to_owned()))?;
    let written = rewrite::to_gguf(&json, size);
    let written = written.map_err(|source| ModelError::Tokenizer { path, source })?;
    let prompt = PromptFiles::read_directory(dir)?;
    let ids = SpecialIds::of(&written, &prompt, end)?;
    let GgufTokenizer {
        model, pre, tokens, kinds, merges, scores, space_prefix, unknown, begin, end, ..
    } = written;
    let mut all = vec![
        ("model", Text(model.to_owned())),
        ("pre", Text(pre.to_owned())),
        ("tokens", Texts(tokens)),
        ("token_type", I32s(kinds)),
    ];
    match scores {
        Some(scores) => all.extend([("scores", F32s(scores)), ("add_space_prefix", Bool(space_prefix))]),
        None => all.push(("merges", Texts(merges))),
    }
    for (key, id) in [
        ("bos_token_id", ids.begin),
        ("eos_token_id", ids.end),
        ("eot_token_id", ids.end_of_turn),
        ("padding_token_id", ids.padding),
        ("unknown_token_id", unknown),
    ] {
        all.extend(id.map(|id| (key, U32(id))));
    }
    all.extend([("add_bos_token", Bool(begin.is_some())), ("add_eos_token", Bool(end.is_some()))]);
    let mut all: Metadata =
        all.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect();
    all.extend(prompt.template.map(|template| ("tokenizer.chat_template".to_owned(), Text(template))));
    Ok(all)
}

/// Tokens with a meaning of their own.
struct SpecialIds {
    begin: Option<u32>,
    end: Option<u32>,
    end_of_turn: Option<u32>,
    padding: Option<u32>,
}

impl SpecialIds {
    /// What a text is wrapped in counts most: it is what readers put there by these ids.
    fn of(
        tokenizer: &GgufTokenizer,
        prompt: &PromptFiles,
        end: Option<u32>,
    ) -> Result<SpecialIds, ExportError> {
        let padding = tokenizer.id(&prompt.pad).or_else(|| tokenizer.id("<|endoftext|>"));
        let begin = tokenizer.id(&prompt.bos);
        if let (Some(begin), Some(wrapped)) = (begin, tokenizer.begin)
            && begin != wrapped
        {
            let known = "only bos_token is";
            return unsupported(GGUF, "what a text begins with", format!("token {wrapped}"), known);
        }
        let own_end = tokenizer.id(&prompt.eos).or(end);
        Ok(SpecialIds {
            // Qwen begins with nothing, but readers want an id
            begin: tokenizer.begin.or(begin).or(padding),
            end: tokenizer.end.or(own_end),
            end_of_turn: own_end.filter(|own| tokenizer.end.is_some_and(|end| end != *own)),
            padding,
        })
    }
}
