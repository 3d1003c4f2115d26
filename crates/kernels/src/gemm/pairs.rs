//! Places of two BF16 values, for processors that multiply pairs of them: twice the products of an instruction in float32.

use super::panels::{Rows, unpack_places};
use super::tiles::{MR, Places, tiles_of};
use super::{Block, View};
use crate::Aligned;
use crate::bf16::{LANES, multiply_pairs, pair, round_row};
use crate::pool::Parts;
use crate::simd::Simd;
use crate::simd::x86::Avx512;
use std::arch::x86_64::*;
use std::ops::Range;

/// [`super::Form::Pair`]. All of it requires [`crate::Isa::Avx512Bf16`].
pub(super) struct Pairs;

impl Places<Avx512> for Pairs {
    const VALUES: usize = 2;

    #[inline(always)]
    unsafe fn join(rows: *const f32, stride: usize) -> __m512 {
        // SAFETY: the caller's promises.
        unsafe { _mm512_castsi512_ps(pair(Avx512::load(rows), Avx512::load(rows.add(stride)))) }
    }

    #[inline(always)]
    unsafe fn multiply(a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { multiply_pairs(_mm512_castps_si512(a), _mm512_castps_si512(b), sum) }
    }

    #[inline(always)]
    unsafe fn pack_rows(
        a: View<'_>,
        rows: Range<usize>,
        k: Range<usize>,
        scratch: &mut Aligned<f32>,
        out: &mut Aligned<f32>,
    ) {
        let (groups, steps) = (rows.len().div_ceil(MR), k.len().div_ceil(2));
        out.resize(groups * MR * steps);
        // SAFETY: the caller's promise on the processor.
        unsafe {
            match a.row_stride {
                1 => pack_columns(a, rows, k, out),
                _ => pack_lines(a, rows, k, scratch, out),
            }
        }
    }
}

/// [`Places::pack_rows`] of a matrix whose rows lie together: each is rounded, and then the rows of a group are woven.
#[inline(always)]
unsafe fn pack_lines(
    a: View<'_>,
    rows: Range<usize>,
    k: Range<usize>,
    scratch: &mut Aligned<f32>,
    out: &mut [f32],
) {
    let steps = k.len().div_ceil(2);
    let stride = steps.next_multiple_of(LANES / 2);
    scratch.resize(MR * stride);
    for (group, out) in out.chunks_exact_mut(MR * steps).enumerate() {
        for (i, places) in scratch.chunks_exact_mut(stride).enumerate() {
            let row = (rows.start + group * MR + i).min(rows.end - 1);
            // SAFETY: the caller's promise on the processor.
            unsafe { round_to(&a.values[row * a.row_stride..][k.clone()], places) };
        }
        let lines: [&[f32]; MR] = std::array::from_fn(|i| &scratch[i * stride..][..steps]);
        for (step, out) in out.as_chunks_mut::<MR>().0.iter_mut().enumerate() {
            *out = std::array::from_fn(|i| lines[i][step]);
        }
    }
}

/// [`Places::pack_rows`] of a matrix whose columns lie together.
#[inline(always)]
unsafe fn pack_columns(a: View<'_>, rows: Range<usize>, k: Range<usize>, out: &mut [f32]) {
    let steps = k.len().div_ceil(2);
    for step in 0..steps {
        let column = k.start + 2 * step;
        let first = &a.values[column * a.col_stride..][rows.clone()];
        // what stands beside the last of an odd number of columns is zero
        let second = (column + 1 < k.end).then(|| &a.values[(column + 1) * a.col_stride..][rows.clone()]);
        for group in 0..rows.len().div_ceil(MR) {
            let some = group * MR..((group + 1) * MR).min(rows.len());
            // SAFETY: of a group's places of this step, 4 and 2 are written; the caller's promise on the processor.
            unsafe {
                let low = load_some(&first[some.clone()]);
                let high = match second {
                    Some(second) => load_some(&second[some]),
                    None => _mm512_setzero_ps(),
                };
                let places = pair(low, high);
                let to = out[(group * steps + step) * MR..][..MR].as_mut_ptr();
                _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(places));
                _mm_storel_epi64(to.add(4).cast(), _mm512_extracti32x4_epi32::<1>(places));
            }
        }
    }
}

/// The first values of a vector, at most [`MR`], and zeros.
#[inline(always)]
unsafe fn load_some(values: &[f32]) -> __m512 {
    // SAFETY: masked values are not read; the caller's promise on the processor.
    unsafe { _mm512_maskz_loadu_ps((1 << values.len()) - 1, values.as_ptr()) }
}

/// Writes the places of `values` to `places`, which has room for whole vectors of them.
#[inline(always)]
unsafe fn round_to(values: &[f32], places: &mut [f32]) {
    // SAFETY: two BF16 values take a float32's place; the caller's promise on the processor.
    unsafe {
        let halves = std::slice::from_raw_parts_mut(places.as_mut_ptr().cast::<u16>(), 2 * places.len());
        round_row(values, halves);
    }
}

/// The places of `values`, which lie one behind the other.
///
/// # Safety
/// The processor must have [`crate::Isa::Avx512Bf16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
pub(super) unsafe fn round<'a>(values: &[f32], places: &'a mut Aligned<f32>) -> &'a [f32] {
    places.resize(values.len().next_multiple_of(LANES) / 2);
    // SAFETY: the caller's promise.
    unsafe { round_to(values, places) };
    &places[..values.len().div_ceil(2)]
}

/// [`super::panels::unpack_rows`].
///
/// # Safety
/// As [`round`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
pub(super) unsafe fn unpack_rows(rows: &Rows<'_>, some: Range<usize>, panels: &Parts<f32>) {
    // SAFETY: the caller's promise.
    unsafe { unpack_places::<Avx512, Pairs>(rows, some, panels) }
}

/// [`super::tiles::tiles`] of a block that has pairs, which are in whole panels ([`super::Form::of`]).
///
/// # Safety
/// As [`round`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
pub(super) unsafe fn tiles(block: &Block<'_>, rows: Range<usize>, cols: Range<usize>, out: &Parts<f32>) {
    // SAFETY: the caller's promise.
    unsafe { tiles_of::<Avx512, Pairs, 4>(block, rows, cols, out) }
}
