//! SIMD compute for one CPU: matrix products, attention, norms, quantized formats, worker threads.
//!
//! The only crate that knows the processor. Every public function here is safe, takes plain slices, and runs
//! on the best instruction set of this machine ([`isa`]). A kernel's body is written once, generic over a
//! vector type (`simd`), and compiled for each instruction set.
//!
//! **Row independence.** Each output row is computed with the same operations in the same order whatever
//! other rows are in the call: a token's logits do not depend on what else is in the batch. Every kernel
//! keeps this bit for bit, and tests hold it to that.

mod aligned;
pub mod attention;
pub mod attention_backward;
pub mod backward;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod decode;
pub mod dtype;
pub mod elementwise;
pub mod gemm;
pub mod isa;
pub mod low_rank;
pub mod machine;
pub mod matmul;
pub mod optimizer;
pub mod packed;
pub mod pool;
pub mod probe;
mod simd;
pub mod softmax;

pub use aligned::Aligned;
pub use dtype::DType;
pub use isa::Isa;
pub use pool::Pool;
