//! Scores and sums over a cache in BF16, on processors that multiply pairs of BF16 values: twice the products of an instruction
//! in float32, and nothing to convert. Queries and weights are rounded to BF16, as PyTorch does; sums are
//! float32.
//!
//! A pair of keys' values are neighbours in a head, a pair of values neighbours in time. Both lie in two rows of the cache, which are
//! woven: for few queries as they are read, for many once. What stands beside a sequence's last token is taken for zero, since
//! its place may hold no number. Beside the last token that a query sees there may be a later one of its sequence, which has a
//! weight of zero, and has to be finite.

// sums are named by query and vector, which are places of registers
#![allow(clippy::needless_range_loop)]

use super::tile::TILE_QUERIES;
use super::{Block, Products, Read, Scratch, Task, attend_body, shared};
use crate::bf16::{LANES, PAIRS, multiply_pairs, round_row, weave};
use crate::pool::Parts;
use crate::simd::x86::Avx512;
use crate::simd::{CACHE_LINE, Simd};
use std::arch::x86_64::*;
use std::ops::Range;

/// Bytes of a BF16 value.
const BYTES: usize = 2;

/// [`super::attend`].
///
/// # Safety
/// [`super::rounds_queries`] says so of the cache.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
pub(super) unsafe fn attend(task: Task<'_>, out: &Parts<f32>) {
    // SAFETY: the caller's promise.
    unsafe { attend_body::<Avx512, Pairs>(task, out) }
}

/// Over caches of which [`super::rounds_queries`] says so: in BF16, heads and blocks of whole vectors.
struct Pairs;

impl Products<Avx512> for Pairs {
    #[inline(always)]
    unsafe fn begin(scratch: &mut Scratch) {
        let progress = &scratch.progress;
        scratch.rounded_queries.resize(progress.queries.len());
        scratch.rounded_weights.resize(progress.scores.len());
        // SAFETY: the caller's promise. A head's values are whole vectors.
        unsafe { round_row(&progress.queries, &mut scratch.rounded_queries) };
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
        let stored = keys.stored.as_ptr();
        if !direct {
            scratch.keys.resize(dim / 2 * row);
            // SAFETY: rows are whole vectors, and there are two for each row of pairs; the caller's promise.
            unsafe { weave_rows(stored, dim, row, scratch.keys.as_mut_ptr()) };
        }
        let mut ahead = direct.then_some(ahead);
        for q in (0..count).step_by(TILE_QUERIES) {
            let mut at = 0;
            while at < row {
                let tile = Tile {
                    queries: scratch.rounded_queries[q * dim..].as_ptr().cast(),
                    half: dim / 2,
                    row,
                    at,
                    scores: scratch.progress.scores[q * columns + column + at..].as_mut_ptr(),
                    columns,
                };
                // SAFETY: the keys have `half` rows of pairs, or twice as many of values; scores have room for `count` queries
                // with all tokens of the block; the caller's promise.
                at += unsafe {
                    match direct {
                        true => some_scores::<true>(tile, stored.cast(), count - q, ahead.take()),
                        false => some_scores::<false>(tile, scratch.keys.as_ptr(), count - q, None),
                    }
                };
            }
        }
    }

    #[inline(always)]
    unsafe fn weigh(scratch: &mut Scratch, i: usize, own: Range<usize>) {
        let columns = scratch.progress.columns;
        let weights = &mut scratch.progress.scores[i * columns..(i + 1) * columns];
        let whole = own.start / 2 * 2..own.end.next_multiple_of(2);
        weights[whole.start..own.start].fill(0.0);
        weights[own.end..whole.end].fill(0.0);
        let rounded = &mut scratch.rounded_weights[i * columns..(i + 1) * columns];
        // SAFETY: the caller's promise. There is room for a vector beyond a segment's columns.
        unsafe { round_row(&weights[whole.clone()], &mut rounded[whole.start..]) };
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
        let stored = values.stored.as_ptr();
        if let Read::Decoded(tokens) = read {
            woven.resize(values.layout.block_tokens / 2 * width);
            // SAFETY: rows are whole vectors, as many as there are tokens; the caller's promise.
            unsafe { weave_rows(stored, tokens, width, woven.as_mut_ptr()) };
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
            let (i, both) = (queries.start, queries.len() == 2);
            let tokens = own.start - first..own.end - first;
            // a block begins with the first of a pair
            let weights = |i: usize| rounded_weights[i * columns + first..].as_ptr().cast::<i32>();
            let sums = &mut progress.sums[i * width..queries.end * width];
            // SAFETY: weights and values have all pairs of these tokens; the caller's promise.
            unsafe {
                match (read, both) {
                    (Read::Direct(_), true) => {
                        let weights = [weights(i), weights(i + 1)];
                        accumulate::<true, 2>(sums, weights, tokens, stored.cast(), ahead);
                    }
                    (Read::Direct(_), false) => {
                        accumulate::<true, 1>(sums, [weights(i)], tokens, stored.cast(), ahead);
                    }
                    (Read::Decoded(_), true) => {
                        let weights = [weights(i), weights(i + 1)];
                        accumulate::<false, 2>(sums, weights, tokens, woven.as_ptr(), None);
                    }
                    (Read::Decoded(_), false) => {
                        accumulate::<false, 1>(sums, [weights(i)], tokens, woven.as_ptr(), None);
                    }
                }
            }
        }
    }
}

/// Writes the pairs of each two of `rows` rows of `len` values, whole vectors. What stands beside the last of an odd number of
/// rows is zero.
#[inline(always)]
unsafe fn weave_rows(stored: *const u8, rows: usize, len: usize, out: *mut f32) {
    for pair in 0..rows.div_ceil(2) {
        let there = mask(2 * pair + 1 < rows);
        for at in (0..len).step_by(LANES) {
            // SAFETY: both vectors lie in the rows, or are not read; as many pairs have room; the caller's promise.
            unsafe {
                let row = stored.add((2 * pair * len + at) * BYTES);
                let second = _mm512_maskz_loadu_epi16(there, row.wrapping_add(len * BYTES).cast());
                let [low, high] = weave(_mm512_loadu_si512(row.cast()), second);
                _mm512_storeu_si512(out.add(pair * len + at).cast(), low);
                _mm512_storeu_si512(out.add(pair * len + at + PAIRS).cast(), high);
            }
        }
    }
}

/// All of a vector, or nothing.
#[inline(always)]
fn mask(all: bool) -> u32 {
    if all { u32::MAX } else { 0 }
}

/// Scores that are computed together: of some queries with tokens from `at`.
#[derive(Clone, Copy)]
struct Tile {
    /// Pairs `[.., half]`.
    queries: *const i32,
    half: usize,
    /// Tokens of the block.
    row: usize,
    at: usize,
    /// `[.., columns]`.
    scores: *mut f32,
    columns: usize,
}

/// Up to [`TILE_QUERIES`] queries of a tile; returns the number of tokens. Keys are pairs `[half, row]`, or if they are `STORED`
/// values `[2 · half, row]`.
#[inline(always)]
unsafe fn some_scores<const STORED: bool>(
    tile: Tile,
    keys: *const f32,
    queries: usize,
    ahead: Option<[*const u8; 2]>,
) -> usize {
    let wide = tile.at + 2 * LANES <= tile.row;
    // SAFETY: the caller's promises.
    unsafe {
        match queries {
            1 if wide => tile_scores::<STORED, 1, 4>(tile, keys, ahead),
            2 if wide => tile_scores::<STORED, 2, 4>(tile, keys, ahead),
            1 => tile_scores::<STORED, 1, 2>(tile, keys, ahead),
            2 => tile_scores::<STORED, 2, 2>(tile, keys, ahead),
            3 => tile_scores::<STORED, 3, 2>(tile, keys, ahead),
            4 => tile_scores::<STORED, 4, 2>(tile, keys, ahead),
            5 => tile_scores::<STORED, 5, 2>(tile, keys, ahead),
            _ => tile_scores::<STORED, TILE_QUERIES, 2>(tile, keys, ahead),
        }
    }
}

/// `Q` queries with `N` vectors of tokens; returns their number. Each score is summed in the order of the head's values.
#[inline(always)]
unsafe fn tile_scores<const STORED: bool, const Q: usize, const N: usize>(
    tile: Tile,
    keys: *const f32,
    ahead: Option<[*const u8; 2]>,
) -> usize {
    let Tile { queries, half, row, at, scores, columns } = tile;
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); N]; Q];
        for d in 0..half {
            // two rows of values, or one of pairs, begin at the same place
            let keys = keys.add(d * row);
            if let Some(ahead) = ahead {
                for byte in (0..2 * BYTES * row).step_by(CACHE_LINE) {
                    let byte = d * 2 * BYTES * row + byte;
                    Avx512::prefetch(ahead[0].wrapping_add(byte));
                    Avx512::prefetch(ahead[1].wrapping_add(byte));
                }
            }
            let mut loaded = [_mm512_setzero_si512(); N];
            for n in (0..N).step_by(2) {
                if STORED {
                    let first = keys.cast::<u16>().add(at + n * PAIRS);
                    let [low, high] =
                        weave(_mm512_loadu_si512(first.cast()), _mm512_loadu_si512(first.add(row).cast()));
                    (loaded[n], loaded[n + 1]) = (low, high);
                } else {
                    loaded[n] = _mm512_loadu_si512(keys.add(at + n * PAIRS).cast());
                    loaded[n + 1] = _mm512_loadu_si512(keys.add(at + (n + 1) * PAIRS).cast());
                }
            }
            for q in 0..Q {
                let query = _mm512_set1_epi32(queries.add(q * half + d).read_unaligned());
                for n in 0..N {
                    sums[q][n] = multiply_pairs(query, loaded[n], sums[q][n]);
                }
            }
        }
        for q in 0..Q {
            for n in 0..N {
                _mm512_storeu_ps(scores.add(q * columns + n * PAIRS), sums[q][n]);
            }
        }
    }
    N * PAIRS
}

/// Vectors of sums that stay in registers.
const HELD: usize = 8;

/// `sums [Q, width] += Σ weights[q] · values` over the tokens, pair by pair, for `Q` queries. Values are pairs
/// `[pairs, width]`, or if they are `STORED` values `[tokens, width]`; the weights of the pairs' other tokens are zero.
#[inline(always)]
unsafe fn accumulate<const STORED: bool, const Q: usize>(
    sums: &mut [f32],
    weights: [*const i32; Q],
    tokens: Range<usize>,
    values: *const f32,
    ahead: Option<*const u8>,
) {
    let width = sums.len() / Q;
    // SAFETY: the caller's promises.
    unsafe {
        let mut at = 0;
        while at + HELD * PAIRS <= width {
            accumulate_columns::<STORED, Q, HELD>(sums, weights, tokens.clone(), values, at, ahead);
            at += HELD * PAIRS;
        }
        while at < width {
            accumulate_columns::<STORED, Q, 2>(sums, weights, tokens.clone(), values, at, ahead);
            at += 2 * PAIRS;
        }
    }
}

#[inline(always)]
unsafe fn accumulate_columns<const STORED: bool, const Q: usize, const N: usize>(
    sums: &mut [f32],
    weights: [*const i32; Q],
    tokens: Range<usize>,
    values: *const f32,
    at: usize,
    ahead: Option<*const u8>,
) {
    let width = sums.len() / Q;
    // SAFETY: the caller's promises; `N` vectors from `at` lie within a row of sums and of values.
    unsafe {
        let sums = sums.as_mut_ptr().add(at);
        let mut held = [[_mm512_setzero_ps(); N]; Q];
        for q in 0..Q {
            for n in 0..N {
                held[q][n] = _mm512_loadu_ps(sums.add(q * width + n * PAIRS));
            }
        }
        for pair in tokens.start / 2..tokens.end.div_ceil(2) {
            // two rows of values, or one of pairs, begin at the same place
            let values = values.add(pair * width);
            if let Some(ahead) = ahead {
                for byte in (0..BYTES * N * PAIRS).step_by(CACHE_LINE) {
                    let place = (2 * pair * width + at) * BYTES + byte;
                    Avx512::prefetch(ahead.wrapping_add(place));
                    Avx512::prefetch(ahead.wrapping_add(place + width * BYTES));
                }
            }
            let there = mask(2 * pair + 1 < tokens.end);
            let mut loaded = [_mm512_setzero_si512(); N];
            for n in (0..N).step_by(2) {
                if STORED {
                    let first = values.cast::<u16>().add(at + n * PAIRS);
                    let second = _mm512_maskz_loadu_epi16(there, first.wrapping_add(width).cast());
                    let [low, high] = weave(_mm512_loadu_si512(first.cast()), second);
                    (loaded[n], loaded[n + 1]) = (low, high);
                } else {
                    loaded[n] = _mm512_loadu_si512(values.add(at + n * PAIRS).cast());
                    loaded[n + 1] = _mm512_loadu_si512(values.add(at + (n + 1) * PAIRS).cast());
                }
            }
            for q in 0..Q {
                let weight = _mm512_set1_epi32(weights[q].add(pair).read_unaligned());
                for n in 0..N {
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
