//! Activations and the memory they live in.

use crate::tape::NodeId;
use kernels::Aligned;
use std::sync::{Arc, Mutex};

/// A float32 matrix `[rows, cols]`, row-major. Cloning shares the values; writing to shared values copies them.
#[derive(Clone)]
pub struct Tensor {
    buffer: Arc<Buffer>,
    rows: usize,
    cols: usize,
    /// Its place on the tape, if a gradient flows to it.
    node: Option<NodeId>,
}

impl Tensor {
    /// Takes `values` as a matrix of `rows` rows.
    ///
    /// # Panics
    /// When `values` is not `rows * cols` long.
    pub fn from_vec(values: Vec<f32>, rows: usize, cols: usize) -> Tensor {
        assert_eq!(values.len(), rows * cols);
        let buffer = Buffer { values: values.into(), arena: Arena::default() };
        Tensor { buffer: Arc::new(buffer), rows, cols, node: None }
    }

    /// Number of rows, usually tokens.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns, the features of a token.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f32] {
        &self.buffer.values[..self.rows * self.cols]
    }

    /// The values of row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values()[i * self.cols..(i + 1) * self.cols]
    }

    /// All values, writable; copied first when another tensor shares them.
    pub fn values_mut(&mut self) -> &mut [f32] {
        if Arc::get_mut(&mut self.buffer).is_none() {
            let mut copy = self.buffer.arena.take(self.rows, self.cols);
            copy.values_mut().copy_from_slice(self.values());
            copy.node = self.node;
            *self = copy;
        }
        let len = self.rows * self.cols;
        &mut Arc::get_mut(&mut self.buffer).expect("just made unique").values[..len]
    }
}

impl Tensor {
    /// Its place on the tape; `None` where no gradient flows to it.
    pub(crate) fn node(&self) -> Option<NodeId> {
        self.node
    }

    pub(crate) fn set_node(&mut self, node: NodeId) {
        self.node = Some(node);
    }

    /// Takes it off the tape.
    pub(crate) fn take_node(&mut self) -> Option<NodeId> {
        self.node.take()
    }
}

struct Buffer {
    /// At least the tensor's; a used buffer keeps its length.
    values: Aligned<f32>,
    arena: Arena,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.arena.give(std::mem::take(&mut self.values));
    }
}

/// Buffers of dropped tensors, kept for the next ones: a step allocates only the first time.
#[derive(Clone)]
pub(crate) struct Arena(Arc<Free>);

struct Free {
    buffers: Mutex<Vec<Aligned<f32>>>,
    /// Buffers kept at most.
    kept: usize,
    /// Rows that a new buffer has room for.
    rows: usize,
}

/// Buffers that an eager context keeps; a step holds fewer at once.
const KEPT: usize = 24;
/// Values that room is made for ahead: 64 MB. What is larger comes in chunks of one size.
const MOST_ROOM: usize = 16 << 20;
/// Buffers that a recording context keeps: some 20 for each layer of a large model.
const KEPT_FOR_TRAINING: usize = 2048;

impl Default for Arena {
    fn default() -> Arena {
        Arena::new(KEPT, 0)
    }
}

impl Arena {
    /// For the activations of a whole forward pass, which all come back in the backward pass. Buffers have room for `rows`
    /// rows, so that one serves every batch up to that many: what is not written takes no memory.
    pub(crate) fn for_training(rows: usize) -> Arena {
        Arena::new(KEPT_FOR_TRAINING, rows)
    }

    fn new(kept: usize, rows: usize) -> Arena {
        Arena(Arc::new(Free { buffers: Mutex::default(), kept, rows }))
    }

    /// A matrix of unspecified values.
    pub(crate) fn take(&self, rows: usize, cols: usize) -> Tensor {
        let len = rows * cols;
        let mut free = self.0.buffers.lock().unwrap_or_else(|e| e.into_inner());
        let smallest_fit = (0..free.len()).filter(|&i| free[i].len() >= len).min_by_key(|&i| free[i].len());
        let values = match smallest_fit {
            Some(i) => free.swap_remove(i),
            None => {
                // a new buffer takes the place of one that is too small, so that a step's memory is what it holds at
                // once and not a buffer for each of its sizes
                let largest = (0..free.len()).max_by_key(|&i| free[i].len());
                drop(largest.map(|i| free.swap_remove(i)));
                Aligned::zeros(len.max((self.0.rows * cols).min(MOST_ROOM)))
            }
        };
        drop(free);
        Tensor { buffer: Arc::new(Buffer { values, arena: self.clone() }), rows, cols, node: None }
    }

    fn give(&self, values: Aligned<f32>) {
        let mut free = self.0.buffers.lock().unwrap_or_else(|e| e.into_inner());
        free.push(values);
        if free.len() > self.0.kept {
            let smallest = (0..free.len()).min_by_key(|&i| free[i].len()).expect("not empty");
            free.swap_remove(smallest);
        }
    }
}
