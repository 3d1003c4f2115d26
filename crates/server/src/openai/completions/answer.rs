//! From engine events to the continuations of one prompt.

use super::response::{CompletionChoice, CompletionLogprobs, FinishReason};
use crate::openai::tokens::{finite, token_bytes, with_chosen};
use crate::openai::usage::Usage;
use engine::{Event, TokenLogprob};
use models::Tokenizer;
use std::fmt::Write;
use std::sync::Arc;

/// What the continuations of a prompt look like.
pub struct Shape {
    /// The number of the first one in the answer.
    pub first_index: usize,
    /// How many there are.
    pub choices: usize,
    /// The prompt's text, if they begin with it.
    pub echo: Option<String>,
    /// Whether log-probabilities are told.
    pub logprobs: bool,
}

/// The continuations of one prompt while they are made.
pub struct PromptAnswer {
    tokenizer: Arc<Tokenizer>,
    prompt: Vec<u32>,
    shape: Shape,
    choices: Vec<Choice>,
    open: usize,
    usage: Usage,
}

#[derive(Default)]
struct Choice {
    /// What [`PromptAnswer::keep`] has collected.
    whole: CompletionChoice,
    /// Characters that begin in the tokens so far.
    characters: usize,
    /// Sum of the answer's log-probabilities.
    logprob: f64,
    tokens: usize,
}

impl PromptAnswer {
    /// For a prompt with these tokens.
    pub fn new(tokenizer: Arc<Tokenizer>, prompt: Vec<u32>, shape: Shape) -> PromptAnswer {
        let mut usage = Usage::default();
        usage.add_prompt(prompt.len());
        let choices = (0..shape.choices).map(|_| Choice::default()).collect();
        PromptAnswer { tokenizer, prompt, choices, open: shape.choices, shape, usage }
    }

    /// Whether all continuations are finished.
    pub fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// What the prompt took so far.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// The pieces that `event` adds.
    pub fn take(&mut self, event: Event) -> Vec<CompletionChoice> {
        match event {
            Event::Prompt { logprobs, cached_tokens } => {
                self.usage.prompt_tokens_details.cached_tokens = cached_tokens;
                let Some(text) = self.shape.echo.clone() else { return Vec::new() };
                (0..self.choices.len()).map(|choice| self.echo(choice, &text, &logprobs)).collect()
            }
            Event::Tokens { choice, text, ids, logprobs } => {
                let Some(state) = self.choices.get_mut(choice) else { return Vec::new() };
                state.tokens += ids.len();
                state.logprob += logprobs.iter().map(|entry| f64::from(entry.logprob)).sum::<f64>();
                let logprobs = self.shape.logprobs.then(|| {
                    let mut out = CompletionLogprobs::default();
                    for entry in &logprobs {
                        out.push(&self.tokenizer, &mut state.characters, entry.id, Some(entry));
                    }
                    out
                });
                let logprobs = logprobs.filter(|logprobs| !logprobs.tokens.is_empty());
                if text.is_empty() && logprobs.is_none() {
                    return Vec::new();
                }
                vec![CompletionChoice { index: self.index(choice), text, logprobs, finish_reason: None }]
            }
            Event::Finished { choice, reason, tokens, reasoning_tokens, .. } => {
                self.open = self.open.saturating_sub(1);
                self.usage.add_answer(tokens, reasoning_tokens);
                let reason = match reason {
                    engine::FinishReason::Stop => FinishReason::Stop,
                    engine::FinishReason::Length => FinishReason::Length,
                };
                let index = self.index(choice);
                vec![CompletionChoice { index, finish_reason: Some(reason), ..CompletionChoice::default() }]
            }
            Event::Embedding(_) | Event::Scores(_) | Event::Failed(_) => Vec::new(),
        }
    }

    /// Adds `event` to the continuations that [`Self::into_best`] gives.
    pub fn keep(&mut self, event: Event) {
        for piece in self.take(event) {
            let choice = piece.index - self.shape.first_index;
            let Some(Choice { whole, .. }) = self.choices.get_mut(choice) else { continue };
            whole.text.push_str(&piece.text);
            if let Some(more) = piece.logprobs {
                whole.logprobs.get_or_insert_default().extend(more);
            }
            whole.finish_reason = piece.finish_reason.or(whole.finish_reason);
        }
    }

    /// The `n` continuations with the best log-probability per token, best first; all of them in their order if
    /// there are no more.
    pub fn into_best(mut self, n: usize) -> Vec<CompletionChoice> {
        if n < self.choices.len() {
            let mean = |choice: &Choice| choice.logprob / choice.tokens.max(1) as f64;
            self.choices.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
        }
        let first = self.shape.first_index;
        let choices = self.choices.into_iter().take(n).enumerate();
        choices.map(|(choice, made)| CompletionChoice { index: first + choice, ..made.whole }).collect()
    }

    fn index(&self, choice: usize) -> usize {
        self.shape.first_index + choice
    }

    fn echo(&mut self, choice: usize, text: &str, entries: &[Option<TokenLogprob>]) -> CompletionChoice {
        let logprobs = self.shape.logprobs.then(|| {
            let mut out = CompletionLogprobs::default();
            let characters = &mut self.choices[choice].characters;
            for (position, id) in self.prompt.iter().enumerate() {
                let entry = entries.get(position).and_then(Option::as_ref);
                out.push(&self.tokenizer, characters, *id, entry);
            }
            out
        });
        CompletionChoice { index: self.index(choice), text: text.to_owned(), logprobs, finish_reason: None }
    }
}

impl CompletionLogprobs {
    /// Adds a token. `characters` counts those that began before it.
    fn push(&mut self, tokenizer: &Tokenizer, characters: &mut usize, id: u32, entry: Option<&TokenLogprob>) {
        let bytes = token_bytes(tokenizer, id);
        self.tokens.push(token_name(bytes));
        self.token_logprobs.push(entry.map(|entry| finite(entry.logprob)));
        self.top_logprobs.push(entry.map(|entry| {
            with_chosen(entry)
                .map(|(id, logprob)| (token_name(token_bytes(tokenizer, id)), finite(logprob)))
                .collect()
        }));
        let continues = bytes.first().is_some_and(|byte| is_continuation(*byte));
        self.text_offset.push(characters.saturating_sub(usize::from(continues)));
        *characters += bytes.iter().filter(|byte| !is_continuation(**byte)).count();
    }
}

/// Whether a byte of UTF-8 text is inside a character.
fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// A token's text, or its bytes as OpenAI writes them where they are no text: names of different tokens differ.
fn token_name(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |mut name, byte| {
            // a String takes everything
            let _ = write!(name, "\\x{byte:02x}");
            name
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_character_is_named_by_its_bytes() {
        assert_eq!(token_name("问".as_bytes()), "问");
        assert_eq!(token_name(&"问".as_bytes()[..2]), "bytes:\\xe9\\x97");
    }
}
