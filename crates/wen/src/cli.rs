//! The command line.

use crate::commands::{
    bench, chat, completions, convert, eval, inspect, logits, models, pull, push, render, serve, tokenize,
    tokenizer, train,
};
use crate::exit::Exit;
use clap::{Parser, Subcommand};

/// Run Qwen-family models on this machine: chat, HTTP service, training, inspection, measurement.
#[derive(Debug, Parser)]
#[command(name = "wen", version, max_term_width = 100, after_help = after_help())]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Talk to a model in the terminal, or ask it one question.
    Chat(chat::Args),
    /// Serve models over HTTP with OpenAI's API.
    Serve(serve::Args),
    /// Train a model, or an adapter beside it, on one's own data.
    Train(train::Args),
    /// List, show, tag, check and remove the models that are stored on this machine.
    Models(models::Args),
    /// Pull a model from a hub: Hugging Face, ModelScope, another Wen.
    Pull(pull::Args),
    /// Push a model to a hub, or into the store.
    Push(push::Args),
    /// Write a model in the other file format (GGUF, safetensors), quantized, or with adapters merged.
    Convert(convert::Args),
    /// Show what a checkpoint is: architecture, parameters, types, memory.
    Inspect(inspect::Args),
    /// Turn text into tokens and back.
    Tokenize(tokenize::Args),
    /// Train a tokenizer.
    Tokenizer(tokenizer::Args),
    /// Turn messages into the prompt that the model reads.
    Render(render::Args),
    /// Compute float32 logits and hidden states of given tokens.
    Logits(logits::Args),
    /// Measure prompt and answer speed, loading time and memory.
    Bench(bench::Args),
    /// Measure how good a model is: its answers to tasks, beside another's, and how well it foretells a text.
    Eval(eval::Args),
    /// Write a completion script for a shell.
    Completions(completions::Args),
}

impl Command {
    /// Does it.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Chat(args) => chat::run(args),
            Command::Serve(args) => serve::run(args),
            Command::Train(args) => train::run(args),
            Command::Models(args) => models::run(args),
            Command::Pull(args) => pull::run(args),
            Command::Push(args) => push::run(args),
            Command::Convert(args) => convert::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::Tokenize(args) => tokenize::run(args),
            Command::Tokenizer(args) => tokenizer::run(args),
            Command::Render(args) => render::run(args),
            Command::Logits(args) => logits::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Eval(args) => eval::run(args),
            Command::Completions(args) => completions::run(args),
        }
    }
}

fn after_help() -> String {
    let mut text = String::from(
        "MODEL is a Hugging Face directory (config.json, *.safetensors, tokenizer.json) or a GGUF file.\n\n\
         Exit codes:\n",
    );
    for exit in Exit::ALL {
        text.push_str(&format!("  {:>3}  {}\n", exit.code(), exit.meaning()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_do_not_clash() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:\n  wen "), "{}", command.get_name());
        }
    }
}
