//! An answer's text, split while it streams into reasoning, content and tool calls.

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputDelta {
    /// Text inside `<think>`.
    Reasoning(String),
    /// Text for the user.
    Content(String),
    /// A tool call begins; `index` counts from 0.
    ToolCall {
        /// Which call.
        index: usize,
        /// The function's name, whole.
        name: String,
    },
    /// More of a call's arguments, JSON text.
    Arguments {
        /// Which call.
        index: usize,
        /// The next piece.
        text: String,
    },
}

/// Splits an answer in Qwen's format. Feed it the decoded text (added tokens such as `<think>` and `<tool_call>` kept).
pub struct OutputParser {}

impl OutputParser {
    /// `in_thinking`: the prompt opened `<think>` already. `tools`: `<tool_call>` is a call and not text.
    pub fn new(_in_thinking: bool, _tools: bool) -> OutputParser {
        todo!()
    }

    /// The parts that `text` completes. Text that may still become a tag is held back.
    pub fn push(&mut self, _text: &str) -> Vec<OutputDelta> {
        todo!()
    }

    /// What is left when the answer ends; a call that never became valid JSON comes back as content.
    pub fn finish(&mut self) -> Vec<OutputDelta> {
        todo!()
    }
}
