//! Evaluation: tasks from files, answers from an engine or an endpoint, scores with confidence intervals.
//!
//! A [`Task`] is a TOML file with cases in JSON lines; each [`Case`](task::Case) holds what is asked and, as a
//! [`Gold`](score::Gold), what a right answer is. A [`Subject`] answers: a model in an engine, many cases in one batch, or
//! whatever speaks OpenAI's API. [`run::run`] brings both together, [`report`] sums up by task and group.
//!
//! Nothing here loads a model or prints; answers are foreign bytes, and every scorer has its bounds in [`limits`].

mod answer;
mod conversation;
pub mod limits;
mod normalize;
pub mod report;
pub mod run;
pub mod score;
pub mod statistics;
pub mod subject;
pub mod task;

pub use answer::{Answer, Call};
pub use run::{CaseResult, RunError};
pub use subject::{Endpoint, Local, Subject};
pub use task::{Task, TaskError};
