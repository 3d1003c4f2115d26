//! Tensors, the KV cache and the fused operations that models are written in.
//!
//! A model's forward pass is a function over the operations in [`ops`]. Activations are float32 matrices
//! `[tokens, features]` ([`Tensor`]); weights stay in their storage type ([`Weight`]). Operations take their
//! inputs by value where they may reuse them: a tensor that nobody else holds is changed in place, one that
//! is shared is copied first. That is what lets the same definition run eagerly when serving and keep its
//! activations when training.

pub mod batch;
pub mod context;
pub mod kv_cache;
pub mod ops;
pub mod tensor;
pub mod weight;

pub use batch::{Batch, SequenceSlice};
pub use context::Context;
pub use kernels::DType;
pub use kernels::packed::PackedType;
pub use kv_cache::{KvCache, KvCacheShape};
pub use tensor::Tensor;
pub use weight::{Bytes, MatrixSource, Weight, WeightError, WeightFormat};
