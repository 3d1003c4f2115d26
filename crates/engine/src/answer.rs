//! One answer while it grows: from logits to tokens, text and its end.

use crate::Constraint;
use crate::api::{Event, FinishReason, Generate, Thinking, TokenLogprob};
use crate::sampler::{Sampler, logprob};
use crate::stop::StopMatcher;
use models::Tokenizer;
use models::tokenizer::Detokenizer;
use std::collections::VecDeque;
use std::sync::Arc;

/// The state of one choice of a request.
pub(crate) struct Answer {
    choice: usize,
    max_tokens: usize,
    end_tokens: Vec<u32>,
    logprobs: Option<usize>,
    sampler: Sampler,
    constraint: Option<Constraint>,
    reasoning: Reasoning,
    detokenizer: Detokenizer,
    stop: StopMatcher,
    tokens: usize,
    reasoning_tokens: usize,
}

/// Where an answer's reasoning stands. A constraint applies once it is over.
enum Reasoning {
    /// The model reasons until it gives the end token itself.
    Open(Thinking),
    /// The budget is spent: these tokens come next, whatever the logits say.
    Closing(VecDeque<u32>),
    /// There is none, or it has ended.
    Over,
}

/// What a step did to an answer.
pub(crate) struct Step {
    /// The token to go on with.
    pub token: u32,
    /// What the client is told.
    pub events: Vec<Event>,
    /// Whether the answer is complete.
    pub finished: bool,
}

impl Answer {
    /// Answer `choice` to `prompt`. `eos` are the model's own end tokens; `seed` is fixed by now.
    pub(crate) fn new(
        request: &Generate,
        choice: usize,
        prompt: &[u32],
        seed: u64,
        eos: &[u32],
        tokenizer: &Arc<Tokenizer>,
    ) -> Answer {
        let own = if request.ignore_eos { &[] } else { eos };
        Answer {
            choice,
            max_tokens: request.max_tokens,
            end_tokens: own.iter().chain(&request.stop_token_ids).copied().collect(),
            logprobs: request.logprobs,
            sampler: Sampler::new(request.sampling.clone(), seed, choice, prompt),
            constraint: request.constraint.clone(),
            reasoning: match request.thinking.clone() {
                None => Reasoning::Over,
                Some(t) if t.budget == Some(0) => Reasoning::Closing(t.end_sequence.into()),
                Some(t) => Reasoning::Open(t),
            },
            detokenizer: Detokenizer::new(Arc::clone(tokenizer)),
            stop: StopMatcher::new(&request.stop),
            tokens: 0,
            reasoning_tokens: 0,
        }
    }

    /// Tokens that it may still take.
    pub(crate) fn tokens_left(&self) -> usize {
        self.max_tokens.saturating_sub(self.tokens)
    }

    /// The longest that it may become.
    pub(crate) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The event that ends an answer of no tokens.
    pub(crate) fn empty(&self) -> Option<Event> {
        (self.max_tokens == 0).then(|| self.finished(FinishReason::Length, None))
    }

    /// Chooses the next token from `logits` (which are changed). `room` is how many tokens the context still holds,
    /// this one included. An error ends the request.
    pub(crate) fn step(&mut self, logits: &mut [f32], room: usize) -> Result<Step, String> {
        let original = self.logprobs.map(|_| logits.to_vec());
        let token = self.choose(logits)?;
        self.tokens += 1;
        self.sampler.accept(token);
        let ended = self.end_tokens.contains(&token);
        if !ended {
            self.follow(token)?;
        }
        let mut events = Vec::new();
        let logprobs = match (&original, self.logprobs) {
            (Some(row), Some(top)) => vec![logprob(row, token, top)],
            _ => Vec::new(),
        };
        let mut stop = None;
        if !ended {
            let found = self.stop.push(&self.detokenizer.push(token));
            events.push(self.piece(found.text, vec![token], logprobs));
            stop = found.stop;
        }
        let reason = if ended || stop.is_some() || self.is_complete() {
            Some(FinishReason::Stop)
        } else if self.tokens >= self.max_tokens || room <= 1 {
            Some(FinishReason::Length)
        } else {
            None
        };
        if let Some(mut reason) = reason {
            if stop.is_none() {
                let rest = self.stop.push(&self.detokenizer.finish());
                let text = rest.text + &self.stop.finish();
                if rest.stop.is_some() {
                    (stop, reason) = (rest.stop, FinishReason::Stop);
                }
                if !text.is_empty() {
                    events.push(self.piece(text, Vec::new(), Vec::new()));
                }
            }
            events.push(self.finished(reason, stop));
        }
        Ok(Step { token, events, finished: reason.is_some() })
    }

    fn choose(&mut self, logits: &mut [f32]) -> Result<u32, String> {
        let constraint = match &mut self.reasoning {
            Reasoning::Closing(tokens) => {
                return tokens.pop_front().ok_or("an empty end of reasoning".into());
            }
            Reasoning::Open(_) => None,
            Reasoning::Over => self.constraint.as_mut(),
        };
        let mut masked = Ok(());
        let token = self.sampler.sample(logits, self.tokens, |logits| {
            if let Some(constraint) = constraint {
                masked = constraint.mask(logits);
            }
        });
        masked.map_err(|e| e.to_string())?;
        token.map_err(|e| e.to_string())
    }

    /// Takes note of a token that belongs to the answer.
    fn follow(&mut self, token: u32) -> Result<(), String> {
        self.reasoning = match std::mem::replace(&mut self.reasoning, Reasoning::Over) {
            Reasoning::Over => {
                return self
                    .constraint
                    .as_mut()
                    .map_or(Ok(()), |c| c.accept(token))
                    .map_err(|e| e.to_string());
            }
            Reasoning::Closing(tokens) if tokens.is_empty() => Reasoning::Over,
            Reasoning::Open(t) if t.end_token == token => Reasoning::Over,
            Reasoning::Open(t) if t.budget.is_some_and(|b| self.reasoning_tokens + 1 >= b) => {
                Reasoning::Closing(t.end_sequence.into())
            }
            unchanged => unchanged,
        };
        self.reasoning_tokens += 1;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        matches!(self.reasoning, Reasoning::Over)
            && self.constraint.as_ref().is_some_and(Constraint::is_complete)
    }

    fn piece(&self, text: String, ids: Vec<u32>, logprobs: Vec<TokenLogprob>) -> Event {
        Event::Tokens { choice: self.choice, text, ids, logprobs }
    }

    fn finished(&self, reason: FinishReason, stop: Option<String>) -> Event {
        let (choice, tokens, reasoning_tokens) = (self.choice, self.tokens, self.reasoning_tokens);
        Event::Finished { choice, reason, stop, tokens, reasoning_tokens }
    }
}
