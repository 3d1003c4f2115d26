//! What `POST /v1/completions` answers; the pieces of a stream have the same form.

use crate::openai::usage::Usage;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Continuations, or a piece of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Completion<'a> {
    /// The answer's id, the same in all pieces.
    pub id: &'a str,
    /// `text_completion`.
    pub object: &'static str,
    /// When, in seconds since 1970.
    pub created: u64,
    /// The model's id.
    pub model: &'a str,
    /// The continuations: `n` for each prompt, in the prompts' order.
    pub choices: Vec<CompletionChoice>,
    /// What they took. In a stream only with `stream_options.include_usage`, and null until the last piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>, required = false)]
    pub usage: Option<Option<Usage>>,
    /// What computed them.
    pub system_fingerprint: &'static str,
}

/// A continuation, or a piece of it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct CompletionChoice {
    /// Its number, from 0.
    pub index: usize,
    /// Its text, after the prompt's with `echo`.
    pub text: String,
    /// The tokens' log-probabilities, when they were asked for.
    #[schema(required)]
    pub logprobs: Option<CompletionLogprobs>,
    /// Why it ended, in its last piece.
    #[schema(required)]
    pub finish_reason: Option<FinishReason>,
}

/// Why a continuation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model or a stop sequence ended it.
    Stop,
    /// `max_tokens` or the end of the context.
    Length,
}

/// The log-probabilities of tokens: four lists of one length.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct CompletionLogprobs {
    /// The tokens' texts, the end token included; `bytes:\xNN...` where they are not whole characters.
    pub tokens: Vec<String>,
    /// The natural logarithms of their probabilities; null for a prompt's first token.
    pub token_logprobs: Vec<Option<f32>>,
    /// The most likely tokens in their places, and the tokens themselves; null for a prompt's first token.
    pub top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Where they begin in `text`, in characters.
    pub text_offset: Vec<usize>,
}

impl CompletionLogprobs {
    /// Adds the tokens of a later piece.
    pub fn extend(&mut self, more: CompletionLogprobs) {
        self.tokens.extend(more.tokens);
        self.token_logprobs.extend(more.token_logprobs);
        self.top_logprobs.extend(more.top_logprobs);
        self.text_offset.extend(more.text_offset);
    }
}
