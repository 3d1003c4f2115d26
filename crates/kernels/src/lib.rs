//! SIMD compute for one CPU: matrix products, attention, norms, quantized formats, worker threads.
//!
//! The only crate that knows the processor. Every public function here is safe, takes plain slices, and
//! picks the best variant for this machine from one table that is filled once ([`isa`]).
//!
//! **Row independence.** Each output row is computed with the same operations in the same order whatever
//! other rows are in the call: a token's logits do not depend on what else is in the batch. Every kernel
//! keeps this bit for bit, and tests hold it to that.

pub mod attention;
pub mod dtype;
pub mod elementwise;
pub mod matmul;
pub mod pool;

pub use dtype::DType;
pub use pool::Pool;
