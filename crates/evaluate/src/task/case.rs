//! A case: a line of a task's data.

use super::{Kind, Settings};
use crate::limits::{MAX_CASES, MAX_LINE_BYTES, MAX_MESSAGES};
use crate::score::{Gold, choice, exact, json, judge, sql, text, tools};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;

/// Something to ask, and what a right answer is.
#[derive(Debug)]
pub struct Case {
    /// Its name, one of a kind within the task.
    pub id: String,
    /// What it is counted with, beside all others; may be empty.
    pub group: String,
    /// What is asked.
    pub question: Question,
    /// What a right answer is.
    pub gold: Gold,
}

/// What is asked.
#[derive(Debug)]
pub enum Question {
    /// A conversation that the model is to go on with, and the functions that it may call.
    Chat {
        /// As OpenAI's clients send them, the task's system message first.
        messages: Vec<Value>,
        /// As OpenAI's clients send them.
        tools: Vec<Value>,
    },
    /// A text whose continuations are measured, without a chat template.
    Plain {
        /// What comes before each choice, the delimiter included.
        prompt: String,
    },
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Its line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// What is wrong with a line, and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not JSON of the expected form.
    #[error("{0}; a line is one object: {{\"id\": ..., \"messages\": [...], \"expected\": ...}}")]
    Json(String),
    /// Over the bound.
    #[error("the line is longer than {MAX_LINE_BYTES} bytes; shorten the case")]
    TooLong,
    /// One too many.
    #[error("a task has at most {MAX_CASES} cases; cut it into several")]
    TooMany,
    /// Two of the same name.
    #[error("the id `{0}` is there already; every case of a task needs its own")]
    Duplicate(String),
    /// A message that no model can be asked with.
    #[error("messages[{index}]: {what}")]
    Message {
        /// Which message, from 0.
        index: usize,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A field that is wrong, or that the task's kind needs.
    #[error("{0}")]
    Field(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    id: Id,
    group: Option<String>,
    messages: Option<Vec<Value>>,
    prompt: Option<String>,
    #[serde(default)]
    tools: Vec<Value>,
    expected: Option<Value>,
    choices: Option<Vec<String>>,
    database: Option<String>,
    /// The author's own notes.
    #[serde(rename = "meta")]
    _meta: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
}

impl Line {
    pub fn parse(line: &[u8]) -> Result<Line, Fault> {
        let text = std::str::from_utf8(line)
            .map_err(|_| Fault::Json("the line is not UTF-8; convert the file".to_owned()))?;
        serde_json::from_str(text).map_err(|error| Fault::Json(error.to_string()))
    }

    /// The case, checked.
    pub fn case(mut self, settings: &Settings) -> Result<Case, Fault> {
        let id = match std::mem::replace(&mut self.id, Id::Number(0)) {
            Id::Text(id) if id.is_empty() => return Err(Fault::Field("`id` is empty".to_owned())),
            Id::Text(id) => id,
            Id::Number(id) => id.to_string(),
        };
        let group = self.group.take().unwrap_or_default();
        self.refuse_what_has_no_effect(settings.kind)?;
        let question = self.question(settings)?;
        let gold = self.gold(settings).map_err(Fault::Field)?;
        Ok(Case { id, group, question, gold })
    }

    fn refuse_what_has_no_effect(&self, kind: Kind) -> Result<(), Fault> {
        let fields = [
            ("choices", self.choices.is_some(), Kind::Choice),
            ("prompt", self.prompt.is_some(), Kind::Choice),
            ("database", self.database.is_some(), Kind::Sql),
        ];
        match fields.into_iter().find(|(_, given, of)| *given && *of != kind) {
            Some((field, _, _)) => Err(Fault::Field(format!("`{field}` has no effect here; remove it"))),
            None => Ok(()),
        }
    }

    fn question(&mut self, settings: &Settings) -> Result<Question, Fault> {
        match (self.messages.take(), self.prompt.take()) {
            (Some(messages), None) => {
                let messages = conversation(messages, settings.system.as_deref())?;
                self.tools.iter().enumerate().try_for_each(|(index, tool)| match function(tool) {
                    Some(_) => Ok(()),
                    None => Err(Fault::Field(format!(
                        "tools[{index}] must be {{\"type\": \"function\", \"function\": {{\"name\": ...}}}}"
                    ))),
                })?;
                Ok(Question::Chat { messages, tools: self.tools.clone() })
            }
            (None, Some(prompt)) if prompt.trim().is_empty() => {
                Err(Fault::Field("`prompt` is empty".to_owned()))
            }
            (None, Some(prompt)) => Ok(Question::Plain { prompt: prompt + &settings.delimiter }),
            (None, None) => Err(Fault::Field("`messages` is missing".to_owned())),
            (Some(_), Some(_)) => {
                Err(Fault::Field("it has both `messages` and `prompt`; one is asked".to_owned()))
            }
        }
    }

    fn gold(self, settings: &Settings) -> Result<Gold, String> {
        let normalize = settings.normalize;
        let needed = |expected: Option<Value>| expected.ok_or("`expected` is missing");
        match settings.kind {
            Kind::Exact => exact::Gold::new(&needed(self.expected)?, normalize, settings.pattern.clone())
                .map(Gold::Exact),
            Kind::Json => json::Gold::new(needed(self.expected)?, normalize, settings.fenced).map(Gold::Json),
            Kind::Choice => {
                let choices = self.choices.ok_or("`choices` is missing")?;
                choice::Gold::new(choices, &needed(self.expected)?).map(Gold::Choice)
            }
            Kind::Tools => {
                let known: Vec<&str> = self.tools.iter().filter_map(function).collect();
                tools::Gold::new(needed(self.expected)?, &known, normalize).map(Gold::Tools)
            }
            Kind::Sql => {
                let database = self.database.ok_or("`database` is missing")?;
                let expected = needed(self.expected)?;
                let query = expected.as_str().ok_or("`expected` must be a query as text")?;
                sql::Gold::new(database, query).map(Gold::Sql)
            }
            Kind::Text => text::Gold::new(needed(self.expected)?, normalize).map(Gold::Text),
            Kind::Judge => judge::Gold::new(self.expected, settings.criteria.clone()).map(Gold::Judge),
        }
    }
}

/// The name of a tool's function.
fn function(tool: &Value) -> Option<&str> {
    tool.get("function")?.get("name")?.as_str().filter(|name| !name.is_empty())
}

/// Messages that end where the model is to answer, `system` first where they don't begin with their own.
fn conversation(messages: Vec<Value>, system: Option<&str>) -> Result<Vec<Value>, Fault> {
    if messages.is_empty() || messages.len() > MAX_MESSAGES {
        let found = messages.len();
        return Err(Fault::Field(format!(
            "`messages` has {found} entries; it must have 1 to {MAX_MESSAGES}"
        )));
    }
    let messages: Vec<Value> = messages
        .into_iter()
        .enumerate()
        .map(|(index, each)| message(each).map_err(|what| Fault::Message { index, what }))
        .collect::<Result<_, _>>()?;
    let role = |message: Option<&Value>| message.and_then(|m| m["role"].as_str().map(str::to_owned));
    if role(messages.last()).as_deref() == Some("assistant") {
        let (index, what) = (messages.len() - 1, "the last message is the assistant's; remove it".to_owned());
        return Err(Fault::Message { index, what });
    }
    let own = role(messages.first()).as_deref() == Some("system");
    let system = system.filter(|_| !own).map(|text| json!({"role": "system", "content": text}));
    Ok(system.into_iter().chain(messages).collect())
}

/// A message whose content is one text.
fn message(mut message: Value) -> Result<Value, String> {
    if !message.is_object() {
        return Err("it must be an object with `role` and `content`".to_owned());
    }
    let role = match message.get("role").and_then(Value::as_str) {
        Some(role @ ("system" | "user" | "assistant" | "tool")) => role.to_owned(),
        Some(role) => return Err(format!("the role `{role}` is none of system, user, assistant, tool")),
        None => return Err("`role` is missing".to_owned()),
    };
    let calls = message.get("tool_calls").filter(|calls| !calls.is_null());
    if let Some(calls) = calls {
        let calls = calls.as_array().filter(|_| role == "assistant");
        if !calls.is_some_and(|calls| calls.iter().all(|call| function(call).is_some())) {
            return Err(
                "`tool_calls` must be an assistant's list of {\"function\": {\"name\": ...}}".to_owned()
            );
        }
    }
    let content = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => joined(parts)?,
        None | Some(Value::Null) if calls.is_some() => String::new(),
        _ => return Err("`content` must be a text".to_owned()),
    };
    message["content"] = content.into();
    Ok(message)
}

fn joined(parts: &[Value]) -> Result<String, String> {
    let text = |part: &Value| match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text.to_owned()),
        _ => Err("`content` has a part that is no text; models are asked with text alone".to_owned()),
    };
    parts.iter().map(text).collect()
}
