//! Attention over a block-paged key-value cache.
//!
//! Softmax runs online, block by block (Milakov and Gimelshein, arXiv:1805.02867). Blocks are cut at absolute
//! positions, so a row's sums have one order whether it comes in a prompt or alone.

use crate::decode::decode_body;
use crate::matmul::tile;
use crate::pool::Parts;
use crate::simd::{F32, MAX_LANES, Simd, simd_kernel};
use crate::{DType, Pool};
use half::{bf16, f16};
use std::cell::Cell;

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

    /// Where the `head_dim` vectors of `head` start in `block`; those of one head lie one after another.
    fn head_start(&self, block: u32, head: usize) -> usize {
        block as usize * self.block_bytes() + head * self.block_tokens * self.vector_bytes()
    }

    fn vector_bytes(&self) -> usize {
        self.head_dim * self.dtype.block_bytes()
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
///
/// # Panics
/// When a sequence has too few blocks, or a block lies outside the cache.
pub fn store_kv(pool: &Pool, rows: &[f32], layout: KvLayout, seqs: &[SequenceRows<'_>], cache: &mut [u8]) {
    let (vector, bytes) = (layout.head_dim, layout.vector_bytes());
    let row = layout.kv_heads * vector;
    let cache = Parts::new(cache);
    for s in seqs {
        // one task for each block that the rows touch
        let first = s.past / layout.block_tokens;
        let blocks = if s.len == 0 { 0 } else { (s.past + s.len - 1) / layout.block_tokens - first + 1 };
        pool.run(blocks, &|task| {
            let block = first + task;
            let from = (block * layout.block_tokens).max(s.past);
            let to = ((block + 1) * layout.block_tokens).min(s.past + s.len);
            for position in from..to {
                let row = &rows[(s.start + position - s.past) * row..][..row];
                for (head, values) in row.chunks_exact(vector).enumerate() {
                    let at =
                        layout.head_start(s.blocks[block], head) + position % layout.block_tokens * bytes;
                    // SAFETY: a position has its own vectors, and each is written once.
                    narrow(layout.dtype, values, unsafe { cache.part(at, bytes) });
                }
            }
        });
    }
}

fn narrow(dtype: DType, values: &[f32], out: &mut [u8]) {
    match dtype {
        DType::F32 => {
            out.chunks_exact_mut(4).zip(values).for_each(|(o, v)| o.copy_from_slice(&v.to_le_bytes()))
        }
        DType::F16 => out
            .chunks_exact_mut(2)
            .zip(values)
            .for_each(|(o, v)| o.copy_from_slice(&f16::from_f32(*v).to_le_bytes())),
        DType::BF16 => out
            .chunks_exact_mut(2)
            .zip(values)
            .for_each(|(o, v)| o.copy_from_slice(&bf16::from_f32(*v).to_le_bytes())),
        other => panic!("a cache is F32, F16 or BF16, not {}", other.name()),
    }
}

/// Query positions in a task: they share each decoded block of keys and values.
const TASK_ROWS: usize = 32;

/// Causal attention of `q [tokens, heads, head_dim]` over the sequences' keys and values (the batch's own rows
/// are stored already), into `out` of the same shape.
///
/// # Panics
/// When a sequence has too few blocks, or lengths do not fit.
#[allow(clippy::too_many_arguments)]
pub fn paged_attention(
    pool: &Pool,
    q: &[f32],
    keys: &[u8],
    values: &[u8],
    layout: KvLayout,
    shape: AttentionShape,
    seqs: &[SequenceRows<'_>],
    out: &mut [f32],
) {
    assert_eq!(shape.heads % layout.kv_heads, 0, "query heads are whole groups");
    assert_eq!(q.len(), out.len());
    let mut tasks = Vec::new();
    for s in seqs {
        for from in (0..s.len).step_by(TASK_ROWS) {
            tasks.extend((0..layout.kv_heads).map(|head| (s, head, from)));
        }
    }
    let cache = Cache { keys, values, layout };
    let out = Parts::new(out);
    // the longest rows first, so that no thread ends up with them alone
    pool.run(tasks.len(), &|i| {
        let (s, head, from) = tasks[tasks.len() - 1 - i];
        attend(q, cache, shape, s, head, from, TASK_ROWS.min(s.len - from), &out);
    });
}

#[derive(Clone, Copy)]
struct Cache<'a> {
    keys: &'a [u8],
    values: &'a [u8],
    layout: KvLayout,
}

simd_kernel! {
    fn attend(
        q: &[f32],
        cache: Cache<'_>,
        shape: AttentionShape,
        seq: &SequenceRows<'_>,
        kv_head: usize,
        from: usize,
        rows: usize,
        out: &Parts<f32>,
    ) = attend_body;
}

/// Memory of one task. Vectors of a head are padded with zeros to `width`, a multiple of every lane count.
#[derive(Default)]
struct Scratch {
    /// `[queries, width]`, and the sums that become their results.
    queries: Vec<f32>,
    sums: Vec<f32>,
    /// `[block_tokens, width]`, decoded.
    keys: Vec<f32>,
    values: Vec<f32>,
    /// `[queries, block_tokens]`, padded to whole tiles.
    scores: Vec<f32>,
    /// Of each query: the largest score so far and the sum of weights relative to it.
    softmax: Vec<(f32, f32)>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// Queries and keys of a tile of scores.
const TILE_QUERIES: usize = 2;
const TILE_KEYS: usize = 4;

/// Attention of `rows` positions from row `from` of the sequence, for all query heads of `kv_head`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn attend_body<S: Simd>(
    q: &[f32],
    cache: Cache<'_>,
    shape: AttentionShape,
    seq: &SequenceRows<'_>,
    kv_head: usize,
    from: usize,
    rows: usize,
    out: &Parts<f32>,
) {
    let layout = cache.layout;
    let (dim, tokens) = (layout.head_dim, layout.block_tokens);
    let group = shape.heads / layout.kv_heads;
    let width = dim.next_multiple_of(MAX_LANES);
    let (queries, keys) = ((rows * group).next_multiple_of(TILE_QUERIES), tokens.next_multiple_of(TILE_KEYS));
    // query `i` is row `from + i / group` and head `kv_head * group + i % group`
    let place = |i: usize| ((seq.start + from + i / group) * shape.heads + kv_head * group + i % group) * dim;
    let mut s = SCRATCH.take();
    reset(&mut s.queries, queries * width);
    reset(&mut s.sums, queries * width);
    reset(&mut s.keys, keys * width);
    reset(&mut s.values, tokens * width);
    s.scores.resize(queries * keys, 0.0);
    s.softmax.clear();
    s.softmax.resize(rows * group, (f32::NEG_INFINITY, 0.0));
    for i in 0..rows * group {
        s.queries[i * width..][..dim].copy_from_slice(&q[place(i)..][..dim]);
    }
    let visible = |row: usize| {
        let position = seq.past + from + row;
        shape.window.map_or(0, |w| (position + 1).saturating_sub(w))..position + 1
    };
    for block in visible(0).start / tokens..visible(rows - 1).end.div_ceil(tokens) {
        let first = block * tokens;
        let count = tokens.min(visible(rows - 1).end - first);
        // SAFETY: the caller's promise on the instruction set; all vectors are padded to `width`.
        unsafe {
            load_block::<S>(cache.keys, layout, seq.blocks[block], kv_head, count, width, &mut s.keys);
            load_block::<S>(cache.values, layout, seq.blocks[block], kv_head, count, width, &mut s.values);
            score_block::<S>(&s.queries, &s.keys, queries, keys, width, &mut s.scores);
            for i in 0..rows * group {
                let seen = visible(i / group);
                let seen = seen.start.max(first)..seen.end.min(first + tokens);
                if seen.is_empty() {
                    continue;
                }
                let seen = seen.start - first..seen.end - first;
                let weights = &mut s.scores[i * keys..][seen.clone()];
                let keep = soften::<S>(weights, shape.scale, &mut s.softmax[i]);
                let values = &s.values[seen.start * width..];
                accumulate::<S>(&mut s.sums[i * width..][..width], keep, weights, values);
            }
        }
    }
    for i in 0..rows * group {
        let total = s.softmax[i].1;
        // SAFETY: each query has its own place in `out`.
        let out = unsafe { out.part(place(i), dim) };
        out.iter_mut().zip(&s.sums[i * width..]).for_each(|(o, sum)| *o = sum / total);
    }
    SCRATCH.set(s);
}

fn reset(values: &mut Vec<f32>, len: usize) {
    values.clear();
    values.resize(len, 0.0);
}

/// Decodes the first `count` vectors of a head in a block, each padded to `width`.
#[inline(always)]
unsafe fn load_block<S: Simd>(
    cache: &[u8],
    layout: KvLayout,
    block: u32,
    head: usize,
    count: usize,
    width: usize,
    out: &mut [f32],
) {
    let start = layout.head_start(block, head);
    let stored = &cache[start..start + count * layout.vector_bytes()];
    // SAFETY: lengths match; the caller's promise on the instruction set.
    unsafe {
        if layout.head_dim == width {
            decode_body::<S>(layout.dtype, stored, &mut out[..count * width]);
        } else {
            for (stored, out) in stored.chunks_exact(layout.vector_bytes()).zip(out.chunks_exact_mut(width)) {
                decode_body::<S>(layout.dtype, stored, &mut out[..layout.head_dim]);
            }
        }
    }
}

/// `scores [queries, keys] = queries · keysᵀ`, unscaled.
#[inline(always)]
unsafe fn score_block<S: Simd>(
    q: &[f32],
    k: &[f32],
    queries: usize,
    keys: usize,
    width: usize,
    scores: &mut [f32],
) {
    for i in (0..queries).step_by(TILE_QUERIES) {
        let q: [*const f32; TILE_QUERIES] = std::array::from_fn(|a| q[(i + a) * width..][..width].as_ptr());
        for j in (0..keys).step_by(TILE_KEYS) {
            let k: [*const f32; TILE_KEYS] = std::array::from_fn(|b| k[(j + b) * width..][..width].as_ptr());
            // SAFETY: `width` values follow each pointer.
            let sums = unsafe {
                tile::<S, F32, TILE_QUERIES, TILE_KEYS>(
                    q,
                    k,
                    width,
                    0,
                    [[S::splat(0.0); TILE_KEYS]; TILE_QUERIES],
                )
            };
            for (a, row) in sums.into_iter().enumerate() {
                for (b, sum) in row.into_iter().enumerate() {
                    // SAFETY: the caller's promise on the instruction set.
                    scores[(i + a) * keys + j + b] = unsafe { S::sum(sum) };
                }
            }
        }
    }
}

/// Turns scores into weights relative to the largest score so far, and returns the factor that earlier sums
/// must be multiplied with.
#[inline(always)]
unsafe fn soften<S: Simd>(scores: &mut [f32], scale: f32, (max, total): &mut (f32, f32)) -> f32 {
    let mut largest = *max;
    for score in scores.iter_mut() {
        *score *= scale;
        largest = largest.max(*score);
    }
    let mut keep = [*max];
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        exp_minus::<S>(&mut keep, largest);
        for scores in scores.chunks_mut(S::LANES) {
            exp_minus::<S>(scores, largest);
        }
    }
    *max = largest;
    *total = scores.iter().fold(*total * keep[0], |sum, w| sum + w);
    keep[0]
}

/// `x = e^(x - largest)` for at most a vector of values.
#[inline(always)]
unsafe fn exp_minus<S: Simd>(x: &mut [f32], largest: f32) {
    let mut step = [0.0f32; MAX_LANES];
    step.iter_mut().zip(&*x).for_each(|(s, x)| *s = x - largest);
    // SAFETY: `step` holds a vector.
    unsafe { S::store(step.as_mut_ptr(), S::exp(S::load(step.as_ptr()))) };
    x.copy_from_slice(&step[..x.len()]);
}

/// Vectors of sums that stay in registers.
const HELD: usize = 8;

/// `sums = sums · keep + Σ weights[j] · values[j]`, in the order of `j`.
#[inline(always)]
unsafe fn accumulate<S: Simd>(sums: &mut [f32], keep: f32, weights: &[f32], values: &[f32]) {
    let width = sums.len();
    assert!(values.len() >= weights.len() * width);
    // SAFETY: `width` is a multiple of the lanes, and `values` has that many for each weight.
    unsafe {
        let mut at = 0;
        while at + HELD * S::LANES <= width {
            accumulate_columns::<S, HELD>(sums, keep, weights, values, at);
            at += HELD * S::LANES;
        }
        while at < width {
            accumulate_columns::<S, 1>(sums, keep, weights, values, at);
            at += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn accumulate_columns<S: Simd, const N: usize>(
    sums: &mut [f32],
    keep: f32,
    weights: &[f32],
    values: &[f32],
    at: usize,
) {
    let width = sums.len();
    // SAFETY: the caller has checked that `N` vectors from `at` lie within a row.
    unsafe {
        let sums = sums.as_mut_ptr().add(at);
        let keep = S::splat(keep);
        let mut held: [S::V; N] = std::array::from_fn(|c| S::mul(S::load(sums.add(c * S::LANES)), keep));
        for (j, &weight) in weights.iter().enumerate() {
            let weight = S::splat(weight);
            let value = values.as_ptr().add(j * width + at);
            for (c, sum) in held.iter_mut().enumerate() {
                *sum = S::fma(weight, S::load(value.add(c * S::LANES)), *sum);
            }
        }
        for (c, sum) in held.into_iter().enumerate() {
            S::store(sums.add(c * S::LANES), sum);
        }
    }
}
