//! Products of float32 matrices for training, multiplied as they are or rounded to BF16 ([`Precision`]).
//!
//! [`crate::matmul`] makes dot products along stored rows, in an order that gives a row the same bits in any company. Training
//! needs no such promise, but two products more: `dx = dy · w`, which runs across stored rows, and `dw = dyᵀ · x`. All are
//! `a · b` here, where `a` is read by rows or by columns and `b` comes by rows or as a transposed weight.
//!
//! `b` is unpacked into panels, so that it can come from any storage type. Each output is summed step by step within a block
//! of [`STEPS`], and blocks are added in order: the same bits on any number of threads.

#[cfg(target_arch = "x86_64")]
mod pairs;
mod panels;
mod tiles;

pub(crate) use tiles::add_vectors;

use crate::matmul::{Matrix, rounds_activations};
use crate::pool::Parts;
use crate::simd::{Simd, simd_kernel};
use crate::{Aligned, DType, Pool};
use panels::{Rows, put_column, unpack, unpack_rows};
use std::cell::Cell;
use std::ops::Range;
use tiles::{MR, tiles};

/// What the values of a product are rounded to before they are multiplied. Sums are float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// They stay as they are.
    #[default]
    Float32,
    /// BF16, where the processor multiplies pairs of such numbers ([`crate::Isa::Avx512Bf16`]) and the product is wide enough to gain
    /// by it; else as [`Self::Float32`].
    Bf16,
}

/// How values lie in panels of `b` and in rows of `a` that are put in order: in each place what one step of a tile multiplies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A float32 value.
    Single,
    /// Two BF16 values of neighbouring rows of `b`, or columns of `a`.
    #[cfg(target_arch = "x86_64")]
    Pair,
}

impl Form {
    /// For products of `n` columns. Those of a single panel read `a` as it lies.
    fn of(precision: Precision, n: usize) -> Form {
        let gains = n > panel_width(n);
        match precision == Precision::Bf16 && rounds_activations(DType::BF16) && gains {
            #[cfg(target_arch = "x86_64")]
            true => Form::Pair,
            _ => Form::Single,
        }
    }

    /// Values in a place.
    fn values(self) -> usize {
        match self {
            Form::Single => 1,
            #[cfg(target_arch = "x86_64")]
            Form::Pair => 2,
        }
    }
}

/// A float32 matrix `[rows, cols]` that is read by rows or, transposed, by columns.
#[derive(Clone, Copy)]
pub struct View<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// `values` as rows of `cols`.
    ///
    /// # Panics
    /// When they are not whole rows.
    pub fn new(values: &'a [f32], cols: usize) -> View<'a> {
        assert!(cols > 0 && values.len().is_multiple_of(cols), "whole rows of {cols}");
        View { values, rows: values.len() / cols, cols, row_stride: cols, col_stride: 1 }
    }

    /// `rows` rows of `cols` values, each `stride` behind the one before.
    pub(crate) fn strided(values: &'a [f32], rows: usize, cols: usize, stride: usize) -> View<'a> {
        assert!(rows == 0 || (rows - 1) * stride + cols <= values.len(), "rows lie within the values");
        View { values, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// Rows for columns.
    pub fn transposed(self) -> View<'a> {
        View {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Where column `col` of the rows from `row` on lies, of which those from `end` on are the last one again; and how far
    /// apart columns are.
    fn rows_from(&self, row: usize, end: usize, col: usize) -> ([*const f32; MR], usize) {
        let at = |row: usize| &raw const self.values[row * self.row_stride + col * self.col_stride];
        (std::array::from_fn(|i| at((row + i).min(end - 1))), self.col_stride)
    }

    /// Writes row `row` to `out`.
    pub(crate) fn copy_row(&self, row: usize, out: &mut [f32]) {
        let from = row * self.row_stride;
        if self.col_stride == 1 {
            out.copy_from_slice(&self.values[from..from + self.cols]);
        } else {
            let values = self.values[from..].iter().step_by(self.col_stride);
            out.iter_mut().zip(values).for_each(|(o, v)| *o = *v);
        }
    }
}

/// The right side of a product, `[k, n]`.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    /// Rows that a function writes: `rows(row, values)` is called once for each.
    Rows(&'a (dyn Fn(usize, &mut [f32]) + Sync)),
    /// The transpose of a weight `[n, k]`.
    Transposed(Matrix<'a>),
}

/// What happens to the values that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sum {
    Add,
    Set,
}

/// Steps that a tile runs over at a time: with 16 columns of `b` they fill half of a first-level cache.
const STEPS: usize = 256;
/// Rows of `a` in a task: with [`STEPS`] places each, 96 KB of a second-level cache.
const M_BLOCK: usize = 96;
/// Columns of `out` in a task.
const N_BLOCK: usize = 1024;
/// Columns of `out` whose panels are there at once, where `b` comes by columns.
const N_PANELS: usize = 8 * N_BLOCK;
/// Places of panels that are there at once, about: 8 MB.
const PANEL_PLACES: usize = 2 << 20;

/// `out [m, n] += a [m, k] · b [k, n]` on all threads.
///
/// # Panics
/// When `out` is not `[m, n]`.
pub fn add_product(pool: &Pool, precision: Precision, a: View<'_>, b: Right<'_>, n: usize, out: &mut [f32]) {
    product_into(pool, Form::of(precision, n), a, b, n, out, Sum::Add);
}

/// `out [m, n] = a [m, k] · b [k, n]` on all threads, whatever was in `out`.
///
/// # Panics
/// When `out` is not `[m, n]`.
pub fn product(pool: &Pool, precision: Precision, a: View<'_>, b: Right<'_>, n: usize, out: &mut [f32]) {
    product_into(pool, Form::of(precision, n), a, b, n, out, Sum::Set);
}

fn product_into(pool: &Pool, form: Form, a: View<'_>, b: Right<'_>, n: usize, out: &mut [f32], sum: Sum) {
    assert_eq!(out.len(), a.rows * n, "out is [{}, {n}]", a.rows);
    if out.is_empty() {
        return;
    }
    let at_once = match b {
        Right::Rows(_) => n,
        Right::Transposed(weight) => {
            assert_eq!((weight.rows(), weight.cols()), (n, a.cols), "a weight [{n}, {}]", a.cols);
            N_PANELS
        }
    };
    let width = panel_width(n);
    let mut panels = PANELS.take();
    let out = Parts::new(out);
    for first in (0..n).step_by(at_once) {
        let columns = first..(first + at_once).min(n);
        let padded = columns.len().next_multiple_of(width);
        let k_panels = (PANEL_PLACES / padded / STEPS).max(1) * STEPS * form.values();
        for from in (0..a.cols).step_by(k_panels) {
            let k = from..(from + k_panels).min(a.cols);
            panels.resize(padded * k.len().div_ceil(form.values()));
            unpack(pool, form, b, &k, &columns, width, &mut panels);
            let sum = if from == 0 { sum } else { Sum::Add };
            let block = Block { a, k, form, panels: &panels, width, first, n, sum };
            run(pool, &block, columns.clone(), &out);
        }
    }
    PANELS.set(panels);
}

/// Computes the columns `columns` of a block. The sums' order does not depend on how they are shared between the threads.
fn run(pool: &Pool, block: &Block<'_>, columns: Range<usize>, out: &Parts<f32>) {
    let rows = block.a.rows;
    let column_blocks = columns.len().div_ceil(N_BLOCK);
    // so small that no thread has to wait long for another at the end
    let wanted = (8 * pool.threads()).div_ceil(column_blocks);
    let m_block = rows.div_ceil(wanted).next_multiple_of(MR).min(M_BLOCK);
    pool.run(rows.div_ceil(m_block) * column_blocks, &|task| {
        let row = task / column_blocks * m_block;
        let column = columns.start + task % column_blocks * N_BLOCK;
        tiles(block, row..(row + m_block).min(rows), column..(column + N_BLOCK).min(columns.end), out);
    });
}

/// [`add_product`] on this thread alone, for tasks of a larger loop.
pub(crate) fn add_product_here(a: View<'_>, b: View<'_>, out: &mut [f32]) {
    let n = b.cols;
    assert_eq!((a.cols, out.len()), (b.rows, a.rows * n));
    if out.is_empty() {
        return;
    }
    let width = panel_width(n);
    let mut panels = PANELS.take();
    let out = Parts::new(out);
    for from in (0..a.cols).step_by(STEPS) {
        let k = from..(from + STEPS).min(a.cols);
        panels.resize(n.next_multiple_of(width) * k.len());
        if b.col_stride == 1 {
            let copy = |row: usize, values: &mut [f32]| b.copy_row(row, values);
            let rows = Rows { b: &copy, k: k.clone(), n, width };
            unpack_rows(&rows, 0..k.len(), &Parts::new(&mut panels));
        } else {
            for (panel, to) in panels.chunks_exact_mut(width * k.len()).enumerate() {
                let columns = panel * width..((panel + 1) * width).min(n);
                let columns = columns.map(|column| &b.values[column * b.col_stride + k.start..][..k.len()]);
                columns.enumerate().for_each(|(i, values)| put_column(values, i, width, to));
            }
        }
        let block = Block { a, k, form: Form::Single, panels: &panels, width, first: 0, n, sum: Sum::Add };
        for row in (0..a.rows).step_by(M_BLOCK) {
            tiles(&block, row..(row + M_BLOCK).min(a.rows), 0..n, &out);
        }
    }
    PANELS.set(panels);
}

thread_local! {
    /// Panels of `b`: of each the places `[steps, width]`.
    static PANELS: Cell<Aligned<f32>> = const { Cell::new(Aligned::new()) };
    /// Rows of `b` or of `a` that are on the way, and rows of `a` in the order in which tiles read them.
    static SCRATCH: Cell<(Aligned<f32>, Aligned<f32>)> = const { Cell::new((Aligned::new(), Aligned::new())) };
}

/// A block of the sum: columns `k` of `a` with the unpacked rows `k` of `b`.
struct Block<'a> {
    a: View<'a>,
    k: Range<usize>,
    form: Form,
    /// Of the columns from `first` on, `width` columns each.
    panels: &'a [f32],
    width: usize,
    first: usize,
    /// Columns of the result.
    n: usize,
    /// What the first rows of `k` do.
    sum: Sum,
}

simd_kernel! {
    /// Columns of a panel for a product of `n` columns: fewer where those of a full one would be mostly empty, as with the
    /// ranks of adapters.
    fn panel_width(n: usize) -> usize = panel_width_body;
}

#[inline(always)]
unsafe fn panel_width_body<S: Simd>(n: usize) -> usize {
    let most = if S::WIDE_TILE { 4 } else { 2 };
    let vectors = match n.div_ceil(S::LANES) {
        few @ 1..=2 => few,
        _ => most,
    };
    vectors * S::LANES
}
