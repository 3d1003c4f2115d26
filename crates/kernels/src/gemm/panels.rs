//! The right side of a product, unpacked into panels.

#[cfg(target_arch = "x86_64")]
use super::pairs;
use super::tiles::{Places, Singles};
use super::{Form, Right, SCRATCH};
use crate::Pool;
use crate::decode::decode_row;
use crate::matmul::Matrix;
use crate::pool::Parts;
use crate::simd::{Simd, simd_kernel};
use std::ops::Range;

/// Steps of which one task unpacks the rows of `b`.
const UNPACK_STEPS: usize = 8;

/// Writes rows `k` and columns `columns` of `b` into panels: of each run of `width` columns, step after step.
pub(super) fn unpack(
    pool: &Pool,
    form: Form,
    b: Right<'_>,
    k: &Range<usize>,
    columns: &Range<usize>,
    width: usize,
    panels: &mut [f32],
) {
    let parts = Parts::new(panels);
    let steps = k.len().div_ceil(form.values());
    match b {
        Right::Rows(b) => pool.run(steps.div_ceil(UNPACK_STEPS), &|task| {
            let rows = Rows { b, k: k.clone(), n: columns.end, width };
            let some = task * UNPACK_STEPS..((task + 1) * UNPACK_STEPS).min(steps);
            match form {
                Form::Single => unpack_rows(&rows, some, &parts),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: pairs are chosen where the processor multiplies them.
                Form::Pair => unsafe { pairs::unpack_rows(&rows, some, &parts) },
            }
        }),
        Right::Transposed(weight) => pool.run(columns.len().div_ceil(width), &|task| {
            let first = columns.start + task * width;
            // SAFETY: each panel is written by one task.
            let panel = unsafe { parts.part(task * width * steps, width * steps) };
            turn(form, weight, first..(first + width).min(columns.end), k, width, panel);
        }),
    }
}

/// Rows `k` of `b [k, n]`, which go into panels of `width` columns.
pub(super) struct Rows<'a> {
    pub(super) b: &'a dyn Fn(usize, &mut [f32]),
    pub(super) k: Range<usize>,
    pub(super) n: usize,
    pub(super) width: usize,
}

simd_kernel! {
    /// Writes the steps `some` of the rows into the panels of all their columns.
    pub(super) fn unpack_rows(rows: &Rows<'_>, some: Range<usize>, panels: &Parts<f32>) = unpack_singles;
}

#[inline(always)]
unsafe fn unpack_singles<S: Simd>(rows: &Rows<'_>, some: Range<usize>, panels: &Parts<f32>) {
    // SAFETY: the caller's promise.
    unsafe { unpack_places::<S, Singles>(rows, some, panels) }
}

/// [`unpack_rows`] in places of a form.
///
/// # Safety
/// As for [`Simd`].
#[inline(always)]
pub(super) unsafe fn unpack_places<S: Simd, P: Places<S>>(
    rows: &Rows<'_>,
    some: Range<usize>,
    panels: &Parts<f32>,
) {
    let &Rows { b, ref k, n, width } = rows;
    let (mut rows, a) = SCRATCH.take();
    let (padded, steps) = (n.next_multiple_of(width), k.len().div_ceil(P::VALUES));
    rows.resize(P::VALUES * padded);
    for step in some {
        for (i, row) in rows.chunks_exact_mut(padded).enumerate() {
            let at = k.start + step * P::VALUES + i;
            let given = if at < k.end { n } else { 0 };
            row[given..].fill(0.0);
            if given > 0 {
                b(at, &mut row[..given]);
            }
        }
        for panel in 0..padded / width {
            // SAFETY: each step of each panel is written by one task, in whole vectors, as `rows` has them of each row; the
            // caller's promise on the instruction set.
            unsafe {
                let to = panels.part((panel * steps + step) * width, width);
                for at in (0..width).step_by(S::LANES) {
                    let place = P::join(rows.as_ptr().add(panel * width + at), padded);
                    S::store(to.as_mut_ptr().add(at), place);
                }
            }
        }
    }
    SCRATCH.set((rows, a));
}

/// Writes the columns `k` of the weight's rows `rows`, at most `width`, as columns of a panel `[steps, width]`.
fn turn(
    form: Form,
    weight: Matrix<'_>,
    rows: Range<usize>,
    k: &Range<usize>,
    width: usize,
    panel: &mut [f32],
) {
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))]
    let (mut row, mut a) = SCRATCH.take();
    row.resize(k.len());
    // a block of columns begins and ends with a block of the storage type
    let bytes = |values: usize| weight.dtype().row_bytes(values).expect("whole blocks of values");
    let bytes = bytes(k.start)..bytes(k.end);
    for (column, i) in rows.clone().enumerate() {
        decode_row(weight.dtype(), &weight.row(i)[bytes.clone()], &mut row);
        let places = match form {
            Form::Single => &row[..],
            #[cfg(target_arch = "x86_64")]
            // SAFETY: pairs are chosen where the processor multiplies them.
            Form::Pair => unsafe { pairs::round(&row, &mut a) },
        };
        put_column(places, column, width, panel);
    }
    SCRATCH.set((row, a));
}

/// Writes `places` as a column of a panel `[steps, width]`. What a panel has beyond the last column is never looked at.
pub(super) fn put_column(places: &[f32], column: usize, width: usize, panel: &mut [f32]) {
    panel[column..].iter_mut().step_by(width).zip(places).for_each(|(to, place)| *to = *place);
}
