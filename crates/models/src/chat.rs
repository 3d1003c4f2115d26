//! Conversations: messages to prompts, and answers to their parts.

pub mod output;
pub mod template;

pub use output::{OutputDelta, OutputParser};
pub use template::{ChatTemplate, RenderInput, TemplateError};
