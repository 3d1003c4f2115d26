//! Scores and sums in float32, over keys and values of any type.

use super::tile::{Keys, TILE_QUERIES, TILE_TOKENS, Tile, some_scores};
use super::{Block, CHUNK, KvLayout, Products, Progress, Read, Scratch, shared};
use crate::decode::{decode_body, widen};
use crate::simd::{Bf16, CACHE_LINE, F16, F32, I8, Simd, Stored};
use crate::{Aligned, DType};
use std::ops::Range;

/// Over caches of every layout.
pub(super) struct Floats;

impl<S: Simd> Products<S> for Floats {
    #[inline(always)]
    unsafe fn begin<'q>(scratch: &mut Scratch, query: impl Fn(usize) -> &'q [f32]) {
        let Progress { queries, softmax, dim, .. } = &mut scratch.progress;
        queries.resize(softmax.len() * *dim);
        for (i, into) in queries.chunks_exact_mut(*dim).enumerate() {
            into.copy_from_slice(query(i));
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
        // SAFETY: the caller's promises.
        unsafe {
            if direct {
                scratch.progress.score_stored::<S>(keys, column, Some(ahead));
            } else {
                scratch.score_decoded::<S>(keys, column);
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
        let layout = values.layout;
        let (scales, rows) = values.scales_and_rows();
        let scaled = layout.dtype == DType::Q8_0;
        if scaled {
            scratch.scales.resize(scales.len() / DType::F16.block_bytes());
        }
        // SAFETY: the caller's promises.
        unsafe {
            if scaled {
                decode_body::<S>(DType::F16, scales, &mut scratch.scales);
            }
            let (rows, ahead) = match read {
                Read::Direct(ahead) => (rows.as_ptr(), ahead),
                Read::Decoded(count) => {
                    scratch.decode_values::<S>(rows, layout, count);
                    (scratch.values.as_ptr().cast(), None)
                }
            };
            let block = (rows, layout.block_tokens);
            match (read, layout.dtype) {
                (Read::Direct(_), DType::BF16) => {
                    scratch.add_values::<S, Bf16, false>(block, first, part, ahead)
                }
                (Read::Direct(_), DType::F16) => {
                    scratch.add_values::<S, F16, false>(block, first, part, ahead)
                }
                (Read::Direct(_), DType::Q8_0) => {
                    scratch.add_values::<S, I8, true>(block, first, part, ahead)
                }
                (Read::Decoded(_), DType::Q8_0) => {
                    scratch.add_values::<S, F32, true>(block, first, part, ahead)
                }
                _ => scratch.add_values::<S, F32, false>(block, first, part, ahead),
            }
        }
    }
}

impl Scratch {
    /// Scores of all queries with a block's keys, which are decoded for it, from `column` of the scores.
    #[inline(always)]
    unsafe fn score_decoded<S: Simd>(&mut self, keys: Block<'_>, column: usize) {
        let KvLayout { dtype, head_dim: dim, block_tokens: tokens, .. } = keys.layout;
        let row = tokens.next_multiple_of(TILE_TOKENS);
        let (scales, rows) = keys.scales_and_rows();
        self.keys.resize(dim * row);
        self.scales.resize(dim / CHUNK * row);
        // SAFETY: lengths are those of whole rows; the caller's promise on the instruction set.
        unsafe {
            if tokens == row {
                decode_rows::<S>(dtype, rows, &mut self.keys);
            } else {
                let rows = rows.chunks_exact(rows.len() / dim).zip(self.keys.chunks_exact_mut(row));
                for (stored, out) in rows {
                    decode_rows::<S>(dtype, stored, &mut out[..tokens]);
                }
            }
            let codes = self.keys.as_ptr().cast();
            if dtype == DType::Q8_0 {
                let rows = scales.chunks_exact(2 * tokens).zip(self.scales.chunks_exact_mut(row));
                for (stored, out) in rows {
                    decode_body::<S>(DType::F16, stored, &mut out[..tokens]);
                }
                let keys = Keys { codes, scales: self.scales.as_ptr().cast(), row, chunk: CHUNK };
                self.progress.score::<S, F32, F32, true>(keys, column, None);
            } else {
                let keys = Keys { codes, scales: codes, row, chunk: dim };
                self.progress.score::<S, F32, F32, false>(keys, column, None);
            }
        }
    }

    /// Decodes the first `count` rows of a head's values but for their scales, each padded to the sums' width.
    #[inline(always)]
    unsafe fn decode_values<S: Simd>(&mut self, rows: &[u8], layout: KvLayout, count: usize) {
        let (dim, width) = (layout.head_dim, self.progress.width);
        // only what pads whole vectors has to be zero
        let clean = if dim == width { Aligned::resize } else { Aligned::reset };
        clean(&mut self.values, layout.block_tokens * width);
        let row_bytes = rows.len() / layout.block_tokens;
        let rows = &rows[..count * row_bytes];
        // SAFETY: lengths match; the caller's promise on the instruction set.
        unsafe {
            if dim == width {
                decode_rows::<S>(layout.dtype, rows, &mut self.values[..count * width]);
            } else {
                for (stored, out) in rows.chunks_exact(row_bytes).zip(self.values.chunks_exact_mut(width)) {
                    decode_rows::<S>(layout.dtype, stored, &mut out[..dim]);
                }
            }
        }
    }

    /// Adds a block's values `[tokens, width]`, of whose weights query `i` has `part(i)`; the block's first is `first`. If they are `SCALED`, weights
    /// are multiplied with the values' scales. Of `ahead`, as many bytes as rows have are asked for meanwhile.
    #[inline(always)]
    unsafe fn add_values<S: Simd, T: Stored, const SCALED: bool>(
        &mut self,
        (values, tokens): (*const u8, usize),
        first: usize,
        part: impl Fn(usize) -> Range<usize>,
        mut ahead: Option<*const u8>,
    ) {
        let Progress { columns, width, softmax, scores, sums, .. } = &mut self.progress;
        let (count, columns, width) = (softmax.len(), *columns, *width);
        if SCALED {
            self.weights.resize(2 * self.scales.len());
        }
        for (queries, own) in shared(count, part) {
            let ahead = ahead.take();
            if own.is_empty() {
                continue;
            }
            let both = queries.len() == 2;
            let sums = &mut sums[queries.start * width..queries.end * width];
            let mut weights = Weights { first: [std::ptr::null(); 2], chunk: tokens, count: own.len() };
            let own_scores = |i: usize| &scores[i * columns..][own.clone()];
            if SCALED {
                let scaled = self.weights.chunks_exact_mut(self.scales.len());
                for ((i, scaled), weights) in queries.zip(scaled).zip(&mut weights.first) {
                    for (scales, out) in self.scales.chunks_exact(tokens).zip(scaled.chunks_exact_mut(tokens))
                    {
                        let scales = &scales[own.start - first..];
                        out.iter_mut().zip(own_scores(i)).zip(scales).for_each(|((o, w), s)| *o = w * s);
                    }
                    *weights = scaled.as_ptr();
                }
            } else {
                queries.zip(&mut weights.first).for_each(|(i, weights)| *weights = own_scores(i).as_ptr());
            }
            // SAFETY: the caller's promises.
            unsafe {
                let values = values.add(T::bytes((own.start - first) * width));
                if !both {
                    accumulate::<S, T, SCALED, 1, HELD>(sums, weights, values, ahead);
                } else if S::WIDE_TILE {
                    accumulate::<S, T, SCALED, 2, HELD>(sums, weights, values, ahead);
                } else {
                    accumulate::<S, T, SCALED, 2, { HELD / 2 }>(sums, weights, values, ahead);
                }
            }
        }
    }
}

/// Decodes stored values; those of Q8_0 without their scales.
#[inline(always)]
unsafe fn decode_rows<S: Simd>(dtype: DType, rows: &[u8], out: &mut [f32]) {
    // SAFETY: the caller's promises.
    unsafe {
        match dtype {
            DType::Q8_0 => widen::<S, I8>(rows, out),
            plain => decode_body::<S>(plain, rows, out),
        }
    }
}

impl Progress {
    /// Scores of all queries with a block's keys, read as they are stored, from `column` of the scores.
    #[inline(always)]
    unsafe fn score_stored<S: Simd>(
        &mut self,
        keys: Block<'_>,
        column: usize,
        ahead: Option<[*const u8; 2]>,
    ) {
        let layout = keys.layout;
        let (scales, rows) = keys.scales_and_rows();
        let chunk = if layout.dtype == DType::Q8_0 { CHUNK } else { layout.head_dim };
        let keys = Keys { codes: rows.as_ptr(), scales: scales.as_ptr(), row: layout.block_tokens, chunk };
        // SAFETY: the caller's promises.
        unsafe {
            match layout.dtype {
                DType::BF16 => self.score::<S, Bf16, F32, false>(keys, column, ahead),
                DType::F16 => self.score::<S, F16, F32, false>(keys, column, ahead),
                DType::F32 => self.score::<S, F32, F32, false>(keys, column, ahead),
                _ => self.score::<S, I8, F16, true>(keys, column, ahead),
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
}

/// Vectors of sums that stay in registers.
const HELD: usize = 8;

/// Weights of some queries for as many values.
struct Weights {
    /// Of each query.
    first: [*const f32; 2],
    /// From the weights for one chunk of a value to those for the next, if values have scales.
    chunk: usize,
    count: usize,
}

/// `sums [Q, width] += Σ weights[q][j] · values[j]`, in the order of `j`, for `Q` queries; `N` vectors of each at a time.
///
/// # Safety
/// As for [`Simd`]; for each weight, as many values as a query has sums, which is a multiple of every lane count.
#[inline(always)]
unsafe fn accumulate<S: Simd, T: Stored, const SCALED: bool, const Q: usize, const N: usize>(
    sums: &mut [f32],
    weights: Weights,
    values: *const u8,
    ahead: Option<*const u8>,
) {
    let width = sums.len() / Q;
    // SAFETY: the caller's promises.
    unsafe {
        let mut at = 0;
        while at + N * S::LANES <= width {
            accumulate_columns::<S, T, SCALED, Q, N>(sums, &weights, values, at, ahead);
            at += N * S::LANES;
        }
        while at < width {
            accumulate_columns::<S, T, SCALED, Q, 1>(sums, &weights, values, at, ahead);
            at += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn accumulate_columns<S: Simd, T: Stored, const SCALED: bool, const Q: usize, const N: usize>(
    sums: &mut [f32],
    weights: &Weights,
    values: *const u8,
    at: usize,
    ahead: Option<*const u8>,
) {
    let width = sums.len() / Q;
    // SAFETY: `N` vectors from `at` lie within a row of `sums` and of the values, in whole chunks or in one; each query has as many
    // weights.
    unsafe {
        let sums = sums.as_mut_ptr().add(at);
        let mut held = [[S::splat(0.0); N]; Q];
        for (q, held) in held.iter_mut().enumerate() {
            for (c, sum) in held.iter_mut().enumerate() {
                *sum = S::load(sums.add(q * width + c * S::LANES));
            }
        }
        let own = if SCALED { at / CHUNK * weights.chunk } else { 0 };
        for j in 0..weights.count {
            let place = T::bytes(j * width + at);
            if let Some(ahead) = ahead {
                for byte in (0..T::bytes(N * S::LANES)).step_by(CACHE_LINE) {
                    S::prefetch(ahead.wrapping_add(place + byte));
                }
            }
            let value = values.add(place);
            let mut loaded = [S::splat(0.0); N];
            for (c, loaded) in loaded.iter_mut().enumerate() {
                *loaded = T::load::<S>(value, c * S::LANES);
            }
            for (q, held) in held.iter_mut().enumerate() {
                for (c, sum) in held.iter_mut().enumerate() {
                    let chunk = if SCALED { c * S::LANES / CHUNK * weights.chunk } else { 0 };
                    let weight = S::splat(*weights.first[q].add(own + chunk + j));
                    *sum = S::fma(weight, loaded[c], *sum);
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
