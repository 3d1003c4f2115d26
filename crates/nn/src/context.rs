//! Where operations run.

use crate::tensor::{Arena, Tensor};
use kernels::Pool;
use kernels::packed::QuantizedRows;
use std::sync::{Arc, Mutex, MutexGuard};

/// The device of a computation: its threads and its memory for activations. One per engine thread; the
/// threads may be shared between contexts.
pub struct Context {
    pool: Arc<Pool>,
    arena: Arena,
    quantized: Mutex<QuantizedRows>,
}

impl Context {
    /// A context that computes on `pool`.
    pub fn new(pool: Arc<Pool>) -> Context {
        Context { pool, arena: Arena::default(), quantized: Mutex::default() }
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Memory for the quantized inputs of a product.
    pub(crate) fn quantized(&self) -> MutexGuard<'_, QuantizedRows> {
        self.quantized.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A matrix whose values are unspecified until written.
    pub fn uninit(&self, rows: usize, cols: usize) -> Tensor {
        self.arena.take(rows, cols)
    }
}
