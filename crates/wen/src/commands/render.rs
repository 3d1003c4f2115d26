//! `wen render`: messages to the prompt that the model reads.

use super::read_text;
use crate::exit::Usage;
use crate::{loading, output};
use anyhow::Context;
use models::chat::RenderInput;
use serde_json::{Map, Value};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What to render.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen render models/Qwen3-0.6B conversation.json --tools tools.json --no-thinking
  echo '[{\"role\": \"user\", \"content\": \"Hello\"}]' | wen render models/Qwen3-0.6B -
  wen render models/Qwen3-0.6B conversation.json --ids")]
pub struct Args {
    /// The model: a checkpoint directory or a GGUF file
    model: PathBuf,
    /// A JSON file with a list of messages, or with an object that has `messages` and perhaps `tools`; - reads
    /// standard input
    messages: PathBuf,
    /// A JSON file with a list of tools, as OpenAI's API has them
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// Tell the template that the model is not to think
    #[arg(long)]
    no_thinking: bool,
    /// End after the last message, not where an answer begins
    #[arg(long)]
    no_generation_prompt: bool,
    /// The prompt's tokens instead of its text
    #[arg(long)]
    ids: bool,
}

/// Writes the prompt to standard output, exactly as the model reads it.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut input = read_conversation(&args.messages)?;
    if let Some(tools) = &args.tools {
        input.tools = list(read_json(tools)?, tools, "tools")?;
    }
    input.add_generation_prompt = !args.no_generation_prompt;
    if args.no_thinking {
        input.variables.insert("enable_thinking".to_owned(), Value::Bool(false));
    }
    let model = loading::open_for_chat(&args.model)?;
    let template = model.chat_template.as_ref().context("a model for chat without a template")?;
    if args.ids {
        return Ok(output::line(&output::ids(&template.encode(&model.tokenizer, &input)?))?);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(template.render(&input)?.as_bytes())?;
    Ok(out.flush()?)
}

fn read_conversation(path: &Path) -> anyhow::Result<RenderInput> {
    let (messages, tools) = match read_json(path)? {
        Value::Object(mut fields) => (
            fields.remove("messages").unwrap_or_default(),
            fields.remove("tools").unwrap_or(Value::Array(vec![])),
        ),
        messages => (messages, Value::Array(vec![])),
    };
    Ok(RenderInput {
        messages: list(messages, path, "messages")?,
        tools: list(tools, path, "tools")?,
        add_generation_prompt: true,
        variables: Map::new(),
    })
}

fn read_json(path: &Path) -> anyhow::Result<Value> {
    let text = read_text(path)?;
    serde_json::from_str(&text)
        .map_err(|error| Usage(format!("{} is not JSON: {error}", path.display())).into())
}

fn list(value: Value, path: &Path, what: &str) -> Result<Vec<Value>, Usage> {
    match value {
        Value::Array(items) if items.iter().all(Value::is_object) => Ok(items),
        _ => Err(Usage(format!("{} holds no list of {what}, which are JSON objects", path.display()))),
    }
}
