//! Products of activations with weight matrices.
//!
//! Weights stay as they are stored, row-major `[n, k]`; there is no packed copy. Every output is one dot
//! product, summed lane by lane over ascending `k` into one vector and folded once at the end. That order
//! does not depend on `m`, so a row's result is the same bits in a prompt of 500 tokens and alone.
//!
//! A few rows of `x` ("narrow") read the stored weights directly and are bound by memory. More rows ("wide")
//! decode a panel of weight rows to float32 first and reuse it for every row of `x`. Both multiply in float32; where the
//! processor multiplies BF16 numbers, BF16 weights have a way of their own ([`bf16`]).

#[cfg(target_arch = "x86_64")]
mod bf16;

use crate::decode::decode_body;
pub use crate::decode::decode_row;
use crate::pool::Parts;
use crate::simd::{Bf16, F16, F32, MAX_LANES, Simd, Stored, simd_kernel};
use crate::{Aligned, DType, Isa, Pool, isa};
use std::cell::Cell;
use std::ops::Range;

/// A weight matrix `[rows, cols]` (out, in), row-major, in its storage type.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [u8],
    dtype: DType,
    rows: usize,
    cols: usize,
}

impl<'a> Matrix<'a> {
    /// A view of `data` as a matrix.
    ///
    /// # Panics
    /// When `data` is not exactly `rows` rows of `cols` values: loaders check shapes before they come here.
    pub fn new(data: &'a [u8], dtype: DType, rows: usize, cols: usize) -> Self {
        let row = dtype.row_bytes(cols).expect("row length is a multiple of the block length");
        assert_eq!(Some(data.len()), row.checked_mul(rows), "matrix bytes match its shape");
        Matrix { data, dtype, rows, cols }
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The storage type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The stored bytes of row `i`.
    pub fn row(&self, i: usize) -> &'a [u8] {
        let row = self.data.len() / self.rows;
        &self.data[i * row..(i + 1) * row]
    }

    /// Rows `start .. start + rows`.
    fn slice(&self, start: usize, rows: usize) -> Matrix<'a> {
        let row = self.data.len() / self.rows;
        Matrix { data: &self.data[start * row..(start + rows) * row], rows, ..*self }
    }
}

/// Values between two prefetches: a cache line of 16-bit ones.
const PREFETCH_STEP: usize = 32;
/// Rows of `x` up to which weights are read as stored. From about here on, writing a panel costs less than
/// converting each weight once for every 4 rows.
const NARROW: usize = 16;
/// Weight rows in a task of a narrow product: 64 KB and more, so that taking a task costs nothing beside it.
const NARROW_ROWS: usize = 48;
/// Weight rows in a panel of a wide product: 96 KB of float32 at k = 1024, which stays in the second-level cache.
/// A multiple of every tile's height.
const PANEL_ROWS: usize = 24;
const _: () = assert!(SEGMENT_WEIGHT_ROWS <= PANEL_ROWS);
/// Columns that a tile runs over at a time, so that its rows of `x` and of weights stay in the first-level cache.
const PANEL_COLS: usize = 1024;

/// `out [m, n] = x [m, k] · wᵀ (+ bias)` for `w [n, k]`, summed in float32. `m` is `x.len() / w.cols()`. The
/// rows of `x` are rounded to BF16 where [`rounds_activations`] says so.
///
/// # Panics
/// When the lengths of `x`, `bias` and `out` do not fit `w`.
pub fn matmul(pool: &Pool, x: &[f32], w: Matrix<'_>, bias: Option<&[f32]>, out: &mut [f32]) {
    let (n, k) = (w.rows, w.cols);
    let m = x.len().checked_div(k).unwrap_or(0);
    assert_eq!((x.len(), out.len()), (m * k, m * n), "x is [m, {k}] and out is [m, {n}]");
    assert!(bias.is_none_or(|b| b.len() == n), "one bias for each of {n} outputs");
    if m == 0 || n == 0 {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if rounds_activations(w.dtype) {
        // SAFETY: the processor has the instructions; lengths were checked.
        return unsafe { bf16::multiply(pool, x, w, bias, out) };
    }
    let direct = reads_directly(m, w.dtype);
    let rows = if direct { NARROW_ROWS } else { PANEL_ROWS };
    let out = Parts::new(out);
    pool.run(n.div_ceil(rows), &|task| {
        let start = task * rows;
        let w = w.slice(start, rows.min(n - start));
        compute(x, w, Columns { out: &out, n, row: 0, start, bias }, direct);
    });
}

/// Whether [`matmul`] rounds activations to BF16 for weights of this type: for BF16 on [`Isa::Avx512Bf16`], which multiplies such
/// numbers as they are.
pub fn rounds_activations(dtype: DType) -> bool {
    dtype == DType::BF16 && isa::current() == Isa::Avx512Bf16
}

/// Rows of `x`, and the matrix that they are multiplied with.
pub struct Segment<'a> {
    /// The rows.
    pub rows: Range<usize>,
    /// Their matrix `[n, k]`.
    pub weight: Matrix<'a>,
}

/// Rows of `x`, and of a weight, in a task of [`matmul_segments`]: what adapters have are matrices of some 16 rows.
const SEGMENT_ROWS: usize = 64;
const SEGMENT_WEIGHT_ROWS: usize = 16;

/// [`matmul`] with a matrix of its own for each run of rows of `x [m, k]`. The first values of a row of `out [m, stride]` are
/// its products; the others, and rows of no segment, stay as they are. Values are the same bits as [`matmul`]'s, but that `x`
/// is never rounded.
///
/// # Panics
/// When segments are not in the order of their rows, or do not fit `x`, `k` and `stride`.
pub fn matmul_segments(
    pool: &Pool,
    x: &[f32],
    k: usize,
    segments: &[Segment<'_>],
    stride: usize,
    out: &mut [f32],
) {
    let m = x.len().checked_div(k).unwrap_or(0);
    assert_eq!((x.len(), out.len()), (m * k, m * stride), "x is [m, {k}] and out is [m, {stride}]");
    let mut tasks = Vec::new();
    let mut end = 0;
    for Segment { rows, weight } in segments {
        assert!(end <= rows.start && rows.end <= m, "rows {rows:?} come after {end} and before {m}");
        assert!(weight.cols == k && weight.rows <= stride, "a weight [n, {k}] of at most {stride} rows");
        end = rows.end;
        for row in rows.clone().step_by(SEGMENT_ROWS) {
            let starts = (0..weight.rows).step_by(SEGMENT_WEIGHT_ROWS);
            tasks.extend(starts.map(|start| (row..(row + SEGMENT_ROWS).min(end), *weight, start)));
        }
    }
    let out = Parts::new(out);
    pool.run(tasks.len(), &|task| {
        let (rows, w, start) = &tasks[task];
        let x = &x[rows.start * k..rows.end * k];
        let columns = Columns { out: &out, n: stride, row: rows.start, start: *start, bias: None };
        let direct = reads_directly(rows.len(), w.dtype);
        compute(x, w.slice(*start, SEGMENT_WEIGHT_ROWS.min(w.rows - start)), columns, direct);
    });
}

/// Whether so many rows read the weights as they are stored.
fn reads_directly(m: usize, dtype: DType) -> bool {
    m <= NARROW && matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

fn compute(x: &[f32], w: Matrix<'_>, columns: Columns<'_>, direct: bool) {
    if direct {
        narrow(x, w, columns);
    } else {
        wide(x, w, columns);
    }
}

/// The part of `out [m, n]` that one task writes: from row `row`, the columns of its weight rows.
#[derive(Clone, Copy)]
struct Columns<'a> {
    out: &'a Parts<f32>,
    n: usize,
    row: usize,
    start: usize,
    bias: Option<&'a [f32]>,
}

impl Columns<'_> {
    #[inline(always)]
    fn put(&self, row: usize, col: usize, sum: f32) {
        self.put_run(row, col, [sum]);
    }

    /// The sums of neighbouring weight rows.
    #[inline(always)]
    fn put_run<const N: usize>(&self, row: usize, col: usize, sums: [f32; N]) {
        let col = self.start + col;
        // SAFETY: no other task has this task's weight rows for these rows of `x`, and `run` returns before `out` is used
        // again.
        let out = unsafe { self.out.part((self.row + row) * self.n + col, N) };
        match self.bias {
            None => out.copy_from_slice(&sums),
            Some(bias) => {
                for ((out, sum), bias) in out.iter_mut().zip(sums).zip(&bias[col..][..N]) {
                    *out = sum + bias;
                }
            }
        }
    }
}

simd_kernel! {
    fn narrow(x: &[f32], w: Matrix<'_>, out: Columns<'_>) = narrow_body;
}

simd_kernel! {
    fn wide(x: &[f32], w: Matrix<'_>, out: Columns<'_>) = wide_body;
}

#[inline(always)]
unsafe fn narrow_body<S: Simd>(x: &[f32], w: Matrix<'_>, out: Columns<'_>) {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        match w.dtype {
            DType::BF16 => narrow_rows::<S, Bf16>(x, w, out),
            DType::F16 => narrow_rows::<S, F16>(x, w, out),
            _ => narrow_rows::<S, F32>(x, w, out),
        }
    }
}

#[inline(always)]
unsafe fn narrow_rows<S: Simd, T: Stored>(x: &[f32], w: Matrix<'_>, out: Columns<'_>) {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        match x.len() / w.cols {
            // 8 sums hide the latency of the multiply-add
            1 => narrow_tiles::<S, T, 8>(x, w, out),
            2 => narrow_tiles::<S, T, 4>(x, w, out),
            _ => narrow_tiles::<S, T, 3>(x, w, out),
        }
    }
}

/// `N` weight rows at a time, which stay in the first-level cache while all rows of `x` pass.
#[inline(always)]
unsafe fn narrow_tiles<S: Simd, T: Stored, const N: usize>(x: &[f32], w: Matrix<'_>, out: Columns<'_>) {
    let m = x.len() / w.cols;
    for start in (0..w.rows).step_by(N) {
        let mut row = 0;
        while row < m {
            // SAFETY: the caller's promise on the instruction set.
            row += unsafe {
                match m - row {
                    1 => narrow_tile::<S, T, 1, N>(x, row, w, start, out),
                    2 => narrow_tile::<S, T, 2, N>(x, row, w, start, out),
                    3 => narrow_tile::<S, T, 3, N>(x, row, w, start, out),
                    _ => narrow_tile::<S, T, 4, N>(x, row, w, start, out),
                }
            };
        }
    }
}

/// `M` rows of `x` from `row` against `N` weight rows from `start`; returns `M`.
#[inline(always)]
unsafe fn narrow_tile<S: Simd, T: Stored, const M: usize, const N: usize>(
    x: &[f32],
    row: usize,
    w: Matrix<'_>,
    start: usize,
    out: Columns<'_>,
) -> usize {
    let k = w.cols;
    let xs: [*const f32; M] = std::array::from_fn(|i| x[(row + i) * k..][..k].as_ptr());
    // the last tile repeats its last row; only the first of them is kept
    let ws: [*const u8; N] = std::array::from_fn(|j| w.row((start + j).min(w.rows - 1)).as_ptr());
    // Without this, arithmetic and memory take turns: 8 rows took 1.2 times, 4 rows 1.3 times as long. A single row
    // is all memory, and the processor's own prefetching does better.
    let ahead = if M > 1 { N * k } else { 0 };
    // SAFETY: every row has `k` values.
    let sums = unsafe { tile::<S, T, M, N>(xs, ws, k, ahead, [[S::splat(0.0); N]; M]) };
    for (i, sums) in sums.into_iter().enumerate() {
        for (j, sum) in sums.into_iter().enumerate().take(w.rows - start) {
            // SAFETY: the caller's promise on the instruction set.
            out.put(row + i, start + j, unsafe { S::sum(sum) });
        }
    }
    M
}

thread_local! {
    /// Decoded weight rows and partial sums of this thread's wide products.
    static SCRATCH: Cell<(Aligned<f32>, Aligned<f32>)> = const { Cell::new((Aligned::new(), Aligned::new())) };
}

#[inline(always)]
unsafe fn wide_body<S: Simd>(x: &[f32], w: Matrix<'_>, out: Columns<'_>) {
    let (m, k) = (x.len() / w.cols, w.cols);
    let (mut panel, mut sums) = SCRATCH.take();
    panel.resize(PANEL_ROWS * k);
    sums.resize(6 * PANEL_ROWS * MAX_LANES);
    for (i, row) in panel.chunks_exact_mut(k).enumerate().take(w.rows) {
        // SAFETY: lengths are those of a row; the caller's promise on the instruction set.
        unsafe { decode_body::<S>(w.dtype, w.row(i), row) };
    }
    let mut row = 0;
    while row < m {
        // SAFETY: the caller's promise on the instruction set.
        row += unsafe {
            if S::WIDE_TILE {
                match m - row {
                    1 => wide_tiles::<S, 1, 4>(x, row, k, &panel, &mut sums, w.rows, out),
                    2 => wide_tiles::<S, 2, 4>(x, row, k, &panel, &mut sums, w.rows, out),
                    3 => wide_tiles::<S, 3, 4>(x, row, k, &panel, &mut sums, w.rows, out),
                    4 => wide_tiles::<S, 4, 4>(x, row, k, &panel, &mut sums, w.rows, out),
                    5 => wide_tiles::<S, 5, 4>(x, row, k, &panel, &mut sums, w.rows, out),
                    _ => wide_tiles::<S, 6, 4>(x, row, k, &panel, &mut sums, w.rows, out),
                }
            } else {
                match m - row {
                    1 => wide_tiles::<S, 1, 3>(x, row, k, &panel, &mut sums, w.rows, out),
                    2 => wide_tiles::<S, 2, 3>(x, row, k, &panel, &mut sums, w.rows, out),
                    3 => wide_tiles::<S, 3, 3>(x, row, k, &panel, &mut sums, w.rows, out),
                    _ => wide_tiles::<S, 4, 3>(x, row, k, &panel, &mut sums, w.rows, out),
                }
            }
        };
    }
    SCRATCH.set((panel, sums));
}

/// `M` rows of `x` from `row` against the whole panel; returns `M`. Partial sums wait in `sums` while the
/// columns pass in cache-sized runs.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn wide_tiles<S: Simd, const M: usize, const N: usize>(
    x: &[f32],
    row: usize,
    k: usize,
    panel: &[f32],
    sums: &mut [f32],
    rows: usize,
    out: Columns<'_>,
) -> usize {
    let lanes = S::LANES;
    for from in (0..k).step_by(PANEL_COLS) {
        let cols = PANEL_COLS.min(k - from);
        let xs: [*const f32; M] = std::array::from_fn(|i| x[(row + i) * k + from..].as_ptr());
        for start in (0..rows).step_by(N) {
            let ws: [*const u8; N] = std::array::from_fn(|j| panel[(start + j) * k + from..].as_ptr().cast());
            let kept = &mut sums[start * M * lanes..][..M * N * lanes];
            // SAFETY: `cols` values follow each pointer; `kept` has a vector for each sum.
            unsafe {
                let at = |i: usize, j: usize| (i * N + j) * lanes;
                let before = std::array::from_fn(|i| {
                    std::array::from_fn(|j| {
                        if from == 0 { S::splat(0.0) } else { S::load(kept.as_ptr().add(at(i, j))) }
                    })
                });
                let after = tile::<S, F32, M, N>(xs, ws, cols, 0, before);
                for (i, sums) in after.into_iter().enumerate() {
                    for (j, sum) in sums.into_iter().enumerate() {
                        if from + cols < k {
                            S::store(kept.as_mut_ptr().add(at(i, j)), sum);
                        } else if start + j < rows {
                            out.put(row + i, start + j, S::sum(sum));
                        }
                    }
                }
            }
        }
    }
    M
}

/// Adds to `sums` the lane-wise products of `M` rows of `x` and `N` rows of weights over `k` columns. What is
/// left over after whole vectors is one more vector, padded with zeros. The weights `ahead` values further are asked
/// for meanwhile; 0 asks for nothing.
///
/// # Safety
/// As for [`Simd`]; `k` values at every pointer (any alignment).
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, T: Stored, const M: usize, const N: usize>(
    x: [*const f32; M],
    w: [*const u8; N],
    k: usize,
    ahead: usize,
    mut sums: [[S::V; N]; M],
) -> [[S::V; N]; M] {
    let whole = k - k % S::LANES;
    // SAFETY: reads stay below `k`, or are of the padded copies.
    unsafe {
        let mut i = 0;
        while i < whole {
            if ahead > 0 && i.is_multiple_of(PREFETCH_STEP) {
                for w in w {
                    S::prefetch(w.wrapping_add(T::bytes(ahead + i)));
                }
            }
            let w: [*const u8; N] = std::array::from_fn(|j| w[j].add(T::bytes(i)));
            for part in (0..S::LANES.max(T::BLOCK)).step_by(S::LANES) {
                let w: [S::V; N] = std::array::from_fn(|j| T::load::<S>(w[j], part));
                for (sums, x) in sums.iter_mut().zip(x) {
                    let x = S::load(x.add(i + part));
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = S::fma(x, w, *sum);
                    }
                }
            }
            i += S::LANES.max(T::BLOCK);
        }
        if whole < k {
            let w: [S::V; N] = std::array::from_fn(|j| {
                let mut rest = [0u8; MAX_LANES * 4];
                let from = w[j].add(T::bytes(whole));
                std::ptr::copy_nonoverlapping(from, rest.as_mut_ptr(), T::bytes(k - whole));
                T::load::<S>(rest.as_ptr(), 0)
            });
            for (sums, x) in sums.iter_mut().zip(x) {
                let mut rest = [0.0f32; MAX_LANES];
                std::ptr::copy_nonoverlapping(x.add(whole), rest.as_mut_ptr(), k - whole);
                let x = S::load(rest.as_ptr());
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = S::fma(x, w, *sum);
                }
            }
        }
    }
    sums
}
