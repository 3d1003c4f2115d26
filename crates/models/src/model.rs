//! A checkpoint opened for use: weights, tokenizer, template and defaults.

use crate::{CausalLm, Tokenizer, chat::ChatTemplate};
use std::path::Path;
use std::sync::Arc;

/// What a model answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// Text, token by token.
    Generate,
    /// A vector for a text (last-token pooling, normalised).
    Embed,
    /// How well a document answers a query, by the probability of `yes` against `no`. It can generate too.
    Rerank,
}

/// Sampling values and end tokens that the checkpoint's author recommends (`generation_config.json`).
#[derive(Clone, Debug, Default)]
pub struct GenerationDefaults {
    /// Any of these ends an answer.
    pub eos_token_ids: Vec<u32>,
    /// Recommended temperature.
    pub temperature: Option<f32>,
    /// Recommended nucleus.
    pub top_p: Option<f32>,
    /// Recommended number of candidates.
    pub top_k: Option<u32>,
    /// Recommended smallest probability relative to the largest.
    pub min_p: Option<f32>,
    /// Recommended repetition penalty.
    pub repetition_penalty: Option<f32>,
}

/// Everything in a checkpoint that serving needs.
pub struct Model {
    /// The weights.
    pub lm: CausalLm,
    /// What it answers with.
    pub kind: ModelKind,
    /// Text to tokens and back.
    pub tokenizer: Arc<Tokenizer>,
    /// Messages to prompt; absent from base models.
    pub chat_template: Option<ChatTemplate>,
    /// Recommended sampling and end tokens.
    pub generation: GenerationDefaults,
    /// Bytes of all weights as stored.
    pub weight_bytes: u64,
    /// Number of parameters.
    pub parameters: u64,
}

/// Why a model cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {}

impl Model {
    /// Opens a Hugging Face directory or a GGUF file.
    pub fn open(_path: &Path) -> Result<Model, ModelError> {
        todo!()
    }
}
