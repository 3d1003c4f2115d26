//! `nano`: makes wen-nano from nothing.

use clap::{Parser, Subcommand};
use nano::build::{self, Options};
use nano::dataset::Dataset;
use nano::example::Example;
use nano::grammar::{Language, json_line};
use nano::tasks;
use std::path::PathBuf;

/// Make wen-nano, the small model that ships with Wen, from nothing.
#[derive(Debug, Parser)]
#[command(name = "nano")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write data, train tokenizer and model, pack it, and ask it the held-out cases. Cut off, it goes on from its last checkpoint
    Build {
        /// Where data, checkpoints and the float model go
        #[arg(long, value_name = "DIR", default_value = "runs/nano")]
        out: PathBuf,
        /// Where the packed model and its card go
        #[arg(long, value_name = "DIR", default_value = "models/wen-nano")]
        model: PathBuf,
        /// Tokens to train on, about
        #[arg(long, value_name = "N", default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1..1_000_000_000))]
        tokens: u64,
        /// Of everything
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        /// Processor threads; 0 takes all
        #[arg(long, value_name = "N", default_value_t = 0)]
        threads: usize,
    },
    /// Write only the held-out cases, with a task file for each task, for `wen eval run`
    Cases {
        /// Where to
        dir: PathBuf,
        /// Of the data
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
    /// Ask a model the held-out cases, and print the table of its card
    Evaluate {
        /// A checkpoint directory or a GGUF file
        model: PathBuf,
        /// Where `cases` has written them
        cases: PathBuf,
        /// Processor threads; 0 takes all
        #[arg(long, value_name = "N", default_value_t = 0)]
        threads: usize,
    },
    /// Print examples of every task and language
    Samples {
        /// Of each
        #[arg(long, value_name = "N", default_value_t = 3)]
        count: u64,
        /// Held-out cases instead of what is learned
        #[arg(long)]
        held_out: bool,
        /// Of the data
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Build { out, model, tokens, seed, threads } => {
            build::build(&Options { out, model, tokens, seed, threads })
        }
        Command::Cases { dir, seed } => Ok(Dataset::new(seed).write_cases(&dir)?),
        Command::Evaluate { model, cases, threads } => {
            let rows = build::evaluate(&model, &cases, threads)?;
            print!("{}", nano::card::table(&rows));
            Ok(())
        }
        Command::Samples { count, held_out, seed } => {
            samples(&Dataset::new(seed), count, held_out);
            Ok(())
        }
    }
}

fn samples(dataset: &Dataset, count: u64, held_out: bool) {
    for task in tasks::ALL {
        for language in Language::ALL {
            for index in 0..count {
                println!("=== {} {} {index}", task.name, language.code());
                let example = match held_out {
                    true => dataset.held_out(task, language, index),
                    false => dataset.of_task(task, language, index),
                };
                print(&example);
            }
        }
    }
}

fn print(example: &Example) {
    example.tools.iter().for_each(|tool| println!("tool: {}", json_line(&tool["function"])));
    for message in &example.messages {
        let role = message["role"].as_str().unwrap_or_default();
        if let Some(thoughts) = message["reasoning_content"].as_str() {
            println!("{role} thinks: {thoughts}");
        }
        match message["tool_calls"].as_array() {
            Some(calls) => calls.iter().for_each(|call| println!("{role}: {}", json_line(&call["function"]))),
            None => println!("{role}: {}", message["content"].as_str().unwrap_or_default()),
        }
    }
    println!("expected: {}", json_line(&example.expected));
}
