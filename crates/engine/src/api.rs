//! What is asked of an engine and what it answers.

use crate::Constraint;
use crate::adapters::LoadedAdapter;
use crate::limits::{
    MAX_CHOICES, MAX_LOGIT_BIAS, MAX_LOGPROBS, MAX_STOP_BYTES, MAX_STOP_STRINGS, MAX_STOP_TOKENS,
};
use crate::prefix_cache::Scope;
use models::{Model, ModelKind};
use std::fmt;
use std::sync::Arc;

/// Sizes of an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Tokens that the KV cache holds over all sequences, rounded up to whole blocks.
    pub cache_tokens: usize,
    /// Storage of the KV cache: F32, F16, BF16, or Q8_0 where heads are a multiple of 32 values.
    pub cache_dtype: nn::DType,
    /// Tokens of one step: the bound on a prefill chunk.
    pub step_tokens: usize,
    /// Sequences that run at once.
    pub max_sequences: usize,
    /// Requests that wait at most; one more is refused.
    pub max_waiting: usize,
    /// Tokens that they may ask for together, prompts and longest answers.
    pub max_waiting_tokens: usize,
    /// Longest sequence, prompt and answer; at most the model's own.
    pub context_length: usize,
    /// How tokens are guessed.
    pub speculation: Speculation,
    /// Bytes that adapters may take together.
    pub adapter_bytes: usize,
}

/// How the next tokens of answers are guessed. It changes no token, only how many steps they take.
#[derive(Clone)]
pub enum Speculation {
    /// Not at all.
    Off,
    /// By what followed the last tokens when they stood there before.
    Lookup,
    /// By what a smaller model of the same vocabulary takes for most likely.
    Draft(Arc<Model>),
}

impl fmt::Debug for Speculation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Speculation::Off => "Off",
            Speculation::Lookup => "Lookup",
            Speculation::Draft(_) => "Draft",
        })
    }
}

/// Why an engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The draft is made for something else.
    #[error(
        "the draft model makes no text (it is made for {0:?}); take a small model of the family that does"
    )]
    DraftKind(ModelKind),
    /// The draft writes with other tokens.
    #[error(
        "the draft model has another vocabulary than the model: token {id} is {draft} to it and {model} to the model; \
         take a draft of the same family"
    )]
    DraftVocabulary {
        /// The first token that differs.
        id: u32,
        /// What it stands for in the draft.
        draft: String,
        /// What it stands for in the model.
        model: String,
    },
    /// There is no memory for the cache, or no thread.
    #[error("cannot start the engine: {0}")]
    System(#[from] std::io::Error),
}

/// What to compute.
#[derive(Debug)]
pub struct Request {
    /// The prompt, at least one token.
    pub prompt: Vec<u32>,
    /// What to do with it.
    pub task: Task,
    /// Who asks, and how urgently.
    pub origin: Origin,
    /// An adapter of the same engine, or the model as it is.
    pub adapter: Option<LoadedAdapter>,
}

/// Who asks, and how urgently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The workspace: computed prefixes are shared within it, and workspaces take turns by the tokens that they use.
    pub workspace: Scope,
    /// Within a workspace, larger numbers come first.
    pub priority: i32,
}

/// What a request asks of its prompt.
#[derive(Debug)]
pub enum Task {
    /// Continue it.
    Generate(Box<Generate>),
    /// The normalised final hidden state of its last token.
    Embed,
    /// The logits of these tokens as the next one (a reranker's `no` and `yes`).
    Score(Vec<u32>),
}

/// How to continue a prompt.
#[derive(Debug)]
pub struct Generate {
    /// Independent answers.
    pub n: usize,
    /// Longest answer in tokens; 0 is allowed (to score a prompt).
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end an answer; they are not part of it.
    pub stop: Vec<String>,
    /// Tokens that end an answer, beside the model's own end tokens.
    pub stop_token_ids: Vec<u32>,
    /// Go on past the model's end tokens (for benchmarks).
    pub ignore_eos: bool,
    /// Log-probabilities of chosen tokens, with this many alternatives.
    pub logprobs: Option<usize>,
    /// Log-probabilities of the prompt's tokens, with this many alternatives.
    pub prompt_logprobs: Option<usize>,
    /// What the answer must look like.
    pub constraint: Option<Constraint>,
    /// Where a thinking model's reasoning ends; `None` when it does not think.
    pub thinking: Option<Thinking>,
}

impl Default for Generate {
    /// One answer of no tokens.
    fn default() -> Self {
        Generate {
            n: 1,
            max_tokens: 0,
            sampling: Sampling::default(),
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            prompt_logprobs: None,
            constraint: None,
            thinking: None,
        }
    }
}

/// How long a thinking model may think. The prompt has opened `<think>`: all tokens up to `end_token` are reasoning.
#[derive(Clone, Debug)]
pub struct Thinking {
    /// The token `</think>`: a constraint applies only after it.
    pub end_token: u32,
    /// Tokens that are forced when the budget is spent; the last is `end_token`.
    pub end_sequence: Vec<u32>,
    /// Reasoning tokens allowed; `None` is unlimited.
    pub budget: Option<usize>,
}

/// How a token is chosen from the logits. The order: repetition, presence and frequency penalties, logit bias,
/// temperature, top-k, top-p, min-p.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Keep this many candidates; 0 keeps all.
    pub top_k: u32,
    /// Keep the most likely candidates up to this probability.
    pub top_p: f32,
    /// Drop candidates less likely than this share of the most likely.
    pub min_p: f32,
    /// Divides positive logits of tokens seen in prompt or answer, multiplies negative ones.
    pub repetition_penalty: f32,
    /// Subtracted once from tokens already in the answer.
    pub presence_penalty: f32,
    /// Subtracted for each time a token is in the answer.
    pub frequency_penalty: f32,
    /// Added to single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Same seed, same tokens, whatever else runs. `None`: a random one.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    /// Plain sampling from the model's distribution.
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

/// A token with its log-probability under the model (before temperature and filters).
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The most likely alternatives, best first.
    pub top: Vec<(u32, f32)>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token, stop token, stop string or the end of the grammar.
    Stop,
    /// `max_tokens` or the end of the context.
    Length,
}

/// What a request's channel carries, in this order: `Prompt`, then `Tokens` of all choices interleaved with their
/// `Finished`; or one `Embedding` or `Scores`; or `Failed` at any time, last.
#[derive(Clone, Debug)]
pub enum Event {
    /// The prompt is computed.
    Prompt {
        /// Its tokens' log-probabilities when they were asked for; the first has none.
        logprobs: Vec<Option<TokenLogprob>>,
        /// Prompt tokens that were taken from the cache.
        cached_tokens: usize,
    },
    /// New tokens of an answer, and the text that they complete. Text that may become a stop string or is an
    /// unfinished character comes later; tokens are reported as they are sampled, apart from the one that ends it.
    Tokens {
        /// Which answer.
        choice: usize,
        /// The text, possibly empty; control tokens are left out.
        text: String,
        /// The tokens, possibly none (text released at the end).
        ids: Vec<u32>,
        /// Their log-probabilities when they were asked for.
        logprobs: Vec<TokenLogprob>,
    },
    /// An answer is complete.
    Finished {
        /// Which answer.
        choice: usize,
        /// Why.
        reason: FinishReason,
        /// The stop string that ended it, if one did.
        stop: Option<String>,
        /// Tokens it took, the end token included.
        tokens: usize,
        /// Of these, tokens of reasoning (up to and including `</think>`).
        reasoning_tokens: usize,
    },
    /// The vector asked for.
    Embedding(Vec<f32>),
    /// The logits asked for.
    Scores(Vec<f32>),
    /// The request failed; nothing follows.
    Failed(String),
}

/// Why a request is refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum SubmitError {
    /// The prompt alone, or with the answer asked for, is longer than a sequence can be.
    #[error(
        "the prompt has {prompt} tokens and the answer needs {answer}, but the context is {context} tokens"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the answer that must fit at least.
        answer: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// It can never fit in the KV cache.
    #[error(
        "the request needs {needed} tokens of cache, but the cache holds {capacity}; raise --cache-tokens or ask for less"
    )]
    NeverFits {
        /// Cache tokens it needs.
        needed: usize,
        /// Cache tokens there are.
        capacity: usize,
    },
    /// The queue is full; try again later.
    #[error("{waiting} requests are waiting already, for {tokens} tokens")]
    QueueFull {
        /// Requests that wait.
        waiting: usize,
        /// Tokens that they ask for.
        tokens: usize,
        /// Seconds after which there may be room, by the speed of late.
        retry_after: u64,
    },
    /// A value outside its range.
    #[error("{field}: {message}")]
    Invalid {
        /// The field of [`Generate`] or [`Sampling`].
        field: &'static str,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

/// What an engine has done and what it is doing. Counters only grow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Requests in the queue.
    pub waiting: usize,
    /// Sequences that run.
    pub running: usize,
    /// Cache blocks in all.
    pub blocks_total: usize,
    /// Cache blocks in use.
    pub blocks_used: usize,
    /// Prompt tokens computed.
    pub prompt_tokens: u64,
    /// Prompt tokens taken from the cache.
    pub cached_tokens: u64,
    /// Answer tokens sampled.
    pub generated_tokens: u64,
    /// Tokens of answers that were guessed.
    pub proposed_tokens: u64,
    /// Guesses that were right.
    pub accepted_tokens: u64,
    /// Tokens computed in a second, of late.
    pub tokens_per_second: f64,
    /// Steps run.
    pub steps: u64,
    /// Requests that ended, also cancelled ones.
    pub finished_requests: u64,
    /// Requests whose client went away.
    pub cancelled_requests: u64,
    /// Sequences that were computed again because blocks ran out.
    pub preemptions: u64,
    /// Adapters that are loaded.
    pub adapters: usize,
    /// Bytes of adapters that are loaded or still in use.
    pub adapter_bytes: usize,
}

impl Generate {
    /// Checks every value that has a range, and names the first that is outside. `vocab` is the model's.
    pub(crate) fn check(&self, vocab: usize) -> Result<(), SubmitError> {
        let s = &self.sampling;
        let invalid = |field, message: String| Err(SubmitError::Invalid { field, message });
        let counts = [
            ("logprobs", self.logprobs.unwrap_or(0), MAX_LOGPROBS),
            ("prompt_logprobs", self.prompt_logprobs.unwrap_or(0), MAX_LOGPROBS),
            ("n", self.n, MAX_CHOICES),
            ("stop", self.stop.len(), MAX_STOP_STRINGS),
            ("stop", self.stop.iter().map(String::len).max().unwrap_or(0), MAX_STOP_BYTES),
            ("stop_token_ids", self.stop_token_ids.len(), MAX_STOP_TOKENS),
            ("logit_bias", s.logit_bias.len(), MAX_LOGIT_BIAS),
        ];
        for (field, found, limit) in counts {
            if found > limit {
                return invalid(field, format!("{found} is more than {limit}"));
            }
        }
        if self.n == 0 {
            return invalid("n", "0 answers were asked for; ask for at least 1".into());
        }
        let ranges = [
            ("temperature", s.temperature, s.temperature >= 0.0, "0 or more"),
            ("top_p", s.top_p, s.top_p > 0.0 && s.top_p <= 1.0, "above 0 and at most 1"),
            ("min_p", s.min_p, (0.0..=1.0).contains(&s.min_p), "from 0 to 1"),
            ("repetition_penalty", s.repetition_penalty, s.repetition_penalty > 0.0, "above 0"),
            ("presence_penalty", s.presence_penalty, true, "a number"),
            ("frequency_penalty", s.frequency_penalty, true, "a number"),
        ];
        for (field, value, fits, range) in ranges {
            if !value.is_finite() || !fits {
                return invalid(field, format!("{value} is not {range}"));
            }
        }
        match s.logit_bias.iter().find(|(token, bias)| *token as usize >= vocab || !bias.is_finite()) {
            Some((token, bias)) => invalid(
                "logit_bias",
                format!("{token}: {bias}, but tokens are below {vocab} and biases are numbers"),
            ),
            None => Ok(()),
        }
    }
}
