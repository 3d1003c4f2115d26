//! From engine events to the pieces of an answer, and from these to the whole.

use super::prompt::{THINK_END, THINK_START};
use super::response::{
    AssistantMessage, ChatChoice, ChatLogprobs, ChatTokenLogprob, ChunkChoice, Delta, FinishReason,
    FunctionDelta, MessageFunction, MessageToolCall, ToolCallDelta, TopLogprob,
};
use crate::openai::tokens::{finite, token_bytes};
use crate::openai::usage::Usage;
use engine::{Event, TokenLogprob};
use models::Tokenizer;
use models::chat::{OutputDelta, OutputParser};
use std::sync::Arc;

/// An answer that is being made: all choices of a request.
pub struct Answer {
    tokenizer: Arc<Tokenizer>,
    choices: Vec<Choice>,
    /// Whether log-probabilities were asked for.
    logprobs: bool,
    /// Choices that are not finished.
    open: usize,
    usage: Usage,
}

/// A choice that is being made.
struct Choice {
    parser: OutputParser,
    /// Calls that began.
    calls: usize,
    reasoning: ReasoningCount,
}

/// Counts the tokens from `<think>` to `</think>`.
#[derive(Clone, Copy)]
struct ReasoningCount {
    start: Option<u32>,
    end: Option<u32>,
    state: Reasoning,
    tokens: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reasoning {
    Before,
    Inside,
    After,
}

impl Answer {
    /// `n` choices after a prompt of `prompt_tokens`; see [`OutputParser::new`] for the next two.
    pub fn new(
        tokenizer: Arc<Tokenizer>,
        prompt_tokens: usize,
        n: usize,
        in_thinking: bool,
        tools: bool,
        logprobs: bool,
    ) -> Answer {
        let reasoning = ReasoningCount {
            start: tokenizer.token_id(THINK_START),
            end: tokenizer.token_id(THINK_END),
            state: if in_thinking { Reasoning::Inside } else { Reasoning::Before },
            tokens: 0,
        };
        let choice = || Choice { parser: OutputParser::new(in_thinking, tools), calls: 0, reasoning };
        let mut usage = Usage::default();
        usage.add_prompt(prompt_tokens);
        Answer { choices: (0..n).map(|_| choice()).collect(), tokenizer, logprobs, open: n, usage }
    }

    /// Whether all choices are finished.
    pub fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// What the request took so far.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// The pieces that `event` adds.
    pub fn take(&mut self, event: Event) -> Vec<ChunkChoice> {
        match event {
            Event::Prompt { cached_tokens, .. } => {
                self.usage.prompt_tokens_details.cached_tokens = cached_tokens;
                (0..self.choices.len()).map(first_piece).collect()
            }
            Event::Tokens { choice, text, ids, logprobs } => {
                let Some(state) = self.choices.get_mut(choice) else { return Vec::new() };
                state.reasoning.count(&ids);
                let delta = state.delta(|parser| parser.push(&text));
                let logprobs = (self.logprobs && !logprobs.is_empty()).then(|| self.logprobs(&logprobs));
                if delta == Delta::default() && logprobs.is_none() {
                    return Vec::new();
                }
                vec![ChunkChoice { index: choice, delta, logprobs, finish_reason: None }]
            }
            Event::Finished { choice, reason, tokens, .. } => {
                let Some(state) = self.choices.get_mut(choice) else { return Vec::new() };
                let rest = state.delta(OutputParser::finish);
                self.open = self.open.saturating_sub(1);
                self.usage.add_answer(tokens, state.reasoning.tokens);
                let reason = match reason {
                    engine::FinishReason::Length => FinishReason::Length,
                    engine::FinishReason::Stop if state.calls > 0 => FinishReason::ToolCalls,
                    engine::FinishReason::Stop => FinishReason::Stop,
                };
                let rest = (rest != Delta::default()).then(|| ChunkChoice {
                    index: choice,
                    delta: rest,
                    ..ChunkChoice::default()
                });
                let last =
                    ChunkChoice { index: choice, finish_reason: Some(reason), ..ChunkChoice::default() };
                rest.into_iter().chain([last]).collect()
            }
            Event::Embedding(_) | Event::Scores(_) | Event::Failed(_) => Vec::new(),
        }
    }

    fn logprobs(&self, entries: &[TokenLogprob]) -> ChatLogprobs {
        let text =
            |id| (String::from_utf8_lossy(token_bytes(&self.tokenizer, id)).into_owned(), self.bytes(id));
        let top = |(id, logprob): &(u32, f32)| {
            let (token, bytes) = text(*id);
            TopLogprob { token, logprob: finite(*logprob), bytes }
        };
        let entry = |entry: &TokenLogprob| {
            let (token, bytes) = text(entry.id);
            let top_logprobs = entry.top.iter().map(top).collect();
            ChatTokenLogprob { token, logprob: finite(entry.logprob), bytes, top_logprobs }
        };
        ChatLogprobs { content: entries.iter().map(entry).collect(), refusal: None }
    }

    fn bytes(&self, id: u32) -> Vec<u8> {
        token_bytes(&self.tokenizer, id).to_vec()
    }
}

fn first_piece(index: usize) -> ChunkChoice {
    let delta = Delta { role: Some("assistant"), content: Some(String::new()), ..Delta::default() };
    ChunkChoice { index, delta, ..ChunkChoice::default() }
}

impl Choice {
    /// What the parser gives, as one piece: its texts joined by kind.
    fn delta(&mut self, parse: impl FnOnce(&mut OutputParser) -> Vec<OutputDelta>) -> Delta {
        let mut delta = Delta::default();
        for part in parse(&mut self.parser) {
            match part {
                OutputDelta::Reasoning(text) => append(&mut delta.reasoning_content, &text),
                OutputDelta::Content(text) => append(&mut delta.content, &text),
                OutputDelta::ToolCall { index, name } => {
                    self.calls += 1;
                    delta.tool_calls.push(ToolCallDelta {
                        index,
                        id: Some(format!("call_{}", uuid::Uuid::new_v4().simple())),
                        kind: Some("function"),
                        function: FunctionDelta { name: Some(name), arguments: String::new() },
                    });
                }
                OutputDelta::Arguments { index, text } => match delta.tool_calls.last_mut() {
                    Some(call) if call.index == index => call.function.arguments.push_str(&text),
                    _ => delta.tool_calls.push(ToolCallDelta {
                        index,
                        id: None,
                        kind: None,
                        function: FunctionDelta { name: None, arguments: text },
                    }),
                },
            }
        }
        delta
    }
}

fn append(to: &mut Option<String>, text: &str) {
    if !text.is_empty() {
        to.get_or_insert_default().push_str(text);
    }
}

impl ReasoningCount {
    fn count(&mut self, ids: &[u32]) {
        for id in ids {
            if self.state == Reasoning::Before {
                // only an answer that begins with <think> is reasoning
                self.state = if Some(*id) == self.start { Reasoning::Inside } else { Reasoning::After };
            }
            if self.state == Reasoning::Inside {
                self.tokens += 1;
                if Some(*id) == self.end {
                    self.state = Reasoning::After;
                }
            }
        }
    }
}

/// Puts the pieces of one choice together.
#[derive(Default)]
pub struct Whole(ChatChoice);

impl Whole {
    /// Adds a piece.
    pub fn add(&mut self, piece: ChunkChoice) {
        let ChatChoice { message, logprobs, finish_reason, .. } = &mut self.0;
        if let Some(text) = piece.delta.content {
            append(&mut message.content, &text);
        }
        if let Some(text) = piece.delta.reasoning_content {
            append(&mut message.reasoning_content, &text);
        }
        for call in piece.delta.tool_calls {
            message.add_call(call);
        }
        if let Some(more) = piece.logprobs {
            match logprobs {
                Some(logprobs) => logprobs.content.extend(more.content),
                None => *logprobs = Some(more),
            }
        }
        if let Some(reason) = piece.finish_reason {
            *finish_reason = reason;
        }
    }

    /// The choice with this index.
    pub fn into_choice(mut self, index: usize) -> ChatChoice {
        self.0.index = index;
        let message = &mut self.0.message;
        if message.tool_calls.is_empty() {
            message.content.get_or_insert_default();
        }
        self.0
    }
}

impl AssistantMessage {
    fn add_call(&mut self, call: ToolCallDelta) {
        match (call.id, call.function.name) {
            (Some(id), Some(name)) => self.tool_calls.push(MessageToolCall {
                id,
                kind: "function",
                function: MessageFunction { name, arguments: call.function.arguments },
            }),
            _ => {
                if let Some(known) = self.tool_calls.get_mut(call.index) {
                    known.function.arguments.push_str(&call.function.arguments);
                }
            }
        }
    }
}
