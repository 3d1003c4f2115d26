//! The loop of a product: tiles of [`MR`] rows of `a` and a panel of `b`.

use super::{Block, Form, M_BLOCK, SCRATCH, STEPS, Sum, View};
use crate::Aligned;
use crate::pool::Parts;
use crate::simd::{Simd, simd_kernel};
use std::ops::Range;

/// Rows of a tile of sums.
pub(super) const MR: usize = 6;
const _: () = assert!(M_BLOCK.is_multiple_of(MR));

/// How places of a [`Form`] are made and multiplied.
pub(super) trait Places<S: Simd> {
    /// Values in a place.
    const VALUES: usize;
    /// Places of a vector's columns, from the rows that follow each other by `stride`.
    ///
    /// # Safety
    /// As for [`Simd`]; a vector can be read of each row.
    unsafe fn join(rows: *const f32, stride: usize) -> S::V;
    /// `sum + a · b`.
    ///
    /// # Safety
    /// As for [`Simd`].
    unsafe fn multiply(a: S::V, b: S::V, sum: S::V) -> S::V;
    /// Writes rows `rows` and columns `k` of `a` to `out`, in groups of [`MR`] rows whose places of a step lie together. What
    /// missing rows have is never looked at.
    ///
    /// # Safety
    /// As for [`Simd`].
    unsafe fn pack_rows(
        a: View<'_>,
        rows: Range<usize>,
        k: Range<usize>,
        scratch: &mut Aligned<f32>,
        out: &mut Aligned<f32>,
    );
}

/// [`Form::Single`].
pub(super) struct Singles;

impl<S: Simd> Places<S> for Singles {
    const VALUES: usize = 1;

    #[inline(always)]
    unsafe fn join(rows: *const f32, _: usize) -> S::V {
        // SAFETY: the caller's promises.
        unsafe { S::load(rows) }
    }

    #[inline(always)]
    unsafe fn multiply(a: S::V, b: S::V, sum: S::V) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { S::fma(a, b, sum) }
    }

    #[inline(always)]
    unsafe fn pack_rows(
        a: View<'_>,
        rows: Range<usize>,
        k: Range<usize>,
        _: &mut Aligned<f32>,
        out: &mut Aligned<f32>,
    ) {
        pack_singles(a, rows, k, out);
    }
}

/// Rows `rows` and columns `k` of `a`, in groups of [`MR`] rows whose values of a column lie together. Missing rows repeat
/// the last.
fn pack_singles(a: View<'_>, rows: Range<usize>, k: Range<usize>, out: &mut Aligned<f32>) {
    let groups = rows.len().div_ceil(MR);
    out.resize(groups * MR * k.len());
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

/// Adds the block to `out[rows, cols]`.
pub(super) fn tiles(block: &Block<'_>, rows: Range<usize>, cols: Range<usize>, out: &Parts<f32>) {
    match block.form {
        Form::Single => single_tiles(block, rows, cols, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: pairs are chosen where the processor multiplies them.
        Form::Pair => unsafe { super::pairs::tiles(block, rows, cols, out) },
    }
}

simd_kernel! {
    fn single_tiles(block: &Block<'_>, rows: Range<usize>, cols: Range<usize>, out: &Parts<f32>) = singles;
}

#[inline(always)]
unsafe fn singles<S: Simd>(block: &Block<'_>, rows: Range<usize>, cols: Range<usize>, out: &Parts<f32>) {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        match block.width / S::LANES {
            1 => tiles_of::<S, Singles, 1>(block, rows, cols, out),
            2 => tiles_of::<S, Singles, 2>(block, rows, cols, out),
            _ if S::WIDE_TILE => tiles_of::<S, Singles, 4>(block, rows, cols, out),
            vectors => unreachable!("panels of {vectors} vectors"),
        }
    }
}

/// [`tiles`] of [`MR`] rows and `N` vectors, a panel's width.
///
/// # Safety
/// As for [`Simd`]; the block has places of this form.
#[inline(always)]
pub(super) unsafe fn tiles_of<S: Simd, P: Places<S>, const N: usize>(
    block: &Block<'_>,
    rows: Range<usize>,
    cols: Range<usize>,
    out: &Parts<f32>,
) {
    let (steps, width) = (block.k.len().div_ceil(P::VALUES), N * S::LANES);
    // what is read once is not put into order for it
    let direct = P::VALUES == 1 && cols.len() <= width;
    let (mut spare, mut packed) = SCRATCH.take();
    for from in (0..steps).step_by(STEPS) {
        let part = from..(from + STEPS).min(steps);
        let column = |step: usize| (block.k.start + step * P::VALUES).min(block.k.end);
        let of_a = column(part.start)..column(part.end);
        if !direct {
            // SAFETY: the caller's promise on the instruction set.
            unsafe { P::pack_rows(block.a, rows.clone(), of_a.clone(), &mut spare, &mut packed) };
        }
        let sets = from == 0 && block.sum == Sum::Set;
        for col in cols.clone().step_by(width) {
            let panel = &block.panels[(col - block.first) / width * steps * width..][part.start * width..];
            let panel = &panel[..part.len() * width];
            let some = width.min(cols.end - col);
            for (i, row) in rows.clone().step_by(MR).enumerate() {
                // SAFETY: `part.len()` steps of the packed matrices follow the pointers, or as many columns of `a`.
                let sums = unsafe {
                    if direct {
                        let (a, step) = block.a.rows_from(row, rows.end, of_a.start);
                        tile::<S, P, N, false>(a, step, panel.as_ptr(), part.len())
                    } else {
                        let a = packed[i * part.len() * MR..].as_ptr();
                        tile::<S, P, N, true>([a; MR], MR, panel.as_ptr(), part.len())
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

/// `MR` rows against a panel, summed over all steps from zero. Step `i` of the rows is at `a`, `i · stride` further; if they are
/// `PACKED`, its places lie together.
///
/// # Safety
/// As for [`Simd`]; `steps` places at each of `a`, `steps` rows of `N` vectors at `b`.
#[inline(always)]
unsafe fn tile<S: Simd, P: Places<S>, const N: usize, const PACKED: bool>(
    a: [*const f32; MR],
    stride: usize,
    b: *const f32,
    steps: usize,
) -> [[S::V; N]; MR] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; MR];
        for i in 0..steps {
            let mut loaded = [S::splat(0.0); N];
            for (j, loaded) in loaded.iter_mut().enumerate() {
                *loaded = S::load(b.add((i * N + j) * S::LANES));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = if PACKED { a[0].add(i * MR + row) } else { a[row].add(i * stride) };
                let a = S::splat(*a);
                for (sum, b) in sums.iter_mut().zip(loaded) {
                    *sum = P::multiply(a, b, *sum);
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
