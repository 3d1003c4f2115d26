//! An example, and the lines that training and evaluation read.

use crate::grammar::{Language, Writer};
use serde_json::{Map, Value, json};
use std::rc::Rc;

/// How a case is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// Field by field.
    Json,
    /// Calls by name and arguments.
    Tools,
    /// The rows that the query gives.
    Sql,
    /// What the text has to hold, and must not.
    Text,
    /// The same text.
    Exact,
}

impl Scoring {
    /// As in task files.
    pub fn name(self) -> &'static str {
        match self {
            Scoring::Json => "json",
            Scoring::Tools => "tools",
            Scoring::Sql => "sql",
            Scoring::Text => "text",
            Scoring::Exact => "exact",
        }
    }
}

/// A conversation whose last message is the answer to be learned, and what an answer is scored by.
#[derive(Clone, Debug)]
pub struct Example {
    /// The conversation. Every answer in it is learned.
    pub messages: Vec<Value>,
    /// The tools that are offered.
    pub tools: Vec<Value>,
    /// What is expected, by the task's [`Scoring`].
    pub expected: Value,
    /// Statements that make the tables a query runs on.
    pub database: Option<String>,
    /// The entities of the example.
    pub entities: Vec<String>,
    /// The forms of its phrasings.
    pub phrasings: Vec<Rc<str>>,
}

impl Example {
    /// A question and its answer.
    pub fn new(w: Writer, question: String, answer: String, expected: Value) -> Example {
        let messages = vec![user(&question), assistant(&answer)];
        Example {
            messages,
            tools: Vec::new(),
            expected,
            database: None,
            entities: w.entities,
            phrasings: w.phrasings,
        }
    }

    /// The same with further questions and their answers about what the first one gave.
    pub fn with_turns(mut self, turns: Vec<(String, String)>) -> Example {
        for (question, answer) in turns {
            self.messages.extend([user(&question), assistant(&answer)]);
        }
        self
    }

    /// The same with what is thought before each of its answers.
    pub fn with_thoughts(mut self, thoughts: impl IntoIterator<Item = String>) -> Example {
        let answers = self.messages.iter_mut().filter(|message| message["role"] == "assistant");
        for (answer, thoughts) in answers.zip(thoughts) {
            answer["reasoning_content"] = thoughts.into();
        }
        self
    }

    /// The line of a training file.
    pub fn training_line(&self) -> Value {
        let mut line = Map::new();
        line.insert("messages".to_owned(), self.messages.clone().into());
        if !self.tools.is_empty() {
            line.insert("tools".to_owned(), self.tools.clone().into());
        }
        line.into()
    }

    /// The line of a file of cases: the conversation without its last answer.
    pub fn case_line(&self, id: &str, language: Language) -> Value {
        let mut line = Map::new();
        line.insert("id".to_owned(), id.into());
        line.insert("group".to_owned(), language.code().into());
        line.insert("messages".to_owned(), self.messages[..self.messages.len() - 1].into());
        if !self.tools.is_empty() {
            line.insert("tools".to_owned(), self.tools.clone().into());
        }
        if let Some(database) = &self.database {
            line.insert("database".to_owned(), database.as_str().into());
        }
        line.insert("expected".to_owned(), self.expected.clone());
        line.into()
    }

    /// The text of the answer, or its calls.
    pub fn answer(&self) -> &Value {
        self.messages.last().unwrap_or(&Value::Null)
    }
}

/// A message of the person who asks.
pub fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

/// A message of the model.
pub fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}
