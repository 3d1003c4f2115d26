//! Tensors, the KV cache and the fused operations that models are written in.
//!
//! A model's forward pass is a function over the operations in [`ops`]. Activations are float32 matrices
//! `[tokens, features]` ([`Tensor`]); weights stay in their storage type ([`Weight`]). Operations take their
//! inputs by value where they may reuse them: a tensor that nobody else holds is changed in place, one that
//! is shared is copied first. That is what lets the same definition run eagerly when serving and keep its
//! activations when training: with a context that records, each operation puts its backward on a [`tape`].

pub mod batch;
pub mod context;
pub mod kv_cache;
pub mod ops;
pub mod tape;
pub mod tensor;
pub mod weight;

pub use batch::{Batch, SequenceSlice};
pub use context::Context;
pub use kernels::DType;
pub use kernels::packed::PackedType;
pub use kv_cache::{KvCache, KvCacheShape};
pub use tape::{Gradients, ParameterId};
pub use tensor::Tensor;
pub use weight::{Bytes, MatrixSource, Vector, Weight, WeightError, WeightFormat};
