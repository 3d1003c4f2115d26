//! Attention over a block-paged key-value cache.

use crate::{DType, Pool, matmul::decode_row};
use std::ops::Range;

/// One layer's keys or values: blocks of `[kv_heads, block_tokens, head_dim]` in `dtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// F32, F16 or BF16.
    pub dtype: DType,
    /// Tokens in a block.
    pub block_tokens: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
}

impl KvLayout {
    /// Bytes of one block of keys (or of values) of one layer.
    pub fn block_bytes(&self) -> usize {
        self.block_tokens * self.kv_heads * self.head_dim * self.dtype.block_bytes()
    }

    /// Byte range of the vector of `head` at `position` of a sequence whose blocks are `blocks`.
    fn slot(&self, blocks: &[u32], position: usize, head: usize) -> Range<usize> {
        let block = blocks[position / self.block_tokens] as usize;
        let row = self.head_dim * self.dtype.block_bytes();
        let start =
            block * self.block_bytes() + (head * self.block_tokens + position % self.block_tokens) * row;
        start..start + row
    }
}

/// The rows of one sequence in a batch, and where its past lies in the cache.
#[derive(Clone, Copy, Debug)]
pub struct SequenceRows<'a> {
    /// First row of the sequence in the batch.
    pub start: usize,
    /// Its number of rows.
    pub len: usize,
    /// Tokens of the sequence that are in the cache already: row `i` stands at position `past + i`.
    pub past: usize,
    /// Its cache blocks in order; they cover `past + len` tokens.
    pub blocks: &'a [u32],
}

/// What a layer's attention looks like.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Query heads; a multiple of the key-value heads. Query head `h` reads key-value head `h / (heads / kv_heads)`.
    pub heads: usize,
    /// Factor on the scores, usually `head_dim^-0.5`.
    pub scale: f32,
    /// Sliding window: a position sees this many positions, itself included.
    pub window: Option<usize>,
}

/// Stores `rows [tokens, kv_heads, head_dim]` (keys or values of the batch) into the layer's blocks, rounding
/// to nearest even where the cache is narrower than float32.
pub fn store_kv(_pool: &Pool, rows: &[f32], layout: KvLayout, seqs: &[SequenceRows<'_>], cache: &mut [u8]) {
    let row = layout.kv_heads * layout.head_dim;
    for s in seqs {
        for i in 0..s.len {
            for head in 0..layout.kv_heads {
                let at = (s.start + i) * row + head * layout.head_dim;
                let from = &rows[at..at + layout.head_dim];
                let to = &mut cache[layout.slot(s.blocks, s.past + i, head)];
                match layout.dtype {
                    DType::F32 => to
                        .chunks_exact_mut(4)
                        .zip(from)
                        .for_each(|(t, f)| t.copy_from_slice(&f.to_le_bytes())),
                    DType::F16 => to
                        .chunks_exact_mut(2)
                        .zip(from)
                        .for_each(|(t, f)| t.copy_from_slice(&half::f16::from_f32(*f).to_le_bytes())),
                    DType::BF16 => to
                        .chunks_exact_mut(2)
                        .zip(from)
                        .for_each(|(t, f)| t.copy_from_slice(&half::bf16::from_f32(*f).to_le_bytes())),
                    other => panic!("a cache cannot be {}", other.name()),
                }
            }
        }
    }
}

/// Causal attention of `q [tokens, heads, head_dim]` over the sequences' keys and values (the batch's own rows
/// are stored already), into `out` of the same shape.
pub fn paged_attention(
    _pool: &Pool,
    q: &[f32],
    keys: &[u8],
    values: &[u8],
    layout: KvLayout,
    shape: AttentionShape,
    seqs: &[SequenceRows<'_>],
    out: &mut [f32],
) {
    let d = layout.head_dim;
    let group = shape.heads / layout.kv_heads;
    let mut vector = vec![0.0f32; d];
    for s in seqs {
        for i in 0..s.len {
            let position = s.past + i;
            let first = shape.window.map_or(0, |w| (position + 1).saturating_sub(w));
            for head in 0..shape.heads {
                let at = ((s.start + i) * shape.heads + head) * d;
                let (q, out) = (&q[at..at + d], &mut out[at..at + d]);
                let mut scores: Vec<f32> = (first..=position)
                    .map(|p| {
                        decode_row(layout.dtype, &keys[layout.slot(s.blocks, p, head / group)], &mut vector);
                        q.iter().zip(&vector).map(|(a, b)| a * b).sum::<f32>() * shape.scale
                    })
                    .collect();
                let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                scores.iter_mut().for_each(|s| *s = (*s - max).exp());
                let sum: f32 = scores.iter().sum();
                out.fill(0.0);
                for (p, score) in (first..=position).zip(&scores) {
                    decode_row(layout.dtype, &values[layout.slot(s.blocks, p, head / group)], &mut vector);
                    out.iter_mut().zip(&vector).for_each(|(o, v)| *o += score / sum * v);
                }
            }
        }
    }
}
