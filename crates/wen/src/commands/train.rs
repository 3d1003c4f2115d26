//! `wen train`: makes a model one's own.

use crate::exit::{Interrupted, Usage};
use crate::loading;
use crate::output::{self, Facts};
use crate::progress::Progress;
use anyhow::Context;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};
use train::data::{Dataset, Place};
use train::run::{Outcome, StepReport};
use train::{Recipe, Run};

/// What to train.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Train a model, or an adapter beside it, as a recipe says.\n\n\
        The recipe is TOML: `model`, `output` and `data.train` must be there, all else has defaults. All data is checked \
        before the first step. The run writes `metrics.jsonl`, `tensorboard/`, `checkpoints/`, and at its end `adapter/` (as \
        PEFT does) or `model/`, with `README.md`, which says what was trained, on what, and at what cost. Ctrl-C and SIGTERM end it after the step that is under way; run again, it goes on from there with the \
        same bits.",
    after_help = "Examples:
  wen train recipe.toml
  wen train recipe.toml --set steps.epochs=3 --set method.rank=8"
)]
pub struct Args {
    /// The recipe
    recipe: PathBuf,
    /// A value in the recipe's place, as in steps.epochs=3 [repeatable]
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Trains.
pub fn run(args: Args) -> anyhow::Result<()> {
    let text = super::read_text(&args.recipe)?;
    let recipe = Recipe::parse(&text, &args.set).map_err(|error| Usage(error.to_string()))?;
    loading::check_exists(&recipe.model)?;
    let output = recipe.output.clone();
    let run = {
        let _progress = Progress::spinner("reading model and data");
        Run::prepare(recipe)?
    };
    describe(&run);
    let stop = stop_on_signal()?;
    let progress = Progress::steps("training", run.total_steps() as u64);
    progress.set(run.done() as u64);
    let outcome = run.train(&stop, &mut |report| tell(&progress, report));
    drop(progress);
    match outcome.with_context(|| format!("training into {}", output.display()))? {
        Outcome::Done(path) => Ok(output::line(&path.display().to_string())?),
        Outcome::Stopped(step) => {
            output::note(&format!("stopped after step {step}; the same command goes on from there"));
            Err(Interrupted.into())
        }
    }
}

/// Says what is about to happen.
fn describe(run: &Run) {
    let dataset = run.dataset();
    let tokens: usize = dataset.examples.iter().map(|e| e.tokens().len()).sum();
    let learned: usize = dataset.examples.iter().map(|e| e.learned()).sum();
    let values: usize = run.parameters().all().iter().map(|p| p.len()).sum();
    let mut facts = Facts::default();
    facts.add("examples", dataset.examples.len().to_string());
    facts.add("tokens", format!("{tokens}, of which {learned} are learned"));
    facts.add("parameters", format!("{values} are trained"));
    facts.add("steps", format!("{}, of which {} are done", run.total_steps(), run.done()));
    if run.recomputes() {
        facts.add("memory", "activations are computed again in the backward pass");
    }
    facts.note();
    left_out(dataset);
}

fn left_out(dataset: &Dataset) {
    let list = |places: &[Place]| {
        let first: Vec<String> = places.iter().take(5).map(Place::to_string).collect();
        let more = if places.len() > 5 { ", ..." } else { "" };
        format!("{}{more}", first.join(", "))
    };
    if !dataset.too_long.is_empty() {
        let (count, places) = (dataset.too_long.len(), list(&dataset.too_long));
        output::note(&format!("{count} examples are longer than data.max_tokens and left out: {places}"));
    }
    if !dataset.duplicates.is_empty() {
        let (count, places) = (dataset.duplicates.len(), list(&dataset.duplicates));
        output::note(&format!("{count} examples are there more than once: {places}"));
    }
}

fn tell(progress: &Progress, report: &StepReport) {
    let StepReport { step, total_steps, loss, tokens_per_second, seconds_left, memory_bytes, .. } = report;
    let memory = memory_bytes.map_or_else(String::new, |bytes| format!(", {}", output::bytes(bytes)));
    progress.say(format!("loss {loss:.4}, {tokens_per_second:.0} tokens/s{memory}"));
    progress.set(*step as u64);
    // where no bar is shown, a line now and then
    let every = (total_steps / 20).max(1);
    if !progress.is_shown() && (step % every == 0 || step == total_steps) {
        output::note(&format!(
            "step {step}/{total_steps}  loss {loss:.4}  {tokens_per_second:.0} tokens/s{memory}, {seconds_left:.0} s left"
        ));
    }
}

/// A flag that the first Ctrl-C or SIGTERM sets.
fn stop_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let flag = stop.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        flag.store(true, Ordering::Relaxed);
        output::note("stopping after this step");
    })?;
    Ok(stop)
}
