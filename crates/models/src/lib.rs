//! Architectures written once; checkpoint files; tokenizers; chat templates.
//!
//! [`Model::open`] reads a Hugging Face directory or a GGUF file into everything that serving needs.

pub mod adapter;
pub mod causal_lm;
pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod export;
pub mod limits;
pub mod lines;
pub mod model;
pub mod packing;
pub mod tokenizer;

pub use adapter::Adapter;
pub use causal_lm::CausalLm;
pub use checkpoint::Checkpoint;
pub use config::Config;
pub use model::{Model, ModelError, ModelKind};
pub use packing::Quantization;
pub use tokenizer::Tokenizer;
