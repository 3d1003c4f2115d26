//! Constrained decoding with llguidance.

use models::Tokenizer;
use serde_json::Value;

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum ConstraintSpec {
    /// Any JSON object.
    JsonObject,
    /// JSON that a schema accepts.
    JsonSchema(Value),
    /// Calls in Qwen's format, `<tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>`.
    ToolCalls {
        /// The functions that may be called, with the schema of their arguments (`None`: any object).
        functions: Vec<(String, Option<Value>)>,
        /// At least one call and nothing else; otherwise free text, and calls where it opens one.
        required: bool,
        /// More than one call allowed.
        parallel: bool,
    },
}

/// A compiled constraint, ready for one request.
#[derive(Debug)]
pub struct Constraint {}

/// Why a constraint cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum ConstraintError {}

/// Compiles constraints for one tokenizer. Thread-safe; made once a model.
pub struct Grammars {}

impl Grammars {
    /// Prepares the vocabulary; its memory is taken at the first [`Self::compile`].
    pub fn new(_tokenizer: std::sync::Arc<Tokenizer>, _vocab_size: usize, _eos: u32) -> Grammars {
        todo!()
    }

    /// Compiles `spec` within its limits on size, depth and time.
    pub fn compile(&self, _spec: &ConstraintSpec) -> Result<Constraint, ConstraintError> {
        todo!()
    }
}
