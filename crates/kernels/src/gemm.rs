//! Products of float32 matrices for training.
//!
//! [`crate::matmul`] makes dot products along stored rows, in an order that gives a row the same bits in any company. Training
//! needs no such promise, but two products more: `dx = dy · w`, which runs across stored rows, and `dw = dyᵀ · x`. All are
//! `a · b` here, where `a` is read by rows or by columns and `b` comes by rows or as a transposed weight.
//!
//! `b` is unpacked into panels, so that it can come from any storage type. Each output is summed over ascending `k` within a
//! block of [`K_BLOCK`], and blocks are added in order: the same bits on any number of threads.

use crate::Pool;
use crate::decode::decode_row;
use crate::matmul::Matrix;
use crate::pool::Parts;
use crate::simd::{Simd, simd_kernel};
use std::cell::Cell;
use std::ops::Range;

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

/// Columns of `a` that a tile runs over: with 16 columns of `b` they fill half of a first-level cache.
const K_BLOCK: usize = 256;
/// Rows of `a` in a task: with [`K_BLOCK`] columns, 96 KB of a second-level cache.
const M_BLOCK: usize = 96;
/// Columns of `out` in a task.
const N_BLOCK: usize = 1024;
/// Columns of `out` whose panels are there at once, where `b` comes by columns.
const N_PANELS: usize = 8 * N_BLOCK;
/// Values of panels that are there at once, about: 8 MB.
const PANEL_VALUES: usize = 2 << 20;
/// Rows of `b` that one task unpacks.
const UNPACK_ROWS: usize = 8;
/// Rows of a tile of sums.
const MR: usize = 6;

/// `out [m, n] += a [m, k] · b [k, n]` on all threads.
///
/// # Panics
/// When `out` is not `[m, n]`.
pub fn add_product(pool: &Pool, a: View<'_>, b: Right<'_>, n: usize, out: &mut [f32]) {
    product_into(pool, a, b, n, out, Sum::Add);
}

/// `out [m, n] = a [m, k] · b [k, n]` on all threads, whatever was in `out`.
///
/// # Panics
/// When `out` is not `[m, n]`.
pub fn product(pool: &Pool, a: View<'_>, b: Right<'_>, n: usize, out: &mut [f32]) {
    product_into(pool, a, b, n, out, Sum::Set);
}

fn product_into(pool: &Pool, a: View<'_>, b: Right<'_>, n: usize, out: &mut [f32], sum: Sum) {
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
        let k_panels = (PANEL_VALUES / padded / K_BLOCK).max(1) * K_BLOCK;
        for from in (0..a.cols).step_by(k_panels) {
            let k = from..(from + k_panels).min(a.cols);
            panels.resize(padded * k.len(), 0.0);
            unpack(pool, b, &k, &columns, width, &mut panels);
            let sum = if from == 0 { sum } else { Sum::Add };
            let block = Block { a, k, panels: &panels, width, first, n, sum };
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
    for from in (0..a.cols).step_by(K_BLOCK) {
        let k = from..(from + K_BLOCK).min(a.cols);
        panels.resize(n.next_multiple_of(width) * k.len(), 0.0);
        if b.col_stride == 1 {
            let rows = |row: usize, values: &mut [f32]| b.copy_row(row, values);
            unpack_rows(&rows, 0..k.len(), &k, n, width, &Parts::new(&mut panels));
        } else {
            for (panel, to) in panels.chunks_exact_mut(width * k.len()).enumerate() {
                let columns = panel * width..((panel + 1) * width).min(n);
                let columns = columns.map(|column| &b.values[column * b.col_stride + k.start..][..k.len()]);
                columns.enumerate().for_each(|(i, values)| put_column(values, i, width, to));
            }
        }
        let block = Block { a, k, panels: &panels, width, first: 0, n, sum: Sum::Add };
        for row in (0..a.rows).step_by(M_BLOCK) {
            tiles(&block, row..(row + M_BLOCK).min(a.rows), 0..n, &out);
        }
    }
    PANELS.set(panels);
}

thread_local! {
    /// Panels of `b`: of each `[k, width]`.
    static PANELS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    /// A row of `b`, and rows of `a` in the order in which tiles read them.
    static SCRATCH: Cell<(Vec<f32>, Vec<f32>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

/// Writes rows `k` and columns `columns` of `b` into panels: of each run of `width` columns, row after row.
fn unpack(
    pool: &Pool,
    b: Right<'_>,
    k: &Range<usize>,
    columns: &Range<usize>,
    width: usize,
    panels: &mut [f32],
) {
    let parts = Parts::new(panels);
    match b {
        Right::Rows(rows) => pool.run(k.len().div_ceil(UNPACK_ROWS), &|task| {
            let some = task * UNPACK_ROWS..((task + 1) * UNPACK_ROWS).min(k.len());
            unpack_rows(rows, some, k, columns.end, width, &parts);
        }),
        Right::Transposed(weight) => pool.run(columns.len().div_ceil(width), &|task| {
            let first = columns.start + task * width;
            // SAFETY: each panel is written by one task.
            let panel = unsafe { parts.part(task * width * k.len(), width * k.len()) };
            turn(weight, first..(first + width).min(columns.end), k, width, panel);
        }),
    }
}

simd_kernel! {
    /// Writes rows `some` of the rows `k` of `b [k, n]` into the panels of all its columns.
    fn unpack_rows(
        b: &dyn Fn(usize, &mut [f32]),
        some: Range<usize>,
        k: &Range<usize>,
        n: usize,
        width: usize,
        panels: &Parts<f32>
    ) = unpack_rows_body;
}

#[inline(always)]
unsafe fn unpack_rows_body<S: Simd>(
    b: &dyn Fn(usize, &mut [f32]),
    some: Range<usize>,
    k: &Range<usize>,
    n: usize,
    width: usize,
    panels: &Parts<f32>,
) {
    let (mut row, a) = SCRATCH.take();
    row.resize(n.next_multiple_of(width), 0.0);
    row[n..].fill(0.0);
    for i in some {
        b(k.start + i, &mut row[..n]);
        for (panel, values) in row.chunks_exact(width).enumerate() {
            // SAFETY: each row of each panel is written by one task, in whole vectors; the caller's promise on the
            // instruction set.
            unsafe {
                let to = panels.part((panel * k.len() + i) * width, width);
                for at in (0..width).step_by(S::LANES) {
                    S::store(to.as_mut_ptr().add(at), S::load(values.as_ptr().add(at)));
                }
            }
        }
    }
    SCRATCH.set((row, a));
}

/// Writes the columns `k` of the weight's rows `rows`, at most `width`, as columns of a panel `[k, width]`.
fn turn(weight: Matrix<'_>, rows: Range<usize>, k: &Range<usize>, width: usize, panel: &mut [f32]) {
    let (mut row, a) = SCRATCH.take();
    row.resize(k.len(), 0.0);
    // a block of columns begins and ends with a block of the storage type
    let bytes = |values: usize| weight.dtype().row_bytes(values).expect("whole blocks of values");
    let bytes = bytes(k.start)..bytes(k.end);
    for (column, i) in rows.clone().enumerate() {
        decode_row(weight.dtype(), &weight.row(i)[bytes.clone()], &mut row);
        put_column(&row, column, width, panel);
    }
    SCRATCH.set((row, a));
}

/// Writes `values` as a column of a panel `[k, width]`. What a panel has beyond the last column is never looked at.
fn put_column(values: &[f32], column: usize, width: usize, panel: &mut [f32]) {
    panel[column..].iter_mut().step_by(width).zip(values).for_each(|(to, value)| *to = *value);
}

/// A block of the sum: columns `k` of `a` with the unpacked rows `k` of `b`.
struct Block<'a> {
    a: View<'a>,
    k: Range<usize>,
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

simd_kernel! {
    fn tiles(block: &Block<'_>, rows: Range<usize>, cols: Range<usize>, out: &Parts<f32>) = tiles_body;
}

#[inline(always)]
unsafe fn tiles_body<S: Simd>(block: &Block<'_>, rows: Range<usize>, cols: Range<usize>, out: &Parts<f32>) {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        match block.width / S::LANES {
            1 => tiles_of::<S, 1>(block, rows, cols, out),
            2 => tiles_of::<S, 2>(block, rows, cols, out),
            _ if S::WIDE_TILE => tiles_of::<S, 4>(block, rows, cols, out),
            vectors => unreachable!("panels of {vectors} vectors"),
        }
    }
}

/// Adds the block to `out[rows, cols]`, in tiles of `MR` rows and `N` vectors.
#[inline(always)]
unsafe fn tiles_of<S: Simd, const N: usize>(
    block: &Block<'_>,
    rows: Range<usize>,
    cols: Range<usize>,
    out: &Parts<f32>,
) {
    let (k, width) = (block.k.len(), N * S::LANES);
    // what is read once is not put into order for it
    let direct = cols.len() <= width;
    let (spare, mut packed) = SCRATCH.take();
    for from in (0..k).step_by(K_BLOCK) {
        let part = from..(from + K_BLOCK).min(k);
        let of_a = block.k.start + part.start..block.k.start + part.end;
        if !direct {
            pack_rows(block.a, rows.clone(), of_a.clone(), &mut packed);
        }
        let sets = from == 0 && block.sum == Sum::Set;
        for col in cols.clone().step_by(width) {
            let panel = &block.panels[(col - block.first) / width * k * width..][part.start * width..];
            let panel = &panel[..part.len() * width];
            let some = width.min(cols.end - col);
            for (i, row) in rows.clone().step_by(MR).enumerate() {
                // SAFETY: `part.len()` rows of the packed matrices follow the pointers, or as many columns of `a`.
                let sums = unsafe {
                    if direct {
                        let (a, step) = block.a.rows_from(row, rows.end, of_a.start);
                        tile::<S, N, false>(a, step, panel.as_ptr(), part.len())
                    } else {
                        let a = packed[i * part.len() * MR..].as_ptr();
                        tile::<S, N, true>([a; MR], MR, panel.as_ptr(), part.len())
                    }
                };
                for (row, sums) in (row..rows.end).zip(sums) {
                    // SAFETY: no other task has these rows and columns.
                    let out = unsafe { out.part(row * block.n + col, some) };
                    if sets {
                        out.fill(0.0);
                    }
                    // SAFETY: the caller's promise on the instruction set.
                    unsafe { add_vectors::<S, N>(out, sums) };
                }
            }
        }
    }
    SCRATCH.set((spare, packed));
}

/// Rows `rows` and columns `k` of `a`, in groups of [`MR`] rows whose values of a column lie together. Missing rows repeat
/// the last.
fn pack_rows(a: View<'_>, rows: Range<usize>, k: Range<usize>, out: &mut Vec<f32>) {
    let groups = rows.len().div_ceil(MR);
    out.resize(groups * MR * k.len(), 0.0);
    for (group, out) in out.chunks_exact_mut(MR * k.len()).enumerate() {
        let first = rows.start + group * MR;
        let last = rows.end - 1 - first;
        let (columns, _) = out.as_chunks_mut::<MR>();
        if a.row_stride == 1 {
            for (out, col) in columns.iter_mut().zip(k.clone()) {
                let values = &a.values[first + col * a.col_stride..];
                match values.first_chunk::<MR>() {
                    Some(whole) if last >= MR - 1 => *out = *whole,
                    _ => *out = std::array::from_fn(|i| values[i.min(last)]),
                }
            }
            continue;
        }
        let rows: [&[f32]; MR] =
            std::array::from_fn(|i| &a.values[(first + i.min(last)) * a.row_stride..][k.clone()]);
        for (col, out) in columns.iter_mut().enumerate() {
            *out = std::array::from_fn(|i| rows[i][col]);
        }
    }
}

/// `MR` rows against a panel, summed over `k` from zero. Column `i` of the rows is at `a`, `i · step` further; if they are
/// `PACKED`, its values lie together.
///
/// # Safety
/// As for [`Simd`]; `k` columns at each of `a`, `k` rows of `N` vectors at `b`.
#[inline(always)]
unsafe fn tile<S: Simd, const N: usize, const PACKED: bool>(
    a: [*const f32; MR],
    step: usize,
    b: *const f32,
    k: usize,
) -> [[S::V; N]; MR] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; MR];
        for i in 0..k {
            let b: [S::V; N] = std::array::from_fn(|j| S::load(b.add((i * N + j) * S::LANES)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = if PACKED { a[0].add(i * MR + row) } else { a[row].add(i * step) };
                let a = S::splat(*a);
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = S::fma(a, b, *sum);
                }
            }
        }
        sums
    }
}

/// `out += sums`, of which `out` may have only the first values.
#[inline(always)]
pub(crate) unsafe fn add_vectors<S: Simd, const N: usize>(out: &mut [f32], sums: [S::V; N]) {
    // SAFETY: `out` has whole vectors, or the values go through an array that has.
    unsafe {
        if out.len() == N * S::LANES {
            for (j, sum) in sums.into_iter().enumerate() {
                let at = out.as_mut_ptr().add(j * S::LANES);
                S::store(at, S::add(S::load(at), sum));
            }
        } else {
            let mut lanes = [0.0f32; 4 * crate::simd::MAX_LANES];
            for (j, sum) in sums.into_iter().enumerate() {
                S::store(lanes.as_mut_ptr().add(j * S::LANES), sum);
            }
            out.iter_mut().zip(lanes).for_each(|(o, v)| *o += v);
        }
    }
}
