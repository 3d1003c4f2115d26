//! `wen bench`: how fast and how large a model runs here, and what this machine could do at best.

use crate::exit::Usage;
use crate::output::{self, Table};
use crate::progress::Progress;
use crate::sizes::{self, SizeArgs, Wishes};
use crate::{loading, machine};
use anyhow::{Context, bail};
use engine::block_pool::BLOCK_TOKENS;
use engine::{Engine, Event, Generate, LoadedAdapter, Origin, Request, Sampling, Task};
use models::Adapter;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

/// What to measure.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen bench models/Qwen3-0.6B
  wen bench models/Qwen3-0.6B --prompt 512 --generate 64 --batch 1,8 --repeat 5 --json
  wen bench models/Qwen3-0.6B --batch 16 --adapters 16
  wen bench --probe")]
pub struct Args {
    /// The model: a checkpoint directory or a GGUF file
    #[arg(required_unless_present = "probe")]
    model: Option<PathBuf>,
    /// No model, but the machine's limits: 8-bit integers, float32, bfloat16, reading from memory
    #[arg(long, conflicts_with = "model")]
    probe: bool,
    /// Tokens of each prompt
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    prompt: u32,
    /// Tokens of each answer
    #[arg(long, value_name = "TOKENS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    generate: u32,
    /// Sequences at once; several numbers are measured one after another
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=512))]
    batch: Vec<u16>,
    /// Also measure with so many adapters, of rank 16 beside all linear layers and with random values, in turns over the
    /// sequences of a batch
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=256))]
    adapters: u16,
    /// Measurements of each
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeat: u16,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sizes: SizeArgs,
}

/// Prompt tokens at most before anything is measured.
const WARM_UP_TOKENS: usize = 512;
/// Rank of the adapters that are measured.
const ADAPTER_RANK: usize = 16;

/// What was measured.
#[derive(Serialize)]
struct Report {
    model: String,
    parameters: u64,
    weight_bytes: u64,
    threads: usize,
    kv_type: &'static str,
    prompt_tokens: usize,
    generated_tokens: usize,
    repeats: usize,
    /// Opening the model and reading its weights into memory.
    load_seconds: f64,
    /// The most memory that the process has held, files mapped into it included.
    peak_memory_bytes: Option<u64>,
    batches: Vec<BatchReport>,
}

/// The machine's limits on so many threads.
#[derive(Serialize)]
struct ProbeReport {
    threads: usize,
    isa: &'static str,
    int8_gops: f64,
    f32_gflops: f64,
    bf16_gflops: f64,
    read_gbs: f64,
}

/// The speeds of so many sequences at once, over all of them together.
#[derive(Serialize)]
struct BatchReport {
    batch: usize,
    prefill_tokens_per_second: Spread,
    decode_tokens_per_second: Spread,
    /// The same through adapters.
    #[serde(skip_serializing_if = "Option::is_none")]
    with_adapters: Option<AdapterReport>,
}

/// The speeds of sequences that go through adapters.
#[derive(Serialize)]
struct AdapterReport {
    adapters: usize,
    rank: usize,
    prefill_tokens_per_second: Spread,
    decode_tokens_per_second: Spread,
    /// Of the base's speed in the measurement before.
    prefill_of_base: Spread,
    decode_of_base: Spread,
}

/// A median and how far from it the others are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

/// One measurement in tokens per second.
#[derive(Clone, Copy)]
struct Speeds {
    prefill: f64,
    decode: f64,
}

/// Measures and writes the report to standard output.
pub fn run(args: Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let threads = args.sizes.threads();
    let pool = Arc::new(kernels::Pool::new(threads));
    let Some(path) = &args.model else { return probe(&pool, args.json) };
    let model = loading::pack(loading::open(path)?, &args.sizes, &pool)?;
    let draft = loading::open_draft(&args.sizes, &pool)?;
    [Some(&model), draft.as_ref()].into_iter().flatten().for_each(|model| loading::warm_up(model));
    let load_seconds = started.elapsed().as_secs_f64();

    let (prompt, generate) = (args.prompt as usize, args.generate as usize);
    let most = args.batch.iter().copied().max().unwrap_or(1).into();
    let wishes = Wishes {
        cache_tokens: Some(most * (prompt + generate + BLOCK_TOKENS)),
        max_sequences: most,
        max_waiting: most,
        max_waiting_tokens: None,
        memory: sizes::cache_memory(&[&model], draft.as_deref()),
    };
    let mut options = sizes::engine_options(&model, draft.as_ref(), &args.sizes, wishes)?;
    // so many were asked for
    options.adapter_bytes = usize::MAX;
    if prompt + generate > options.context_length {
        let context = options.context_length;
        return Err(Usage(format!(
            "--prompt {prompt} and --generate {generate} exceed the context of {context}"
        ))
        .into());
    }
    let engine = loading::start(model.clone(), pool, options.clone())?;
    let adapters = random_adapters(&engine, args.adapters.into())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let kinds = if adapters.is_empty() { 1 } else { 2 };
    let steps = args.batch.len() as u64 * (u64::from(args.repeat) + 1) * kinds;
    let progress = Progress::steps("measuring", steps);
    let mut prompts = Prompts::new(model.lm.config().vocab_size, prompt);
    let mut done = 0;
    let mut batches = Vec::new();
    for &batch in &args.batch {
        let (mut plain, mut adapted) = (Vec::new(), Vec::new());
        for repeat in 0..=args.repeat {
            // the first time memory is taken and caches are cold; that needs no long prompt
            prompts.len = if repeat == 0 { prompt.min(WARM_UP_TOKENS) } else { prompt };
            for (readings, adapters) in
                [(&mut plain, &[][..]), (&mut adapted, &adapters[..])].into_iter().take(kinds as usize)
            {
                let speeds = measure(&engine, adapters, &mut prompts, batch.into(), generate);
                let speeds = runtime.block_on(speeds)?;
                if repeat > 0 {
                    readings.push(speeds);
                }
                done += 1;
                progress.set(done);
            }
        }
        batches.push(BatchReport::of(batch.into(), &plain, adapters.len(), &adapted));
    }
    drop(progress);
    let report = Report {
        model: models::model::model_name(path),
        parameters: model.parameters,
        weight_bytes: model.weight_bytes,
        threads,
        kv_type: options.cache_dtype.name(),
        prompt_tokens: prompt,
        generated_tokens: generate,
        repeats: args.repeat.into(),
        load_seconds,
        peak_memory_bytes: machine::peak_memory(),
        batches,
    };
    if args.json { output::json(&report) } else { print(&report) }
}

/// Measures the machine and writes what it found.
fn probe(pool: &kernels::Pool, json: bool) -> anyhow::Result<()> {
    let kernels::probe::Limits { int8_gops, f32_gflops, bf16_gflops, read_gbs } =
        kernels::probe::limits(pool);
    let (threads, isa) = (pool.threads(), kernels::isa::current().name());
    if json {
        return output::json(&ProbeReport { threads, isa, int8_gops, f32_gflops, bf16_gflops, read_gbs });
    }
    output::line(&format!("{threads} threads, {isa}"))?;
    output::line(&format!("8-bit integers   {int8_gops:8.1} billion operations/s"))?;
    output::line(&format!("float32          {f32_gflops:8.1} billion operations/s"))?;
    output::line(&format!("bfloat16         {bf16_gflops:8.1} billion operations/s"))?;
    Ok(output::line(&format!("memory, reading  {read_gbs:8.1} GB/s"))?)
}

fn print(report: &Report) -> anyhow::Result<()> {
    let &Report { prompt_tokens, generated_tokens, threads, repeats, .. } = report;
    output::line(&format!(
        "{}: {} parameters, {}, {threads} threads, cache in {}",
        report.model,
        output::count(report.parameters),
        output::bytes(report.weight_bytes),
        report.kv_type
    ))?;
    let peak = report.peak_memory_bytes.map_or_else(|| "unknown".to_owned(), output::bytes);
    output::line(&format!("loaded in {:.2} s, peak memory {peak}", report.load_seconds))?;
    output::line(&format!(
        "tokens/s, median of {repeats} (least to most); prompts of {prompt_tokens} tokens, answers of {generated_tokens}\n"
    ))?;
    let mut table = Table::new(&["batch", "prefill", "", "decode", ""]);
    let mut shares = Vec::new();
    for batch in &report.batches {
        let mut row = |name: String, prefill: &Spread, decode: &Spread| {
            let cells = [prefill, decode]
                .map(|s| [format!("{:.1}", s.median), format!("({:.1} to {:.1})", s.min, s.max)]);
            table.row(std::iter::once(name).chain(cells.into_iter().flatten()).collect());
        };
        let name = batch.batch.to_string();
        row(name.clone(), &batch.prefill_tokens_per_second, &batch.decode_tokens_per_second);
        if let Some(with) = &batch.with_adapters {
            let AdapterReport { adapters, prefill_of_base, decode_of_base, .. } = with;
            let with_name = format!("{name}, {adapters} adapters");
            row(with_name, &with.prefill_tokens_per_second, &with.decode_tokens_per_second);
            shares.push(format!(
                "batch of {name} through {adapters} adapters of rank {}, of the base's speed: prefill {:.0}%, decode {:.0}% \
                 ({:.0} to {:.0})",
                with.rank,
                100.0 * prefill_of_base.median,
                100.0 * decode_of_base.median,
                100.0 * decode_of_base.min,
                100.0 * decode_of_base.max,
            ));
        }
    }
    table.print()?;
    Ok(shares.iter().try_for_each(|line| output::line(line))?)
}

/// Adapters with values that count for nothing but their number.
fn random_adapters(engine: &Engine, count: usize) -> anyhow::Result<Vec<LoadedAdapter>> {
    let load = |i: usize| {
        let adapter = Adapter::random(&engine.model().lm, ADAPTER_RANK, i as u64);
        Ok(engine.load_adapter(format!("bench-{i}").parse()?, &adapter, false)?)
    };
    (0..count).map(load).collect()
}

/// Runs `batch` requests at once, through `adapters` in turns. Prefill ends when the last of them has its first token; decoding is measured from
/// there until the first of them is complete, so that all of them run all the time.
async fn measure(
    engine: &Engine,
    adapters: &[LoadedAdapter],
    prompts: &mut Prompts,
    batch: usize,
    generate: usize,
) -> anyhow::Result<Speeds> {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for i in 0..batch {
        let adapter = adapters.get(i % adapters.len().max(1)).cloned();
        let receiver = engine.submit(Request { adapter, ..request(prompts.next(), greedy(generate)) })?;
        running.spawn(arrivals(receiver));
    }
    let mut arrivals = Vec::new();
    while let Some(times) = running.join_next().await {
        arrivals.push(times.context("a measurement was cut off")??);
    }
    let first = arrivals.iter().filter_map(|times| times.first()).max().context("no tokens came")?;
    let last = arrivals.iter().filter_map(|times| times.last()).min().context("no tokens came")?;
    if last <= first {
        bail!("one answer was complete before another had begun; raise --generate");
    }
    let decoded = arrivals.iter().flatten().filter(|time| *time > first && *time <= last).count();
    Ok(Speeds {
        prefill: (batch * prompts.len) as f64 / (*first - started).as_secs_f64(),
        decode: decoded as f64 / (*last - *first).as_secs_f64(),
    })
}

/// When each token of an answer came.
async fn arrivals(mut receiver: UnboundedReceiver<Event>) -> anyhow::Result<Vec<Instant>> {
    let mut times = Vec::new();
    while let Some(event) = receiver.recv().await {
        match event {
            Event::Tokens { ids, .. } => times.extend(ids.iter().map(|_| Instant::now())),
            Event::Failed(reason) => bail!("the engine failed: {reason}"),
            _ => {}
        }
    }
    Ok(times)
}

/// An answer of exactly so many most likely tokens.
pub(super) fn greedy(max_tokens: usize) -> Generate {
    Generate {
        max_tokens,
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        ignore_eos: true,
        ..Generate::default()
    }
}

/// A request of nobody in particular.
pub(super) fn request(prompt: Vec<u32>, generate: Generate) -> Request {
    Request { prompt, task: Task::Generate(Box::new(generate)), origin: Origin::default(), adapter: None }
}

/// Prompts of random tokens, each another, so that none is in a cache already.
struct Prompts {
    state: u64,
    vocab_size: u64,
    len: usize,
}

impl Prompts {
    fn new(vocab_size: usize, len: usize) -> Prompts {
        Prompts { state: 1, vocab_size: vocab_size as u64, len }
    }

    fn next(&mut self) -> Vec<u32> {
        (0..self.len).map(|_| (self.random() % self.vocab_size) as u32).collect()
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl BatchReport {
    /// Of measurements of the base, and of those through adapters, if there are any, that came behind each.
    fn of(batch: usize, plain: &[Speeds], adapters: usize, adapted: &[Speeds]) -> BatchReport {
        let spread = |of: &[Speeds], value: fn(&Speeds) -> f64| Spread::of(of.iter().map(value).collect());
        let share = |value: fn(&Speeds) -> f64| {
            Spread::of(adapted.iter().zip(plain).map(|(a, p)| value(a) / value(p)).collect())
        };
        BatchReport {
            batch,
            prefill_tokens_per_second: spread(plain, |s| s.prefill),
            decode_tokens_per_second: spread(plain, |s| s.decode),
            with_adapters: (!adapted.is_empty()).then(|| AdapterReport {
                adapters,
                rank: ADAPTER_RANK,
                prefill_tokens_per_second: spread(adapted, |s| s.prefill),
                decode_tokens_per_second: spread(adapted, |s| s.decode),
                prefill_of_base: share(|s| s.prefill),
                decode_of_base: share(|s| s.decode),
            }),
        }
    }
}

impl Spread {
    /// Of at least one value.
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            (values[middle - 1] + values[middle]) / 2.0
        } else {
            values[middle]
        };
        Spread { median, min: values[0], max: values[values.len() - 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
    }

    #[test]
    fn prompts_differ_and_stay_inside_the_vocabulary() {
        let mut prompts = Prompts::new(512, 100);
        let (first, second) = (prompts.next(), prompts.next());
        assert_ne!(first, second);
        assert!(first.iter().chain(&second).all(|id| *id < 512));
    }
}
