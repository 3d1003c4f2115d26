//! `wen eval`: how good a model is, a file for each way to measure it.

mod compare;
mod output;
mod perplexity;
mod run;
mod tasks;

/// What to evaluate.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen eval run models/Qwen3-0.6B recipes/tasks
  wen eval compare models/Qwen3-0.6B models/Qwen3-0.6B todo.toml --adapter-b runs/todo/adapter
  wen eval perplexity models/Qwen3-0.6B book.txt --formats none,int8,int4")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Score a model's answers to tasks
    Run(Box<run::Args>),
    /// Compare two models on the same tasks
    Compare(Box<compare::Args>),
    /// How surprised a model is by a text file, in one number format or beside others
    Perplexity(Box<perplexity::Args>),
}

/// Evaluates and writes the report to standard output.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Run(args) => run::run(&args),
        What::Compare(args) => compare::run(&args),
        What::Perplexity(args) => perplexity::run(&args),
    }
}
