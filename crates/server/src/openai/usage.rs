//! What a request took.

use serde::Serialize;
use utoipa::ToSchema;

/// Tokens of a request that generates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of all answers, reasoning and end tokens included.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
    /// More about the prompt.
    pub prompt_tokens_details: PromptTokensDetails,
    /// More about the answers.
    pub completion_tokens_details: CompletionTokensDetails,
}

/// More about a prompt's tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PromptTokensDetails {
    /// Tokens that were in the cache already.
    pub cached_tokens: usize,
}

/// More about the answers' tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct CompletionTokensDetails {
    /// Tokens of reasoning.
    pub reasoning_tokens: usize,
}

/// Tokens of a request that only reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReadUsage {
    /// Tokens of the inputs.
    pub prompt_tokens: usize,
    /// The same.
    pub total_tokens: usize,
}

impl Usage {
    /// Counts a prompt.
    pub fn add_prompt(&mut self, tokens: usize) {
        self.prompt_tokens += tokens;
        self.total_tokens += tokens;
    }

    /// Counts an answer.
    pub fn add_answer(&mut self, tokens: usize, reasoning_tokens: usize) {
        self.completion_tokens += tokens;
        self.total_tokens += tokens;
        self.completion_tokens_details.reasoning_tokens += reasoning_tokens;
    }

    /// Counts what another request of the same client took.
    pub fn add(&mut self, other: &Usage) {
        self.add_prompt(other.prompt_tokens);
        self.add_answer(other.completion_tokens, other.completion_tokens_details.reasoning_tokens);
        self.prompt_tokens_details.cached_tokens += other.prompt_tokens_details.cached_tokens;
    }
}

impl ReadUsage {
    /// For inputs of so many tokens.
    pub fn new(tokens: usize) -> ReadUsage {
        ReadUsage { prompt_tokens: tokens, total_tokens: tokens }
    }
}
