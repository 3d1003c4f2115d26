//! `wen eval compare`: two models on the same tasks.

use super::output;
use super::tasks::{self, TaskArgs};
use crate::output as standard;
use evaluate::report::{self, Comparison};
use evaluate::{CaseResult, Task};
use serde::Serialize;
use std::path::PathBuf;

/// Which models, and what they are asked.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Compare two models on the same tasks, case by case.\n\n\
        The difference comes with the bootstrap's interval over the cases' own differences, and where each case is right or \
        wrong with p, how likely such a difference is by chance (McNemar's exact test). Tasks of the kind judge compare the \
        two models' answers with each other.",
    after_help = "Examples:
  wen eval compare models/Qwen3-0.6B models/Qwen3-1.7B recipes/tasks
  wen eval compare models/Qwen3-0.6B models/Qwen3-0.6B todo.toml --adapter-b runs/todo/adapter
  wen eval compare models/my-model http://localhost:8000/v1#qwen todo.toml --json"
)]
pub struct Args {
    /// The first model: a checkpoint directory, a GGUF file, or an endpoint as http(s)://HOST/v1#MODEL
    a: String,
    /// The second model
    b: String,
    /// An adapter beside the first model
    #[arg(long, value_name = "DIR")]
    adapter_a: Option<PathBuf>,
    /// An adapter beside the second model
    #[arg(long, value_name = "DIR")]
    adapter_b: Option<PathBuf>,
    #[command(flatten)]
    tasks: TaskArgs,
}

#[derive(Serialize)]
struct Report {
    a: String,
    b: String,
    confidence: f64,
    seed: u64,
    rows: Vec<Comparison>,
}

/// Evaluates both and writes the report to standard output.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let tasks = args.tasks.load()?;
    let judge = args.tasks.judge(&tasks)?;
    let mut cases = args.tasks.cases_file()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // one model after the other, so that memory has to hold only one
    let ask = |model: &str, adapter: Option<&PathBuf>| -> anyhow::Result<Vec<Vec<CaseResult>>> {
        let subject = args.tasks.open(model, adapter.map(PathBuf::as_path), &tasks)?;
        tasks.iter().map(|task: &Task| args.tasks.ask(task, &subject, &runtime)).collect()
    };
    let all_a = ask(&args.a, args.adapter_a.as_ref())?;
    let all_b = ask(&args.b, args.adapter_b.as_ref())?;
    let a = tasks::name(&args.a, args.adapter_a.as_deref());
    let b = tasks::name(&args.b, args.adapter_b.as_deref());
    let seed = args.tasks.seed;
    let mut rows = Vec::new();
    for (task, (mut of_a, mut of_b)) in tasks.iter().zip(all_a.into_iter().zip(all_b)) {
        args.tasks.compare_answers(task, &mut of_a, Some(&mut of_b), judge.as_ref(), &runtime)?;
        cases.add(&a, &task.name, &of_a)?;
        cases.add(&b, &task.name, &of_b)?;
        rows.extend(report::comparisons(&task.name, &of_a, &of_b, seed));
    }
    let report = Report { a, b, confidence: 0.95, seed, rows };
    output::report_file(args.tasks.out.as_deref(), &report)?;
    if args.tasks.json {
        return standard::json(&report);
    }
    standard::line(&format!("A: {}\nB: {}\n", report.a, report.b))?;
    output::comparisons(&report.rows)
}
