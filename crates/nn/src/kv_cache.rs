//! The keys and values of past tokens, in blocks.

use kernels::{DType, attention::KvLayout};

/// How large a cache is and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvCacheShape {
    /// Layers that attend.
    pub layers: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// F32, F16 or BF16.
    pub dtype: DType,
    /// Tokens in a block.
    pub block_tokens: usize,
    /// Blocks in all.
    pub blocks: usize,
}

impl KvCacheShape {
    /// Bytes that one block takes over all layers, keys and values; `None` on overflow.
    pub fn bytes_per_block(&self) -> Option<usize> {
        [2, self.layers, self.kv_heads, self.head_dim, self.block_tokens, self.dtype.block_bytes()]
            .into_iter()
            .try_fold(1usize, usize::checked_mul)
    }

    pub(crate) fn layout(&self) -> KvLayout {
        KvLayout {
            dtype: self.dtype,
            block_tokens: self.block_tokens,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
        }
    }
}

/// Keys and values of all layers. Which block belongs to whom is the engine's business; here is only the memory.
/// It is zero pages until written, so unused blocks cost nothing.
pub struct KvCache {
    shape: KvCacheShape,
    keys: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

impl KvCache {
    /// An empty cache.
    pub fn new(shape: KvCacheShape) -> KvCache {
        let bytes = shape.layout().block_bytes() * shape.blocks;
        let layers = || (0..shape.layers).map(|_| vec![0u8; bytes]).collect();
        KvCache { shape, keys: layers(), values: layers() }
    }

    /// What it was made with.
    pub fn shape(&self) -> &KvCacheShape {
        &self.shape
    }

    /// Copies block `from` onto block `to` in every layer: for a sequence that continues on a shared block.
    pub fn copy_block(&mut self, from: u32, to: u32) {
        let bytes = self.shape.layout().block_bytes();
        let (from, to) = (from as usize * bytes, to as usize * bytes);
        for layer in self.keys.iter_mut().chain(&mut self.values) {
            layer.copy_within(from..from + bytes, to);
        }
    }

    pub(crate) fn layer(&mut self, layer: usize) -> (&mut [u8], &mut [u8]) {
        (&mut self.keys[layer], &mut self.values[layer])
    }
}
