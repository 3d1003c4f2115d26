//! Conversations as ShareGPT and LLaMA-Factory have them: `from` and `value`, and what is said beforehand beside them.
//!
//! [`Message`] knows the names of the roles; what is here is the rest of the line.

use super::chat::{self, Conversation, Message};
use super::forms::{Fields, Form, parse, tools};
use super::{Language, LineFault};
use crate::objective::Example;
use serde::Deserialize;
use serde_json::Value;

pub(super) const FORM: Form<Example> = Form {
    keys: &[&["conversations", "conversation"]],
    others: &["system", "tools"],
    shape: "{\"conversations\": [{\"from\": \"human\", \"value\": \"...\"}, ...]}",
    read,
};

#[derive(Deserialize)]
struct Line {
    conversations: Vec<Message>,
    system: Option<String>,
    tools: Option<Value>,
}

fn read(fields: Fields, language: &Language<'_>) -> Result<Vec<Example>, LineFault> {
    let line: Line = parse(fields)?;
    let mut messages = chat::system(line.system);
    messages.extend(line.conversations);
    Conversation { messages, tools: tools(line.tools)? }.examples(language)
}
