//! Activations of 8 bits.

use super::format::SPAN_GROUPS;
use super::{GROUP, SPAN};
use crate::isa::{self, Isa};
use crate::pool::Parts;
use crate::simd::{ONES, Simd, simd_kernel};
use crate::{Aligned, Pool, elementwise};
use std::mem::MaybeUninit;

/// Rows of a panel, whose codes stay in the second-level cache while tiles pass. Not a power of two, so that the same group of a
/// panel's rows falls into other places of a cache than the group behind it.
pub(crate) const PANEL_ROWS: usize = 60;

/// Rows `[rows, cols]` with 8-bit codes, in -127..=127 where values are numbers, and a float32 scale for each [`SPAN`] of values,
/// as the products take them. Columns are padded with zeros to whole spans. Its memory is used again for the next rows.
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

/// The rows that are quantized; what is computed as they are read is never written.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The rows themselves.
    Rows(&'a [f32]),
    /// As [`elementwise::rms_norm`] makes them of `x`.
    Normed {
        /// Whole rows.
        x: &'a [f32],
        /// A value for each column.
        weight: &'a [f32],
        /// What is added to the mean of squares.
        eps: f32,
    },
    /// As [`elementwise::silu_mul`] makes them.
    Gated {
        /// Whole rows.
        gate: &'a [f32],
        /// As many.
        up: &'a [f32],
    },
}

impl Source<'_> {
    /// How many values there are.
    fn checked_len(&self, cols: usize) -> usize {
        match self {
            Source::Rows(x) => x.len(),
            Source::Normed { x, weight, .. } => {
                assert_eq!(weight.len(), cols, "a weight of the norm for each column");
                x.len()
            }
            Source::Gated { gate, up } => {
                assert_eq!(gate.len(), up.len(), "as many gates as values");
                gate.len()
            }
        }
    }

    /// A span of a row, padded with zeros, in `computed` unless it is there already. A norm multiplies the row by `factor`.
    #[inline(always)]
    unsafe fn span<'b, S: Simd>(
        &'b self,
        row: usize,
        span: usize,
        cols: usize,
        factor: f32,
        computed: &'b mut MaybeUninit<[f32; SPAN]>,
    ) -> &'b [f32; SPAN] {
        let columns = span * SPAN..cols.min((span + 1) * SPAN);
        let of_row = row * cols + columns.start..row * cols + columns.end;
        match *self {
            Source::Rows(x) => padded(&x[of_row], computed),
            Source::Normed { x, weight, .. } => {
                let mut spans = [MaybeUninit::uninit(); 2];
                let [x_span, weight_span] = &mut spans;
                let (x, weight) = (padded(&x[of_row], x_span), padded(&weight[columns], weight_span));
                let computed = computed.write([0.0; SPAN]);
                for i in 0..SPAN {
                    computed[i] = x[i] * factor * weight[i];
                }
                computed
            }
            Source::Gated { gate, up } => {
                let mut spans = [MaybeUninit::uninit(); 2];
                let [gate_span, up_span] = &mut spans;
                let gate = padded(&gate[of_row.clone()], gate_span);
                let up = padded(&up[of_row], up_span);
                let out = computed.as_mut_ptr().cast::<f32>();
                // SAFETY: a span is whole vectors of every instruction set. The caller's promise on the instruction set.
                unsafe {
                    for i in (0..SPAN).step_by(S::LANES) {
                        let (gate, up) = (S::load(gate.as_ptr().add(i)), S::load(up.as_ptr().add(i)));
                        S::store(out.add(i), elementwise::silu_mul_vector::<S>(gate, up));
                    }
                    computed.assume_init_ref()
                }
            }
        }
    }
}

/// `values`, and in `with_zeros` if they are less than a span.
#[inline(always)]
fn padded<'a>(values: &'a [f32], with_zeros: &'a mut MaybeUninit<[f32; SPAN]>) -> &'a [f32; SPAN] {
    if let Some(whole) = values.first_chunk() {
        return whole;
    }
    let with_zeros = with_zeros.write([0.0; SPAN]);
    with_zeros[..values.len()].copy_from_slice(values);
    with_zeros
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
    /// Quantizes rows of `cols` values.
    ///
    /// # Panics
    /// When the source is not whole rows, or its parts do not fit.
    pub fn quantize(&mut self, pool: &Pool, source: Source<'_>, cols: usize) {
        let values = source.checked_len(cols);
        assert!(cols > 0 && values.is_multiple_of(cols), "whole rows of {cols}");
        let rows = values / cols;
        let into = self.begin(rows, cols);
        // whole panels and parts of them: below some 16,000 values handing out work costs more than doing it
        let run = (16 * 1024 / cols).next_multiple_of(TOGETHER).clamp(TOGETHER, PANEL_ROWS);
        let in_panel = PANEL_ROWS.div_ceil(run);
        let tasks = rows / PANEL_ROWS * in_panel + (rows % PANEL_ROWS).div_ceil(run);
        pool.run(tasks, &|task| {
            let panel = task / in_panel * PANEL_ROWS;
            let end = (panel + PANEL_ROWS).min(rows);
            let start = panel + task % in_panel * run;
            for row in (start..(start + run).min(end)).step_by(TOGETHER) {
                let count = TOGETHER.min(end - row);
                quantize_rows(source, row, count, cols, place(row, rows, cols), &into);
            }
        });
    }

    /// Makes room for `[rows, cols]`.
    pub(super) fn begin(&mut self, rows: usize, cols: usize) -> Destination {
        (self.rows, self.cols) = (rows, cols);
        let groups = rows * groups_of_row(cols);
        let with_pairs = matches!(isa::current(), Isa::Avx2 | Isa::Avx512);
        self.codes.resize(groups * GROUP);
        self.pairs.resize(if with_pairs { self.codes.len() } else { 0 });
        self.scales.resize(groups, 0.0);
        self.corrections.resize(groups, 0);
        self.span_corrections.resize(groups / SPAN_GROUPS, 0);
        Destination {
            rows,
            cols,
            codes: Parts::new(&mut self.codes),
            pairs: with_pairs.then(|| Parts::new(&mut self.pairs)),
            scales: Parts::new(&mut self.scales),
            corrections: Parts::new(&mut self.corrections),
            span_corrections: Parts::new(&mut self.span_corrections),
        }
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

impl Place {
    /// The place of the row so many behind it in its panel.
    #[inline(always)]
    fn skip(self, rows: usize) -> Place {
        Place { first: self.first + rows, first_span: self.first_span + rows, ..self }
    }
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

/// Where the groups of all rows `[rows, cols]` go.
pub(super) struct Destination {
    rows: usize,
    cols: usize,
    codes: Parts<i8>,
    pairs: Option<Parts<i16>>,
    scales: Parts<f32>,
    corrections: Parts<i32>,
    span_corrections: Parts<i32>,
}

impl Destination {
    /// Quantizes span `span` of the rows from `row` on, which are of one panel: `source` has its `cols` values of each row, and of
    /// no other.
    ///
    /// # Safety
    /// No two tasks may have the same span of the same row.
    pub(super) unsafe fn put_span(&self, source: Source<'_>, cols: usize, row: usize, span: usize) {
        let rows = source.checked_len(cols) / cols;
        assert!(row % PANEL_ROWS + rows <= PANEL_ROWS && row + rows <= self.rows && cols <= SPAN);
        let mut at = place(row, self.rows, self.cols);
        at.first += span * SPAN_GROUPS * at.stride;
        at.first_span += span * at.stride;
        for from in (0..rows).step_by(TOGETHER) {
            quantize_rows(source, from, TOGETHER.min(rows - from), cols, at.skip(from), self);
        }
    }
}

/// Rows that are quantized together: their codes of a group lie side by side.
const TOGETHER: usize = 4;

simd_kernel! {
    /// Quantizes `count` rows of one panel, at most [`TOGETHER`], from `row` on, which has its place.
    fn quantize_rows(
        source: Source<'_>, row: usize, count: usize, cols: usize, place: Place, into: &Destination,
    ) = quantize_rows_body;
}

#[inline(always)]
unsafe fn quantize_rows_body<S: Simd>(
    source: Source<'_>,
    row: usize,
    count: usize,
    cols: usize,
    place: Place,
    into: &Destination,
) {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        if count == TOGETHER {
            return quantize_together::<S, TOGETHER>(source, row, cols, place, into);
        }
        for i in 0..count {
            quantize_together::<S, 1>(source, row + i, cols, place.skip(i), into);
        }
    }
}

/// Quantizes `N` rows.
#[inline(always)]
unsafe fn quantize_together<S: Simd, const N: usize>(
    source: Source<'_>,
    row: usize,
    cols: usize,
    place: Place,
    into: &Destination,
) {
    let mut row_factors = [1.0; N];
    if let Source::Normed { x, eps, .. } = source {
        for (i, factor) in row_factors.iter_mut().enumerate() {
            // SAFETY: the caller's promise on the instruction set.
            *factor = unsafe { elementwise::rms_factor::<S>(&x[(row + i) * cols..][..cols], eps) };
        }
    }
    for span in 0..cols.div_ceil(SPAN) {
        let mut computed = [MaybeUninit::uninit(); N];
        let mut values = [&[0.0; SPAN]; N];
        for (i, computed) in computed.iter_mut().enumerate() {
            // SAFETY: the caller's promise on the instruction set.
            values[i] = unsafe { source.span::<S>(row + i, span, cols, row_factors[i], computed) };
        }
        // SAFETY: the caller's promise on the instruction set.
        unsafe { quantize_spans::<S, N>(values, span, place, into) };
    }
}

/// Quantizes the same span of `N` rows, of which the first is at `place`. They wait for each other's results less than one after
/// another.
#[inline(always)]
unsafe fn quantize_spans<S: Simd, const N: usize>(
    values: [&[f32; SPAN]; N],
    span: usize,
    place: Place,
    into: &Destination,
) {
    let Place { first, first_span, stride } = place;
    let first = first + span * SPAN_GROUPS * stride;
    let len = (SPAN_GROUPS - 1) * stride + N;
    let mut largest = [0.0; N];
    for i in 0..N {
        // SAFETY: the caller's promise on the instruction set.
        largest[i] = unsafe { largest_magnitude::<S>(values[i]) };
    }
    // what values are multiplied with to be codes, whose largest magnitude is 127, and back
    let factors = largest.map(|largest| if largest < SMALLEST { 0.0 } else { 127.0 / largest });
    let scales = largest.map(|largest| if largest < SMALLEST { 0.0 } else { largest / 127.0 });
    // SAFETY: 32 values are whole vectors of every instruction set. Each group of each row has its own place, and `run` returns
    // before the vectors are used again. The caller's promise on the instruction set.
    unsafe {
        let codes = into.codes.pointer(first * GROUP, len * GROUP);
        let (to_scales, to_corrections) =
            (into.scales.pointer(first, len), into.corrections.pointer(first, len));
        let to_span = into.span_corrections.pointer(first_span + span * stride, N);
        for i in 0..N {
            let mut sums = [S::splat(0.0); SPAN_GROUPS];
            for (group, sum) in sums.iter_mut().enumerate() {
                let codes = codes.add((group * stride + i) * GROUP);
                let values = values[i].as_ptr().add(group * GROUP);
                *sum = quantize_group::<S>(values, factors[i], codes);
            }
            let sums = S::sum_each(sums);
            let sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
            // where values are no numbers, their sum is none, and the scale keeps that
            let scale = scales[i] + sum * 0.0;
            for (group, sum) in sums.into_iter().enumerate() {
                to_scales.add(group * stride + i).write(scale);
                to_corrections.add(group * stride + i).write(small_integer(sum).wrapping_mul(-128));
            }
            to_span.add(i).write(small_integer(sum).wrapping_mul(-128));
        }
        if let Some(pairs) = &into.pairs {
            let pairs = pairs.pointer(first * GROUP, len * GROUP);
            for group in 0..SPAN_GROUPS {
                let at = group * stride * GROUP;
                let codes = std::slice::from_raw_parts(codes.add(at), N * GROUP);
                let pairs = std::slice::from_raw_parts_mut(pairs.add(at), N * GROUP);
                for (pairs, four) in pairs.chunks_exact_mut(4).zip(codes.chunks_exact(4)) {
                    (pairs[0], pairs[1]) = (four[0].into(), four[2].into());
                    (pairs[2], pairs[3]) = (four[1].into(), four[3].into());
                }
            }
        }
    }
}

/// Codes of a group's `values`, and the vector of which the lanes add up to their sum, exactly.
#[inline(always)]
unsafe fn quantize_group<S: Simd>(values: *const f32, factor: f32, codes: *mut i8) -> S::V {
    // SAFETY: the caller's promise on the pointers and the instruction set.
    unsafe {
        let mut sum = S::splat(0.0);
        for lane in (0..GROUP).step_by(2 * S::LANES) {
            // not in one operation with the product, which not every instruction set has
            let ones = S::splat(ONES);
            let a = S::add(S::mul(S::load(values.add(lane)), S::splat(factor)), ones);
            let b = S::add(S::mul(S::load(values.add(lane + S::LANES)), S::splat(factor)), ones);
            S::store_last_bytes(codes.add(lane), a);
            S::store_last_bytes(codes.add(lane + S::LANES), b);
            sum = S::add(sum, S::add(a, S::add(b, S::splat(-2.0 * ONES))));
        }
        sum
    }
}

/// That of numbers: whoever sums up their codes sees that one is none.
#[inline(always)]
unsafe fn largest_magnitude<S: Simd>(x: &[f32; SPAN]) -> f32 {
    // SAFETY: all pointers are to whole vectors within the array. The caller's promise on the instruction set.
    unsafe {
        let (mut high, mut low) = (S::splat(0.0), S::splat(0.0));
        for i in (0..SPAN).step_by(S::LANES) {
            let v = S::load(x.as_ptr().add(i));
            (high, low) = (S::max(high, v), S::min(low, v));
        }
        S::largest(S::max(high, S::mul(low, S::splat(-1.0))))
    }
}

/// `x` as an integer, which it has to be, of less than 2²²; else anything. Unlike a cast it asks nothing.
#[inline(always)]
fn small_integer(x: f32) -> i32 {
    ((x + ONES).to_bits() as i32).wrapping_sub(ONES.to_bits() as i32)
}

/// Spans below this are all zero: the reciprocal of their scale would overflow.
const SMALLEST: f32 = 1e-30;

const _: () = assert!(GROUP.is_multiple_of(2 * crate::simd::MAX_LANES));
