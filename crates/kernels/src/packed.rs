//! Weights of 8 and 4 bits in the order in which integer dot products read them, and those products.
//!
//! A matrix `[outputs, inputs]` is cut into tiles of [`TILE`] outputs, and the inputs into groups of [`GROUP`]; each
//! group of each output has its own scale, or each [`SPAN`] has. Activations are quantized to 8 bits for each span of each
//! row just before the product ([`QuantizedRows`]). Where a scale is the same, the sum of products is an exact integer; these
//! are added in float32 in ascending order. So a row's result is the same bits whatever other rows are computed with it.

mod dot;
mod format;
mod product;
mod quantize;
mod rows;

#[cfg(target_arch = "aarch64")]
pub(crate) use dot::arm::{sdot, smmla};
pub use format::{GROUP, GroupScale, PackedMatrix, PackedType, SPAN, TILE, TileMut};
pub use product::{Product, gates_in_cache, matmul_gated, matmul_packed};
pub use quantize::quantize_outputs;
pub use rows::{QuantizedRows, Source};
