//! Scores and sums over a cache in BF16 or 8 bits, on processors that multiply pairs of BF16 values: twice the products of an
//! instruction in float32. Queries and weights are rounded to BF16, as PyTorch does; sums are float32.
//!
//! A pair of keys' values are neighbours in a head, a pair of values neighbours in time. Both lie in two rows of the cache, which are
//! woven: for few queries as they are read, for many once. What stands beside a sequence's last token is taken for zero, since
//! its place may hold no number. Beside the last token that a query sees there may be a later one of its sequence, which has a
//! weight of zero, and has to be finite.
//!
//! Codes of 8 bits are BF16 values as they are. Scales of keys are factors of sums over 32 values of a head; scales of values are factors
//! of the weights, so that a query has weights of its own for each 32.

// sums are named by query and vector, which are places of registers
#![allow(clippy::needless_range_loop)]

use super::tile::TILE_QUERIES;
use super::{Block, CHUNK, Products, Read, Scratch, Task, attend_body, shared};
use crate::bf16::{CodeWeaver, LANES, PAIRS, multiply_pairs, round_row, weave};
use crate::pool::Parts;
use crate::simd::x86::Avx512;
use crate::simd::{CACHE_LINE, Simd};
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::ops::Range;

/// [`super::attend`] over a cache in BF16.
///
/// # Safety
/// [`super::rounds_queries`] says so of the cache.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
pub(super) unsafe fn attend(task: Task<'_>, out: &Parts<f32>) {
    // SAFETY: the caller's promise.
    unsafe { attend_body::<Avx512, Pairs<Bf16>>(task, out) }
}

/// [`super::attend`] over a cache in 8 bits.
///
/// # Safety
/// [`super::rounds_queries`] says so of the cache.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vbmi,avx2,fma,f16c")]
pub(super) unsafe fn attend_in_8_bits(task: Task<'_>, out: &Parts<f32>) {
    // SAFETY: the caller's promise.
    unsafe { attend_body::<Avx512, Pairs<Codes>>(task, out) }
}

/// A type of cache whose rows are read as pairs of BF16 values.
///
/// # Safety
/// All functions require that the processor has [`crate::Isa::Avx512Bf16`], and what the type needs beyond that.
trait Cached: Copy {
    /// Whether there is a scale for each [`CHUNK`] of a head's values, as many as two vectors of pairs.
    const SCALED: bool;
    /// Bytes of a value without its scale.
    const BYTES: usize;

    /// What reads pairs, to be made before a loop.
    unsafe fn reader() -> Self;

    /// The pairs of row `2 · pair` and the next one, of [`LANES`] values from `at`. Without the `second` row zeros may stand for it.
    ///
    /// # Safety
    /// An even number of rows of `len` values is there.
    unsafe fn pairs(self, rows: *const u8, len: usize, pair: usize, at: usize, second: bool) -> [__m512i; 2];
}

#[derive(Clone, Copy)]
struct Bf16;

impl Cached for Bf16 {
    const SCALED: bool = false;
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn reader() -> Bf16 {
        Bf16
    }

    #[inline(always)]
    unsafe fn pairs(self, rows: *const u8, len: usize, pair: usize, at: usize, second: bool) -> [__m512i; 2] {
        let there = if second { u32::MAX } else { 0 };
        // SAFETY: the caller's promise; what is masked is not read.
        unsafe {
            let first = rows.cast::<u16>().add(2 * pair * len + at);
            let second = _mm512_maskz_loadu_epi16(there, first.add(len).cast());
            weave(_mm512_loadu_si512(first.cast()), second)
        }
    }
}

/// Codes of 8 bits, each of which is a number. Requires VBMI.
#[derive(Clone, Copy)]
struct Codes(CodeWeaver);

impl Cached for Codes {
    const SCALED: bool = true;
    const BYTES: usize = 1;

    #[inline(always)]
    unsafe fn reader() -> Codes {
        // SAFETY: the caller's promise.
        Codes(unsafe { CodeWeaver::new() })
    }

    #[inline(always)]
    unsafe fn pairs(self, rows: *const u8, len: usize, pair: usize, at: usize, _: bool) -> [__m512i; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let first = rows.add(2 * pair * len + at);
            self.0.weave(first, first.add(len))
        }
    }
}

const _: () = assert!(CHUNK == LANES);

/// Over caches of which [`super::rounds_queries`] says so: heads and blocks of whole vectors.
struct Pairs<C>(PhantomData<C>);

impl<C: Cached> Products<Avx512> for Pairs<C> {
    #[inline(always)]
    unsafe fn begin<'q>(scratch: &mut Scratch, query: impl Fn(usize) -> &'q [f32]) {
        let Scratch { progress, rounded_queries, .. } = scratch;
        rounded_queries.resize(progress.softmax.len() * progress.dim);
        for (i, into) in rounded_queries.chunks_exact_mut(progress.dim).enumerate() {
            // SAFETY: the caller's promise. A head's values are whole vectors.
            unsafe { round_row(query(i), into) };
        }
    }

    #[inline(always)]
    unsafe fn score(
        scratch: &mut Scratch,
        keys: Block<'_>,
        column: usize,
        direct: bool,
        ahead: [*const u8; 2],
    ) {
        let (dim, row) = (keys.layout.head_dim, keys.layout.block_tokens);
        let (count, columns) = (scratch.progress.softmax.len(), scratch.progress.columns);
        let (scales, rows) = keys.scales_and_rows();
        let rows = rows.as_ptr();
        if !direct {
            scratch.keys.resize(dim / 2 * row);
            // SAFETY: the caller's promise.
            let reader = unsafe { C::reader() };
            for (pair, woven) in scratch.keys.chunks_exact_mut(row).enumerate() {
                // SAFETY: the keys have `dim` rows; the caller's promise.
                unsafe { store_pairs(reader, rows, pair, true, woven) };
            }
        }
        for q in (0..count).step_by(TILE_QUERIES) {
            let mut at = 0;
            while at < row {
                let tile = Tile {
                    queries: scratch.rounded_queries[q * dim..].as_ptr().cast(),
                    half: dim / 2,
                    scales: scales.as_ptr().cast(),
                    rows,
                    woven: scratch.keys.as_ptr(),
                    row,
                    at,
                    scores: scratch.progress.scores[q * columns + column + at..].as_mut_ptr(),
                    columns,
                };
                // SAFETY: the keys have `half` rows of pairs, or twice as many of values; scores have room for `count` queries
                // with all tokens of the block; the caller's promise.
                at += unsafe {
                    match direct {
                        true => some_scores::<C, true>(tile, count - q, (q == 0).then_some(ahead)),
                        false => some_scores::<C, false>(tile, count - q, None),
                    }
                };
            }
        }
    }

    #[inline(always)]
    unsafe fn add(
        scratch: &mut Scratch,
        values: Block<'_>,
        first: usize,
        part: impl Fn(usize) -> Range<usize>,
        read: Read,
    ) {
        let Scratch { progress, values: woven, rounded_weights, .. } = scratch;
        let (count, columns, width) = (progress.softmax.len(), progress.columns, progress.width);
        let block_tokens = values.layout.block_tokens;
        let (scales, rows) = values.scales_and_rows();
        let rows = rows.as_ptr();
        let chunks = if C::SCALED { width / CHUNK } else { 1 };
        rounded_weights.resize(2 * chunks * block_tokens);
        if let Read::Decoded(tokens) = read {
            woven.resize(block_tokens / 2 * width);
            // SAFETY: the caller's promise.
            let reader = unsafe { C::reader() };
            for (pair, woven) in woven.chunks_exact_mut(width).take(tokens.div_ceil(2)).enumerate() {
                // SAFETY: the values have a row for each token of the block; the caller's promise.
                unsafe { store_pairs(reader, rows, pair, 2 * pair + 1 < tokens, woven) };
            }
        }
        let mut ahead = match read {
            Read::Direct(ahead) => ahead,
            Read::Decoded(_) => None,
        };
        for (queries, own) in shared(count, part) {
            let ahead = ahead.take();
            if own.is_empty() {
                continue;
            }
            let tokens = own.start - first..own.end - first;
            for (i, rounded) in queries.clone().zip(rounded_weights.chunks_exact_mut(chunks * block_tokens)) {
                let weights = &progress.scores[i * columns + first..][..block_tokens];
                // SAFETY: a block is whole vectors; the caller's promise.
                unsafe { round_weights::<C>(weights, tokens.clone(), scales, rounded) };
            }
            let sums = &mut progress.sums[queries.start * width..queries.end * width];
            let values = Values {
                weights: rounded_weights.as_ptr().cast(),
                pairs: block_tokens / 2,
                chunks,
                rows,
                woven: woven.as_ptr(),
                tokens,
                ahead,
            };
            // SAFETY: weights and values have all pairs of these tokens; the caller's promise.
            unsafe {
                match (read, queries.len()) {
                    (Read::Direct(_), 2) => accumulate::<C, true, 2>(sums, values),
                    (Read::Direct(_), _) => accumulate::<C, true, 1>(sums, values),
                    (Read::Decoded(_), 2) => accumulate::<C, false, 2>(sums, values),
                    (Read::Decoded(_), _) => accumulate::<C, false, 1>(sums, values),
                }
            }
        }
    }
}

/// Writes a row of pairs, whole vectors.
#[inline(always)]
unsafe fn store_pairs<C: Cached>(reader: C, rows: *const u8, pair: usize, second: bool, row: &mut [f32]) {
    let len = row.len();
    for (i, out) in row.chunks_exact_mut(LANES).enumerate() {
        // SAFETY: the rows are as long; both vectors have room; the caller's promise.
        unsafe {
            let [low, high] = reader.pairs(rows, len, pair, i * LANES, second);
            _mm512_storeu_si512(out.as_mut_ptr().cast(), low);
            _mm512_storeu_si512(out.as_mut_ptr().add(PAIRS).cast(), high);
        }
    }
}

/// Two vectors of a row that [`store_pairs`] has written.
#[inline(always)]
unsafe fn load_pairs(woven: *const f32) -> [__m512i; 2] {
    // SAFETY: the caller's promise.
    unsafe { [_mm512_loadu_si512(woven.cast()), _mm512_loadu_si512(woven.add(PAIRS).cast())] }
}

/// Bytes of a scale, which is in half precision.
const SCALE_BYTES: usize = 2;

/// Sixteen scales from `at`.
#[inline(always)]
unsafe fn load_scales(scales: *const u16, at: usize) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(scales.add(at).cast())) }
}

/// Writes a query's weights `tokens` of a block in BF16, with zeros for the others; if there are scales `[chunks, tokens of the block]`,
/// times each chunk's.
#[inline(always)]
unsafe fn round_weights<C: Cached>(
    weights: &[f32],
    tokens: Range<usize>,
    scales: &[u8],
    rounded: &mut [u16],
) {
    for (chunk, rounded) in rounded.chunks_exact_mut(weights.len()).enumerate() {
        for at in (0..weights.len()).step_by(LANES) {
            let [start, end] = [tokens.start, tokens.end].map(|token| token.saturating_sub(at).min(LANES));
            let own = ((1u64 << end) - (1u64 << start)) as u32;
            // SAFETY: whole vectors of weights, and as many scales of each chunk; the caller's promise.
            unsafe {
                let load = |at: usize, own: u16| {
                    let weights = _mm512_maskz_loadu_ps(own, weights.as_ptr().add(at));
                    if !C::SCALED {
                        return weights;
                    }
                    let scales = load_scales(scales.as_ptr().cast(), chunk * rounded.len() + at);
                    // what stands beside the tokens may be no number
                    _mm512_maskz_mul_ps(own, weights, scales)
                };
                let (low, high) = (load(at, own as u16), load(at + PAIRS, (own >> 16) as u16));
                let pairs: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_si512(rounded.as_mut_ptr().add(at).cast(), pairs);
            }
        }
    }
}

/// Scores that are computed together: of some queries with tokens from `at`.
#[derive(Clone, Copy)]
struct Tile {
    /// Pairs `[.., half]`.
    queries: *const i32,
    half: usize,
    /// Of keys that have some, `[2 · half / CHUNK, row]`.
    scales: *const u16,
    /// Keys `[2 · half, row]`, and unless they are read as they are stored, their pairs `[half, row]`.
    rows: *const u8,
    woven: *const f32,
    /// Tokens of the block.
    row: usize,
    at: usize,
    /// `[.., columns]`.
    scores: *mut f32,
    columns: usize,
}

/// Up to [`TILE_QUERIES`] queries of a tile; returns the number of tokens. Keys are read as they are stored if `DIRECT`.
#[inline(always)]
unsafe fn some_scores<C: Cached, const DIRECT: bool>(
    tile: Tile,
    queries: usize,
    ahead: Option<[*const u8; 2]>,
) -> usize {
    let wide = tile.at + 2 * LANES <= tile.row;
    // SAFETY: the caller's promises.
    unsafe {
        match queries {
            1 if wide => tile_scores::<C, DIRECT, 1, 4>(tile, ahead),
            2 if wide => tile_scores::<C, DIRECT, 2, 4>(tile, ahead),
            1 => tile_scores::<C, DIRECT, 1, 2>(tile, ahead),
            2 => tile_scores::<C, DIRECT, 2, 2>(tile, ahead),
            3 => tile_scores::<C, DIRECT, 3, 2>(tile, ahead),
            4 => tile_scores::<C, DIRECT, 4, 2>(tile, ahead),
            5 => tile_scores::<C, DIRECT, 5, 2>(tile, ahead),
            _ => tile_scores::<C, DIRECT, TILE_QUERIES, 2>(tile, ahead),
        }
    }
}

/// `Q` queries with `N` vectors of tokens; returns their number. Each score is summed in the order of the head's values.
#[inline(always)]
unsafe fn tile_scores<C: Cached, const DIRECT: bool, const Q: usize, const N: usize>(
    tile: Tile,
    ahead: Option<[*const u8; 2]>,
) -> usize {
    let Tile { queries, half, scales, rows, woven, row, at, scores, columns } = tile;
    let chunk_pairs = if C::SCALED { CHUNK / 2 } else { half };
    // SAFETY: the caller's promises.
    unsafe {
        let reader = C::reader();
        if let Some(ahead) = ahead
            && C::SCALED
            && at == 0
        {
            // a block's scales take so many bytes beside its rows
            for ahead in ahead {
                ask(ahead.wrapping_add(2 * half * row), 2 * half / CHUNK * row * SCALE_BYTES);
            }
        }
        let mut totals = [[_mm512_setzero_ps(); N]; Q];
        for chunk in 0..half / chunk_pairs {
            let mut sums = if C::SCALED { [[_mm512_setzero_ps(); N]; Q] } else { totals };
            for d in chunk * chunk_pairs..(chunk + 1) * chunk_pairs {
                if let Some(ahead) = ahead {
                    // each tile its part, as much as it reads
                    let place = (d * row + at) * 2 * C::BYTES;
                    ask(ahead[0].wrapping_add(place), N * PAIRS * 2 * C::BYTES);
                    ask(ahead[1].wrapping_add(place), N * PAIRS * 2 * C::BYTES);
                }
                let mut loaded = [_mm512_setzero_si512(); N];
                for n in (0..N).step_by(2) {
                    let at = at + n * PAIRS;
                    [loaded[n], loaded[n + 1]] = match DIRECT {
                        true => reader.pairs(rows, row, d, at, true),
                        false => load_pairs(woven.add(d * row + at)),
                    };
                }
                for q in 0..Q {
                    let query = _mm512_set1_epi32(queries.add(q * half + d).read_unaligned());
                    for n in 0..N {
                        sums[q][n] = multiply_pairs(query, loaded[n], sums[q][n]);
                    }
                }
            }
            if C::SCALED {
                for n in 0..N {
                    let scales = load_scales(scales, chunk * row + at + n * PAIRS);
                    for q in 0..Q {
                        totals[q][n] = _mm512_fmadd_ps(scales, sums[q][n], totals[q][n]);
                    }
                }
            } else {
                totals = sums;
            }
        }
        for q in 0..Q {
            for n in 0..N {
                _mm512_storeu_ps(scores.add(q * columns + n * PAIRS), totals[q][n]);
            }
        }
    }
    N * PAIRS
}

/// Asks for so many bytes.
#[inline(always)]
unsafe fn ask(ahead: *const u8, bytes: usize) {
    for byte in (0..bytes).step_by(CACHE_LINE) {
        // SAFETY: what is asked for may lie anywhere; the caller's promise on the instruction set.
        unsafe { Avx512::prefetch(ahead.wrapping_add(byte)) };
    }
}

/// Vectors of sums that stay in registers.
const HELD: usize = 8;

/// What is added: values of some tokens of a block, and their weights.
struct Values {
    /// Pairs `[queries, chunks, pairs]`, all of them in one chunk if there are no scales. Weights of the pairs' other tokens are zero.
    weights: *const i32,
    pairs: usize,
    chunks: usize,
    /// Values `[tokens, width]`, and unless they are read as they are stored, their pairs `[pairs, width]`.
    rows: *const u8,
    woven: *const f32,
    tokens: Range<usize>,
    ahead: Option<*const u8>,
}

/// `sums [Q, width] += Σ weights[q] · values` over the tokens, pair by pair, for `Q` queries. Values are read as they are stored if
/// `DIRECT`.
#[inline(always)]
unsafe fn accumulate<C: Cached, const DIRECT: bool, const Q: usize>(sums: &mut [f32], values: Values) {
    let width = sums.len() / Q;
    // SAFETY: the caller's promises.
    unsafe {
        if let Some(ahead) = values.ahead
            && C::SCALED
        {
            let rows = 2 * values.pairs * width;
            ask(ahead.wrapping_add(rows), rows / CHUNK * SCALE_BYTES);
        }
        let mut at = 0;
        while at + HELD * PAIRS <= width {
            accumulate_columns::<C, DIRECT, Q, HELD>(sums, &values, at);
            at += HELD * PAIRS;
        }
        while at < width {
            accumulate_columns::<C, DIRECT, Q, 2>(sums, &values, at);
            at += 2 * PAIRS;
        }
    }
}

#[inline(always)]
unsafe fn accumulate_columns<C: Cached, const DIRECT: bool, const Q: usize, const N: usize>(
    sums: &mut [f32],
    values: &Values,
    at: usize,
) {
    let width = sums.len() / Q;
    let &Values { weights, pairs, chunks, rows, woven, ahead, .. } = values;
    // SAFETY: the caller's promises; `N` vectors from `at` lie within a row of sums and of values.
    unsafe {
        let weights = weights.add(if C::SCALED { at / CHUNK * pairs } else { 0 });
        let sums = sums.as_mut_ptr().add(at);
        let mut held = [[_mm512_setzero_ps(); N]; Q];
        for q in 0..Q {
            for n in 0..N {
                held[q][n] = _mm512_loadu_ps(sums.add(q * width + n * PAIRS));
            }
        }
        let reader = C::reader();
        for pair in values.tokens.start / 2..values.tokens.end.div_ceil(2) {
            if let Some(ahead) = ahead {
                let first = ahead.wrapping_add((2 * pair * width + at) * C::BYTES);
                ask(first, N * PAIRS * C::BYTES);
                ask(first.wrapping_add(width * C::BYTES), N * PAIRS * C::BYTES);
            }
            let second = 2 * pair + 1 < values.tokens.end;
            let mut loaded = [_mm512_setzero_si512(); N];
            for n in (0..N).step_by(2) {
                let at = at + n * PAIRS;
                [loaded[n], loaded[n + 1]] = match DIRECT {
                    true => reader.pairs(rows, width, pair, at, second),
                    false => load_pairs(woven.add(pair * width + at)),
                };
            }
            for q in 0..Q {
                for n in 0..N {
                    let chunk = if C::SCALED { n / 2 } else { 0 };
                    let weight = weights.add((q * chunks + chunk) * pairs + pair);
                    let weight = _mm512_set1_epi32(weight.read_unaligned());
                    held[q][n] = multiply_pairs(weight, loaded[n], held[q][n]);
                }
            }
        }
        for q in 0..Q {
            for n in 0..N {
                _mm512_storeu_ps(sums.add(q * width + n * PAIRS), held[q][n]);
            }
        }
    }
}
