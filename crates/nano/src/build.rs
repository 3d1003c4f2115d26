//! From nothing to the model that ships: data, tokenizer, first weights, training, packing, evaluation.

use crate::dataset::{COPYING_FIRST, Dataset};
use crate::initial::{self, NANO};
use crate::{card, pack};
use anyhow::{Context, bail};
use engine::{Engine, EngineOptions, Speculation};
use evaluate::report::{self, Row};
use evaluate::run::RunOptions;
use evaluate::{Local, Subject, Task};
use kernels::Pool;
use models::chat::{ChatTemplate, RenderInput};
use models::{Model, Quantization, Tokenizer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use train::run::{Outcome, StepReport};
use train::tokenizer::{Pieces, Settings};
use train::{Recipe, Run};

const RECIPE: &str = include_str!("../../../recipes/nano/train.toml");
const CHAT_TEMPLATE: &str = include_str!("../../../recipes/nano/chat_template.jinja");
/// Tokens of the vocabulary.
const VOCAB_SIZE: usize = 4096;
/// Examples by which the length of all is estimated.
const MEASURED: u64 = 1_000;
/// Cases that are asked at once.
const PARALLEL: usize = 32;

/// What to build.
pub struct Options {
    /// Where data, checkpoints and the float model go.
    pub out: PathBuf,
    /// Where the packed model and its card go.
    pub model: PathBuf,
    /// Tokens to train on, about.
    pub tokens: u64,
    /// Of everything.
    pub seed: u64,
    /// Processor threads; 0 takes all.
    pub threads: usize,
}

/// Does all of it. A run that was cut off goes on from its last checkpoint.
///
/// # Errors
/// When a file can't be written, or a step fails.
pub fn build(options: &Options) -> anyhow::Result<()> {
    let started = Instant::now();
    let say = |what: &str| eprintln!("[{:>5.0} s] {what}", started.elapsed().as_secs_f64());
    let out = &options.out;
    let base = out.join("base");
    std::fs::create_dir_all(&base).with_context(|| format!("cannot create {}", base.display()))?;
    let dataset = Dataset::new(options.seed);

    say("training the tokenizer");
    let text = out.join("tokenizer.jsonl");
    dataset.write_tokenizer_text(&text)?;
    let settings = Settings {
        vocab_size: VOCAB_SIZE,
        pieces: Pieces::Copyable,
        chat_template: Some(CHAT_TEMPLATE.to_owned()),
    };
    let trained = train::tokenizer::train(&[text], &settings)?;
    trained.write(&base)?;

    say("writing first weights");
    let tokenizer = Tokenizer::from_json(&std::fs::read(base.join("tokenizer.json"))?)?;
    let ends = ["<|im_end|>", "<|endoftext|>"].map(|text| tokenizer.token_id(text));
    let ends: Vec<u32> = ends.into_iter().flatten().collect();
    initial::write(&base, &NANO, trained.tokens, &ends, options.seed)?;

    let examples = examples(&dataset, &tokenizer, options.tokens)?;
    say(&format!("writing {examples} examples"));
    dataset.write_training(&out.join("train.jsonl"), examples)?;
    dataset.write_cases(&out.join("cases"))?;

    say("reading them");
    let model = train(options, &base, &say)?;

    say("packing");
    let packed = options.model.join("wen-nano.gguf");
    std::fs::create_dir_all(&options.model)?;
    pack::pack(&model, &packed)?;

    say("asking the held-out cases");
    let rows = evaluate(&packed, &out.join("cases"), options.threads)?;
    let bytes = std::fs::metadata(&packed)?.len();
    let card =
        card::card(&rows, &card::Facts { bytes, examples, tokens: options.tokens, seed: options.seed });
    std::fs::write(options.model.join("README.md"), card)?;
    print!("{}", card::table(&rows));
    say(&format!("done: {} ({bytes} bytes)", packed.display()));
    Ok(())
}

/// How many examples have about `tokens` tokens.
fn examples(dataset: &Dataset, tokenizer: &Tokenizer, tokens: u64) -> anyhow::Result<u64> {
    let template = ChatTemplate::new(CHAT_TEMPLATE, "", "<|im_end|>")?;
    let mut measured = 0;
    for index in COPYING_FIRST..COPYING_FIRST + MEASURED {
        let example = dataset.training(index);
        let input =
            RenderInput { messages: example.messages, tools: example.tools, ..RenderInput::default() };
        measured += template.encode(tokenizer, &input)?.len() as u64;
    }
    Ok((tokens * MEASURED / measured.max(1)).max(1))
}

/// Trains by the recipe, and returns the directory of the trained model.
fn train(options: &Options, base: &Path, say: &dyn Fn(&str)) -> anyhow::Result<PathBuf> {
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let settings = [
        format!("model={}", quoted(base)),
        format!("output={}", quoted(&options.out.join("run"))),
        format!("data.train=[{}]", quoted(&options.out.join("train.jsonl"))),
        format!("seed={}", options.seed),
        format!("threads={}", options.threads),
    ];
    let run = Run::prepare(Recipe::parse(RECIPE, &settings)?)?;
    let tokens = run.task().summary().tokens;
    say(&format!(
        "training {} steps on {tokens} tokens, of which {} are done",
        run.total_steps(),
        run.done()
    ));
    let every = (run.total_steps() / 100).max(1);
    let mut tell = |report: &StepReport| {
        let StepReport { step, total_steps, loss, tokens_per_second, seconds_left, .. } = report;
        if step % every == 0 || step == total_steps {
            say(&format!(
                "step {step}/{total_steps}  loss {loss:.4}  {tokens_per_second:.0} tokens/s  {seconds_left:.0} s left"
            ));
        }
    };
    match run.train(&AtomicBool::new(false), &mut tell)? {
        Outcome::Done(dir) => Ok(dir),
        Outcome::Stopped(step) => bail!("training stopped after step {step}"),
    }
}

/// Asks the model at `path` all cases in `dir`, computing as `wen serve` does.
///
/// # Errors
/// When the model or the cases can't be read.
pub fn evaluate(path: &Path, dir: &Path, threads: usize) -> anyhow::Result<Vec<Row>> {
    let threads = if threads == 0 { Pool::default_threads() } else { threads };
    let pool = Arc::new(Pool::new(threads));
    let mut model = Model::open(path)?;
    model.pack(Quantization::Stored, &pool, &mut |_, _| {})?;
    let context_length = model.lm.config().context_length;
    let sizes = EngineOptions {
        cache_tokens: PARALLEL * context_length,
        cache_dtype: nn::DType::F32,
        step_tokens: 512,
        max_sequences: PARALLEL,
        max_waiting: PARALLEL,
        max_waiting_tokens: usize::MAX,
        context_length,
        speculation: Speculation::Lookup,
        adapter_bytes: 0,
    };
    let subject = Subject::Local(Local::new(Engine::start(Arc::new(model), pool, sizes)?));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut rows = Vec::new();
    for task in crate::tasks::ALL {
        let task = Task::load(&dir.join(format!("{}.toml", task.name)), None)?;
        let asking = evaluate::run::run(&task, &subject, RunOptions { parallel: PARALLEL, seed: 0 }, &|| {});
        rows.extend(report::rows(&task.name, &runtime.block_on(asking)?, 0));
    }
    Ok(rows)
}
