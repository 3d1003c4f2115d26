//! Online inference: scheduler, KV blocks, sampler, constrained decoding.
//!
//! [`Engine::start`] moves a model into a thread of its own; [`Engine::submit`] hands it requests and gives back
//! a channel of [`Event`]s. Nothing in the engine awaits, and nothing outside it touches tensors.
//!
//! A step of the thread (`worker`): the `scheduler` gathers tokens of many sequences into one batch, the model
//! computes it, and each sequence's `answer` takes its next token (`sampler`, `constraint`, `stop`). Keys and values
//! live in blocks (`block_pool`) that are given back on every way out; full ones are found again by later requests that
//! begin with the same tokens (`prefix_cache`). Before a step, answers may guess what comes next (`speculation`), also by
//! a smaller model (`draft`). Sequences of one batch may go through different `adapters`.

pub mod adapters;
mod answer;
pub mod api;
pub mod block_pool;
pub mod constraint;
mod draft;
mod engine;
mod fairness;
pub mod limits;
mod prefix_cache;
mod sampler;
mod scheduler;
mod sequence;
mod speculation;
mod stop;
mod worker;

pub use adapters::{AdapterName, AdapterNameError, LoadAdapterError, LoadedAdapter};
pub use api::*;
pub use constraint::{Constraint, ConstraintError, ConstraintSpec, Grammars};
pub use engine::Engine;
pub use prefix_cache::Scope;
