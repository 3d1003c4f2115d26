//! Prompts with what comes after them: Model Studio's older form, TRL's, and ModelScope's (`query` and `response`).
//!
//! A model with a chat template learns them as a question and its answer, any other as a text that goes on. Only what
//! comes after is learned.

use super::chat::{self, Conversation, Message};
use super::forms::{Fields, Form, parse, tools};
use super::{Language, LineFault};
use crate::objective::Example;
use serde::Deserialize;
use serde_json::Value;

pub(super) const FORM: Form<Example> = Form {
    keys: &[&["prompt", "query"], &["completion", "response"]],
    others: &["system", "history", "tools"],
    shape: "{\"prompt\": \"...\", \"completion\": \"...\"}",
    read,
};

/// A text, a message, or several.
#[derive(Clone, Deserialize, PartialEq)]
#[serde(untagged, expecting = "it must be a text, a message or a list of messages")]
pub(super) enum Said {
    Text(String),
    Message(Box<Message>),
    Messages(Vec<Message>),
}

#[derive(Deserialize)]
struct Line {
    prompt: Said,
    completion: Said,
    system: Option<String>,
    history: Option<Vec<(String, String)>>,
    tools: Option<Value>,
}

fn read(fields: Fields, language: &Language<'_>) -> Result<Vec<Example>, LineFault> {
    let line: Line = parse(fields)?;
    let plain = line.system.is_none() && line.history.is_none();
    if let (Said::Text(prompt), Said::Text(completion), true, None) =
        (&line.prompt, &line.completion, plain, language.template)
    {
        return Ok(vec![continued(prompt, completion, "completion", language)?]);
    }
    let mut messages = chat::system(line.system);
    messages.extend(chat::turns(line.history.unwrap_or_default()));
    messages.extend(line.prompt.messages("user", "prompt")?);
    chat::unlearned(&mut messages);
    messages.extend(line.completion.messages("assistant", "completion")?);
    Conversation { messages, tools: tools(line.tools)? }.examples(language)
}

impl Said {
    /// What was said, by `role` where it is a text; `key` is where it stands.
    pub(super) fn messages(self, role: &str, key: &'static str) -> Result<Vec<Message>, LineFault> {
        match self {
            Said::Text(text) if text.trim().is_empty() => Err(LineFault::Empty(key)),
            Said::Text(text) => Ok(vec![Message::new(role, text)]),
            Said::Message(message) => Ok(vec![*message]),
            Said::Messages(messages) if messages.is_empty() => Err(LineFault::Empty(key)),
            Said::Messages(messages) => Ok(messages),
        }
    }
}

/// A text that goes on, of which the beginning is not learned.
pub(super) fn continued(
    prompt: &str,
    answer: &str,
    key: &'static str,
    language: &Language<'_>,
) -> Result<Example, LineFault> {
    if answer.trim().is_empty() {
        return Err(LineFault::Empty(key));
    }
    let mut tokens = language.tokenizer.encode_text(prompt);
    let before = tokens.len();
    tokens.extend(language.tokenizer.encode_text(answer));
    tokens.extend(language.end);
    let learned = (0..tokens.len()).map(|i| i >= before).collect();
    Ok(Example::new(tokens, learned))
}
