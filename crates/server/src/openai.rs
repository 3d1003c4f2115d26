//! OpenAI's wire contract. One module for each route, with its request and response types beside it.

pub mod adapters;
pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod fields;
pub mod inputs;
pub mod models;
pub mod prompt;
pub mod rerank;
pub mod sampling;
pub mod tokens;
pub mod usage;

/// What computed an answer: with the same one, the same seed gives the same tokens on the same machine.
pub const FINGERPRINT: &str = concat!("wen-", env!("CARGO_PKG_VERSION"));
