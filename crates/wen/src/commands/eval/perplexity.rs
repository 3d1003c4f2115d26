//! `wen eval perplexity`: how well a model foretells a text, and what smaller number formats cost it.

use crate::commands::bench::{greedy, request};
use crate::commands::read_text;
use crate::exit::Usage;
use crate::loading::{self, NotForChat};
use crate::output::{self, Table};
use crate::progress::Progress;
use crate::sizes::{self, Quantize, SizeArgs, Wishes};
use anyhow::{Context, bail};
use clap::ValueEnum;
use engine::block_pool::BLOCK_TOKENS;
use engine::{Engine, Event, Generate};
use models::ModelKind;
use serde::Serialize;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug, clap::Args)]
#[command(
    long_about = "How surprised a model is by a text: e to the mean of what each token's probability lacks, in nats.\n\n\
        The text is cut into windows that overlap, so that each token but the first is foretold once, from at least \
        --window less --stride tokens before it (fewer at the beginning).",
    after_help = "Examples:
  wen eval perplexity models/Qwen3-0.6B book.txt
  wen eval perplexity models/Qwen3-0.6B book.txt --formats none,int8,int4 --limit 20000"
)]
pub struct Args {
    /// The model: a checkpoint directory or a GGUF file
    model: PathBuf,
    /// The text, UTF-8; - reads standard input
    file: PathBuf,
    /// Compute in each of these, one after another; differences are to the first [default: that of --quantize]
    #[arg(long, value_name = "HOW", value_delimiter = ',')]
    formats: Vec<Quantize>,
    /// Tokens that are computed together
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..))]
    window: u32,
    /// Tokens from the beginning of a window to that of the next [default: half a window]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    stride: Option<u32>,
    /// Read no more than so many tokens of the text [default: all]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..))]
    limit: Option<u32>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sizes: SizeArgs,
}

#[derive(Serialize)]
struct Report {
    model: String,
    window: usize,
    stride: usize,
    formats: Vec<FormatReport>,
}

/// What one number format gave.
#[derive(Serialize)]
struct FormatReport {
    format: String,
    weight_bytes: u64,
    /// Tokens that were foretold.
    tokens: usize,
    /// Mean of `-ln p` over them.
    nats_per_token: f64,
    bits_per_byte: f64,
    perplexity: f64,
    /// Of the perplexity, to the first format.
    difference_percent: f64,
    seconds: f64,
}

/// Measures and writes the report to standard output.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let window = args.window as usize;
    let stride = args.stride.map_or(window / 2, |stride| stride as usize);
    if stride >= window {
        return Err(
            Usage(format!("--stride {stride} leaves gaps; it has to be below --window {window}")).into()
        );
    }
    // before the text is read
    loading::locate(&args.model)?;
    let text = read_text(&args.file)?;
    let formats = if args.formats.is_empty() { vec![args.sizes.quantize] } else { args.formats.clone() };
    let mut reports: Vec<FormatReport> = Vec::new();
    for format in formats {
        let mut report = measure(args, &text, format, window, stride)?;
        if let Some(first) = reports.first() {
            report.difference_percent = 100.0 * (report.perplexity / first.perplexity - 1.0);
        }
        reports.push(report);
    }
    let model = models::model::model_name(&args.model);
    let report = Report { model, window, stride, formats: reports };
    if args.json { output::json(&report) } else { print(&report) }
}

/// Loads the model in one format and has it foretell the text.
fn measure(
    args: &Args,
    text: &str,
    format: Quantize,
    window: usize,
    stride: usize,
) -> anyhow::Result<FormatReport> {
    let sizes = SizeArgs { quantize: format, ..args.sizes.clone() };
    let pool = Arc::new(kernels::Pool::new(sizes.threads()));
    let model = loading::open(&args.model)?;
    if model.kind == ModelKind::Embed {
        let why = "makes embeddings; it does not foretell text";
        return Err(NotForChat { path: args.model.clone(), why }.into());
    }
    let model = loading::pack(model, &sizes, &pool)?;
    let mut tokens = model.tokenizer.encode_text(text);
    tokens.truncate(args.limit.map_or(usize::MAX, |limit| limit as usize));
    if tokens.len() < 2 {
        let name = args.file.display();
        return Err(Usage(format!("{name} has {} tokens; at least 2 are needed", tokens.len())).into());
    }
    let wishes = Wishes {
        cache_tokens: Some(window + BLOCK_TOKENS),
        max_sequences: 1,
        max_waiting: 1,
        max_waiting_tokens: None,
        memory: sizes::cache_memory(&[&model], None),
    };
    let options = sizes::engine_options(&model, None, &sizes, wishes)?;
    if window > options.context_length {
        let context = options.context_length;
        return Err(Usage(format!("--window {window} exceeds the context of {context}")).into());
    }
    let engine = loading::start(model.clone(), pool, options)?;
    let name = format.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let (started, scored) = (Instant::now(), tokens.len() - 1);
    let progress = Progress::steps(format!("foretelling in {name}"), scored as u64);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut nats = 0.0f64;
    for window in windows(tokens.len(), window, stride) {
        nats += runtime.block_on(surprise(&engine, &tokens[window.tokens], window.unscored))?;
        progress.set(window.done as u64);
    }
    drop(progress);
    let first: usize = model.tokenizer.token_bytes(tokens[0]).map_or(0, <[u8]>::len);
    let bytes = model.tokenizer.decode(&tokens, false).len().saturating_sub(first).max(1);
    Ok(FormatReport {
        format: name,
        weight_bytes: model.weight_bytes,
        tokens: scored,
        nats_per_token: nats / scored as f64,
        bits_per_byte: nats / std::f64::consts::LN_2 / bytes as f64,
        perplexity: (nats / scored as f64).exp(),
        difference_percent: 0.0,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Tokens that are computed together.
#[derive(Debug, PartialEq, Eq)]
struct Window {
    tokens: Range<usize>,
    /// How many of them another window has scored, or nothing comes before.
    unscored: usize,
    /// Tokens scored after it.
    done: usize,
}

/// Windows over `count` tokens in which each but the first is scored once.
fn windows(count: usize, window: usize, stride: usize) -> impl Iterator<Item = Window> {
    let last = count.saturating_sub(window).div_ceil(stride);
    (0..=last).map(move |i| {
        let start = i * stride;
        let end = (start + window).min(count);
        // the one before ended there
        let scored = if i == 0 { 1 } else { start - stride + window };
        Window { tokens: start..end, unscored: scored - start, done: end - 1 }
    })
}

/// The sum of `-ln p` over `tokens` from number `unscored` on.
async fn surprise(engine: &Engine, tokens: &[u32], unscored: usize) -> anyhow::Result<f64> {
    let scoring = Generate { max_tokens: 0, prompt_logprobs: Some(0), ..greedy(0) };
    let mut receiver = engine.submit(request(tokens.to_vec(), scoring))?;
    while let Some(event) = receiver.recv().await {
        match event {
            Event::Prompt { logprobs, .. } => {
                let scored =
                    logprobs.get(unscored..).context("the engine scored fewer tokens than were asked")?;
                return Ok(scored.iter().flatten().map(|token| -f64::from(token.logprob)).sum());
            }
            Event::Failed(reason) => bail!("the engine failed: {reason}"),
            _ => {}
        }
    }
    bail!("the engine stopped before it had scored the text")
}

fn print(report: &Report) -> anyhow::Result<()> {
    output::line(&format!(
        "{}: {} tokens in windows of {}, {} apart\n",
        report.model,
        report.formats.first().map_or(0, |format| format.tokens),
        report.window,
        report.stride
    ))?;
    let mut table = Table::new(&["format", "weights", "perplexity", "difference", "bits/byte", "tokens/s"]);
    for format in &report.formats {
        table.row(vec![
            format.format.clone(),
            output::bytes(format.weight_bytes),
            format!("{:.4}", format.perplexity),
            format!("{:+.2}%", format.difference_percent),
            format!("{:.4}", format.bits_per_byte),
            format!("{:.0}", format.tokens as f64 / format.seconds),
        ]);
    }
    Ok(table.print()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_token_but_the_first_is_scored_once_and_with_context(
            count in 2usize..500, window in 2usize..80, stride in 1usize..80
        ) {
            let stride = stride.min(window - 1);
            let mut next = 1;
            for w in windows(count, window, stride) {
                prop_assert!(w.tokens.len() <= window && w.unscored < w.tokens.len());
                prop_assert_eq!(w.tokens.start + w.unscored, next);
                prop_assert!(w.tokens.start == 0 || w.unscored >= window - stride);
                next = w.tokens.end;
                prop_assert_eq!(w.done, next - 1);
            }
            prop_assert_eq!(next, count);
        }
    }
}
