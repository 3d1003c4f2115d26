//! Conversations: messages to prompts, and answers to their parts.

mod clock;
mod guard;
pub mod limits;
pub mod output;
mod python_json;
pub mod template;

pub use output::{OutputDelta, OutputParser, opens_thinking};
pub use template::{ChatTemplate, RenderInput, TemplateError};
