//! Activations of 8 bits.

use super::format::SPAN_GROUPS;
use super::{GROUP, SPAN};
use crate::isa::{self, Isa};
use crate::pool::Parts;
use crate::simd::{Simd, simd_kernel};
use crate::{Aligned, Pool};

/// Rows of a panel, whose codes stay in the second-level cache while tiles pass. Not a power of two, so that the same group of a
/// panel's rows falls into other places of a cache than the group behind it.
pub(crate) const PANEL_ROWS: usize = 60;

/// Rows `[rows, cols]` with 8-bit codes in -127..=127 and a float32 scale for each [`SPAN`] of values, as the products
/// take them. Columns are padded with zeros to whole spans. Its memory is used again for the next rows.
///
/// Rows lie in panels of [`PANEL_ROWS`], `[panel][group][row]`: rows that are multiplied together lie together, so that one
/// address leads to all of them.
#[derive(Default)]
pub struct QuantizedRows {
    rows: usize,
    cols: usize,
    /// 32 for each group of each row.
    codes: Aligned<i8>,
    /// The same in 16 bits, each four in the order 0, 2, 1, 3, where the products of 8-bit weights want them so.
    pairs: Aligned<i16>,
    /// Of each group, that of its span.
    scales: Vec<f32>,
    /// The sum of a group's codes, times -128: what products with codes that are 128 too large lack.
    corrections: Vec<i32>,
    /// The same of each span `[panel][span][row]`.
    span_corrections: Vec<i32>,
}

/// Some rows of a panel. Pointers are to the first of them in the first group.
#[derive(Clone, Copy)]
pub(crate) struct PanelRows {
    pub(crate) codes: *const i8,
    pub(crate) pairs: *const i16,
    pub(crate) scales: *const f32,
    pub(crate) corrections: *const i32,
    pub(crate) span_corrections: *const i32,
    /// Rows of the panel: so many lie between two groups of a row, or two spans.
    pub(crate) stride: usize,
}

impl PanelRows {
    /// The rows behind the first `rows`.
    ///
    /// # Safety
    /// There must be as many.
    #[inline(always)]
    pub(crate) unsafe fn skip(self, rows: usize) -> PanelRows {
        // 16-bit codes are not always there
        let pairs = self.pairs.wrapping_add(rows * GROUP);
        // SAFETY: the caller's promise.
        unsafe {
            PanelRows {
                codes: self.codes.add(rows * GROUP),
                pairs,
                scales: self.scales.add(rows),
                corrections: self.corrections.add(rows),
                span_corrections: self.span_corrections.add(rows),
                stride: self.stride,
            }
        }
    }
}

impl QuantizedRows {
    /// Quantizes `x [rows, cols]`.
    ///
    /// # Panics
    /// When `x` is not whole rows.
    pub fn quantize(&mut self, pool: &Pool, x: &[f32], cols: usize) {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "whole rows of {cols}");
        (self.rows, self.cols) = (x.len() / cols, cols);
        let rows = self.rows;
        let groups = rows * groups_of_row(cols);
        let with_pairs = matches!(isa::current(), Isa::Avx2 | Isa::Avx512);
        self.codes.resize(groups * GROUP);
        self.pairs.resize(if with_pairs { self.codes.len() } else { 0 });
        self.scales.resize(groups, 0.0);
        self.corrections.resize(groups, 0);
        self.span_corrections.resize(groups / SPAN_GROUPS, 0);
        let into = Destination {
            codes: Parts::new(&mut self.codes),
            pairs: with_pairs.then(|| Parts::new(&mut self.pairs)),
            scales: Parts::new(&mut self.scales),
            corrections: Parts::new(&mut self.corrections),
            span_corrections: Parts::new(&mut self.span_corrections),
        };
        // below some 16,000 values handing out work costs more than doing it
        let run = (16 * 1024 / cols).max(1);
        pool.run(rows.div_ceil(run), &|task| {
            for row in task * run..((task + 1) * run).min(rows) {
                quantize_row(&x[row * cols..][..cols], place(row, rows, cols), &into);
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

    /// Whether there are 16-bit codes.
    pub(crate) fn has_pairs(&self) -> bool {
        !self.pairs.is_empty()
    }

    /// The `count` rows from `row` on, which are of one panel.
    #[inline(always)]
    pub(crate) fn panel_rows(&self, row: usize, count: usize) -> PanelRows {
        let Place { first, first_span, stride } = place(row, self.rows, self.cols);
        assert!(row % PANEL_ROWS + count <= stride, "{count} rows from {row} of one panel");
        PanelRows {
            codes: self.codes[first * GROUP..].as_ptr(),
            pairs: self.pairs[(first * GROUP).min(self.pairs.len())..].as_ptr(),
            scales: self.scales[first..].as_ptr(),
            corrections: self.corrections[first..].as_ptr(),
            span_corrections: self.span_corrections[first_span..].as_ptr(),
            stride,
        }
    }
}

/// Where a row lies: its first group, its first span, and how far apart groups and spans are.
#[derive(Clone, Copy)]
struct Place {
    first: usize,
    first_span: usize,
    stride: usize,
}

/// The place of row `row` of `[rows, cols]`.
#[inline(always)]
fn place(row: usize, rows: usize, cols: usize) -> Place {
    let start = row / PANEL_ROWS * PANEL_ROWS;
    let (groups, spans) = (groups_of_row(cols), groups_of_row(cols) / SPAN_GROUPS);
    Place {
        first: start * groups + row - start,
        first_span: start * spans + row - start,
        stride: (rows - start).min(PANEL_ROWS),
    }
}

/// Groups of a row, with those that fill its last span.
#[inline(always)]
fn groups_of_row(cols: usize) -> usize {
    cols.div_ceil(SPAN) * SPAN_GROUPS
}

/// Where the groups of all rows go.
struct Destination {
    codes: Parts<i8>,
    pairs: Option<Parts<i16>>,
    scales: Parts<f32>,
    corrections: Parts<i32>,
    span_corrections: Parts<i32>,
}

simd_kernel! {
    /// Quantizes a row.
    fn quantize_row(x: &[f32], place: Place, into: &Destination) = quantize_row_body;
}

#[inline(always)]
unsafe fn quantize_row_body<S: Simd>(x: &[f32], place: Place, into: &Destination) {
    let Place { first, first_span, stride } = place;
    for (span, x) in x.chunks(SPAN).enumerate() {
        let mut padded;
        let values = match x.first_chunk::<SPAN>() {
            Some(values) => values,
            None => {
                padded = [0.0; SPAN];
                padded[..x.len()].copy_from_slice(x);
                &padded
            }
        };
        // SAFETY: the caller's promise on the instruction set.
        let (factor, scale) = unsafe { span_scale::<S>(values) };
        let mut span_correction = 0;
        for (i, values) in values.chunks_exact(GROUP).enumerate() {
            let at = first + (span * SPAN_GROUPS + i) * stride;
            // SAFETY: 32 values are whole vectors of every instruction set. Each group of each row has its own place, and
            // `run` returns before the vectors are used again.
            let codes = unsafe {
                into.scales.part(at, 1)[0] = scale;
                let codes = into.codes.part(at * GROUP, GROUP);
                // in vectors of float32, which hold integers exactly
                let mut sum = S::splat(0.0);
                for lane in (0..GROUP).step_by(S::LANES) {
                    let v = S::round(S::mul(S::load(values.as_ptr().add(lane)), S::splat(factor)));
                    S::store_i8(codes.as_mut_ptr().add(lane), v);
                    sum = S::add(sum, v);
                }
                let correction = small_integer(S::sum(sum)).wrapping_mul(-128);
                into.corrections.part(at, 1)[0] = correction;
                span_correction = correction.wrapping_add(span_correction);
                codes
            };
            if let Some(pairs) = &into.pairs {
                // SAFETY: as above.
                let pairs = unsafe { pairs.part(at * GROUP, GROUP) };
                for (pairs, four) in pairs.chunks_exact_mut(4).zip(codes.chunks_exact(4)) {
                    (pairs[0], pairs[1]) = (four[0].into(), four[2].into());
                    (pairs[2], pairs[3]) = (four[1].into(), four[3].into());
                }
            }
        }
        // SAFETY: as above.
        unsafe { into.span_corrections.part(first_span + span * stride, 1)[0] = span_correction };
    }
}

/// `x` as an integer, which it has to be, of less than 2²²; else anything. Unlike a cast it asks nothing.
#[inline(always)]
fn small_integer(x: f32) -> i32 {
    // a float32 of this size has its ones in its last bit
    const ONES: f32 = 12_582_912.0;
    ((x + ONES).to_bits() as i32).wrapping_sub(ONES.to_bits() as i32)
}

/// What values of a span are multiplied with to be codes, whose largest magnitude is 127, and back. A span with a value that
/// is no number has a scale that is none, so that it is not lost.
#[inline(always)]
unsafe fn span_scale<S: Simd>(x: &[f32; SPAN]) -> (f32, f32) {
    // SAFETY: all pointers are to whole vectors within the array.
    let (largest, broken) = unsafe {
        let (mut largest, mut broken) = (S::splat(0.0), S::splat(0.0));
        for i in (0..SPAN).step_by(S::LANES) {
            let v = S::load(x.as_ptr().add(i));
            largest = S::max(largest, S::max(v, S::mul(v, S::splat(-1.0))));
            broken = S::fma(v, S::splat(0.0), broken);
        }
        (S::largest(largest), S::sum(broken))
    };
    if broken != 0.0 {
        return (0.0, broken);
    }
    if largest < SMALLEST {
        return (0.0, 0.0);
    }
    (127.0 / largest, largest / 127.0)
}

/// Spans below this are all zero: the reciprocal of their scale would overflow.
const SMALLEST: f32 = 1e-30;

const _: () = assert!(GROUP.is_multiple_of(crate::simd::MAX_LANES));
