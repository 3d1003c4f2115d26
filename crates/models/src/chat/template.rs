//! Jinja chat templates, run with limits.

use crate::Tokenizer;
use serde_json::{Map, Value};

/// A compiled chat template.
pub struct ChatTemplate {}

/// What a template is rendered with.
#[derive(Clone, Debug, Default)]
pub struct RenderInput {
    /// Messages as JSON objects with `role`, `content` (a string) and, for the assistant, `tool_calls`.
    pub messages: Vec<Value>,
    /// Tool definitions as clients send them.
    pub tools: Vec<Value>,
    /// Whether the prompt ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// Other variables that the template reads, such as `enable_thinking`.
    pub variables: Map<String, Value>,
}

/// Why a template cannot be used or a conversation cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {}

impl ChatTemplate {
    /// Compiles `source`; `bos` and `eos` are the tokens that templates know as `bos_token` and `eos_token`.
    pub fn new(_source: &str, _bos: &str, _eos: &str) -> Result<ChatTemplate, TemplateError> {
        todo!()
    }

    /// The prompt as text, exactly as the template gives it.
    pub fn render(&self, _input: &RenderInput) -> Result<String, TemplateError> {
        todo!()
    }

    /// The prompt as ids: added tokens that the template writes are control tokens, those inside the messages'
    /// text are text.
    pub fn encode(&self, _tokenizer: &Tokenizer, _input: &RenderInput) -> Result<Vec<u32>, TemplateError> {
        todo!()
    }

    /// Whether the template reads `variable` (`enable_thinking`, `tools`).
    pub fn reads(&self, _variable: &str) -> bool {
        todo!()
    }
}
