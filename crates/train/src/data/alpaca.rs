//! Instructions with answers, as Alpaca and LLaMA-Factory have them.

use super::chat::{self, Conversation, Message};
use super::forms::{Fields, Form, parse, tools};
use super::{Language, LineFault};
use crate::objective::Example;
use serde::Deserialize;
use serde_json::Value;

pub(super) const FORM: Form<Example> = Form {
    keys: &[&["instruction"], &["output"]],
    others: &["input", "system", "history", "tools"],
    shape: "{\"instruction\": \"...\", \"input\": \"...\", \"output\": \"...\"}",
    read,
};

#[derive(Deserialize)]
struct Line {
    instruction: String,
    input: Option<String>,
    output: String,
    system: Option<String>,
    /// Turns before, which are learned as well.
    history: Option<Vec<(String, String)>>,
    tools: Option<Value>,
}

fn read(fields: Fields, language: &Language<'_>) -> Result<Vec<Example>, LineFault> {
    let line: Line = parse(fields)?;
    if line.output.trim().is_empty() {
        return Err(LineFault::Empty("output"));
    }
    let mut messages = chat::system(line.system);
    messages.extend(chat::turns(line.history.unwrap_or_default()));
    messages.push(Message::new("user", instruction(line.instruction, line.input)?));
    messages.push(Message::new("assistant", line.output));
    Conversation { messages, tools: tools(line.tools)? }.examples(language)
}

/// What is asked: the instruction, and on the next line what it is about.
pub(super) fn instruction(instruction: String, input: Option<String>) -> Result<String, LineFault> {
    let input = input.filter(|input| !input.trim().is_empty());
    match (instruction.trim().is_empty(), input) {
        (true, None) => Err(LineFault::Empty("instruction")),
        (true, Some(input)) => Ok(input),
        (false, None) => Ok(instruction),
        (false, Some(input)) => Ok(format!("{instruction}\n{input}")),
    }
}
