//! What `POST /v1/completions` takes, and its fields checked.

use crate::error::ApiError;
use crate::limits::MAX_PROMPTS;
use crate::openai::fields::{Refused, StreamOptions, logit_bias, refused, stop_strings};
use crate::openai::inputs::{self, Inputs};
use crate::openai::sampling::{self, LogitBias, SamplingFields, Stop, StopTokens};
use crate::state::Served;
use engine::Sampling;
use engine::limits::MAX_LOGPROBS;
use serde::Deserialize;
use utoipa::ToSchema;

/// Tokens of an answer when the request doesn't say, as in OpenAI's contract.
const DEFAULT_MAX_TOKENS: usize = 16;

/// A completions request.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct CompletionRequest {
    /// The model's id or an alias.
    pub model: String,
    /// A text, texts, a text's tokens, or several texts' tokens. Control tokens in a text are meant as such.
    #[schema(schema_with = inputs::schema)]
    pub prompt: Inputs<MAX_PROMPTS>,
    /// Longest answer in tokens; 0 is allowed, to score a prompt with `echo`.
    #[schema(minimum = 0, default = 16)]
    pub max_tokens: Option<u32>,
    /// Answers for each prompt.
    #[schema(minimum = 1, maximum = 8, default = 1)]
    pub n: Option<u32>,
    /// Answers that are made for each prompt, of which the `n` most likely are told; not with `stream`.
    #[schema(minimum = 1, maximum = 8)]
    pub best_of: Option<u32>,
    /// Whether the answer begins with the prompt.
    #[schema(default = false)]
    pub echo: Option<bool>,
    /// Log-probabilities with this many alternatives for each token; with `echo` also for the prompt.
    #[schema(minimum = 0, maximum = 20)]
    pub logprobs: Option<u32>,
    /// 0 takes the most likely token. By default as the model's author recommends, else 1.
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f64>,
    /// Keeps the most likely tokens up to this probability. By default as the model's author recommends, else 1.
    #[schema(minimum = 0, maximum = 1)]
    pub top_p: Option<f64>,
    /// Keeps this many tokens; -1 or 0 keeps all. By default as the model's author recommends.
    #[schema(minimum = -1, maximum = 4294967295i64)]
    pub top_k: Option<i64>,
    /// Drops tokens less likely than this share of the most likely one.
    #[schema(minimum = 0, maximum = 1)]
    pub min_p: Option<f64>,
    /// Above 1 makes tokens less likely that the prompt or the answer has already.
    #[schema(minimum = 0.01, maximum = 10)]
    pub repetition_penalty: Option<f64>,
    /// Subtracted from the logits of tokens that the answer has already.
    #[schema(minimum = -2, maximum = 2, default = 0)]
    pub presence_penalty: Option<f64>,
    /// Subtracted from a token's logit for each time that the answer has it.
    #[schema(minimum = -2, maximum = 2, default = 0)]
    pub frequency_penalty: Option<f64>,
    /// Token ids and what is added to their logits, -100 to 100.
    #[schema(schema_with = logit_bias)]
    pub logit_bias: Option<LogitBias>,
    /// The same seed and request give the same answer.
    pub seed: Option<i64>,
    /// Texts that end the answer.
    #[schema(schema_with = stop_strings)]
    pub stop: Option<Stop>,
    /// Tokens that end the answer, beside the model's own.
    #[schema(value_type = Option<Vec<u32>>, max_items = 64)]
    pub stop_token_ids: Option<StopTokens>,
    /// Goes on past the model's end tokens.
    #[schema(default = false)]
    pub ignore_eos: Option<bool>,
    /// Among waiting requests of the same key, larger numbers come first.
    #[schema(default = 0)]
    pub priority: Option<i32>,
    /// Not offered: only 0.
    #[schema(minimum = 0, maximum = 0)]
    pub min_tokens: Option<u32>,
    /// Whether the answer comes piece by piece, as server-sent events.
    #[schema(default = false)]
    pub stream: Option<bool>,
    /// Only with `stream`.
    pub stream_options: Option<StreamOptions>,
    /// Not offered.
    #[schema(schema_with = refused)]
    pub suffix: Option<Refused>,
    /// Metadata for the caller's own use.
    pub user: Option<String>,
}

/// What to do for a completions request.
#[derive(Debug)]
pub struct Plan {
    /// Answers told for each prompt.
    pub n: usize,
    /// Answers made for each prompt.
    pub best_of: usize,
    /// Longest answer in tokens.
    pub max_tokens: usize,
    /// Whether the answer begins with the prompt.
    pub echo: bool,
    /// Log-probabilities with this many alternatives.
    pub logprobs: Option<usize>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Tokens that end the answer.
    pub stop_token_ids: Vec<u32>,
    /// Whether the answer goes on past end tokens.
    pub ignore_eos: bool,
    /// Among waiting requests of the same key, larger numbers come first.
    pub priority: i32,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether a stream ends with the usage.
    pub include_usage: bool,
}

impl Plan {
    /// Checks every field but the prompt.
    pub fn new(request: CompletionRequest, served: &Served) -> Result<Plan, ApiError> {
        if request.suffix.is_some() {
            return Err(ApiError::unsupported("suffix", "answers come after the prompt only; leave it out"));
        }
        sampling::min_tokens(request.min_tokens)?;
        let n = sampling::choices("n", request.n)?;
        let stream = request.stream.unwrap_or(false);
        let sampling = SamplingFields {
            temperature: request.temperature,
            top_p: request.top_p,
            top_k: request.top_k,
            min_p: request.min_p,
            repetition_penalty: request.repetition_penalty,
            presence_penalty: request.presence_penalty,
            frequency_penalty: request.frequency_penalty,
            logit_bias: request.logit_bias,
            seed: request.seed,
        };
        Ok(Plan {
            n,
            best_of: best_of(request.best_of, n, stream)?,
            max_tokens: sampling::max_tokens("max_tokens", request.max_tokens, 0, served)?
                .unwrap_or(DEFAULT_MAX_TOKENS),
            echo: request.echo.unwrap_or(false),
            logprobs: logprobs(request.logprobs)?,
            sampling: sampling.check(served)?,
            stop: sampling::stop_strings(request.stop)?,
            stop_token_ids: sampling::stop_token_ids(request.stop_token_ids, served)?,
            ignore_eos: request.ignore_eos.unwrap_or(false),
            priority: request.priority.unwrap_or(0),
            stream,
            include_usage: StreamOptions::usage(request.stream_options.as_ref(), stream)?,
        })
    }
}

fn best_of(wanted: Option<u32>, n: usize, stream: bool) -> Result<usize, ApiError> {
    let Some(wanted) = wanted else { return Ok(n) };
    let best_of = sampling::choices("best_of", Some(wanted))?;
    if best_of < n {
        return Err(ApiError::invalid("best_of", format!("{best_of} is less than n, {n}")));
    }
    if stream && best_of > n {
        return Err(ApiError::invalid(
            "best_of",
            "the best answer is known at the end only; not with `stream: true`",
        ));
    }
    Ok(best_of)
}

fn logprobs(wanted: Option<u32>) -> Result<Option<usize>, ApiError> {
    match wanted.map(|wanted| wanted as usize) {
        Some(wanted) if wanted > MAX_LOGPROBS => {
            Err(ApiError::invalid("logprobs", format!("{wanted} is not between 0 and {MAX_LOGPROBS}")))
        }
        wanted => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_out_of_at_least_as_many() {
        assert_eq!(best_of(None, 3, true), Ok(3));
        assert_eq!(best_of(Some(4), 2, false), Ok(4));
        assert_eq!(best_of(Some(2), 2, true), Ok(2));
        for (wanted, n, stream) in [(1, 2, false), (9, 1, false), (0, 1, false), (4, 2, true)] {
            assert!(best_of(Some(wanted), n, stream).is_err(), "{wanted} {n} {stream}");
        }
    }
}
