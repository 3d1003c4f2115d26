//! `wen eval run`: a model's answers to tasks, scored.

use super::output;
use super::tasks::{self, TaskArgs};
use crate::output as standard;
use evaluate::report::{self, Row};
use serde::Serialize;
use std::path::PathBuf;

/// Which model, and what it is asked.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Score a model's answers to tasks.\n\n\
        A task is a TOML file: `name`, `kind` (exact, json, choice, tools, sql, text or judge) and `data`, a file of cases in \
        JSON lines with `id`, `messages` and `expected`; recipes/tasks has one of each. Shares of right answers come with \
        Wilson's interval, other means with the bootstrap's.",
    after_help = "Examples:
  wen eval run models/Qwen3-0.6B recipes/tasks
  wen eval run models/Qwen3-0.6B todo.toml --adapter runs/todo/adapter --cases answers.jsonl
  wen eval run https://dashscope.aliyuncs.com/compatible-mode/v1#qwen-plus todo.toml --key-env DASHSCOPE_API_KEY"
)]
pub struct Args {
    /// The model: a checkpoint directory, a GGUF file, or an endpoint as http(s)://HOST/v1#MODEL
    model: String,
    /// An adapter beside the model, as `wen train` and PEFT write them
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    #[command(flatten)]
    tasks: TaskArgs,
}

#[derive(Serialize)]
struct Report {
    model: String,
    confidence: f64,
    seed: u64,
    rows: Vec<Row>,
}

/// Evaluates and writes the report to standard output.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let tasks = args.tasks.load()?;
    let judge = args.tasks.judge(&tasks)?;
    let subject = args.tasks.open(&args.model, args.adapter.as_deref(), &tasks)?;
    let mut cases = args.tasks.cases_file()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (model, seed) = (tasks::name(&args.model, args.adapter.as_deref()), args.tasks.seed);
    let mut rows = Vec::new();
    for task in &tasks {
        let mut results = args.tasks.ask(task, &subject, &runtime)?;
        args.tasks.compare_answers(task, &mut results, None, judge.as_ref(), &runtime)?;
        cases.add(&model, &task.name, &results)?;
        rows.extend(report::rows(&task.name, &results, seed));
    }
    let report = Report { model, confidence: 0.95, seed, rows };
    output::report_file(args.tasks.out.as_deref(), &report)?;
    if args.tasks.json {
        return standard::json(&report);
    }
    standard::line(&format!("{}\n", report.model))?;
    output::rows(&report.rows)
}
