//! `wen logits`: what a model computes, in float32, for comparing it with another implementation.

use super::parse_ids;
use crate::progress::Progress;
use crate::tensor_file::TensorFile;
use crate::{loading, machine};
use anyhow::Context as _;
use engine::block_pool::{BLOCK_TOKENS, blocks_for};
use models::CausalLm;
use models::model::open_weights;
use nn::{Batch, Context, DType, KvCache, Tensor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Tokens that are computed at once: with a vocabulary of 152 thousand their logits are 39 MB.
const CHUNK_TOKENS: usize = 64;

/// What to compute.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Compute float32 logits and hidden states of given tokens.\n\n\
        Writes a safetensors file with the tensors `logits` [tokens, vocab] and `last_hidden_state` [tokens, hidden] \
        (after the final norm), computed in float32 whatever type the weights are stored in. The directory need not \
        hold more than config.json and weights.",
    after_help = "Examples:
  wen logits models/Qwen3-0.6B --tokens 9707,11,1879 --out hello.safetensors"
)]
pub struct Args {
    /// The model: a checkpoint directory or a GGUF file
    model: PathBuf,
    /// The tokens' ids, with commas between
    #[arg(long, value_name = "IDS")]
    tokens: String,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Processor threads [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// Computes and writes.
pub fn run(args: Args) -> anyhow::Result<()> {
    let path = loading::locate(&args.model)?;
    let (_checkpoint, lm) = open_weights(&path).with_context(|| loading::cannot_load(&path))?;
    let config = lm.config();
    let tokens = parse_ids(&args.tokens, config.vocab_size)?;
    if tokens.len() > config.context_length {
        let (prompt, context) = (tokens.len(), config.context_length);
        return Err(engine::SubmitError::TooLong { prompt, answer: 0, context }.into());
    }
    let threads = args.threads.map_or_else(machine::threads, usize::from);
    let cx = Context::new(Arc::new(kernels::Pool::new(threads)));
    write(&cx, &lm, &tokens, &args.out).with_context(|| format!("cannot write {}", args.out.display()))
}

fn write(cx: &Context, lm: &CausalLm, tokens: &[u32], path: &Path) -> anyhow::Result<()> {
    let (vocab, hidden) = (lm.config().vocab_size, lm.config().hidden_size);
    let shapes = [("logits", [tokens.len(), vocab]), ("last_hidden_state", [tokens.len(), hidden])];
    let mut file = TensorFile::create(path, &shapes)?;
    let progress = Progress::steps("computing", tokens.len() as u64);
    let mut hidden_states: Vec<Tensor> = Vec::new();
    let mut cache = KvCache::new(lm.kv_cache_shape(DType::F32, BLOCK_TOKENS, blocks_for(tokens.len())))?;
    for (i, chunk) in tokens.chunks(CHUNK_TOKENS).enumerate() {
        let past = i * CHUNK_TOKENS;
        let batch = Batch::single(chunk, past, (0..blocks_for(past + chunk.len()) as u32).collect());
        let hidden = lm.forward(cx, &batch, &mut cache);
        file.write(lm.logits(cx, &hidden).values())?;
        hidden_states.push(hidden);
        progress.set((past + chunk.len()) as u64);
    }
    hidden_states.iter().try_for_each(|hidden| file.write(hidden.values()))?;
    Ok(file.finish()?)
}
