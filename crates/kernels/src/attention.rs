//! Attention over a block-paged key-value cache.
//!
//! Keys lie transposed, a block's tokens beside each other, so that a vector of scores grows value by value of the head and
//! never has to be summed across. Softmax runs online, some blocks at a time (Milakov and Gimelshein, arXiv:1805.02867).
//! They are cut at absolute positions, so a row's sums have one order whether it comes in a prompt or alone.

mod cache;
mod tile;

pub use cache::{KvLayout, SequenceRows, store_keys, store_values};

use crate::decode::decode_body;
use crate::pool::Parts;
use crate::simd::{Bf16, CACHE_LINE, F16, F32, I8, MAX_LANES, Q8, Simd, Stored, simd_kernel};
use crate::{DType, Pool};
use std::cell::Cell;
use std::ops::Range;
use tile::{Keys, TILE_QUERIES, TILE_TOKENS, Tile, some_scores};

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
    /// A block's keys `[head_dim, keys]`, decoded but for their scales `[head_dim / 32, keys]` if they have some.
    keys: Vec<f32>,
    key_scales: Vec<f32>,
    /// Its values `[block_tokens, width]`, decoded.
    values: Vec<f32>,
}

/// What a task knows of its queries after some blocks. Sums of a head are padded with zeros to `width`, a multiple of every
/// lane count.
#[derive(Default)]
struct Progress {
    dim: usize,
    width: usize,
    /// `[queries, dim]`.
    queries: Vec<f32>,
    /// `[queries, width]`, which become the results.
    sums: Vec<f32>,
    /// `[queries, columns]`: scores of some blocks, with room for a tile beyond them.
    scores: Vec<f32>,
    columns: usize,
    /// Of each query: the largest score so far and the sum of weights relative to it.
    softmax: Vec<(f32, f32)>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// Blocks whose scores become weights together.
const SEGMENT_BLOCKS: usize = 4;
/// Up to so many queries, keys and values are read as they are stored; more share what is decoded once.
const DIRECT_QUERIES: usize = 8;

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
    scratch.progress.start(rows * group, dim, tokens, |i| &q[place(i)..][..dim]);
    let width = scratch.progress.width;
    let direct = rows * group <= DIRECT_QUERIES && dim == width && tokens.is_multiple_of(TILE_TOKENS);
    let blocks = sight.of_row(0).start / tokens..sight.of_row(rows - 1).end.div_ceil(tokens);
    let at = |block: usize| layout.head_bytes(seq.blocks[block], kv_head);
    for segment in blocks.start / SEGMENT_BLOCKS..blocks.end.div_ceil(SEGMENT_BLOCKS) {
        let start = (segment * SEGMENT_BLOCKS).max(blocks.start);
        let end = ((segment + 1) * SEGMENT_BLOCKS).min(blocks.end);
        let seen = |i: usize| sight.of_query(i, start * tokens, (end - start) * tokens);
        // Blocks lie anywhere and are too short for the processor to see a stream. Scores ask for the values, and values for
        // the next segment's keys, so that memory is as busy in both; the first segment's keys are left to scores. So are all
        // keys in 8 bits, whose values have no instruction to spare.
        let values_ask = layout.dtype != DType::Q8_0;
        let next_keys = |block: usize| {
            let asked = values_ask && (start > blocks.start || block + 1 == end);
            (block + 1 < blocks.end && !asked).then(|| cache.keys[at(block + 1)].as_ptr())
        };
        let later_keys = |block: usize| {
            let block = block + SEGMENT_BLOCKS;
            (values_ask && block < blocks.end).then(|| cache.keys[at(block)].as_ptr())
        };
        // SAFETY: the caller's promise on the instruction set; keys and values are whole blocks of a head.
        unsafe {
            for block in start..end {
                let keys = &cache.keys[at(block)];
                let column = (block - start) * tokens;
                if direct {
                    let values = cache.values[at(block)].as_ptr();
                    // two of one place, since a choice here would be made for each of a key's values
                    let ahead = Some([values, next_keys(block).unwrap_or(values)]);
                    scratch.progress.score_stored::<S>(keys, layout, column, ahead);
                } else {
                    scratch.score_decoded::<S>(keys, layout, column);
                }
            }
            scratch.progress.soften_all::<S>(shape.scale, seen);
            for block in start..end {
                let stored = &cache.values[at(block)];
                let first = (block - start) * tokens;
                let part = |i: usize| {
                    let seen = seen(i);
                    seen.start.clamp(first, first + tokens)..seen.end.clamp(first, first + tokens)
                };
                let (values, ahead) = (stored.as_ptr(), later_keys(block));
                let progress = &mut scratch.progress;
                match layout.dtype {
                    DType::BF16 if direct => progress.add_values::<S, Bf16>(values, first, part, ahead),
                    DType::F16 if direct => progress.add_values::<S, F16>(values, first, part, ahead),
                    DType::F32 if direct => progress.add_values::<S, F32>(values, first, part, ahead),
                    DType::Q8_0 if direct => progress.add_values::<S, Q8>(values, first, part, ahead),
                    _ => {
                        let count = tokens.min(sight.of_row(rows - 1).end - block * tokens);
                        // only what pads whole vectors has to be zero
                        let clean = if dim == width { resize } else { reset };
                        clean(&mut scratch.values, tokens * width);
                        load_values::<S>(stored, layout, count, width, &mut scratch.values);
                        let values = scratch.values.as_ptr().cast();
                        progress.add_values::<S, F32>(values, first, part, None);
                    }
                }
            }
        }
    }
    let progress = &scratch.progress;
    for i in 0..rows * group {
        let total = progress.softmax[i].1;
        // SAFETY: each query has its own place in `out`.
        let out = unsafe { out.part(place(i), dim) };
        out.iter_mut().zip(&progress.sums[i * width..]).for_each(|(o, sum)| *o = sum / total);
    }
    SCRATCH.set(scratch);
}

impl Scratch {
    /// Scores of all queries with a block's keys, which are decoded for it, from `column` of the scores.
    #[inline(always)]
    unsafe fn score_decoded<S: Simd>(&mut self, stored: &[u8], layout: KvLayout, column: usize) {
        let (dim, tokens) = (layout.head_dim, layout.block_tokens);
        let row = tokens.next_multiple_of(TILE_TOKENS);
        resize(&mut self.keys, dim * row);
        let scaled = layout.dtype == DType::Q8_0;
        let chunk = if scaled { DType::Q8_0.block_len() } else { dim };
        resize(&mut self.key_scales, dim / chunk * row);
        // SAFETY: lengths are those of whole rows; the caller's promise on the instruction set.
        unsafe {
            if scaled {
                let chunks = stored.chunks_exact(tokens * DType::Q8_0.block_bytes());
                for (i, stored) in chunks.enumerate() {
                    let (scales, codes) = stored.split_at(2 * tokens);
                    decode_body::<S>(DType::F16, scales, &mut self.key_scales[i * row..][..tokens]);
                    for (j, codes) in codes.chunks_exact(tokens).enumerate() {
                        let out = &mut self.keys[(i * chunk + j) * row..][..tokens];
                        out.iter_mut().zip(codes).for_each(|(o, c)| *o = f32::from(*c as i8));
                    }
                }
            } else if tokens == row {
                decode_body::<S>(layout.dtype, stored, &mut self.keys);
            } else {
                let rows = stored.chunks_exact(stored.len() / dim).zip(self.keys.chunks_exact_mut(row));
                for (stored, out) in rows {
                    decode_body::<S>(layout.dtype, stored, &mut out[..tokens]);
                }
            }
            let codes = (self.keys.as_ptr().cast(), chunk * row * 4);
            let scales = (self.key_scales.as_ptr().cast(), row * 4);
            let keys = Keys { codes, scales, row, chunk };
            if scaled {
                self.progress.score::<S, F32, F32, true>(keys, column, None);
            } else {
                self.progress.score::<S, F32, F32, false>(keys, column, None);
            }
        }
    }
}

impl Progress {
    /// Begins with `count` queries of `dim` values.
    fn start<'q>(&mut self, count: usize, dim: usize, tokens: usize, query: impl Fn(usize) -> &'q [f32]) {
        (self.dim, self.width) = (dim, dim.next_multiple_of(MAX_LANES));
        self.columns = tokens * SEGMENT_BLOCKS + TILE_TOKENS;
        resize(&mut self.queries, count * dim);
        reset(&mut self.sums, count * self.width);
        resize(&mut self.scores, count * self.columns);
        self.softmax.clear();
        self.softmax.resize(count, (f32::NEG_INFINITY, 0.0));
        for (i, into) in self.queries.chunks_exact_mut(dim).enumerate() {
            into.copy_from_slice(query(i));
        }
    }

    /// Scores of all queries with a block's keys, read as they are stored, from `column` of the scores.
    #[inline(always)]
    unsafe fn score_stored<S: Simd>(
        &mut self,
        stored: &[u8],
        layout: KvLayout,
        column: usize,
        ahead: Option<[*const u8; 2]>,
    ) {
        let (row, dim) = (layout.block_tokens, layout.head_dim);
        let plain = Keys { codes: (stored.as_ptr(), 0), scales: (stored.as_ptr(), 0), row, chunk: dim };
        // SAFETY: the caller's promises.
        unsafe {
            match layout.dtype {
                DType::BF16 => self.score::<S, Bf16, F32, false>(plain, column, ahead),
                DType::F16 => self.score::<S, F16, F32, false>(plain, column, ahead),
                DType::F32 => self.score::<S, F32, F32, false>(plain, column, ahead),
                _ => {
                    let bytes = row * DType::Q8_0.block_bytes();
                    let codes = (stored.as_ptr().add(2 * row), bytes);
                    let keys = Keys { codes, scales: (stored.as_ptr(), bytes), row, chunk: 32 };
                    self.score::<S, I8, F16, true>(keys, column, ahead);
                }
            }
        }
    }

    /// `scores [queries, columns] = queries · keys`, unscaled. `ahead` is asked for meanwhile.
    #[inline(always)]
    unsafe fn score<S: Simd, T: Stored, C: Stored, const SCALED: bool>(
        &mut self,
        keys: Keys,
        column: usize,
        mut ahead: Option<[*const u8; 2]>,
    ) {
        let count = self.softmax.len();
        let mut q = 0;
        while q < count {
            let queries = self.queries[q * self.dim..].as_ptr();
            let mut at = 0;
            while at < keys.row {
                let scores = self.scores[q * self.columns + column + at..].as_mut_ptr();
                let tile = Tile { queries, dim: self.dim, keys, at, scores, columns: self.columns };
                // SAFETY: the caller's promises. Scores have room for a tile beyond a block's last token.
                at += unsafe { some_scores::<S, T, C, SCALED>(tile, count - q, ahead.take()) };
            }
            q += TILE_QUERIES;
        }
    }

    /// Turns all queries' scores into weights, of which query `i` has `seen(i)`, and shortens its sums by as much as its
    /// largest score has grown.
    #[inline(always)]
    unsafe fn soften_all<S: Simd>(&mut self, scale: f32, seen: impl Fn(usize) -> Range<usize>) {
        for i in 0..self.softmax.len() {
            let own = seen(i);
            if own.is_empty() {
                continue;
            }
            let weights = &mut self.scores[i * self.columns..][own];
            // SAFETY: the caller's promise on the instruction set; sums are whole vectors.
            unsafe {
                let keep = S::splat(soften::<S>(weights, scale, &mut self.softmax[i]));
                for sum in self.sums[i * self.width..][..self.width].chunks_exact_mut(S::LANES) {
                    S::store(sum.as_mut_ptr(), S::mul(S::load(sum.as_ptr()), keep));
                }
            }
        }
    }

    /// Adds a block's values, of whose weights query `i` has `part(i)`; the block's first is `first`. As many bytes of `ahead`
    /// are asked for meanwhile.
    #[inline(always)]
    unsafe fn add_values<S: Simd, T: Stored>(
        &mut self,
        values: *const u8,
        first: usize,
        part: impl Fn(usize) -> Range<usize>,
        mut ahead: Option<*const u8>,
    ) {
        let (count, columns, width) = (self.softmax.len(), self.columns, self.width);
        let mut i = 0;
        while i < count {
            let own = part(i);
            // the query heads of a position see the same, and share what is read of the values
            let both = i + 1 < count && part(i + 1) == own;
            let next = i + 1 + usize::from(both);
            if !own.is_empty() {
                let sums = &mut self.sums[i * width..next * width];
                let weights = &self.scores[i * columns..][own.clone()];
                // SAFETY: the caller's promises.
                unsafe {
                    let values = values.add(T::bytes((own.start - first) * width));
                    if both {
                        let second = &self.scores[(i + 1) * columns..][own];
                        if S::WIDE_TILE {
                            accumulate::<S, T, 2, HELD>(sums, [weights, second], values, ahead);
                        } else {
                            accumulate::<S, T, 2, { HELD / 2 }>(sums, [weights, second], values, ahead);
                        }
                    } else {
                        accumulate::<S, T, 1, HELD>(sums, [weights], values, ahead);
                    }
                }
            }
            (i, ahead) = (next, None);
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

/// Decodes the first `count` values' vectors of a head in a block, each padded to `width`.
#[inline(always)]
unsafe fn load_values<S: Simd>(stored: &[u8], layout: KvLayout, count: usize, width: usize, out: &mut [f32]) {
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

/// `sums [Q, width] += Σ weights[q][j] · values[j]`, in the order of `j`, for `Q` queries that have as many weights each; `N` vectors of each at a time.
///
/// # Safety
/// As for [`Simd`]; for each weight, as many values as a query has sums, which is a multiple of every lane count.
#[inline(always)]
unsafe fn accumulate<S: Simd, T: Stored, const Q: usize, const N: usize>(
    sums: &mut [f32],
    weights: [&[f32]; Q],
    values: *const u8,
    ahead: Option<*const u8>,
) {
    let width = sums.len() / Q;
    // SAFETY: the caller's promises.
    unsafe {
        let mut at = 0;
        while at + N * S::LANES <= width {
            accumulate_columns::<S, T, Q, N>(sums, weights, values, at, ahead);
            at += N * S::LANES;
        }
        while at < width {
            accumulate_columns::<S, T, Q, 1>(sums, weights, values, at, ahead);
            at += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn accumulate_columns<S: Simd, T: Stored, const Q: usize, const N: usize>(
    sums: &mut [f32],
    weights: [&[f32]; Q],
    values: *const u8,
    at: usize,
    ahead: Option<*const u8>,
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
                *sum = S::load(sums.add(q * width + c * S::LANES));
            }
        }
        for j in 0..weights[0].len() {
            let place = T::bytes(j * width) + T::bytes(before);
            if let Some(ahead) = ahead {
                for byte in (0..T::bytes(N * S::LANES)).step_by(CACHE_LINE) {
                    S::prefetch(ahead.wrapping_add(place + byte));
                }
            }
            let value = values.add(place);
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
