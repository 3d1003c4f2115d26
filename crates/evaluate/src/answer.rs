//! What a model said.

use models::chat::OutputDelta;
use serde::Serialize;

/// An answer, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Text for the user.
    pub text: String,
    /// What it thought before.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reasoning: String,
    /// The functions that it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// Whether it ended at the longest length that was allowed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The function.
    pub name: String,
    /// JSON text, if the model wrote any.
    pub arguments: String,
}

impl Answer {
    /// An answer of text alone.
    pub fn text(text: impl Into<String>) -> Answer {
        Answer { text: text.into(), ..Answer::default() }
    }

    /// Adds what the parser gave.
    pub(crate) fn add(&mut self, deltas: Vec<OutputDelta>) {
        for delta in deltas {
            match delta {
                OutputDelta::Reasoning(text) => self.reasoning.push_str(&text),
                OutputDelta::Content(text) => self.text.push_str(&text),
                OutputDelta::ToolCall { name, .. } => {
                    self.calls.push(Call { name, arguments: String::new() });
                }
                OutputDelta::Arguments { index, text } => {
                    if let Some(call) = self.calls.get_mut(index) {
                        call.arguments.push_str(&text);
                    }
                }
            }
        }
    }
}
