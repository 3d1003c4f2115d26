//! Where operations run.

use crate::tensor::{Arena, Tensor};
use kernels::Pool;
use std::sync::Arc;

/// The device of a computation: its threads and its memory for activations. One per engine thread; the
/// threads may be shared between contexts.
pub struct Context {
    pool: Arc<Pool>,
    arena: Arena,
}

impl Context {
    /// A context that computes on `pool`.
    pub fn new(pool: Arc<Pool>) -> Context {
        Context { pool, arena: Arena::default() }
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A matrix whose values are unspecified until written.
    pub fn uninit(&self, rows: usize, cols: usize) -> Tensor {
        self.arena.take(rows, cols)
    }
}
