//! The keys and values of past tokens, in blocks.

use kernels::{DType, attention::KvLayout};
use memmap2::MmapMut;
use std::io;

/// How large a cache is and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvCacheShape {
    /// Layers that attend.
    pub layers: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// F32, F16, BF16, or Q8_0 where `head_dim` is a multiple of 32.
    pub dtype: DType,
    /// Tokens in a block.
    pub block_tokens: usize,
    /// Blocks in all.
    pub blocks: usize,
}

impl KvCacheShape {
    /// Bytes that one block takes over all layers, keys and values; `None` on overflow, or when a head is not whole blocks
    /// of the type.
    pub fn bytes_per_block(&self) -> Option<usize> {
        [2, self.layers, self.kv_heads, self.dtype.row_bytes(self.head_dim)?, self.block_tokens]
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
/// It is mapped and not allocated: pages cost nothing until they are written, and are small, where an allocator would
/// take a huge page for the beginning of each layer (112 MB for Qwen3-0.6B before its first token).
pub struct KvCache {
    shape: KvCacheShape,
    /// Of each layer all keys, then all values.
    memory: MmapMut,
    /// Layers that the memory is for: all, or one after another the same.
    own_layers: usize,
}

impl KvCache {
    /// An empty cache.
    ///
    /// # Errors
    /// When the system does not give that much address space.
    pub fn new(shape: KvCacheShape) -> io::Result<KvCache> {
        KvCache::with_layers(shape, shape.layers)
    }

    /// A cache in which each layer overwrites the one before. Enough for steps that no later one continues, as in
    /// training.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn passing(shape: KvCacheShape) -> io::Result<KvCache> {
        KvCache::with_layers(shape, 1)
    }

    fn with_layers(shape: KvCacheShape, own_layers: usize) -> io::Result<KvCache> {
        let own = KvCacheShape { layers: own_layers, ..shape };
        let bytes = own.bytes_per_block().and_then(|bytes| bytes.checked_mul(shape.blocks));
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(KvCache { shape, memory: MmapMut::map_anon(bytes.max(1))?, own_layers })
    }

    /// What it was made with.
    pub fn shape(&self) -> &KvCacheShape {
        &self.shape
    }

    /// Copies block `from` onto block `to` in every layer: for a sequence that continues on a shared block.
    pub fn copy_block(&mut self, from: u32, to: u32) {
        let block = self.shape.layout().block_bytes();
        let (from, to) = (from as usize * block, to as usize * block);
        for part in self.memory.chunks_exact_mut(block * self.shape.blocks) {
            part.copy_within(from..from + block, to);
        }
    }

    /// The keys and the values of a layer.
    pub(crate) fn layer(&mut self, layer: usize) -> (&mut [u8], &mut [u8]) {
        let part = self.shape.layout().block_bytes() * self.shape.blocks;
        let layer = layer % self.own_layers.max(1);
        self.memory[2 * layer * part..][..2 * part].split_at_mut(part)
    }
}
