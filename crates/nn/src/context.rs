//! Where operations run, and whether they keep what a backward pass needs.

use crate::tape::{Gradients, Pass, Tape};
use crate::tensor::{Arena, Tensor};
use kernels::Pool;
use kernels::gemm::Precision;
use kernels::packed::QuantizedRows;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The device of a computation: its threads and its memory for activations. One per engine thread; the
/// threads may be shared between contexts.
pub struct Context {
    pool: Arc<Pool>,
    arena: Arena,
    quantized: Mutex<[QuantizedRows; 2]>,
    recorder: Option<Recorder>,
    recomputes: bool,
    precision: Precision,
}

/// What a context has that records.
#[derive(Default)]
struct Recorder {
    tape: Mutex<Tape>,
    /// The state of the next random choice (dropout).
    seed: AtomicU64,
}

impl Context {
    /// A context that computes on `pool` and keeps nothing.
    pub fn new(pool: Arc<Pool>) -> Context {
        Context {
            pool,
            arena: Arena::default(),
            quantized: Mutex::default(),
            recorder: None,
            recomputes: false,
            precision: Precision::default(),
        }
    }

    /// A context whose operations keep what their backward needs, until [`Self::backward`].
    pub fn recording(pool: Arc<Pool>) -> Context {
        Context { arena: Arena::for_training(0), recorder: Some(Recorder::default()), ..Context::new(pool) }
    }

    /// The context, with room for batches of up to `rows` rows in what it allocates: then it allocates in its first step, and
    /// not again whenever a batch is larger than all before.
    pub fn with_room(self, rows: usize) -> Context {
        Context { arena: Arena::for_training(rows), ..self }
    }

    /// The context, whose models keep only the inputs of their layers and compute the rest again in the backward pass:
    /// less memory, a third more time, the same gradients.
    pub fn recomputing(self, recomputes: bool) -> Context {
        Context { recomputes, ..self }
    }

    /// The context, whose products with weights that are not quantized are made in this precision, and the backward pass's. A row
    /// has the same bits in any company in float32 without recording only.
    pub fn with_precision(self, precision: Precision) -> Context {
        Context { precision, ..self }
    }

    /// The precision of such products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Whether models recompute.
    pub fn recomputes(&self) -> bool {
        self.recomputes && self.records()
    }

    /// A context on the same threads and memory, with a tape of its own.
    pub(crate) fn inner(&self, seed: u64) -> Context {
        let recorder = Recorder { seed: AtomicU64::new(seed), ..Recorder::default() };
        let (arena, recorder) = (self.arena.clone(), Some(recorder));
        Context { arena, recorder, precision: self.precision, ..Context::new(self.pool.clone()) }
    }

    /// `x` as the beginning of this context's tape, if a gradient flows to it: its gradient is what
    /// [`Self::backward_to_leaf`] returns.
    pub(crate) fn leaf(&self, x: &Tensor) -> Tensor {
        let mut leaf = x.clone();
        if leaf.take_node().is_some() {
            self.record(&mut leaf, |pass, dx| pass.leaf = Some(dx));
        }
        leaf
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Memory for the quantized inputs of a product, and of one that follows it.
    pub(crate) fn quantized(&self) -> MutexGuard<'_, [QuantizedRows; 2]> {
        self.quantized.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A matrix whose values are unspecified until written.
    pub fn uninit(&self, rows: usize, cols: usize) -> Tensor {
        self.arena.take(rows, cols)
    }

    /// Whether operations record what a backward pass needs.
    pub fn records(&self) -> bool {
        self.recorder.is_some()
    }

    /// Puts the step whose result is `out` on the tape. `backward` gets the gradient of `out`.
    ///
    /// # Panics
    /// When the context does not record.
    pub(crate) fn record(
        &self,
        out: &mut Tensor,
        backward: impl FnOnce(&mut Pass<'_>, Tensor) + Send + 'static,
    ) {
        let recorder = self.recorder.as_ref().expect("only a context that records is asked to");
        let mut tape = recorder.tape.lock().unwrap_or_else(|e| e.into_inner());
        tape.push(out, Box::new(backward));
    }

    /// Where the random choices of the next operation begin; `None` when nothing is recorded, and none are made.
    pub(crate) fn seed(&self) -> Option<u64> {
        self.recorder.as_ref().map(|recorder| recorder.seed.load(Ordering::Relaxed))
    }

    /// Sets where the random choices (dropout) of the next forward pass begin: the same seed makes the same choices.
    pub fn set_seed(&self, seed: u64) {
        if let Some(recorder) = &self.recorder {
            recorder.seed.store(seed, Ordering::Relaxed);
        }
    }

    /// The seed of one random choice; the next one is another.
    pub(crate) fn next_seed(&self) -> u64 {
        // an odd constant far from the one that the hash of an element's place steps by
        const STEP: u64 = 0xd134_2543_de82_ef95;
        self.recorder.as_ref().map_or(0, |recorder| recorder.seed.fetch_add(STEP, Ordering::Relaxed))
    }

    /// Runs what was recorded backwards and forgets it. `ends` are results of the forward pass with their gradients;
    /// those of the trainable parameters are added to `gradients`.
    pub fn backward(&self, ends: Vec<(Tensor, Tensor)>, gradients: &mut Gradients) {
        self.backward_to_leaf(ends, gradients);
    }

    /// [`Self::backward`], and the gradient of the [`Self::leaf`].
    pub(crate) fn backward_to_leaf(
        &self,
        ends: Vec<(Tensor, Tensor)>,
        gradients: &mut Gradients,
    ) -> Option<Tensor> {
        let recorder = self.recorder.as_ref()?;
        let tape = std::mem::take(&mut *recorder.tape.lock().unwrap_or_else(|e| e.into_inner()));
        tape.backward(self, ends, gradients)
    }

    /// Forgets what was recorded, for a forward pass without a backward one.
    pub fn discard(&self) {
        if let Some(recorder) = &self.recorder {
            std::mem::take(&mut *recorder.tape.lock().unwrap_or_else(|e| e.into_inner()));
        }
    }
}
