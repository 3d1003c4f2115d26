//! What `POST /v1/chat/completions` answers, whole and in pieces.

use crate::openai::usage::Usage;
use serde::Serialize;
use utoipa::ToSchema;

/// A chat answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatCompletion {
    /// Its id.
    pub id: String,
    /// `chat.completion`.
    pub object: &'static str,
    /// When, in seconds since 1970.
    pub created: u64,
    /// The model's id.
    pub model: String,
    /// The answers.
    pub choices: Vec<ChatChoice>,
    /// What they took.
    pub usage: Usage,
    /// What computed them.
    pub system_fingerprint: &'static str,
}

/// One answer.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct ChatChoice {
    /// Its number, from 0.
    pub index: usize,
    /// What the model says.
    pub message: AssistantMessage,
    /// Its tokens' log-probabilities, when they were asked for.
    #[schema(required)]
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// What the model says.
#[derive(Debug, Serialize, ToSchema)]
pub struct AssistantMessage {
    /// `assistant`.
    pub role: &'static str,
    /// The text; null if there are only calls.
    #[schema(required)]
    pub content: Option<String>,
    /// What the model thought first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Always null: models here refuse in words.
    #[schema(required)]
    pub refusal: Option<String>,
    /// The functions to call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub tool_calls: Vec<MessageToolCall>,
}

impl Default for AssistantMessage {
    fn default() -> Self {
        AssistantMessage {
            role: "assistant",
            content: None,
            reasoning_content: None,
            refusal: None,
            tool_calls: Vec::new(),
        }
    }
}

/// A function to call.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageToolCall {
    /// Its id, which the function's result refers to.
    pub id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The call.
    pub function: MessageFunction,
}

/// A function with arguments.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageFunction {
    /// The function.
    pub name: String,
    /// JSON text.
    pub arguments: String,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model or a stop sequence ended it.
    #[default]
    Stop,
    /// `max_tokens` or the end of the context.
    Length,
    /// The model calls functions.
    ToolCalls,
}

/// The log-probabilities of an answer's tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatLogprobs {
    /// Each token of the answer, reasoning and end token included.
    pub content: Vec<ChatTokenLogprob>,
    /// Always null.
    #[schema(required)]
    pub refusal: Option<Vec<ChatTokenLogprob>>,
}

/// A token's log-probability.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatTokenLogprob {
    /// Its text; U+FFFD where it is not whole characters.
    pub token: String,
    /// The natural logarithm of its probability under the model, before temperature and filters.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The most likely tokens in its place.
    pub top_logprobs: Vec<TopLogprob>,
}

/// A likely token's log-probability.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopLogprob {
    /// Its text.
    pub token: String,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A piece of a streamed answer: the data of one event.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatChunk<'a> {
    /// The answer's id, the same in all pieces.
    pub id: &'a str,
    /// `chat.completion.chunk`.
    pub object: &'static str,
    /// When the answer began, in seconds since 1970.
    pub created: u64,
    /// The model's id.
    pub model: &'a str,
    /// What the piece adds; none in the last one, which tells the usage.
    pub choices: Vec<ChunkChoice>,
    /// What computed it.
    pub system_fingerprint: &'static str,
    /// With `stream_options.include_usage`: null until the last piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>, required = false)]
    pub usage: Option<Option<Usage>>,
}

/// What a piece adds to an answer.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct ChunkChoice {
    /// The answer's number.
    pub index: usize,
    /// What it adds.
    pub delta: Delta,
    /// The log-probabilities of the piece's tokens, when they were asked for.
    #[schema(required)]
    pub logprobs: Option<ChatLogprobs>,
    /// Why the answer ended, in its last piece.
    #[schema(required)]
    pub finish_reason: Option<FinishReason>,
}

/// What a piece adds to a message.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Delta {
    /// `assistant`, in the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// More text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// More reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// More of the calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub tool_calls: Vec<ToolCallDelta>,
}

/// What a piece adds to a call.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ToolCallDelta {
    /// The call's number, from 0.
    pub index: usize,
    /// Its id, in its first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`, in its first piece.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The rest.
    pub function: FunctionDelta,
}

/// What a piece adds to a call's function.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FunctionDelta {
    /// The function, in the call's first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// More of the arguments' JSON text.
    pub arguments: String,
}
