//! Activations of 8 bits.

use super::GROUP;
use crate::Pool;
use crate::isa::{self, Isa};
use crate::pool::Parts;
use crate::simd::{Simd, simd_kernel};

/// Rows `[rows, cols]` with 8-bit codes in -127..=127 and a float32 scale for each group of 32 values, as the products
/// take them. Columns are padded with zeros to whole groups. Its memory is used again for the next rows.
#[derive(Default)]
pub struct QuantizedRows {
    rows: usize,
    cols: usize,
    /// `[rows, groups, 32]`.
    codes: Vec<i8>,
    /// The same in 16 bits, each four in the order 0, 2, 1, 3, where the products of 8-bit weights want them so.
    pairs: Vec<i16>,
    /// `[rows, groups]`.
    scales: Vec<f32>,
    /// `[rows, groups]`: the sum of the codes.
    sums: Vec<i32>,
}

impl QuantizedRows {
    /// Quantizes `x [rows, cols]`.
    ///
    /// # Panics
    /// When `x` is not whole rows.
    pub fn quantize(&mut self, pool: &Pool, x: &[f32], cols: usize) {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "whole rows of {cols}");
        (self.rows, self.cols) = (x.len() / cols, cols);
        let groups = cols.div_ceil(GROUP);
        let with_pairs = matches!(isa::current(), Isa::Avx2 | Isa::Avx512);
        self.codes.resize(self.rows * groups * GROUP, 0);
        self.pairs.resize(if with_pairs { self.codes.len() } else { 0 }, 0);
        self.scales.resize(self.rows * groups, 0.0);
        self.sums.resize(self.rows * groups, 0);
        let (codes, pairs) = (Parts::new(&mut self.codes), Parts::new(&mut self.pairs));
        let (scales, sums) = (Parts::new(&mut self.scales), Parts::new(&mut self.sums));
        // below some 16,000 values handing out work costs more than doing it
        let run = (16 * 1024 / cols).max(1);
        pool.run(self.rows.div_ceil(run), &|task| {
            for row in task * run..((task + 1) * run).min(self.rows) {
                let x = &x[row * cols..][..cols];
                let (at, padded) = (row * groups, groups * GROUP);
                // SAFETY: each row has its own parts, and `run` returns before the vectors are used again.
                unsafe {
                    let pairs = if with_pairs { pairs.part(row * padded, padded) } else { &mut [] };
                    let codes = codes.part(row * padded, padded);
                    quantize_row(x, codes, pairs, scales.part(at, groups), sums.part(at, groups));
                }
            }
        });
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn groups(&self) -> usize {
        self.cols.div_ceil(GROUP)
    }

    /// The 8-bit codes of row `row`.
    #[inline(always)]
    pub(crate) fn codes(&self, row: usize) -> &[i8] {
        let padded = self.groups() * GROUP;
        &self.codes[row * padded..][..padded]
    }

    /// The 16-bit codes of row `row`.
    #[inline(always)]
    pub(crate) fn pairs(&self, row: usize) -> &[i16] {
        let padded = self.groups() * GROUP;
        &self.pairs[row * padded..][..padded]
    }

    /// Scales and sums of the groups of row `row`.
    #[inline(always)]
    pub(crate) fn scales(&self, row: usize) -> (&[f32], &[i32]) {
        let groups = self.groups();
        (&self.scales[row * groups..][..groups], &self.sums[row * groups..][..groups])
    }
}

simd_kernel! {
    fn quantize_row(
        x: &[f32],
        codes: &mut [i8],
        pairs: &mut [i16],
        scales: &mut [f32],
        sums: &mut [i32],
    ) = quantize_row_body;
}

#[inline(always)]
unsafe fn quantize_row_body<S: Simd>(
    x: &[f32],
    codes: &mut [i8],
    pairs: &mut [i16],
    scales: &mut [f32],
    sums: &mut [i32],
) {
    for (group, codes) in codes.chunks_exact_mut(GROUP).enumerate() {
        let x = &x[group * GROUP..];
        let mut padded = [0.0f32; GROUP];
        let values = match x.first_chunk::<GROUP>() {
            Some(values) => values,
            None => {
                padded[..x.len()].copy_from_slice(x);
                &padded
            }
        };
        let mut rounded = [0i32; GROUP];
        // SAFETY: 32 values are whole vectors of every instruction set.
        scales[group] = unsafe { quantize_group::<S>(values, &mut rounded) };
        let mut sum = 0;
        for (code, rounded) in codes.iter_mut().zip(rounded) {
            *code = rounded as i8;
            sum += rounded;
        }
        sums[group] = sum;
        if !pairs.is_empty() {
            let pairs = &mut pairs[group * GROUP..][..GROUP];
            for (pairs, four) in pairs.chunks_exact_mut(4).zip(rounded.chunks_exact(4)) {
                (pairs[0], pairs[1]) = (four[0] as i16, four[2] as i16);
                (pairs[2], pairs[3]) = (four[1] as i16, four[3] as i16);
            }
        }
    }
}

/// Codes of a group, and its scale: the largest magnitude is 127. A group with a value that is no number has a scale
/// that is none, so that it is not lost.
#[inline(always)]
unsafe fn quantize_group<S: Simd>(x: &[f32; GROUP], codes: &mut [i32; GROUP]) -> f32 {
    let mut lanes = [0.0f32; crate::simd::MAX_LANES];
    // SAFETY: all pointers are to whole vectors within the arrays.
    let (largest, broken) = unsafe {
        let (mut largest, mut broken) = (S::splat(0.0), S::splat(0.0));
        for i in (0..GROUP).step_by(S::LANES) {
            let v = S::load(x.as_ptr().add(i));
            largest = S::max(largest, S::max(v, S::mul(v, S::splat(-1.0))));
            broken = S::fma(v, S::splat(0.0), broken);
        }
        S::store(lanes.as_mut_ptr(), largest);
        (lanes[..S::LANES].iter().fold(0.0f32, |a, &b| a.max(b)), S::sum(broken))
    };
    if broken != 0.0 || largest < SMALLEST {
        codes.fill(0);
        return broken;
    }
    let mut scaled = [0.0f32; GROUP];
    // SAFETY: as above.
    unsafe {
        let factor = S::splat(127.0 / largest);
        for i in (0..GROUP).step_by(S::LANES) {
            let v = S::mul(S::load(x.as_ptr().add(i)), factor);
            S::store(scaled.as_mut_ptr().add(i), S::round(v));
        }
        for (code, v) in codes.iter_mut().zip(scaled) {
            // SAFETY: finite, and at most 127 in magnitude but for rounding.
            *code = v.to_int_unchecked::<i32>();
        }
    }
    largest / 127.0
}

/// Groups below this are all zero: the reciprocal of their scale would overflow.
const SMALLEST: f32 = 1e-30;

const _: () = assert!(GROUP.is_multiple_of(crate::simd::MAX_LANES));
