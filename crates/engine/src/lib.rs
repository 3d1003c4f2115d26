//! Online inference: scheduler, KV blocks, sampler, constrained decoding.
//!
//! [`Engine::start`] moves a model into a thread of its own; [`Engine::submit`] hands it requests and gives back
//! a channel of [`Event`]s. Nothing in the engine awaits, and nothing outside it touches tensors.

pub mod api;
pub mod constraint;
pub mod limits;

pub use api::*;
pub use constraint::{Constraint, ConstraintError, ConstraintSpec, Grammars};
