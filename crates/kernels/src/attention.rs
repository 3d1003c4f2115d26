//! Attention over a block-paged key-value cache.
//!
//! Keys lie transposed, a block's tokens beside each other, so that a vector of scores grows value by value of the head and
//! never has to be summed across. Softmax runs online, some blocks at a time (Milakov and Gimelshein, arXiv:1805.02867).
//! They are cut at absolute positions, so a row's sums have one order whether it comes in a prompt or alone.
//!
//! Products are made in float32 ([`floats`]), or in pairs of BF16 values where the processor has them and the cache's values can be made
//! such ([`pairs`]).

mod cache;
mod floats;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod tile;

pub use cache::{KvLayout, SequenceRows, store_rows};

use crate::matmul::rounds_activations;
use crate::pool::Parts;
use crate::simd::{MAX_LANES, Simd, simd_kernel};
use crate::{Aligned, DType, Pool};
use floats::Floats;
use std::cell::Cell;
use std::ops::Range;
use tile::TILE_TOKENS;

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

/// Whether attention over a cache of this layout rounds queries and weights to BF16: in BF16 where
/// [`rounds_activations`] says so of such weights, and in 8 bits where there are shuffles of bytes (VBMI) besides, for heads and blocks of
/// whole vectors.
pub fn rounds_queries(layout: KvLayout) -> bool {
    let whole = [layout.head_dim, layout.block_tokens].iter().all(|len| len.is_multiple_of(2 * MAX_LANES));
    let paired = match layout.dtype {
        DType::BF16 => true,
        #[cfg(target_arch = "x86_64")]
        DType::Q8_0 => is_x86_feature_detected!("avx512vbmi"),
        _ => false,
    };
    whole && paired && rounds_activations(DType::BF16)
}

/// Causal attention of `q [tokens, heads, head_dim]` over the sequences' keys and values (the batch's own rows
/// are stored already), into `out` of the same shape. Sums are float32; queries and weights are rounded to BF16 where
/// [`rounds_queries`] says so.
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
        let (seq, kv_head, from) = tasks[tasks.len() - 1 - i];
        let task = Task { q, cache, shape, seq, kv_head, from, rows: TASK_ROWS.min(seq.len - from) };
        #[cfg(target_arch = "x86_64")]
        if rounds_queries(layout) {
            // SAFETY: the processor has the instructions.
            return unsafe {
                match layout.dtype {
                    DType::Q8_0 => pairs::attend_in_8_bits(task, &out),
                    _ => pairs::attend(task, &out),
                }
            };
        }
        attend(task, &out);
    });
}

#[derive(Clone, Copy)]
struct Cache<'a> {
    keys: &'a [u8],
    values: &'a [u8],
    layout: KvLayout,
}

/// Attention of `rows` positions from row `from` of a sequence, for all query heads of `kv_head`.
#[derive(Clone, Copy)]
struct Task<'a> {
    q: &'a [f32],
    cache: Cache<'a>,
    shape: AttentionShape,
    seq: &'a SequenceRows<'a>,
    kv_head: usize,
    from: usize,
    rows: usize,
}

simd_kernel! {
    fn attend(task: Task<'_>, out: &Parts<f32>) = attend_in_floats;
}

#[inline(always)]
unsafe fn attend_in_floats<S: Simd>(task: Task<'_>, out: &Parts<f32>) {
    // SAFETY: the caller's promise.
    unsafe { attend_body::<S, Floats>(task, out) }
}

/// How scores and sums are made.
trait Products<S: Simd> {
    /// Takes the queries.
    ///
    /// # Safety
    /// Here and below: as for [`Simd`], and the cache is of a layout that these products are for.
    unsafe fn begin<'q>(scratch: &mut Scratch, query: impl Fn(usize) -> &'q [f32]);
    /// Scores of all queries with a block's keys, from `column` of the scores, unscaled. Keys are read as they are stored if
    /// `direct`, and then `ahead` is asked for meanwhile.
    unsafe fn score(
        scratch: &mut Scratch,
        block: Block<'_>,
        column: usize,
        direct: bool,
        ahead: [*const u8; 2],
    );
    /// Adds a block's values, of whose weights query `i` has `part(i)`; the block's first is `first`.
    unsafe fn add(
        scratch: &mut Scratch,
        block: Block<'_>,
        first: usize,
        part: impl Fn(usize) -> Range<usize>,
        read: Read,
    );
}

/// A head's keys or values in a block.
#[derive(Clone, Copy)]
struct Block<'a> {
    stored: &'a [u8],
    layout: KvLayout,
}

/// Values of a head that have a scale of their own, in a cache that has scales.
const CHUNK: usize = DType::Q8_0.block_len();

impl<'a> Block<'a> {
    /// Its scales, if there are some, and its rows: those of keys are values of the head, those of values are tokens.
    fn scales_and_rows(self) -> (&'a [u8], &'a [u8]) {
        self.stored.split_at(self.layout.scale_bytes())
    }
}

/// How values are read.
#[derive(Clone, Copy)]
enum Read {
    /// As they are stored; as many bytes are asked for meanwhile.
    Direct(Option<*const u8>),
    /// So many of them are decoded first, which all queries share.
    Decoded(usize),
}

/// Memory of one task.
#[derive(Default)]
struct Scratch {
    progress: Progress,
    /// A block's keys `[head_dim, tokens]`, decoded but for their scales if they have some, with tokens of whole tiles; or their pairs
    /// `[head_dim / 2, tokens]`.
    keys: Aligned<f32>,
    /// Scales of a block's keys, or of its values: `[head_dim / 32, tokens]`.
    scales: Aligned<f32>,
    /// A block's weights of two queries, times the scales.
    weights: Aligned<f32>,
    /// A block's values `[block_tokens, width]`, decoded; or their pairs `[block_tokens / 2, width]`.
    values: Aligned<f32>,
    /// In BF16: queries `[queries, dim]`, and a block's weights of two of them.
    #[cfg(target_arch = "x86_64")]
    rounded_queries: Aligned<u16>,
    #[cfg(target_arch = "x86_64")]
    rounded_weights: Aligned<u16>,
}

/// What a task knows of its queries after some blocks. Sums of a head are padded with zeros to `width`, a multiple of every
/// lane count.
#[derive(Default)]
struct Progress {
    dim: usize,
    width: usize,
    /// `[queries, dim]`, unless they are rounded.
    queries: Aligned<f32>,
    /// `[queries, width]`, which become the results.
    sums: Aligned<f32>,
    /// `[queries, columns]`: scores of some blocks, with room for a tile beyond them.
    scores: Aligned<f32>,
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

#[inline(always)]
unsafe fn attend_body<S: Simd, P: Products<S>>(task: Task<'_>, out: &Parts<f32>) {
    let Task { q, cache, shape, seq, kv_head, from, rows } = task;
    let layout = cache.layout;
    let (dim, tokens) = (layout.head_dim, layout.block_tokens);
    let group = shape.heads / layout.kv_heads;
    // query `i` is row `from + i / group` and head `kv_head * group + i % group`
    let place = |i: usize| ((seq.start + from + i / group) * shape.heads + kv_head * group + i % group) * dim;
    let sight = Sight { first: seq.past + from, group, window: shape.window };
    let mut scratch = SCRATCH.take();
    scratch.progress.start(rows * group, dim, tokens);
    // SAFETY: the caller's promise on the instruction set.
    unsafe { P::begin(&mut scratch, |i| &q[place(i)..][..dim]) };
    let width = scratch.progress.width;
    let direct = rows * group <= DIRECT_QUERIES && dim == width && tokens.is_multiple_of(TILE_TOKENS);
    let blocks = sight.of_row(0).start / tokens..sight.of_row(rows - 1).end.div_ceil(tokens);
    let at = |block: usize| layout.head_bytes(seq.blocks[block], kv_head);
    for segment in blocks.start / SEGMENT_BLOCKS..blocks.end.div_ceil(SEGMENT_BLOCKS) {
        let start = (segment * SEGMENT_BLOCKS).max(blocks.start);
        let end = ((segment + 1) * SEGMENT_BLOCKS).min(blocks.end);
        let seen = |i: usize| sight.of_query(i, start * tokens, (end - start) * tokens);
        // Blocks lie anywhere and are too short for the processor to see a stream. Scores ask for the values, and values for
        // the next segment's keys, so that memory is as busy in both; the first segment's keys are left to scores.
        let next_keys = |block: usize| {
            (start == blocks.start && block + 1 < end).then(|| cache.keys[at(block + 1)].as_ptr())
        };
        let later_keys = |block: usize| {
            let block = block + SEGMENT_BLOCKS;
            (block < blocks.end).then(|| cache.keys[at(block)].as_ptr())
        };
        // SAFETY: the caller's promise on the instruction set; keys and values are whole blocks of a head.
        unsafe {
            for block in start..end {
                let values = cache.values[at(block)].as_ptr();
                // two of one place, since a choice in there would be made for each of a key's values
                let ahead = [values, next_keys(block).unwrap_or(values)];
                let keys = Block { stored: &cache.keys[at(block)], layout };
                P::score(&mut scratch, keys, (block - start) * tokens, direct, ahead);
            }
            for i in 0..rows * group {
                let own = seen(i);
                if !own.is_empty() {
                    scratch.progress.soften_scores::<S>(i, own.clone(), shape.scale);
                }
            }
            for block in start..end {
                let first = (block - start) * tokens;
                let part = |i: usize| {
                    let seen = seen(i);
                    seen.start.clamp(first, first + tokens)..seen.end.clamp(first, first + tokens)
                };
                let read = match direct {
                    true => Read::Direct(later_keys(block)),
                    false => Read::Decoded(tokens.min(sight.of_row(rows - 1).end - block * tokens)),
                };
                let values = Block { stored: &cache.values[at(block)], layout };
                P::add(&mut scratch, values, first, part, read);
            }
        }
    }
    let progress = &scratch.progress;
    for i in 0..rows * group {
        let factor = 1.0 / progress.softmax[i].1;
        // SAFETY: each query has its own place in `out`.
        let out = unsafe { out.part(place(i), dim) };
        out.iter_mut().zip(&progress.sums[i * width..]).for_each(|(o, sum)| *o = sum * factor);
    }
    SCRATCH.set(scratch);
}

/// The queries, one or two at a time, with the part of a block's weights that each has: the query heads of a position see the
/// same, and share what is read of the values.
fn shared(
    count: usize,
    part: impl Fn(usize) -> Range<usize>,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let mut i = 0;
    std::iter::from_fn(move || {
        (i < count).then(|| {
            let (first, own) = (i, part(i));
            let both = i + 1 < count && part(i + 1) == own;
            i += 1 + usize::from(both);
            (first..i, own)
        })
    })
}

impl Progress {
    /// Begins with `count` queries of `dim` values.
    fn start(&mut self, count: usize, dim: usize, tokens: usize) {
        (self.dim, self.width) = (dim, dim.next_multiple_of(MAX_LANES));
        self.columns = tokens * SEGMENT_BLOCKS + TILE_TOKENS;
        self.sums.reset(count * self.width);
        self.scores.resize(count * self.columns);
        self.softmax.clear();
        self.softmax.resize(count, (f32::NEG_INFINITY, 0.0));
    }

    /// Turns query `i`'s scores `own` into weights, and shortens its sums by as much as its largest score has grown.
    #[inline(always)]
    unsafe fn soften_scores<S: Simd>(&mut self, i: usize, own: Range<usize>, scale: f32) {
        let scores = &mut self.scores[i * self.columns..(i + 1) * self.columns];
        // up to a whole vector, for which there is room, by what weighs e^-87, which no sum notices that has a 1 in it
        let whole = own.start..own.start + own.len().next_multiple_of(S::LANES);
        scores[own.end..whole.end].fill(LEAST);
        // SAFETY: the caller's promise on the instruction set; sums are whole vectors.
        unsafe {
            let keep = S::splat(soften::<S>(&mut scores[whole], scale, &mut self.softmax[i]));
            for sum in self.sums[i * self.width..][..self.width].chunks_exact_mut(S::LANES) {
                S::store(sum.as_mut_ptr(), S::mul(S::load(sum.as_ptr()), keep));
            }
        }
    }
}

/// A score that is less than all others, but a number.
const LEAST: f32 = -1e30;

/// Turns scores, whole vectors, into weights relative to the largest score so far, and returns the factor that earlier sums
/// must be multiplied with. If a score is no number, neither is the total.
#[inline(always)]
unsafe fn soften<S: Simd>(scores: &mut [f32], scale: f32, (max, total): &mut (f32, f32)) -> f32 {
    let mut lanes = [0.0f32; MAX_LANES];
    // SAFETY: the caller's promise on the instruction set; `lanes` holds a vector.
    unsafe {
        let scale = S::splat(scale);
        let mut largest = S::splat(*max);
        let mut broken = S::splat(0.0);
        for scores in scores.chunks_exact(S::LANES) {
            let scaled = S::mul(S::load(scores.as_ptr()), scale);
            largest = S::max(largest, scaled);
            // comparisons and exponentials lose what is no number, products with zero keep it
            broken = S::fma(scaled, S::splat(0.0), broken);
        }
        let largest = S::largest(largest);
        let down = S::splat(-largest);
        let keep = S::exp(S::add(S::splat(*max), down));
        let mut sum = S::splat(0.0);
        for scores in scores.chunks_exact_mut(S::LANES) {
            let weights = S::exp(S::add(S::mul(S::load(scores.as_ptr()), scale), down));
            S::store(scores.as_mut_ptr(), weights);
            sum = S::add(sum, weights);
        }
        S::store(lanes.as_mut_ptr(), keep);
        *max = largest;
        *total = *total * lanes[0] + S::sum(S::add(sum, broken));
    }
    lanes[0]
}
