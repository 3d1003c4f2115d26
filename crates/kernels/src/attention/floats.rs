//! Scores and sums in float32, over keys and values of any type.

use super::tile::{Keys, TILE_QUERIES, TILE_TOKENS, Tile, some_scores};
use super::{Block, KvLayout, Products, Progress, Read, Scratch, shared};
use crate::decode::decode_body;
use crate::simd::{Bf16, CACHE_LINE, F16, F32, I8, Q8, Simd, Stored};
use crate::{Aligned, DType};
use std::ops::Range;

/// Over caches of every layout.
pub(super) struct Floats;

impl<S: Simd> Products<S> for Floats {
    #[inline(always)]
    unsafe fn begin(_: &mut Scratch) {}

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
                scratch.progress.score_stored::<S>(keys.stored, keys.layout, column, Some(ahead));
            } else {
                scratch.score_decoded::<S>(keys.stored, keys.layout, column);
            }
        }
    }

    #[inline(always)]
    unsafe fn weigh(_: &mut Scratch, _: usize, _: Range<usize>) {}

    #[inline(always)]
    unsafe fn add(
        scratch: &mut Scratch,
        values: Block<'_>,
        first: usize,
        part: impl Fn(usize) -> Range<usize>,
        read: Read,
    ) {
        let Block { stored, layout } = values;
        let (progress, values) = (&mut scratch.progress, stored.as_ptr());
        // SAFETY: the caller's promises.
        unsafe {
            match (read, layout.dtype) {
                (Read::Direct(ahead), DType::BF16) => {
                    progress.add_values::<S, Bf16>(values, first, part, ahead)
                }
                (Read::Direct(ahead), DType::F16) => {
                    progress.add_values::<S, F16>(values, first, part, ahead)
                }
                (Read::Direct(ahead), DType::F32) => {
                    progress.add_values::<S, F32>(values, first, part, ahead)
                }
                (Read::Direct(ahead), _) => progress.add_values::<S, Q8>(values, first, part, ahead),
                (Read::Decoded(count), _) => {
                    let width = progress.width;
                    // only what pads whole vectors has to be zero
                    let clean = if layout.head_dim == width { Aligned::resize } else { Aligned::reset };
                    clean(&mut scratch.values, layout.block_tokens * width);
                    load_values::<S>(stored, layout, count, width, &mut scratch.values);
                    progress.add_values::<S, F32>(scratch.values.as_ptr().cast(), first, part, None);
                }
            }
        }
    }
}

impl Scratch {
    /// Scores of all queries with a block's keys, which are decoded for it, from `column` of the scores.
    #[inline(always)]
    unsafe fn score_decoded<S: Simd>(&mut self, stored: &[u8], layout: KvLayout, column: usize) {
        let (dim, tokens) = (layout.head_dim, layout.block_tokens);
        let row = tokens.next_multiple_of(TILE_TOKENS);
        self.keys.resize(dim * row);
        let scaled = layout.dtype == DType::Q8_0;
        let chunk = if scaled { DType::Q8_0.block_len() } else { dim };
        self.key_scales.resize(dim / chunk * row);
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
        for (queries, own) in shared(count, part) {
            let ahead = ahead.take();
            if own.is_empty() {
                continue;
            }
            let (i, both) = (queries.start, queries.len() == 2);
            let sums = &mut self.sums[i * width..queries.end * width];
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
    }
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
