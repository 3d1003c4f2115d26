//! Products with BF16 weights on processors that multiply pairs of BF16 numbers (`vdpbf16ps`): twice the products of an
//! instruction in float32, and weights are read as they are stored.
//!
//! The rows of `x` are rounded to BF16, once a product; the parent module, which has only float32 to multiply in, keeps
//! them as they are. Sums are float32 and have the parent's order: lane by lane over ascending `k`, folded in halves once at
//! the end. Few rows and many take the same way, so that a row's bits do not depend on its company here either.

use super::{Columns, Matrix};
use crate::bf16::{LANES, multiply_pairs, round_row};
use crate::pool::Parts;
use crate::simd::Simd;
use crate::simd::x86::Avx512;
use crate::{Aligned, Pool};
use std::arch::x86_64::*;
use std::cell::Cell;
use std::ops::Range;

/// Columns that a tile runs over at a time.
const BLOCK: usize = 4096;
/// Weight rows in a task: at most 384 KB in a block of columns, which stay in the second-level cache for all rows of `x`.
const ROWS: usize = 48;
/// Rows of `x` in a tile of sums.
const M: usize = 6;
/// Values in a vector of sums.
const SUM_LANES: usize = 16;
/// Rows of `x` that a task rounds.
const ROUND_ROWS: usize = 16;

/// The activations of a product in BF16 `[rows, stride]`, of each row as many as there are columns, padded with zeros to whole
/// vectors. The stride is a vector more, since at one of a power of two all rows share the same lines of a cache.
#[derive(Default)]
struct Rounded {
    values: Aligned<u16>,
    rows: usize,
    stride: usize,
}

impl Rounded {
    /// Rounds `x [rows, k]`.
    ///
    /// # Safety
    /// The processor must have [`crate::Isa::Avx512Bf16`].
    unsafe fn round(&mut self, pool: &Pool, x: &[f32], k: usize) {
        (self.rows, self.stride) = (x.len() / k, k.next_multiple_of(LANES) + LANES);
        self.values.resize(self.rows * self.stride);
        let parts = Parts::new(&mut self.values);
        pool.run(self.rows.div_ceil(ROUND_ROWS), &|task| {
            for row in task * ROUND_ROWS..((task + 1) * ROUND_ROWS).min(self.rows) {
                // SAFETY: each row is written by one task; the caller's promise on the processor.
                unsafe { round_row(&x[row * k..][..k], parts.part(row * self.stride, self.stride)) };
            }
        });
    }
}

thread_local! {
    /// Activations of the products that this thread calls for.
    static ROUNDED: Cell<Rounded> = const { Cell::new(Rounded { values: Aligned::new(), rows: 0, stride: 0 }) };
    /// Partial sums of this thread's tasks.
    static SUMS: Cell<Aligned<f32>> = const { Cell::new(Aligned::new()) };
}

/// [`super::matmul`] for BF16 weights.
///
/// # Safety
/// The processor must have [`crate::Isa::Avx512Bf16`]; lengths as [`super::matmul`] checks them.
pub(super) unsafe fn multiply(pool: &Pool, x: &[f32], w: Matrix<'_>, bias: Option<&[f32]>, out: &mut [f32]) {
    let mut rounded = ROUNDED.take();
    // SAFETY: the caller's promise on the processor.
    unsafe { rounded.round(pool, x, w.cols) };
    let (n, out) = (w.rows, Parts::new(out));
    pool.run(n.div_ceil(ROWS), &|task| {
        let start = task * ROWS;
        let columns = Columns { out: &out, n, row: 0, start, bias };
        // SAFETY: the caller's promise on the processor.
        unsafe { tiles(&rounded, w.slice(start, ROWS.min(n - start)), columns) };
    });
    ROUNDED.set(rounded);
}

/// How a task goes about its rows: panels of weight rows one after another; with each, chunks of rows of `x`.
struct Order {
    panel: usize,
    chunk: usize,
}

/// For one row, 8 sums hide the latency of an instruction.
const SINGLE: Order = Order { panel: 8, chunk: 1 };
/// Few rows stay in the caches while the weights pass in single tiles, which are read from memory once.
const NARROW: Order = Order { panel: 4, chunk: 48 };
/// Many rows pass while a task's weights stay.
const WIDE: Order = Order { panel: ROWS, chunk: M };

/// All rows of `x` with some weight rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn tiles(x: &Rounded, w: Matrix<'_>, out: Columns<'_>) {
    // SAFETY: this function has the features.
    unsafe {
        match x.rows {
            1 => in_order::<8>(x, w, &SINGLE, out),
            rows if rows <= NARROW.chunk => in_order::<4>(x, w, &NARROW, out),
            _ => in_order::<4>(x, w, &WIDE, out),
        }
    }
}

/// [`tiles`] with tiles of `N` weight rows.
#[inline(always)]
unsafe fn in_order<const N: usize>(x: &Rounded, w: Matrix<'_>, order: &Order, out: Columns<'_>) {
    let mut sums = SUMS.take();
    sums.resize(order.panel * order.chunk * SUM_LANES);
    for panel in (0..w.rows).step_by(order.panel) {
        let weights = panel..(panel + order.panel).min(w.rows);
        for chunk in (0..x.rows).step_by(order.chunk) {
            let rows = chunk..(chunk + order.chunk).min(x.rows);
            for from in (0..w.cols).step_by(BLOCK) {
                let block = Block { x, w, weights: weights.clone(), ahead: order.panel, from, out };
                let mut row = rows.start;
                while row < rows.end {
                    let sums = &mut sums[(row - rows.start) * order.panel * SUM_LANES..];
                    // SAFETY: the caller's promise on the instruction set.
                    row += unsafe {
                        match rows.end - row {
                            1 => some_rows::<1, N>(&block, row, sums),
                            2 => some_rows::<2, N>(&block, row, sums),
                            3 => some_rows::<3, N>(&block, row, sums),
                            4 => some_rows::<4, N>(&block, row, sums),
                            5 => some_rows::<5, N>(&block, row, sums),
                            _ => some_rows::<M, N>(&block, row, sums),
                        }
                    };
                }
            }
        }
    }
    SUMS.set(sums);
}

/// A panel of weight rows and a block of columns.
struct Block<'a> {
    x: &'a Rounded,
    w: Matrix<'a>,
    weights: Range<usize>,
    /// Weight rows until the next panel.
    ahead: usize,
    /// The first column.
    from: usize,
    out: Columns<'a>,
}

/// `M` rows of `x` from `row` with the block, `N` weight rows at a time; returns `M`. Partial sums wait in `sums` for the
/// next block of columns.
#[inline(always)]
unsafe fn some_rows<const M: usize, const N: usize>(
    block: &Block<'_>,
    row: usize,
    sums: &mut [f32],
) -> usize {
    let &Block { x, w, from, out, .. } = block;
    let k = w.cols;
    let cols = BLOCK.min(k - from);
    let last = from + cols == k;
    // all rows of `x` together ask for the next panel, so that arithmetic and memory go on side by side
    let share = |row: usize| (cols * row).div_ceil(x.rows).next_multiple_of(LANES);
    let ask = Ask { cols: share(row)..share(row + M), ahead: block.ahead * k };
    let xs: [*const u16; M] = std::array::from_fn(|i| x.values[(row + i) * x.stride + from..].as_ptr());
    for start in block.weights.clone().step_by(N) {
        // the last tile repeats its last row; only the first of them is kept
        let ws: [*const u16; N] = std::array::from_fn(|j| {
            let row = w.row((start + j).min(w.rows - 1)).as_ptr();
            row.cast::<u16>().wrapping_add(from)
        });
        let kept = &mut sums[(start - block.weights.start) * M * SUM_LANES..][..M * N * SUM_LANES];
        let kept = kept.as_mut_ptr().cast::<[[__m512; N]; M]>();
        // SAFETY: `cols` values follow each pointer, of `x` as many vectors as they take; `kept` has a vector for each
        // sum; the caller's promise on the instruction set.
        unsafe {
            let before = if from == 0 { [[_mm512_setzero_ps(); N]; M] } else { kept.read_unaligned() };
            let after = tile(xs, ws, cols, &ask, before);
            if !last {
                kept.write_unaligned(after);
                continue;
            }
            // in a loop of its own, short enough to be unrolled, so that sums stay in registers
            let mut folded = [[0.0; N]; M];
            for (sums, folded) in after.iter().zip(&mut folded) {
                for (four, folded) in sums.as_chunks().0.iter().zip(folded.as_chunks_mut().0) {
                    *folded = fold(*four);
                }
            }
            let whole = start + N <= w.rows;
            for (i, sums) in folded.into_iter().enumerate() {
                if whole {
                    out.put_run(row + i, start, sums);
                } else {
                    (start..w.rows).zip(sums).for_each(|(col, sum)| out.put(row + i, col, sum));
                }
            }
        }
    }
    M
}

/// What a tile asks for while it multiplies: the same columns of the weights `ahead` values further.
struct Ask {
    cols: Range<usize>,
    ahead: usize,
}

/// Adds to `sums` the products of `M` rows of `x` and `N` weight rows over so many columns.
#[inline(always)]
unsafe fn tile<const M: usize, const N: usize>(
    x: [*const u16; M],
    w: [*const u16; N],
    cols: usize,
    ask: &Ask,
    mut sums: [[__m512; N]; M],
) -> [[__m512; N]; M] {
    let whole = cols / LANES * LANES;
    // SAFETY: whole vectors are within the columns; of what is left only its own values are read, and those of `x` are
    // padded; the caller's promise on the instruction set.
    unsafe {
        let mut i = 0;
        while i < whole {
            if ask.cols.contains(&i) {
                for w in w {
                    Avx512::prefetch(w.wrapping_add(ask.ahead + i).cast());
                }
            }
            let vectors = std::array::from_fn(|j| _mm512_loadu_si512(w[j].add(i).cast()));
            add_products(&mut sums, std::array::from_fn(|j| x[j].add(i)), vectors);
            i += LANES;
        }
        if whole < cols {
            let some = u32::MAX >> (LANES - (cols - whole));
            let vectors = std::array::from_fn(|j| _mm512_maskz_loadu_epi16(some, w[j].add(whole).cast()));
            add_products(&mut sums, std::array::from_fn(|j| x[j].add(whole)), vectors);
        }
    }
    sums
}

/// A vector of each row of `x` with one of each weight row.
#[inline(always)]
unsafe fn add_products<const M: usize, const N: usize>(
    sums: &mut [[__m512; N]; M],
    x: [*const u16; M],
    w: [__m512i; N],
) {
    // SAFETY: the caller's promises.
    unsafe {
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = _mm512_loadu_si512(x.cast());
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = multiply_pairs(x, w, *sum);
            }
        }
    }
}

/// Each vector's lanes, folded in halves as [`crate::simd::Simd::sum`] does, four vectors together.
#[inline(always)]
unsafe fn fold(vectors: [__m512; 4]) -> [f32; 4] {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        let eight: [__m256; 4] = std::array::from_fn(|i| {
            _mm256_add_ps(_mm512_castps512_ps256(vectors[i]), _mm512_extractf32x8_ps::<1>(vectors[i]))
        });
        // each half of a vector holds 4 lanes of one sum
        let four: [__m256; 2] = std::array::from_fn(|i| {
            let (a, b) = (eight[2 * i], eight[2 * i + 1]);
            _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
        });
        // and now 2 lanes of two sums: 0 and 2, 1 and 3
        let two = _mm256_add_ps(
            _mm256_shuffle_ps::<0x44>(four[0], four[1]),
            _mm256_shuffle_ps::<0xee>(four[0], four[1]),
        );
        let one = _mm256_add_ps(two, _mm256_movehdup_ps(two));
        let (even, odd) = (_mm256_castps256_ps128(one), _mm256_extractf128_ps::<1>(one));
        // of each, values 0 and 2 are sums
        let mut folded = [0.0; 4];
        _mm_storeu_ps(folded.as_mut_ptr(), _mm_blend_ps::<0b1010>(even, _mm_moveldup_ps(odd)));
        folded
    }
}
