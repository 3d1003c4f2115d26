//! `wen tokenizer`: makes tokenizers.

use crate::exit::Usage;
use crate::output::{self, Facts};
use crate::progress::Progress;
use clap::{Subcommand, ValueEnum};
use std::path::PathBuf;
use train::tokenizer::{self, Settings, TokenizerError};

/// What to do with tokenizers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen tokenizer train books/*.txt chats.jsonl --vocab 32000 --out models/mine")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train one on texts: byte-level BPE with Qwen's splitting rule
    Train(TrainArgs),
}

/// What to train on.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Train a tokenizer on texts: byte-level BPE with Qwen's splitting rule.\n\n\
        Of .txt files the whole content counts, of .jsonl files every text in every line. tokenizer.json and \
        tokenizer_config.json, with Qwen3's control tokens and chat template, are written into the directory; the \
        same texts give the same files.",
    after_help = "Examples:
  wen tokenizer train books/*.txt --vocab 32000 --out models/mine
  wen tokenizer train chats.jsonl --vocab 6000 --pieces copyable --out models/small"
)]
struct TrainArgs {
    /// Texts: .txt and .jsonl files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Tokens in all
    #[arg(long, value_name = "N")]
    vocab: usize,
    /// The directory to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What a token may be made of
    #[arg(long, value_name = "HOW", default_value = "words")]
    pieces: Pieces,
}

/// What a token may be made of.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pieces {
    /// All that Qwen's rule leaves together.
    Words,
    /// Chinese characters alone, and letters apart from capitals, spaces and signs before them: for very small models, which
    /// then find names written the same everywhere.
    Copyable,
}

/// Does it.
pub fn run(args: Args) -> anyhow::Result<()> {
    let Command::Train(args) = args.command;
    let settings = Settings {
        vocab_size: args.vocab,
        pieces: match args.pieces {
            Pieces::Words => tokenizer::Pieces::Words,
            Pieces::Copyable => tokenizer::Pieces::Copyable,
        },
        chat_template: None,
    };
    let trained = {
        let _progress = Progress::spinner("training the tokenizer");
        tokenizer::train(&args.files, &settings)
    };
    let trained = trained.map_err(|error| match error {
        TokenizerError::File(error) => anyhow::Error::from(error),
        error => Usage(error.to_string()).into(),
    })?;
    trained.write(&args.out)?;
    let mut facts = Facts::default();
    facts.add("text", output::bytes(trained.text_bytes));
    facts.add("tokens", trained.tokens.to_string());
    facts.note();
    if trained.tokens < args.vocab {
        output::note("the texts have no more pairs that are there twice; give more text for more tokens");
    }
    Ok(output::line(&args.out.display().to_string())?)
}
