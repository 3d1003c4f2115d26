//! Attention over a block-paged key-value cache.
//!
//! Softmax runs online, block by block (Milakov and Gimelshein, arXiv:1805.02867). Blocks are cut at absolute
//! positions, so a row's sums have one order whether it comes in a prompt or alone.

use crate::decode::decode_body;
use crate::matmul::tile;
use crate::pool::Parts;
use crate::simd::{Bf16, F16, F32, MAX_LANES, Q8, Simd, Stored, simd_kernel};
use crate::{DType, Pool};
use half::{bf16, f16};
use std::cell::Cell;
use std::ops::Range;

/// One layer's keys or values: blocks of `[kv_heads, block_tokens, head_dim]` in `dtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// F32, F16, BF16, or Q8_0: 8 bits with a scale for each 32 values of a head, which must be a multiple of 32.
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
        self.block_tokens * self.kv_heads * self.vector_bytes()
    }

    /// Where the vectors of `head` lie in `block`, one after another.
    fn head_bytes(&self, block: u32, head: usize) -> Range<usize> {
        let start = self.head_start(block, head);
        start..start + self.block_tokens * self.vector_bytes()
    }

    /// Where they start.
    fn head_start(&self, block: u32, head: usize) -> usize {
        block as usize * self.block_bytes() + head * self.block_tokens * self.vector_bytes()
    }

    fn vector_bytes(&self) -> usize {
        self.head_dim / self.dtype.block_len() * self.dtype.block_bytes()
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
        DType::Q8_0 => out
            .chunks_exact_mut(dtype.block_bytes())
            .zip(values.chunks_exact(dtype.block_len()))
            .for_each(|(o, v)| narrow_block(v, o)),
        other => panic!("a cache is F32, F16, BF16 or Q8_0, not {}", other.name()),
    }
}

/// A block of Q8_0: a half-precision scale, then codes of which the largest is 127.
fn narrow_block(values: &[f32], out: &mut [u8]) {
    let largest = values.iter().fold(0.0f32, |a, v| a.max(v.abs()));
    let scale = f16::from_f32(largest / 127.0);
    let factor = if scale == f16::ZERO { 0.0 } else { 1.0 / scale.to_f32() };
    out[..2].copy_from_slice(&scale.to_le_bytes());
    for (o, v) in out[2..].iter_mut().zip(values) {
        *o = (v * factor).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
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

/// Memory of one task.
#[derive(Default)]
struct Scratch {
    progress: Progress,
    /// `[block_tokens, width]`, decoded.
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// What a task knows of its queries after some blocks. Vectors of a head are padded with zeros to `width`, a multiple of
/// every lane count.
#[derive(Default)]
struct Progress {
    width: usize,
    /// `[queries, width]`, and the sums that become their results.
    queries: Vec<f32>,
    sums: Vec<f32>,
    /// `[queries, keys]`, padded to whole tiles.
    scores: Vec<f32>,
    /// Keys that a row of scores has room for.
    keys: usize,
    /// Of each query: the largest score so far and the sum of weights relative to it.
    softmax: Vec<(f32, f32)>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// Queries and keys of a tile of scores.
const TILE_QUERIES: usize = 2;
const TILE_KEYS: usize = 4;
/// Up to so many queries, keys and values are read as they are stored; more share what is decoded once.
const DIRECT_QUERIES: usize = 8;

const CACHE_LINE: usize = 64;

/// Which positions the rows of a task see.
struct Sight {
    /// Position of the first row.
    first: usize,
    /// Query heads of a row.
    group: usize,
    window: Option<usize>,
}

impl Sight {
    fn of_row(&self, row: usize) -> Range<usize> {
        let end = self.first + row + 1;
        self.window.map_or(0, |w| end.saturating_sub(w))..end
    }

    /// What query `i` sees of the `tokens` positions from `start`, counted from there.
    fn of_query(&self, i: usize, start: usize, tokens: usize) -> Range<usize> {
        let seen = self.of_row(i / self.group);
        seen.start.saturating_sub(start).min(tokens)..seen.end.saturating_sub(start).min(tokens)
    }
}

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
    // query `i` is row `from + i / group` and head `kv_head * group + i % group`
    let place = |i: usize| ((seq.start + from + i / group) * shape.heads + kv_head * group + i % group) * dim;
    let sight = Sight { first: seq.past + from, group, window: shape.window };
    let mut scratch = SCRATCH.take();
    let Scratch { progress, keys, values } = &mut scratch;
    progress.start(rows * group, dim, tokens, |i| &q[place(i)..][..dim]);
    let width = progress.width;
    // whole vectors are written over; only what pads them has to be zero
    let clean = if dim == width && tokens == progress.keys { resize } else { reset };
    clean(keys, progress.keys * width);
    clean(values, tokens * width);
    let direct = rows * group <= DIRECT_QUERIES && dim == width && tokens == progress.keys;
    let blocks = sight.of_row(0).start / tokens..sight.of_row(rows - 1).end.div_ceil(tokens);
    for block in blocks.clone() {
        let first = block * tokens;
        let seen = |i: usize| sight.of_query(i, first, tokens);
        let at = |block: usize| layout.head_bytes(seq.blocks[block], kv_head);
        let (k, v) = (&cache.keys[at(block)], &cache.values[at(block)]);
        let next = if block + 1 < blocks.end { &cache.keys[at(block + 1)] } else { v };
        let stored = StoredBlock { keys: k.as_ptr(), values: v.as_ptr(), ahead: [v.as_ptr(), next.as_ptr()] };
        // SAFETY: the caller's promise on the instruction set; each pointer is to `tokens` vectors of `width` values.
        unsafe {
            match layout.dtype {
                DType::BF16 if direct => progress.block::<S, Bf16, true>(stored, shape.scale, seen),
                DType::F16 if direct => progress.block::<S, F16, true>(stored, shape.scale, seen),
                DType::F32 if direct => progress.block::<S, F32, true>(stored, shape.scale, seen),
                DType::Q8_0 if direct => progress.block::<S, Q8, true>(stored, shape.scale, seen),
                _ => {
                    let count = tokens.min(sight.of_row(rows - 1).end - first);
                    load_block::<S>(k, layout, count, width, keys);
                    load_block::<S>(v, layout, count, width, values);
                    let (keys, values) = (keys.as_ptr().cast(), values.as_ptr().cast());
                    let decoded = StoredBlock { keys, values, ahead: [keys, values] };
                    progress.block::<S, F32, false>(decoded, shape.scale, seen);
                }
            }
        }
    }
    for i in 0..rows * group {
        let total = progress.softmax[i].1;
        // SAFETY: each query has its own place in `out`.
        let out = unsafe { out.part(place(i), dim) };
        out.iter_mut().zip(&progress.sums[i * width..]).for_each(|(o, sum)| *o = sum / total);
    }
    SCRATCH.set(scratch);
}

/// A head's keys and values of one block, and what is read after the keys: the values, and the next block's keys.
#[derive(Clone, Copy)]
struct StoredBlock {
    keys: *const u8,
    values: *const u8,
    ahead: [*const u8; 2],
}

impl Progress {
    /// Begins with `count` queries of `dim` values.
    fn start<'q>(&mut self, count: usize, dim: usize, tokens: usize, query: impl Fn(usize) -> &'q [f32]) {
        self.width = dim.next_multiple_of(MAX_LANES);
        self.keys = tokens.next_multiple_of(TILE_KEYS);
        let padded = count.next_multiple_of(TILE_QUERIES);
        reset(&mut self.queries, padded * self.width);
        reset(&mut self.sums, padded * self.width);
        self.scores.resize(padded * self.keys, 0.0);
        self.softmax.clear();
        self.softmax.resize(count, (f32::NEG_INFINITY, 0.0));
        for (i, into) in self.queries.chunks_exact_mut(self.width).take(count).enumerate() {
            into[..dim].copy_from_slice(query(i));
        }
    }

    /// Adds a block of keys and values, of which query `i` sees `seen(i)`.
    ///
    /// # Safety
    /// As for [`Simd`]; `self.keys` vectors of `self.width` values at `keys`, and as many at `values` as are seen.
    #[inline(always)]
    unsafe fn block<S: Simd, T: Stored, const FETCH: bool>(
        &mut self,
        stored: StoredBlock,
        scale: f32,
        seen: impl Fn(usize) -> Range<usize>,
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            self.score::<S, T, FETCH>(stored);
            let (count, keys, width) = (self.softmax.len(), self.keys, self.width);
            let mut i = 0;
            while i < count {
                let own = seen(i);
                // the query heads of a position see the same, and share what is read of the values
                let both = i + 1 < count && seen(i + 1) == own;
                let next = i + 1 + usize::from(both);
                if !own.is_empty() {
                    let mut keep = [0.0; 2];
                    for q in i..next {
                        let weights = &mut self.scores[q * keys..][own.clone()];
                        keep[q - i] = soften::<S>(weights, scale, &mut self.softmax[q]);
                    }
                    let values = stored.values.add(T::bytes(own.start * width));
                    let sums = &mut self.sums[i * width..next * width];
                    let first = &self.scores[i * keys..][own.clone()];
                    if both {
                        let second = &self.scores[(i + 1) * keys..][own];
                        accumulate::<S, T, 2, { HELD / 2 }>(sums, keep, [first, second], values);
                    } else {
                        accumulate::<S, T, 1, HELD>(sums, [keep[0]], [first], values);
                    }
                }
                i = next;
            }
        }
    }

    /// `scores [queries, keys] = queries · keysᵀ`, unscaled. What is read next is asked for meanwhile (`FETCH`): blocks lie
    /// anywhere and are too short for the processor to see a stream.
    #[inline(always)]
    unsafe fn score<S: Simd, T: Stored, const FETCH: bool>(&mut self, stored: StoredBlock) {
        let width = self.width;
        let queries = self.queries.chunks_exact(width * TILE_QUERIES);
        let rows = queries.zip(self.scores.chunks_exact_mut(self.keys * TILE_QUERIES));
        for (turn, (q, scores)) in rows.enumerate() {
            let q: [*const f32; TILE_QUERIES] = std::array::from_fn(|a| q[a * width..].as_ptr());
            for j in (0..self.keys).step_by(TILE_KEYS) {
                // SAFETY: the caller's promises: `width` values follow each pointer.
                let sums = unsafe {
                    if FETCH && turn == 0 {
                        for at in (T::bytes(j * width)..T::bytes((j + TILE_KEYS) * width)).step_by(CACHE_LINE)
                        {
                            for ahead in stored.ahead {
                                S::prefetch(ahead.wrapping_add(at));
                            }
                        }
                    }
                    let k: [*const u8; TILE_KEYS] =
                        std::array::from_fn(|b| stored.keys.add(T::bytes((j + b) * width)));
                    let none = [[S::splat(0.0); TILE_KEYS]; TILE_QUERIES];
                    tile::<S, T, TILE_QUERIES, TILE_KEYS>(q, k, width, 0, none)
                };
                for (a, row) in sums.into_iter().enumerate() {
                    for (b, sum) in row.into_iter().enumerate() {
                        // SAFETY: the caller's promise on the instruction set.
                        scores[a * self.keys + j + b] = unsafe { S::sum(sum) };
                    }
                }
            }
        }
    }
}

/// Zeros.
fn reset(values: &mut Vec<f32>, len: usize) {
    values.clear();
    values.resize(len, 0.0);
}

/// Whatever was there.
fn resize(values: &mut Vec<f32>, len: usize) {
    values.resize(len, 0.0);
}

/// Decodes the first `count` vectors of a head in a block, each padded to `width`.
#[inline(always)]
unsafe fn load_block<S: Simd>(stored: &[u8], layout: KvLayout, count: usize, width: usize, out: &mut [f32]) {
    let stored = &stored[..count * layout.vector_bytes()];
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

/// Turns scores into weights relative to the largest score so far, and returns the factor that earlier sums
/// must be multiplied with.
#[inline(always)]
unsafe fn soften<S: Simd>(scores: &mut [f32], scale: f32, (max, total): &mut (f32, f32)) -> f32 {
    let mut lanes = [0.0f32; MAX_LANES];
    // SAFETY: the caller's promise on the instruction set; `lanes` holds a vector.
    unsafe {
        let mut largest = S::splat(*max);
        for scores in scores.chunks_mut(S::LANES) {
            let scaled = S::mul(load_padded::<S>(scores), S::splat(scale));
            store_some::<S>(scores, scaled);
            largest = S::max(largest, scaled);
        }
        S::store(lanes.as_mut_ptr(), largest);
        let largest = lanes[..S::LANES].iter().fold(*max, |a, &b| if b > a { b } else { a });
        let down = S::splat(-largest);
        let keep = S::exp(S::add(S::splat(*max), down));
        let mut sum = S::splat(0.0);
        for scores in scores.chunks_mut(S::LANES) {
            // beyond the scores this is e^-87, which no sum notices that has a 1 in it
            let weights = S::exp(S::add(load_padded::<S>(scores), down));
            store_some::<S>(scores, weights);
            sum = S::add(sum, weights);
        }
        S::store(lanes.as_mut_ptr(), keep);
        *max = largest;
        *total = *total * lanes[0] + S::sum(sum);
    }
    lanes[0]
}

/// At most a vector of scores; those that are missing are the least there can be.
#[inline(always)]
unsafe fn load_padded<S: Simd>(scores: &[f32]) -> S::V {
    // SAFETY: both pointers are to a whole vector.
    unsafe {
        if scores.len() == S::LANES {
            return S::load(scores.as_ptr());
        }
        let mut padded = [f32::NEG_INFINITY; MAX_LANES];
        padded[..scores.len()].copy_from_slice(scores);
        S::load(padded.as_ptr())
    }
}

/// The first values of a vector.
#[inline(always)]
unsafe fn store_some<S: Simd>(out: &mut [f32], v: S::V) {
    // SAFETY: both pointers are to a whole vector.
    unsafe {
        if out.len() == S::LANES {
            return S::store(out.as_mut_ptr(), v);
        }
        let mut lanes = [0.0f32; MAX_LANES];
        S::store(lanes.as_mut_ptr(), v);
        out.copy_from_slice(&lanes[..out.len()]);
    }
}

/// Vectors of sums that stay in registers.
const HELD: usize = 8;

/// `sums [Q, width] = sums · keep + Σ weights[q][j] · values[j]`, in the order of `j`, for `Q` queries that have as many
/// weights each; `N` vectors of each at a time.
///
/// # Safety
/// As for [`Simd`]; for each weight, as many values as a query has sums, which is a multiple of every lane count.
#[inline(always)]
unsafe fn accumulate<S: Simd, T: Stored, const Q: usize, const N: usize>(
    sums: &mut [f32],
    keep: [f32; Q],
    weights: [&[f32]; Q],
    values: *const u8,
) {
    let width = sums.len() / Q;
    // SAFETY: the caller's promises.
    unsafe {
        let mut at = 0;
        while at + N * S::LANES <= width {
            accumulate_columns::<S, T, Q, N>(sums, keep, weights, values, at);
            at += N * S::LANES;
        }
        while at < width {
            accumulate_columns::<S, T, Q, 1>(sums, keep, weights, values, at);
            at += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn accumulate_columns<S: Simd, T: Stored, const Q: usize, const N: usize>(
    sums: &mut [f32],
    keep: [f32; Q],
    weights: [&[f32]; Q],
    values: *const u8,
    at: usize,
) {
    let width = sums.len() / Q;
    // whole blocks of the type first, so that what remains is known when this is compiled
    let (before, at_in_block) = if (N * S::LANES).is_multiple_of(T::BLOCK) { (at, 0) } else { (0, at) };
    // SAFETY: `N` vectors from `at` lie within a row of `sums` and of the values; each query has as many weights.
    unsafe {
        let sums = sums.as_mut_ptr().add(at);
        let mut held = [[S::splat(0.0); N]; Q];
        for (q, held) in held.iter_mut().enumerate() {
            for (c, sum) in held.iter_mut().enumerate() {
                *sum = S::mul(S::load(sums.add(q * width + c * S::LANES)), S::splat(keep[q]));
            }
        }
        for j in 0..weights[0].len() {
            let value = values.add(T::bytes(j * width) + T::bytes(before));
            let mut loaded = [S::splat(0.0); N];
            for (c, loaded) in loaded.iter_mut().enumerate() {
                *loaded = T::load::<S>(value, at_in_block + c * S::LANES);
            }
            for (weights, held) in weights.iter().zip(&mut held) {
                let weight = S::splat(*weights.get_unchecked(j));
                for (sum, value) in held.iter_mut().zip(loaded) {
                    *sum = S::fma(weight, value, *sum);
                }
            }
        }
        for (q, held) in held.into_iter().enumerate() {
            for (c, sum) in held.into_iter().enumerate() {
                S::store(sums.add(q * width + c * S::LANES), sum);
            }
        }
    }
}
