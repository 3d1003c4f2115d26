//! Attention over a block-paged key-value cache.
//!
//! Keys lie transposed, a block's tokens beside each other, so that a vector of scores grows value by value of the head and
//! never has to be summed across. Softmax runs online, some blocks at a time (Milakov and Gimelshein, arXiv:1805.02867).
//! They are cut at absolute positions, so a row's sums have one order whether it comes in a prompt or alone.

// scores are named by query and vector, which are places of registers
#![allow(clippy::needless_range_loop)]

use crate::decode::decode_body;
use crate::pool::Parts;
use crate::simd::{Bf16, F16, F32, I8, MAX_LANES, Q8, Simd, Stored, simd_kernel};
use crate::{DType, Pool};
use half::f16;
use std::cell::Cell;
use std::ops::Range;

/// One layer's keys or values in `dtype`: blocks of `[kv_heads, head_dim, block_tokens]` for keys, and
/// `[kv_heads, block_tokens, head_dim]` for values. A head's keys in Q8_0 are, for each 32 values, the scales of all tokens
/// and then `[32, block_tokens]` codes.
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

/// Stores keys `rows [tokens, kv_heads, head_dim]` of the batch into the layer's blocks, rounding to nearest even where
/// the cache is narrower than float32.
///
/// # Panics
/// When a sequence has too few blocks, or a block lies outside the cache.
pub fn store_keys(pool: &Pool, rows: &[f32], layout: KvLayout, seqs: &[SequenceRows<'_>], cache: &mut [u8]) {
    let (dim, tokens) = (layout.head_dim, layout.block_tokens);
    for_blocks(pool, layout, seqs, cache, &|head, first, places, block| {
        for (row, place) in (first..).zip(places) {
            let key = &rows[(row * layout.kv_heads + head) * dim..][..dim];
            store_column(layout.dtype, key, place, tokens, block);
        }
    });
}

/// Stores values, as [`store_keys`] does keys.
///
/// # Panics
/// As [`store_keys`].
pub fn store_values(
    pool: &Pool,
    rows: &[f32],
    layout: KvLayout,
    seqs: &[SequenceRows<'_>],
    cache: &mut [u8],
) {
    let (dim, bytes) = (layout.head_dim, layout.vector_bytes());
    for_blocks(pool, layout, seqs, cache, &|head, first, places, block| {
        for (row, place) in (first..).zip(places) {
            let values = &rows[(row * layout.kv_heads + head) * dim..][..dim];
            narrow(layout.dtype, values, &mut block[place * bytes..][..bytes]);
        }
    });
}

type StoreRows<'a> = dyn Fn(usize, usize, Range<usize>, &mut [u8]) + Sync + 'a;

/// Calls `store(head, first, places, block)` for each head of each block that rows touch: rows from `first` go to these
/// places among the block's tokens.
fn for_blocks(
    pool: &Pool,
    layout: KvLayout,
    seqs: &[SequenceRows<'_>],
    cache: &mut [u8],
    store: &StoreRows<'_>,
) {
    let cache = Parts::new(cache);
    let tokens = layout.block_tokens;
    for s in seqs.iter().filter(|s| s.len > 0) {
        let first = s.past / tokens;
        let blocks = (s.past + s.len).div_ceil(tokens) - first;
        pool.run(blocks, &|task| {
            let block = first + task;
            let positions = (block * tokens).max(s.past)..((block + 1) * tokens).min(s.past + s.len);
            let places = positions.start - block * tokens..positions.end - block * tokens;
            for head in 0..layout.kv_heads {
                let at = layout.head_bytes(s.blocks[block], head);
                // SAFETY: a block is one sequence's, and each of its blocks is one task's.
                let bytes = unsafe { cache.part(at.start, at.len()) };
                store(head, s.start + positions.start - s.past, places.clone(), bytes);
            }
        });
    }
}

/// Writes a key as column `token` of `[head_dim, tokens]`.
fn store_column(dtype: DType, key: &[f32], token: usize, tokens: usize, block: &mut [u8]) {
    if dtype == DType::Q8_0 {
        return store_codes(key, token, tokens, block);
    }
    let size = dtype.block_bytes();
    let places = block[token * size..].chunks_mut(tokens * size);
    match dtype {
        DType::F32 => places.zip(key).for_each(|(o, v)| o[..4].copy_from_slice(&v.to_le_bytes())),
        DType::F16 => {
            places.zip(key).for_each(|(o, v)| o[..2].copy_from_slice(&f16::from_f32(*v).to_le_bytes()))
        }
        DType::BF16 => places.zip(key).for_each(|(o, v)| o[..2].copy_from_slice(&to_bf16(*v).to_le_bytes())),
        other => panic!("a cache is F32, F16, BF16 or Q8_0, not {}", other.name()),
    }
}

/// The same in 8 bits, with its scales.
fn store_codes(values: &[f32], token: usize, tokens: usize, block: &mut [u8]) {
    let (len, bytes) = (DType::Q8_0.block_len(), DType::Q8_0.block_bytes());
    let mut narrowed = [0u8; 34];
    for (values, out) in values.chunks_exact(len).zip(block.chunks_exact_mut(bytes * tokens)) {
        narrow_block(values, &mut narrowed);
        let (scales, codes) = out.split_at_mut(2 * tokens);
        scales[2 * token..2 * token + 2].copy_from_slice(&narrowed[..2]);
        for (codes, code) in codes.chunks_exact_mut(tokens).zip(&narrowed[2..]) {
            codes[token] = *code;
        }
    }
}

/// Rounds to nearest even; what is no number stays none. The compiler makes vectors of it.
fn to_bf16(v: f32) -> u16 {
    let bits = v.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if v.is_nan() { (bits >> 16) as u16 | 0x40 } else { rounded }
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
            .for_each(|(o, v)| o.copy_from_slice(&to_bf16(*v).to_le_bytes())),
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
    /// `[queries, columns]`: scores of some blocks, with room for a vector beyond them.
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
/// Queries of a tile of scores, which is [`TILE_VECTORS`] vectors wide: 12 sums.
const TILE_QUERIES: usize = 6;
const TILE_VECTORS: usize = 2;
/// Up to so many queries have twice as many vectors, so that sums don't wait for each other.
const FEW_QUERIES: usize = 2;
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
    scratch.progress.start(rows * group, dim, tokens, |i| &q[place(i)..][..dim]);
    let width = scratch.progress.width;
    let direct = rows * group <= DIRECT_QUERIES && dim == width && tokens.is_multiple_of(MAX_LANES);
    let blocks = sight.of_row(0).start / tokens..sight.of_row(rows - 1).end.div_ceil(tokens);
    let at = |block: usize| layout.head_bytes(seq.blocks[block], kv_head);
    for segment in blocks.start / SEGMENT_BLOCKS..blocks.end.div_ceil(SEGMENT_BLOCKS) {
        let start = (segment * SEGMENT_BLOCKS).max(blocks.start);
        let end = ((segment + 1) * SEGMENT_BLOCKS).min(blocks.end);
        let seen = |i: usize| sight.of_query(i, start * tokens, (end - start) * tokens);
        // SAFETY: the caller's promise on the instruction set; keys and values are whole blocks of a head.
        unsafe {
            for block in start..end {
                let keys = &cache.keys[at(block)];
                let column = (block - start) * tokens;
                if direct {
                    let next = if block + 1 < blocks.end { &cache.keys[at(block + 1)] } else { keys };
                    let ahead = Some([cache.values[at(block)].as_ptr(), next.as_ptr()]);
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
                let values = stored.as_ptr();
                let progress = &mut scratch.progress;
                match layout.dtype {
                    DType::BF16 if direct => progress.add_values::<S, Bf16>(values, first, part),
                    DType::F16 if direct => progress.add_values::<S, F16>(values, first, part),
                    DType::F32 if direct => progress.add_values::<S, F32>(values, first, part),
                    DType::Q8_0 if direct => progress.add_values::<S, Q8>(values, first, part),
                    _ => {
                        let count = tokens.min(sight.of_row(rows - 1).end - block * tokens);
                        // only what pads whole vectors has to be zero
                        let clean = if dim == width { resize } else { reset };
                        clean(&mut scratch.values, tokens * width);
                        load_values::<S>(stored, layout, count, width, &mut scratch.values);
                        let values = scratch.values.as_ptr().cast();
                        progress.add_values::<S, F32>(values, first, part);
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

/// A block's keys of a head `[head_dim, row]`, which may have scales for each `chunk` values.
#[derive(Clone, Copy)]
struct Keys {
    /// Of the first chunk, with bytes from one chunk to the next.
    codes: (*const u8, usize),
    scales: (*const u8, usize),
    /// Tokens of a row, a multiple of every lane count.
    row: usize,
    chunk: usize,
}

impl Scratch {
    /// Scores of all queries with a block's keys, which are decoded for it, from `column` of the scores.
    #[inline(always)]
    unsafe fn score_decoded<S: Simd>(&mut self, stored: &[u8], layout: KvLayout, column: usize) {
        let (dim, tokens) = (layout.head_dim, layout.block_tokens);
        let row = tokens.next_multiple_of(MAX_LANES);
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
        self.columns = tokens * SEGMENT_BLOCKS + MAX_LANES;
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

    /// `scores [queries, columns] = queries · keys`, unscaled. What is read next is asked for meanwhile: blocks lie anywhere
    /// and are too short for the processor to see a stream.
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
                // SAFETY: the caller's promises. Scores have room for a vector beyond a block's last token.
                unsafe {
                    let ahead = ahead.take();
                    if count - q <= FEW_QUERIES && at + 2 * TILE_VECTORS * S::LANES <= keys.row {
                        some_scores::<S, T, C, SCALED, { 2 * TILE_VECTORS }>(tile, count - q, ahead);
                        at += 2 * TILE_VECTORS * S::LANES;
                    } else if at + TILE_VECTORS * S::LANES <= keys.row {
                        some_scores::<S, T, C, SCALED, TILE_VECTORS>(tile, count - q, ahead);
                        at += TILE_VECTORS * S::LANES;
                    } else {
                        some_scores::<S, T, C, SCALED, 1>(tile, count - q, ahead);
                        at += S::LANES;
                    }
                }
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

    /// Adds a block's values, of whose weights query `i` has `part(i)`; the block's first is `first`.
    #[inline(always)]
    unsafe fn add_values<S: Simd, T: Stored>(
        &mut self,
        values: *const u8,
        first: usize,
        part: impl Fn(usize) -> Range<usize>,
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
                            accumulate::<S, T, 2, HELD>(sums, [weights, second], values);
                        } else {
                            accumulate::<S, T, 2, { HELD / 2 }>(sums, [weights, second], values);
                        }
                    } else {
                        accumulate::<S, T, 1, HELD>(sums, [weights], values);
                    }
                }
            }
            i = next;
        }
    }
}

/// Scores that are computed together: of some queries `[.., dim]` with tokens from `at`.
#[derive(Clone, Copy)]
struct Tile {
    queries: *const f32,
    dim: usize,
    keys: Keys,
    at: usize,
    /// `[.., columns]`.
    scores: *mut f32,
    columns: usize,
}

/// Up to [`TILE_QUERIES`] queries of a tile.
#[inline(always)]
unsafe fn some_scores<S: Simd, T: Stored, C: Stored, const SCALED: bool, const N: usize>(
    tile: Tile,
    queries: usize,
    ahead: Option<[*const u8; 2]>,
) {
    // SAFETY: the caller's promises.
    unsafe {
        match queries {
            1 => tile_scores::<S, T, C, SCALED, 1, N>(tile, ahead),
            2 => tile_scores::<S, T, C, SCALED, 2, N>(tile, ahead),
            3 => tile_scores::<S, T, C, SCALED, 3, N>(tile, ahead),
            4 => tile_scores::<S, T, C, SCALED, 4, N>(tile, ahead),
            5 => tile_scores::<S, T, C, SCALED, 5, N>(tile, ahead),
            _ => tile_scores::<S, T, C, SCALED, TILE_QUERIES, N>(tile, ahead),
        }
    }
}

/// `Q` queries with `N` vectors of tokens. Each score is summed in the order of the head's values.
///
/// # Safety
/// As for [`Simd`]; keys and queries of `dim` values, and room for the scores.
#[inline(always)]
unsafe fn tile_scores<S: Simd, T: Stored, C: Stored, const SCALED: bool, const Q: usize, const N: usize>(
    tile: Tile,
    ahead: Option<[*const u8; 2]>,
) {
    let Tile { queries, dim, keys, at, scores, columns } = tile;
    // SAFETY: the caller's promises.
    unsafe {
        let mut totals = [[S::splat(0.0); N]; Q];
        for chunk in 0..dim / keys.chunk {
            let codes = keys.codes.0.add(chunk * keys.codes.1);
            let mut sums = if SCALED { [[S::splat(0.0); N]; Q] } else { totals };
            for d in 0..keys.chunk {
                if let Some(ahead) = ahead {
                    for byte in (0..T::bytes(keys.row)).step_by(CACHE_LINE) {
                        let byte = (chunk * keys.chunk + d) * T::bytes(keys.row) + byte;
                        S::prefetch(ahead[0].wrapping_add(byte));
                        S::prefetch(ahead[1].wrapping_add(byte));
                    }
                }
                let mut loaded = [S::splat(0.0); N];
                for n in 0..N {
                    loaded[n] = T::load::<S>(codes, d * keys.row + at + n * S::LANES);
                }
                for q in 0..Q {
                    let x = S::splat(*queries.add(q * dim + chunk * keys.chunk + d));
                    for n in 0..N {
                        sums[q][n] = S::fma(x, loaded[n], sums[q][n]);
                    }
                }
            }
            if SCALED {
                let scales = keys.scales.0.add(chunk * keys.scales.1);
                for n in 0..N {
                    let scale = C::load::<S>(scales, at + n * S::LANES);
                    for q in 0..Q {
                        totals[q][n] = S::fma(scale, sums[q][n], totals[q][n]);
                    }
                }
            } else {
                totals = sums;
            }
        }
        for q in 0..Q {
            for n in 0..N {
                S::store(scores.add(q * columns + n * S::LANES), totals[q][n]);
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
) {
    let width = sums.len() / Q;
    // SAFETY: the caller's promises.
    unsafe {
        let mut at = 0;
        while at + N * S::LANES <= width {
            accumulate_columns::<S, T, Q, N>(sums, weights, values, at);
            at += N * S::LANES;
        }
        while at < width {
            accumulate_columns::<S, T, Q, 1>(sums, weights, values, at);
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
