//! `wen tokenize`: text to tokens and back.

use super::{parse_ids, read_stdin};
use crate::{loading, output};
use models::Tokenizer;
use serde::Serialize;
use std::path::PathBuf;

/// What to turn into what.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen tokenize models/Qwen3-0.6B \"床前明月光\"
  wen tokenize models/Qwen3-0.6B --added \"<|im_start|>user\"
  cat book.txt | wen tokenize models/Qwen3-0.6B - --ids
  wen tokenize models/Qwen3-0.6B --decode 99886,101913")]
pub struct Args {
    /// The model: a checkpoint directory or a GGUF file
    model: PathBuf,
    /// The text; - reads standard input
    #[arg(required_unless_present = "decode")]
    text: Option<String>,
    /// Turn these tokens into text instead
    #[arg(long, value_name = "IDS", conflicts_with_all = ["text", "added"])]
    decode: Option<String>,
    /// Take control tokens such as <|im_start|> in the text as such; otherwise they are text
    #[arg(long)]
    added: bool,
    /// Only the ids, with commas between
    #[arg(long, conflicts_with = "json")]
    ids: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    text: String,
    count: usize,
    tokens: Vec<Token>,
}

#[derive(Serialize)]
struct Token {
    id: u32,
    /// Its text; broken characters as U+FFFD.
    text: String,
    /// Its bytes.
    bytes: Vec<u8>,
    /// Whether it is a control token or another added one.
    added: bool,
}

/// Writes tokens or text to standard output.
pub fn run(args: Args) -> anyhow::Result<()> {
    let text = match args.text.as_deref() {
        Some("-") => read_stdin()?,
        text => text.unwrap_or_default().to_owned(),
    };
    let model = loading::open(&args.model)?;
    let tokenizer = &model.tokenizer;
    let ids = match &args.decode {
        Some(ids) => parse_ids(ids, model.lm.config().vocab_size)?,
        None if args.added => tokenizer.encode_with_added(&text),
        None => tokenizer.encode_text(&text),
    };
    if args.json {
        return output::json(&report(tokenizer, &ids));
    }
    if args.decode.is_some() {
        return Ok(output::line(&tokenizer.decode(&ids, false))?);
    }
    if args.ids {
        return Ok(output::line(&output::ids(&ids))?);
    }
    print_table(tokenizer, &ids)
}

fn report(tokenizer: &Tokenizer, ids: &[u32]) -> Report {
    let tokens = ids.iter().map(|&id| token(tokenizer, id)).collect();
    Report { text: tokenizer.decode(ids, false), count: ids.len(), tokens }
}

fn token(tokenizer: &Tokenizer, id: u32) -> Token {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default().to_vec();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Token { id, text, bytes, added: tokenizer.is_added(id) }
}

fn print_table(tokenizer: &Tokenizer, ids: &[u32]) -> anyhow::Result<()> {
    let mut facts = output::Facts::default();
    for &id in ids {
        let token = token(tokenizer, id);
        let control = if token.added { "  (control)" } else { "" };
        facts.add(format!("{id:>6}"), format!("{:?}{control}", token.text));
    }
    facts.print()?;
    let plural = if ids.len() == 1 { "" } else { "s" };
    output::note(&format!("{} token{plural}", output::thousands(ids.len() as u64)));
    Ok(())
}
