//! The second half of low-rank adapters: rows of few values times a matrix, added to wide results, where each run of rows
//! has a matrix of its own (Punica's segments, arXiv:2310.18547). The first half is [`crate::matmul::matmul_segments`].
//!
//! Dot products of 16 values would leave vectors with little to do but to be folded. So a matrix is kept transposed,
//! `[rank, cols]`, in panels of [`PANEL`] columns, and each output is summed over ascending rank in a lane of its own,
//! from zero, and then added: the same bits whatever rows are beside it, on any number of threads.

use crate::gemm::add_vectors;
use crate::pool::Parts;
use crate::simd::{Bf16, F32, MAX_LANES, Simd, Stored, simd_kernel};
use crate::{DType, Pool};
use std::ops::Range;

/// Columns of a panel: whole tiles of every instruction set.
const PANEL: usize = 64;
/// Panels of a matrix and rows in a task: 32 KB of a matrix of rank 16 in 16 bits.
const TASK_PANELS: usize = 16;
const TASK_ROWS: usize = 32;

/// A matrix `[rank, cols]` of few rows, in F32 or BF16, in the order in which [`add_low_rank`] reads it.
pub struct RankMatrix {
    /// Panel after panel; of each, row after row. The last panel is filled up with zeros.
    bytes: Vec<u8>,
    dtype: DType,
    rank: usize,
    cols: usize,
}

impl RankMatrix {
    /// The matrix whose value in row `r` and column `c` is `value(r, c)`.
    ///
    /// # Panics
    /// When `dtype` is not F32 or BF16, or a size is zero.
    pub fn new(dtype: DType, rank: usize, cols: usize, value: impl Fn(usize, usize) -> f32) -> RankMatrix {
        assert!(matches!(dtype, DType::F32 | DType::BF16), "{} is not read here", dtype.name());
        assert!(rank > 0 && cols > 0, "a matrix [{rank}, {cols}]");
        let places = (0..cols.div_ceil(PANEL)).flat_map(|panel| {
            (0..rank).flat_map(move |r| (panel * PANEL..(panel + 1) * PANEL).map(move |c| (r, c)))
        });
        let values = places.map(|(r, c)| if c < cols { value(r, c) } else { 0.0 });
        RankMatrix { bytes: dtype.encode(values), dtype, rank, cols }
    }

    /// Rows.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of memory.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    fn panels(&self) -> usize {
        self.cols.div_ceil(PANEL)
    }

    fn panel(&self, panel: usize) -> &[u8] {
        let bytes = self.bytes.len() / self.panels();
        &self.bytes[panel * bytes..][..bytes]
    }
}

/// What is added to some rows of a result.
#[derive(Clone)]
pub struct Addend<'a> {
    /// The rows.
    pub rows: Range<usize>,
    /// Where the matrix's values begin in a row of `h`.
    pub from: usize,
    /// Their matrix.
    pub matrix: &'a RankMatrix,
    /// Which of the results.
    pub out: usize,
}

/// Adds to rows of `outs`, each `[m, cols]` of its matrices, the products of the same rows of `h [m, stride]`.
///
/// # Panics
/// When the addends of a result are not in the order of their rows, or sizes do not fit.
pub fn add_low_rank(pool: &Pool, h: &[f32], stride: usize, addends: &[Addend<'_>], outs: &mut [&mut [f32]]) {
    let m = h.len().checked_div(stride).unwrap_or(0);
    let mut ends = vec![0; outs.len()];
    let mut tasks = Vec::new();
    for (index, Addend { rows, from, matrix, out }) in addends.iter().enumerate() {
        assert!(ends[*out] <= rows.start && rows.end <= m, "rows {rows:?} of {m}, after {}", ends[*out]);
        assert!(from + matrix.rank <= stride, "{} values from {from} of {stride}", matrix.rank);
        assert_eq!(outs[*out].len(), m * matrix.cols, "out is [{m}, {}]", matrix.cols);
        ends[*out] = rows.end;
        for row in rows.clone().step_by(TASK_ROWS) {
            let panels = (0..matrix.panels()).step_by(TASK_PANELS);
            tasks.extend(panels.map(|panel| (index, row, panel)));
        }
    }
    let outs: Vec<Parts<f32>> = outs.iter_mut().map(|out| Parts::new(out)).collect();
    pool.run(tasks.len(), &|task| {
        let (index, row, panel) = tasks[task];
        let addend = &addends[index];
        add_panels(Task {
            h,
            stride,
            addend,
            rows: row..(row + TASK_ROWS).min(addend.rows.end),
            panels: panel..(panel + TASK_PANELS).min(addend.matrix.panels()),
            out: &outs[addend.out],
        });
    });
}

/// Some rows of an addend against some panels of its matrix. No other task has the same rows and columns of `out`.
struct Task<'a> {
    h: &'a [f32],
    stride: usize,
    addend: &'a Addend<'a>,
    rows: Range<usize>,
    panels: Range<usize>,
    out: &'a Parts<f32>,
}

simd_kernel! {
    fn add_panels(task: Task<'_>) = add_panels_body;
}

#[inline(always)]
unsafe fn add_panels_body<S: Simd>(task: Task<'_>) {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        match task.addend.matrix.dtype {
            DType::BF16 => panels_of::<S, Bf16>(&task),
            _ => panels_of::<S, F32>(&task),
        }
    }
}

#[inline(always)]
unsafe fn panels_of<S: Simd, T: Stored>(task: &Task<'_>) {
    for panel in task.panels.clone() {
        let mut row = task.rows.start;
        while row < task.rows.end {
            // SAFETY: the caller's promise on the instruction set.
            row += unsafe {
                match (task.rows.end - row, S::WIDE_TILE) {
                    (1, _) => block::<S, T, 1, 4>(task, panel, row),
                    (2, _) => block::<S, T, 2, 4>(task, panel, row),
                    (3, true) => block::<S, T, 3, 4>(task, panel, row),
                    (3, false) => block::<S, T, 3, 2>(task, panel, row),
                    (_, true) => block::<S, T, 4, 4>(task, panel, row),
                    (_, false) => block::<S, T, 4, 2>(task, panel, row),
                }
            };
        }
    }
}

/// `M` rows from `row` against a panel, `N` vectors at a time; returns `M`.
#[inline(always)]
unsafe fn block<S: Simd, T: Stored, const M: usize, const N: usize>(
    task: &Task<'_>,
    panel: usize,
    row: usize,
) -> usize {
    let &Task { h, stride, addend: &Addend { from, matrix, .. }, .. } = task;
    let (first, values) = (panel * PANEL, matrix.panel(panel).as_ptr());
    let hs: [*const f32; M] = std::array::from_fn(|i| h[(row + i) * stride + from..][..matrix.rank].as_ptr());
    for col in (0..PANEL.min(matrix.cols - first)).step_by(N * S::LANES) {
        // SAFETY: a panel has `rank` rows of `PANEL` values, which are whole tiles; `hs` have `rank` values each; no other
        // task has these outputs, and `run` returns before they are used again.
        unsafe {
            let mut sums = [[S::splat(0.0); N]; M];
            for r in 0..matrix.rank {
                let b: [S::V; N] =
                    std::array::from_fn(|j| T::load::<S>(values, r * PANEL + col + j * S::LANES));
                for (sums, h) in sums.iter_mut().zip(hs) {
                    let h = S::splat(*h.add(r));
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum = S::fma(h, b, *sum);
                    }
                }
            }
            let some = (N * S::LANES).min(matrix.cols - first - col);
            for (i, sums) in sums.into_iter().enumerate() {
                let out = task.out.part((row + i) * matrix.cols + first + col, some);
                add_vectors::<S, N>(out, sums);
            }
        }
    }
    M
}

const _: () = assert!(PANEL.is_multiple_of(4 * MAX_LANES), "a panel is whole tiles");
