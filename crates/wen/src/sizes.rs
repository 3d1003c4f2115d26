//! How large an engine's cache and context are, by flags and by what the machine has.

use crate::exit::Usage;
use crate::{machine, output};
use clap::ValueEnum;
use engine::{EngineOptions, Speculation};
use models::{Model, Quantization};
use nn::DType;
use std::path::PathBuf;
use std::sync::Arc;

/// Tokens that one step computes at most: enough for the matrix products' full speed, and short enough that
/// running answers do not stutter.
const STEP_TOKENS: usize = 256;
/// Whole contexts that the cache holds if memory allows and nothing else is asked for.
const CACHED_CONTEXTS: usize = 4;
/// The share of memory that the cache takes by default: the rest is for everybody else.
const CACHE_SHARE: u64 = 2;
/// The share of memory that adapters may take.
const ADAPTER_SHARE: u64 = 4;
/// The same where the system does not say how much memory there is.
const UNKNOWN_MEMORY_ADAPTER_BYTES: u64 = 1 << 30;
/// The cache where the system does not say how much memory there is.
const UNKNOWN_MEMORY_CACHE_BYTES: u64 = 1 << 30;
/// Memory that is kept for activations and everything small.
const WORKING_BYTES: u64 = 150 << 20;
/// Fillings of the cache that may wait for their turn, if nothing else is asked for.
const QUEUED_CACHES: usize = 16;
/// The smallest cache that makes sense.
const MIN_CACHE_TOKENS: usize = 256;

/// Sizes that every command with an engine can be told.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Memory and threads")]
pub struct SizeArgs {
    /// Longest sequence, prompt and answer together [default: the model's, or what memory allows]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub context: Option<u32>,
    /// Type of the key-value cache; auto is f32 for float32 checkpoints and bf16 for all others
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub kv_type: KvType,
    /// What products are computed with. Rounding to 8 or 4 bits is done once and kept on disk beside the model
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub quantize: Quantize,
    /// Whether to guess tokens from repetitions; it changes no answer, only its speed
    #[arg(long, value_name = "HOW", default_value = "lookup", conflicts_with = "draft")]
    pub speculate: Speculate,
    /// A small model of the same family to guess tokens with instead; it changes no answer, only its speed
    #[arg(long, value_name = "MODEL")]
    pub draft: Option<PathBuf>,
    /// Processor threads [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// The type of the key-value cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KvType {
    /// By the checkpoint.
    Auto,
    /// 32 bits, exact.
    F32,
    /// 16 bits with a small range.
    F16,
    /// 16 bits with a small precision.
    Bf16,
    /// 8 bits, with a scale for each 32 values.
    Int8,
}

/// What products are computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Quantize {
    /// What the file holds: float weights in float32; Q8_0, Q4_0, Q4_K, GPTQ and AWQ in integers.
    Auto,
    /// The stored values in float32, quantized ones too.
    None,
    /// 8-bit weights and activations.
    Int8,
    /// 4-bit weights (8 for those that lose most), 8-bit activations.
    Int4,
}

/// How to guess tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Speculate {
    /// Not at all.
    Off,
    /// What followed the last tokens when they stood there before.
    Lookup,
}

impl Quantize {
    /// The same for models.
    pub fn quantization(self) -> Quantization {
        match self {
            Quantize::Auto => Quantization::Stored,
            Quantize::None => Quantization::None,
            Quantize::Int8 => Quantization::Int8,
            Quantize::Int4 => Quantization::Int4,
        }
    }
}

impl KvType {
    /// The storage type for a model whose weights are mostly `weights`.
    pub fn dtype(self, weights: DType) -> DType {
        match self {
            KvType::Auto if weights == DType::F32 => DType::F32,
            KvType::Auto | KvType::Bf16 => DType::BF16,
            KvType::F32 => DType::F32,
            KvType::F16 => DType::F16,
            KvType::Int8 => DType::Q8_0,
        }
    }
}

impl SizeArgs {
    /// Threads to compute with.
    pub fn threads(&self) -> usize {
        self.threads.map_or_else(machine::threads, usize::from)
    }

    /// The cache type for `model`.
    pub fn cache_dtype(&self, model: &Model) -> DType {
        self.kv_type.dtype(model.lm.config().dtype)
    }
}

/// What an engine is asked to hold.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// Tokens in the cache, if it was said.
    pub cache_tokens: Option<usize>,
    /// Sequences that run at once.
    pub max_sequences: usize,
    /// Requests that wait.
    pub max_waiting: usize,
    /// Tokens that they may ask for together, if it was said.
    pub max_waiting_tokens: Option<usize>,
    /// Bytes that there are for the cache, by [`cache_memory`].
    pub memory: Option<u64>,
}

/// Bytes that there are for the caches of `models`, each; one of them may have a `draft`. `None` where the system does not
/// say.
pub fn cache_memory(models: &[&Model], draft: Option<&Model>) -> Option<u64> {
    // the weights' pages count as available, but the engine needs them
    let weights: u64 = models.iter().copied().chain(draft).map(|model| model.weight_bytes).sum();
    let free = machine::available_memory()?.saturating_sub(weights).saturating_sub(WORKING_BYTES);
    Some(free / models.len().max(1) as u64)
}

/// Bytes that a token takes in the caches of `model` and its draft; `None` where they can't be counted.
pub fn cache_bytes_per_token(model: &Model, draft: Option<&Model>, dtype: DType) -> Option<usize> {
    let models = [Some(model), draft].into_iter().flatten();
    let mut bytes = models.map(|model| model.lm.kv_cache_shape(dtype, 1, 1).bytes_per_block());
    bytes.try_fold(0usize, |sum, bytes| sum.checked_add(bytes?))
}

/// Sizes for `model`, with `draft` to guess for it, by flags, wishes and memory.
///
/// # Errors
/// When what was asked for contradicts itself or the model, or is more than memory holds.
pub fn engine_options(
    model: &Model,
    draft: Option<&Arc<Model>>,
    args: &SizeArgs,
    wishes: Wishes,
) -> Result<EngineOptions, Usage> {
    let cache_dtype = args.cache_dtype(model);
    let config = model.lm.config();
    let per_token = cache_bytes_per_token(model, draft.map(Arc::as_ref), cache_dtype);
    let Some(per_token) = per_token.filter(|bytes| *bytes > 0) else {
        return Err(Usage(format!(
            "--kv-type int8 needs heads of a multiple of 32 values, in a draft too, and this model's have {}; use bf16, f16 or f32",
            config.head_dim
        )));
    };
    let tokens = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX) / per_token;
    let affordable = tokens(wishes.memory.map_or(UNKNOWN_MEMORY_CACHE_BYTES, |bytes| bytes / CACHE_SHARE));
    let affordable = affordable.max(MIN_CACHE_TOKENS);
    let context_length = context(config.context_length, args.context, wishes.cache_tokens, affordable)?;
    let contexts = wishes.max_sequences.min(CACHED_CONTEXTS);
    // a context that was asked for fits at least once
    let default = context_length.saturating_mul(contexts).min(affordable).max(context_length);
    let cache_tokens = wishes.cache_tokens.unwrap_or(default);
    if args.context.is_some() || wishes.cache_tokens.is_some() {
        check_fits(cache_tokens, per_token, wishes.memory.map(tokens))?;
    }
    let adapter_bytes = wishes.memory.map_or(UNKNOWN_MEMORY_ADAPTER_BYTES, |bytes| bytes / ADAPTER_SHARE);
    Ok(EngineOptions {
        cache_tokens,
        cache_dtype,
        step_tokens: STEP_TOKENS,
        max_sequences: wishes.max_sequences,
        max_waiting: wishes.max_waiting,
        max_waiting_tokens: wishes.max_waiting_tokens.unwrap_or(cache_tokens.saturating_mul(QUEUED_CACHES)),
        context_length,
        speculation: match (draft, args.speculate) {
            (Some(draft), _) => Speculation::Draft(draft.clone()),
            (None, Speculate::Lookup) => Speculation::Lookup,
            (None, Speculate::Off) => Speculation::Off,
        },
        adapter_bytes: usize::try_from(adapter_bytes).unwrap_or(usize::MAX),
    })
}

/// Refuses a cache that memory has no room for: the system would promise it, and end the program when it fills.
fn check_fits(cache_tokens: usize, per_token: usize, room: Option<usize>) -> Result<(), Usage> {
    let Some(room) = room.filter(|room| cache_tokens > *room) else { return Ok(()) };
    Err(Usage(format!(
        "a cache of {} tokens takes {}, but memory has room for {} tokens beside the weights; lower --context or \
         --cache-tokens to that, or halve what a token takes by --kv-type int8",
        output::thousands(cache_tokens as u64),
        output::bytes(cache_tokens.saturating_mul(per_token) as u64),
        output::thousands(room as u64),
    )))
}

/// The longest sequence: as asked for, or the model's within the cache.
fn context(
    of_model: usize,
    asked: Option<u32>,
    cache_tokens: Option<usize>,
    affordable: usize,
) -> Result<usize, Usage> {
    match asked.map(|tokens| tokens as usize) {
        Some(asked) if asked > of_model => {
            Err(Usage(format!("--context {asked} is over the model's context of {of_model} tokens")))
        }
        Some(asked) if cache_tokens.is_some_and(|cache| cache < asked) => Err(Usage(format!(
            "--context {asked} does not fit into --cache-tokens {}; raise that, or lower the context",
            cache_tokens.unwrap_or_default()
        ))),
        Some(asked) => Ok(asked),
        None => Ok(of_model.min(cache_tokens.unwrap_or(affordable))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_exact_where_the_weights_are() {
        for (kv_type, weights, expected) in [
            (KvType::Auto, DType::F32, DType::F32),
            (KvType::Auto, DType::BF16, DType::BF16),
            (KvType::Auto, DType::Q4_K, DType::BF16),
            (KvType::F16, DType::F32, DType::F16),
            (KvType::F32, DType::Q8_0, DType::F32),
            (KvType::Int8, DType::F32, DType::Q8_0),
        ] {
            assert_eq!(kv_type.dtype(weights), expected, "{kv_type:?} {weights:?}");
        }
    }

    #[test]
    fn a_cache_that_was_asked_for_fits_into_memory_or_is_refused_with_what_would() {
        for (cache_tokens, room) in [(1_000, None), (1_000, Some(1_000)), (0, Some(0))] {
            assert!(check_fits(cache_tokens, 4_096, room).is_ok(), "{cache_tokens} of {room:?}");
        }
        let refused = check_fits(1_001, 4_096, Some(1_000)).unwrap_err().to_string();
        assert!(refused.contains("room for 1,000 tokens"), "{refused}");
        assert!(check_fits(usize::MAX, 4_096, Some(0)).is_err());
    }

    #[test]
    fn the_context_is_the_models_unless_memory_or_a_flag_says_less() {
        for (asked, cache, affordable, expected) in [
            (None, None, 100_000, Ok(32_768)),
            (None, None, 5_000, Ok(5_000)),
            (None, Some(1_000), 5_000, Ok(1_000)),
            (Some(20_000), None, 5_000, Ok(20_000)),
            (Some(20_000), Some(30_000), 5_000, Ok(20_000)),
            (Some(20_000), Some(10_000), 5_000, Err("does not fit into --cache-tokens 10000")),
            (Some(40_000), None, 5_000, Err("is over the model's context of 32768 tokens")),
        ] {
            let found = context(32_768, asked, cache, affordable);
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(expected)) => assert!(found.to_string().contains(expected), "{found}"),
                (found, _) => panic!("{asked:?} {cache:?}: {found:?}"),
            }
        }
    }
}
