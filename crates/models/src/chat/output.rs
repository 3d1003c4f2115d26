//! An answer's text, split while it streams into reasoning, content and tool calls.
//!
//! The format is the one that Qwen's chat templates teach:
//!
//! ```text
//! <think>
//! reasoning
//! </think>
//!
//! content
//! <tool_call>
//! {"name": "get_weather", "arguments": {"city": "杭州"}}
//! </tool_call>
//! ```
//!
//! Newlines around the tags belong to the format and not to the parts.

use crate::Tokenizer;
use serde_json::Value;

const THINK_START: &str = "<think>";
const THINK_END: &str = "</think>";
const CALL_START: &str = "<tool_call>";
const CALL_END: &str = "</tool_call>";

/// Whether a prompt ends with `<think>` and white space: some templates open it for the model.
pub fn opens_thinking(tokenizer: &Tokenizer, prompt: &[u32]) -> bool {
    let end = &prompt[prompt.len().saturating_sub(4)..];
    tokenizer.decode(end, false).trim_end().ends_with(THINK_START)
}

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
pub struct OutputParser {
    state: State,
    tools: bool,
    /// Text that no part has taken yet.
    pending: String,
    /// Whether newlines that come next belong to a tag.
    after_tag: bool,
    /// Calls that began.
    calls: usize,
    deltas: Vec<OutputDelta>,
}

/// Where in the answer the pending text begins.
enum State {
    /// At the beginning, where alone `<think>` opens reasoning.
    Start,
    Reasoning,
    Content,
    /// After `<tool_call>`; the name is not known yet.
    Call,
    /// In the arguments of a call.
    Arguments(ObjectScanner),
    /// After the arguments, before `</tool_call>`.
    CallEnd,
}

impl OutputParser {
    /// `in_thinking`: the prompt opened `<think>` already. `tools`: `<tool_call>` is a call and not text.
    pub fn new(in_thinking: bool, tools: bool) -> OutputParser {
        let state = if in_thinking { State::Reasoning } else { State::Start };
        OutputParser {
            state,
            tools,
            pending: String::new(),
            after_tag: in_thinking,
            calls: 0,
            deltas: Vec::new(),
        }
    }

    /// The parts that `text` completes. Text that may still become a tag is held back.
    pub fn push(&mut self, text: &str) -> Vec<OutputDelta> {
        self.pending.push_str(text);
        while self.step() {}
        std::mem::take(&mut self.deltas)
    }

    /// What is left when the answer ends. A call that has not become JSON with a name comes back as content; one whose
    /// arguments had begun stays cut where the answer was.
    pub fn finish(&mut self) -> Vec<OutputDelta> {
        let rest = std::mem::take(&mut self.pending);
        match self.state {
            State::Start | State::Content => self.content(&rest),
            State::Reasoning => self.reasoning(rest.trim_end_matches('\n')),
            State::Call => self.whole_call(&rest, ""),
            State::Arguments(_) | State::CallEnd => {}
        }
        self.state = State::Content;
        std::mem::take(&mut self.deltas)
    }

    /// Takes one part off the pending text; `false` if more text is needed.
    fn step(&mut self) -> bool {
        match &mut self.state {
            State::Start => {
                let begun = self.pending.trim_start();
                if let Some(rest) = begun.strip_prefix(THINK_START) {
                    let at = self.pending.len() - rest.len();
                    self.enter(at, State::Reasoning);
                    self.after_tag = true;
                } else if THINK_START.starts_with(begun) {
                    return false;
                } else {
                    self.enter(0, State::Content);
                }
            }
            State::Reasoning => match self.pending.find(THINK_END) {
                Some(at) => {
                    let text = self.take(at);
                    self.reasoning(text.trim_end_matches('\n'));
                    self.enter(THINK_END.len(), State::Content);
                    self.after_tag = true;
                }
                None => {
                    let text = self.take(before_tag(&self.pending, THINK_END));
                    self.reasoning(&text);
                    return false;
                }
            },
            State::Content if !self.tools => {
                let text = std::mem::take(&mut self.pending);
                self.content(&text);
                return false;
            }
            State::Content => match self.pending.find(CALL_START) {
                Some(at) => {
                    let text = self.take(at);
                    self.content(text.trim_end_matches('\n'));
                    self.enter(CALL_START.len(), State::Call);
                }
                None => {
                    let text = self.take(before_tag(&self.pending, CALL_START));
                    self.content(&text);
                    return false;
                }
            },
            State::Call => match call_head(&self.pending) {
                Some((name, arguments)) => {
                    let name = name.to_owned();
                    self.begin_call(name);
                    self.enter(arguments, State::Arguments(ObjectScanner::default()));
                }
                None => match self.pending.find(CALL_END) {
                    Some(at) => {
                        let call = self.take(at);
                        self.enter(CALL_END.len(), State::Content);
                        self.whole_call(&call, CALL_END);
                    }
                    None => return false,
                },
            },
            State::Arguments(scanner) => {
                let (taken, ended) = match scanner.end(&self.pending) {
                    Some(end) => (end, true),
                    None => (self.pending.len(), false),
                };
                let text = self.take(taken);
                self.arguments(text);
                if !ended {
                    return false;
                }
                self.state = State::CallEnd;
            }
            State::CallEnd => {
                let rest = self.pending.trim_start();
                let rest = rest.strip_prefix('}').unwrap_or(rest).trim_start();
                if let Some(after) = rest.strip_prefix(CALL_END) {
                    let at = self.pending.len() - after.len();
                    self.enter(at, State::Content);
                    self.after_tag = true;
                } else if CALL_END.starts_with(rest) {
                    return false;
                } else {
                    self.enter(self.pending.len() - rest.len(), State::Content);
                }
            }
        }
        true
    }

    /// Drops `bytes` of the pending text and goes on in `state`.
    fn enter(&mut self, bytes: usize, state: State) {
        self.pending.drain(..bytes);
        self.state = state;
    }

    fn take(&mut self, bytes: usize) -> String {
        let rest = self.pending.split_off(bytes);
        std::mem::replace(&mut self.pending, rest)
    }

    fn reasoning(&mut self, text: &str) {
        if let Some(text) = self.without_newlines(text) {
            self.deltas.push(OutputDelta::Reasoning(text));
        }
    }

    fn content(&mut self, text: &str) {
        if let Some(text) = self.without_newlines(text) {
            self.deltas.push(OutputDelta::Content(text));
        }
    }

    /// `text` without the newlines of the tag before it; `None` if nothing is left.
    fn without_newlines(&mut self, text: &str) -> Option<String> {
        let text = if self.after_tag { text.trim_start_matches('\n') } else { text };
        self.after_tag &= text.is_empty();
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn begin_call(&mut self, name: String) {
        self.deltas.push(OutputDelta::ToolCall { index: self.calls, name });
        self.calls += 1;
    }

    /// More arguments of the call that began last.
    fn arguments(&mut self, text: String) {
        if let Some(index) = self.calls.checked_sub(1).filter(|_| !text.is_empty()) {
            self.deltas.push(OutputDelta::Arguments { index, text });
        }
    }

    /// A call that could not be taken apart while it streamed: its fields in another order, say. What is no call
    /// becomes content, with `end` after it.
    fn whole_call(&mut self, call: &str, end: &str) {
        match parse_call(call) {
            Some((name, arguments)) => {
                self.begin_call(name);
                self.arguments(arguments);
                self.after_tag = true;
            }
            None => self.content(&format!("{CALL_START}{call}{end}")),
        }
    }
}

/// The length of `text` without what may be the beginning of `tag` and the newlines before it.
fn before_tag(text: &str, tag: &str) -> usize {
    let begun = (1..tag.len()).rev().find(|&length| text.ends_with(&tag[..length])).unwrap_or(0);
    text[..text.len() - begun].trim_end_matches('\n').len()
}

/// The name of a call and where the object of its arguments begins, for `{"name": "...", "arguments": {`.
fn call_head(text: &str) -> Option<(&str, usize)> {
    let after = |text: &'_ str, token: &str| -> Option<usize> {
        let trimmed = text.trim_start();
        trimmed.starts_with(token).then(|| text.len() - trimmed.len() + token.len())
    };
    let mut at = 0;
    for token in ["{", "\"name\"", ":", "\""] {
        at += after(&text[at..], token)?;
    }
    let name = &text[at..at + text[at..].find('"')?];
    if name.is_empty() || name.contains('\\') {
        return None;
    }
    at += name.len() + 1;
    for token in [",", "\"arguments\"", ":", "{"] {
        at += after(&text[at..], token)?;
    }
    Some((name, at - 1))
}

/// The name and arguments of a call that is all there.
fn parse_call(text: &str) -> Option<(String, String)> {
    let Value::Object(mut call) = serde_json::from_str(text.trim()).ok()? else { return None };
    let Some(Value::String(name)) = call.remove("name") else { return None };
    let arguments = match call.remove("arguments") {
        Some(arguments @ Value::Object(_)) => arguments.to_string(),
        // some models write the object as a string
        Some(Value::String(text)) if serde_json::from_str::<Value>(&text).is_ok_and(|it| it.is_object()) => {
            text
        }
        None | Some(Value::Null) => "{}".to_owned(),
        Some(_) => return None,
    };
    (!name.is_empty()).then_some((name, arguments))
}

/// Finds the end of a JSON object in text that comes in pieces.
#[derive(Default)]
struct ObjectScanner {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl ObjectScanner {
    /// The length of `text` to the object's end, if it ends in it.
    fn end(&mut self, text: &str) -> Option<usize> {
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}
