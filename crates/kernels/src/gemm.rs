//! Products of float32 matrices for backward passes.
//!
//! [`crate::matmul`] makes dot products along stored rows, which is what a forward pass needs. Gradients need the other two
//! products: `dx = dy · w`, which runs across stored rows, and `dw = dyᵀ · x`. Both are `a · b` with `b` row-major and `a`
//! read by rows or by columns.
//!
//! `b` is unpacked into panels of [`K_BLOCK`] rows, so that it can come from any storage type. Each output is summed over
//! ascending `k` within a block, and blocks are added in order: the same bits on any number of threads.

use crate::Pool;
use crate::pool::Parts;
use crate::simd::{Simd, simd_kernel};
use std::cell::Cell;

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

/// Rows of `b` that are unpacked at a time: with 16 columns they fill half of a first-level cache.
const K_BLOCK: usize = 256;
/// Rows of `a` in a task: with [`K_BLOCK`] columns, 96 KB of a second-level cache.
const M_BLOCK: usize = 96;
/// Columns of `out` in a task.
const N_BLOCK: usize = 1024;
/// Rows of `b` that one task unpacks.
const UNPACK_ROWS: usize = 8;
/// Rows of a tile of sums.
const MR: usize = 6;

/// `out [m, n] += a [m, k] · b [k, n]` on all threads. `b(row, values)` writes row `row` of `b`; it is called once for each.
///
/// # Panics
/// When `out` is not `[m, n]`.
pub fn add_product(
    pool: &Pool,
    a: View<'_>,
    b: &(dyn Fn(usize, &mut [f32]) + Sync),
    n: usize,
    out: &mut [f32],
) {
    assert_eq!(out.len(), a.rows * n, "out is [{}, {n}]", a.rows);
    if out.is_empty() {
        return;
    }
    let width = panel_width();
    let mut panels = PANELS.take();
    // smaller tasks where there would be too few for the threads; the sums' order does not depend on it
    let columns = n.div_ceil(N_BLOCK);
    let wanted = (4 * pool.threads()).div_ceil(columns);
    let m_block = a.rows.div_ceil(wanted).next_multiple_of(MR).min(M_BLOCK);
    let row_blocks = a.rows.div_ceil(m_block);
    for from in (0..a.cols).step_by(K_BLOCK) {
        let k = from..(from + K_BLOCK).min(a.cols);
        panels.resize(n.next_multiple_of(width) * k.len(), 0.0);
        let parts = Parts::new(&mut panels);
        pool.run(k.len().div_ceil(UNPACK_ROWS), &|task| {
            let rows = task * UNPACK_ROWS..((task + 1) * UNPACK_ROWS).min(k.len());
            unpack(rows, from, k.len(), b, n, width, &parts);
        });
        let out = Parts::new(out);
        pool.run(row_blocks * columns, &|task| {
            let (row, col) = (task / columns * m_block, task % columns * N_BLOCK);
            let rows = row..(row + m_block).min(a.rows);
            let cols = col..(col + N_BLOCK).min(n);
            tiles(Block { a, k: k.clone(), panels: &panels, n }, rows, cols, &out);
        });
    }
    PANELS.set(panels);
}

/// [`add_product`] on this thread alone, for tasks of a larger loop.
pub(crate) fn add_product_here(a: View<'_>, b: View<'_>, out: &mut [f32]) {
    let n = b.cols;
    assert_eq!((a.cols, out.len()), (b.rows, a.rows * n));
    if out.is_empty() {
        return;
    }
    let width = panel_width();
    let mut panels = PANELS.take();
    let out = Parts::new(out);
    for from in (0..a.cols).step_by(K_BLOCK) {
        let k = from..(from + K_BLOCK).min(a.cols);
        panels.resize(n.next_multiple_of(width) * k.len(), 0.0);
        let parts = Parts::new(&mut panels);
        unpack(0..k.len(), from, k.len(), &|row, values| b.copy_row(row, values), n, width, &parts);
        for row in (0..a.rows).step_by(M_BLOCK) {
            let rows = row..(row + M_BLOCK).min(a.rows);
            tiles(Block { a, k: k.clone(), panels: &panels, n }, rows, 0..n, &out);
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

/// Writes rows `rows` of a block of `k` rows, which begins at row `first` of `b`, into its panels.
fn unpack(
    rows: std::ops::Range<usize>,
    first: usize,
    k: usize,
    b: &dyn Fn(usize, &mut [f32]),
    n: usize,
    width: usize,
    panels: &Parts<f32>,
) {
    let (mut row, a) = SCRATCH.take();
    row.resize(n.next_multiple_of(width), 0.0);
    row[n..].fill(0.0);
    for i in rows {
        b(first + i, &mut row[..n]);
        for (panel, values) in row.chunks_exact(width).enumerate() {
            // SAFETY: each row of each panel is written by one task.
            unsafe { panels.part((panel * k + i) * width, width) }.copy_from_slice(values);
        }
    }
    SCRATCH.set((row, a));
}

/// A block of the sum: columns `k` of `a` with the unpacked rows `k` of `b`.
struct Block<'a> {
    a: View<'a>,
    k: std::ops::Range<usize>,
    panels: &'a [f32],
    n: usize,
}

simd_kernel! {
    /// Columns of a panel.
    fn panel_width() -> usize = panel_width_body;
}

#[inline(always)]
unsafe fn panel_width_body<S: Simd>() -> usize {
    if S::WIDE_TILE { 4 * S::LANES } else { 2 * S::LANES }
}

simd_kernel! {
    fn tiles(block: Block<'_>, rows: std::ops::Range<usize>, cols: std::ops::Range<usize>, out: &Parts<f32>) = tiles_body;
}

#[inline(always)]
unsafe fn tiles_body<S: Simd>(
    block: Block<'_>,
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
    out: &Parts<f32>,
) {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        if S::WIDE_TILE {
            tiles_of::<S, 4>(block, rows, cols, out);
        } else {
            tiles_of::<S, 2>(block, rows, cols, out);
        }
    }
}

/// Adds the block to `out[rows, cols]`, in tiles of `MR` rows and `N` vectors.
#[inline(always)]
unsafe fn tiles_of<S: Simd, const N: usize>(
    block: Block<'_>,
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
    out: &Parts<f32>,
) {
    let (k, width) = (block.k.len(), N * S::LANES);
    let (spare, mut a) = SCRATCH.take();
    pack_rows(&block, rows.clone(), &mut a);
    for col in cols.clone().step_by(width) {
        let panel = &block.panels[col / width * k * width..][..k * width];
        let some = width.min(cols.end - col);
        for (i, a) in a.chunks_exact(k * MR).enumerate() {
            let row = rows.start + i * MR;
            // SAFETY: `k` rows of the packed matrices follow the pointers.
            let sums = unsafe { tile::<S, N>(a.as_ptr(), panel.as_ptr(), k) };
            for (row, sums) in (row..rows.end).zip(sums) {
                // SAFETY: no other task has these rows and columns.
                let out = unsafe { out.part(row * block.n + col, some) };
                // SAFETY: the caller's promise on the instruction set.
                unsafe { add_vectors::<S, N>(out, sums) };
            }
        }
    }
    SCRATCH.set((spare, a));
}

/// Rows `rows` of `a`, in groups of [`MR`] whose values of a column lie together; missing rows are zero.
fn pack_rows(block: &Block<'_>, rows: std::ops::Range<usize>, out: &mut Vec<f32>) {
    let (a, k) = (block.a, block.k.len());
    out.clear();
    out.resize(rows.len().div_ceil(MR) * MR * k, 0.0);
    for (group, out) in out.chunks_exact_mut(MR * k).enumerate() {
        let first = rows.start + group * MR;
        let some = MR.min(rows.end - first);
        if a.row_stride == 1 {
            for (out, col) in out.chunks_exact_mut(MR).zip(block.k.clone()) {
                out[..some].copy_from_slice(&a.values[first + col * a.col_stride..][..some]);
            }
            continue;
        }
        for i in 0..some {
            let from = (first + i) * a.row_stride + block.k.start * a.col_stride;
            let values = a.values[from..].iter().step_by(a.col_stride);
            out[i..].iter_mut().step_by(MR).zip(values).for_each(|(o, v)| *o = *v);
        }
    }
}

/// `MR` rows against a panel, summed over `k` from zero.
///
/// # Safety
/// As for [`Simd`]; `k · MR` values at `a`, `k` rows of `N` vectors at `b`.
#[inline(always)]
unsafe fn tile<S: Simd, const N: usize>(a: *const f32, b: *const f32, k: usize) -> [[S::V; N]; MR] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; MR];
        for i in 0..k {
            let b: [S::V; N] = std::array::from_fn(|j| S::load(b.add((i * N + j) * S::LANES)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = S::splat(*a.add(i * MR + row));
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
