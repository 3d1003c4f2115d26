//! The fused operations, each with its backward beside its forward. Shapes are `[rows, cols]`; a row is a token unless it is
//! said otherwise.
//!
//! In formulas of gradients, `dx` is the gradient of the loss by `x`. A recorded operation keeps the tensors that its
//! comment names; they are shared, not copied.

mod attend;
mod dora;
mod experts;
mod gate;
mod input;
mod linear;
mod loss;
mod low_rank;
mod norm;
mod recompute;
mod rows;

pub use attend::{attention, norm_rope, rope};
pub use dora::{dora, lengths, row_lengths};
pub use experts::{Routing, add_weighted_rows, route};
pub use gate::swiglu;
pub use input::Input;
pub use kernels::elementwise::RopeLayout;
pub use linear::{Lora, add_gated, add_linear, linear, linears, lora};
pub use loss::{log_probs, log_probs_backward};
pub use low_rank::{LowRank, low_rank};
pub use norm::rms_norm;
pub use recompute::recompute;
pub use rows::{add, embedding, select_rows};
