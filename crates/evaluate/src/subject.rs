//! Who answers.

mod endpoint;
mod local;

pub use endpoint::{Endpoint, EndpointError};
pub use local::{Local, LocalError};

use crate::Answer;
use crate::Task;
use crate::task::{Kind, Question};
use serde_json::Value;

/// A model that is evaluated.
pub enum Subject {
    /// In an engine of this process.
    Local(Local),
    /// Behind OpenAI's API.
    Endpoint(Endpoint),
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The conversation, as OpenAI's clients send it.
    pub messages: &'a [Value],
    /// The functions that may be called, as OpenAI's clients send them.
    pub tools: &'a [Value],
    /// Longest answer in tokens.
    pub max_tokens: usize,
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Of the tokens that are chosen at random.
    pub seed: u64,
    /// Whether the model thinks first; `None` is as its template has it.
    pub thinking: Option<bool>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// From the engine.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// From the endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// An endpoint does not tell what is asked for.
    #[error(
        "tasks of the kind \"choice\" need the log-likelihoods of given texts, which chat endpoints do not tell; evaluate \
         the model's directory or GGUF file instead"
    )]
    NoLikelihoods,
}

impl SubjectError {
    /// Whether it is the case that the model cannot take, and not the model that cannot be asked.
    pub(crate) fn is_of_the_case(&self) -> bool {
        matches!(self, SubjectError::Local(LocalError::TooLong(_)))
    }
}

impl Subject {
    /// Refuses a task that it can do nothing with, before anything is asked.
    pub fn check(&self, task: &Task) -> Result<(), SubjectError> {
        match (self, task.kind) {
            (Subject::Endpoint(_), Kind::Choice) => Err(SubjectError::NoLikelihoods),
            _ => Ok(()),
        }
    }

    /// An answer.
    pub async fn answer(&self, ask: Ask<'_>) -> Result<Answer, SubjectError> {
        match self {
            Subject::Local(local) => Ok(local.answer(ask).await?),
            Subject::Endpoint(endpoint) => Ok(endpoint.answer(ask).await?),
        }
    }

    /// The log-likelihoods of `choices` as what comes next. `thinking` as in [`Ask`].
    pub async fn log_likelihoods(
        &self,
        question: &Question,
        choices: &[String],
        thinking: Option<bool>,
    ) -> Result<Vec<f64>, SubjectError> {
        match self {
            Subject::Local(local) => Ok(local.log_likelihoods(question, choices, thinking).await?),
            Subject::Endpoint(_) => Err(SubjectError::NoLikelihoods),
        }
    }
}
