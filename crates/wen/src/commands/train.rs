//! `wen train`: makes a model one's own.

use crate::exit::{Interrupted, Usage};
use crate::loading;
use crate::output::{self, Facts};
use crate::progress::Progress;
use crate::signals::stop_on_signal;
use anyhow::Context;
use hub::lineage::Parent;
use models::model::repository_name;
use std::path::PathBuf;
use train::data::{Findings, Place, Repeat};
use train::run::{Base, Outcome, StepReport};
use train::{Recipe, Run};

/// What to train.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Train a model, or an adapter beside it, as a recipe says.\n\n\
        The recipe is TOML: `model`, `output` and `data.train` (or `data.mix`) must be there, all else has defaults. All data is checked \
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
    let base = base(loading::locate(&recipe.model)?);
    let output = recipe.output.clone();
    let run = {
        let _progress = Progress::spinner("reading model and data");
        Run::prepare_from(base, recipe)?
    };
    describe(&run);
    let stop = stop_on_signal("stopping after this step")?;
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

/// The model to begin with, and what its files say of it.
fn base(path: PathBuf) -> Base {
    let Parent { name, lineage } = Parent::read(&path, repository_name(&path));
    let license = lineage.license.clone();
    let lineage = lineage.to_keep().map(|kept| kept.to_json()).unwrap_or_default();
    Base { path, name, license, lineage }
}

/// Says what is about to happen.
fn describe(run: &Run) {
    let summary = run.task().summary();
    let values: usize = run.parameters().all().iter().map(|p| p.len()).sum();
    let mut facts = Facts::default();
    facts.add("examples", summary.examples.to_string());
    if summary.evaluation > 0 {
        facts.add("evaluation", format!("{} examples that are not learned", summary.evaluation));
    }
    // texts of an embedding are read, and not foretold
    let foretold = match summary.learned_tokens {
        0 => String::new(),
        learned => format!(", of which {learned} are learned"),
    };
    facts.add("tokens", format!("{}{foretold}", summary.tokens));
    facts.add("parameters", format!("{values} are trained"));
    facts.add("steps", format!("{}, of which {} are done", run.total_steps(), run.done()));
    if run.recomputes() {
        facts.add("memory", "activations are computed again in the backward pass");
    }
    facts.note();
    tell_findings(run.task().findings());
}

/// Says what was found in the data besides examples to learn.
fn tell_findings(findings: &Findings) {
    let say = |what: &str, places: Vec<String>| {
        if places.is_empty() {
            return;
        }
        let noun = if places.len() == 1 { "example" } else { "examples" };
        let more = if places.len() > 5 { ", ..." } else { "" };
        let list = places[..places.len().min(5)].join(", ");
        output::note(&format!("{} {noun} {what}: {list}{more}", places.len()));
    };
    let places = |places: &[Place]| places.iter().map(Place::to_string).collect();
    let repeats = |repeats: &[Repeat]| repeats.iter().map(|r| format!("{} as {}", r.place, r.of)).collect();
    say("left out, longer than data.max_tokens", places(&findings.too_long));
    say("there more than once", repeats(&findings.duplicates));
    say("there more than once but for capitals, spaces and punctuation", repeats(&findings.near_duplicates));
    say("of the evaluation also learned", repeats(&findings.evaluated_and_learned));
}

fn tell(progress: &Progress, report: &StepReport) {
    let StepReport { step, total_steps, loss, tokens_per_second, seconds_left, memory_bytes, .. } = report;
    let memory = memory_bytes.map_or_else(String::new, |bytes| format!(", {}", output::bytes(bytes)));
    let measures = report.measures.iter().map(|(name, value)| format!(", {name} {value:.4}"));
    let said =
        format!("loss {loss:.4}{}  {tokens_per_second:.0} tokens/s{memory}", measures.collect::<String>());
    progress.say(said.clone());
    progress.set(*step as u64);
    // where no bar is shown, a line now and then
    let every = (total_steps / 20).max(1);
    if !progress.is_shown() && (step % every == 0 || step == total_steps) {
        output::note(&format!("step {step}/{total_steps}  {said}, {seconds_left:.0} s left"));
    }
}
