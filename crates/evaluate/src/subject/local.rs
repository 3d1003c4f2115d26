//! A model in an engine: as many cases in its batch as are asked at once.

use super::Ask;
use crate::Answer;
use crate::conversation::for_template;
use crate::task::Question;
use engine::{Engine, Event, FinishReason, Generate, Origin, Request, Sampling, SubmitError, Task};
use futures::future::try_join_all;
use models::chat::{OutputParser, RenderInput, TemplateError, opens_thinking};
use serde_json::{Map, Value};

/// A model in an engine.
pub struct Local(Engine);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// It can't hold a conversation.
    #[error("the model has no chat template, which `messages` need; only `prompt` can be asked")]
    NoTemplate,
    /// The template refuses the conversation.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The case is longer than the context or the cache.
    #[error(transparent)]
    TooLong(SubmitError),
    /// The engine does not take the request.
    #[error(transparent)]
    Submit(SubmitError),
    /// The engine failed.
    #[error("the engine failed: {0}")]
    Engine(String),
}

impl From<SubmitError> for LocalError {
    fn from(error: SubmitError) -> LocalError {
        match error {
            SubmitError::TooLong { .. } | SubmitError::NeverFits { .. } => LocalError::TooLong(error),
            _ => LocalError::Submit(error),
        }
    }
}

impl Local {
    /// A model in an engine whose queue takes all the cases that are asked at once.
    pub fn new(engine: Engine) -> Local {
        Local(engine)
    }

    /// An answer.
    pub async fn answer(&self, ask: Ask<'_>) -> Result<Answer, LocalError> {
        let prompt = self.prompt(ask.messages, ask.tools, ask.thinking)?;
        let context = self.0.options().context_length;
        let room = context.saturating_sub(prompt.len());
        if room == 0 {
            return Err(LocalError::TooLong(SubmitError::TooLong {
                prompt: prompt.len(),
                answer: 1,
                context,
            }));
        }
        let in_thinking = opens_thinking(&self.0.model().tokenizer, &prompt);
        let mut parser = OutputParser::new(in_thinking, !ask.tools.is_empty());
        let sampling = Sampling { temperature: ask.temperature, seed: Some(ask.seed), ..Sampling::default() };
        let generate = Generate { max_tokens: ask.max_tokens.min(room), sampling, ..Generate::default() };
        let task = Task::Generate(Box::new(generate));
        let mut events = self.0.submit(Request { prompt, task, origin: Origin::default(), adapter: None })?;
        let mut answer = Answer::default();
        while let Some(event) = events.recv().await {
            match event {
                Event::Tokens { text, .. } => answer.add(parser.push(&text)),
                Event::Finished { reason, .. } => {
                    answer.add(parser.finish());
                    answer.cut = reason == FinishReason::Length;
                    return Ok(answer);
                }
                Event::Failed(reason) => return Err(LocalError::Engine(reason)),
                Event::Prompt { .. } | Event::Embedding(_) | Event::Scores(_) => {}
            }
        }
        Err(LocalError::Engine("it ended before the answer did".to_owned()))
    }

    /// The log-likelihoods of `choices` as what comes next.
    ///
    /// In a chat they begin the assistant's message; the prompt's tokens are then what they are in a conversation. A plain text
    /// is split as lm-evaluation-harness does: the tokens of a choice are those of the whole beyond the tokens of the prompt,
    /// with white space at the prompt's end counted to the choice.
    pub async fn log_likelihoods(
        &self,
        question: &Question,
        choices: &[String],
        thinking: Option<bool>,
    ) -> Result<Vec<f64>, LocalError> {
        let tokenizer = &self.0.model().tokenizer;
        let pairs: Vec<(Vec<u32>, Vec<u32>)> = match question {
            Question::Chat { messages, tools } => {
                // a choice is an answer, not the beginning of a thought
                let prompt = self.prompt(messages, tools, thinking.or(Some(false)))?;
                choices.iter().map(|choice| (prompt.clone(), tokenizer.encode_text(choice))).collect()
            }
            Question::Plain { prompt } => {
                let (context, space) = prompt.split_at(prompt.trim_end().len());
                let context = [tokenizer.prefix(), &tokenizer.encode_text(context)].concat();
                let whole = |choice: &String| {
                    let text = format!("{}{space}{choice}", prompt.trim_end());
                    [tokenizer.prefix(), &tokenizer.encode_text(&text)].concat()
                };
                let pair = |mut whole: Vec<u32>| {
                    // where the choice melts into the prompt's last token, that one is its own
                    let rest = whole.split_off(context.len().min(whole.len().saturating_sub(1)));
                    (whole, rest)
                };
                choices.iter().map(|choice| pair(whole(choice))).collect()
            }
        };
        try_join_all(pairs.iter().map(|(context, rest)| self.log_likelihood(context, rest))).await
    }

    /// The logarithm of the probability of `continuation` after `context`, the sum over its tokens.
    pub async fn log_likelihood(&self, context: &[u32], continuation: &[u32]) -> Result<f64, LocalError> {
        let generate = Generate { prompt_logprobs: Some(0), ..Generate::default() };
        let task = Task::Generate(Box::new(generate));
        let prompt = [context, continuation].concat();
        let mut events = self.0.submit(Request { prompt, task, origin: Origin::default(), adapter: None })?;
        while let Some(event) = events.recv().await {
            match event {
                Event::Prompt { logprobs, .. } => {
                    let scored = logprobs.iter().skip(context.len()).flatten();
                    return Ok(scored.map(|token| f64::from(token.logprob)).sum());
                }
                Event::Failed(reason) => return Err(LocalError::Engine(reason)),
                _ => {}
            }
        }
        Err(LocalError::Engine("it ended before the prompt was computed".to_owned()))
    }

    /// The conversation's tokens, up to where the answer begins.
    fn prompt(
        &self,
        messages: &[Value],
        tools: &[Value],
        thinking: Option<bool>,
    ) -> Result<Vec<u32>, LocalError> {
        let model = self.0.model();
        let template = model.chat_template.as_ref().ok_or(LocalError::NoTemplate)?;
        let mut variables = Map::new();
        if let Some(thinking) = thinking.filter(|_| template.reads("enable_thinking")) {
            variables.insert("enable_thinking".to_owned(), Value::Bool(thinking));
        }
        let messages = for_template(messages);
        let input = RenderInput { messages, tools: tools.to_vec(), add_generation_prompt: true, variables };
        Ok(template.encode(&model.tokenizer, &input)?)
    }
}
