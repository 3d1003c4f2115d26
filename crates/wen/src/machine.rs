//! What this machine has to give, and what the program has taken.

pub use kernels::machine::{available_memory, peak_memory};
use std::num::NonZero;

/// Processor threads that the program may use.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
