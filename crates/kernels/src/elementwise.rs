//! Row-wise and element-wise operations: norms, rotary positions, gates.

use crate::Pool;
use crate::pool::Parts;
use crate::simd::{MAX_LANES, Simd, simd_kernel};

/// Values in a task: below this, handing out work costs more than doing it.
const GRAIN: usize = 16 * 1024;

/// Calls `task(first_row, rows_values)` for runs of whole rows of `out`, on all threads.
pub(crate) fn for_rows(pool: &Pool, out: &mut [f32], cols: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
    if out.is_empty() {
        return;
    }
    let rows = out.len() / cols;
    let run = (GRAIN / cols).max(1);
    let parts = Parts::new(out);
    pool.run(rows.div_ceil(run), &|i| {
        let (first, count) = (i * run, run.min(rows - i * run));
        // SAFETY: runs of rows do not overlap, and `run` returns before `out` is used again.
        task(first, unsafe { parts.part(first * cols, count * cols) });
    });
}

/// `out = x / sqrt(mean(x²) + eps) · weight` for each row of `weight.len()` values. `out` and `x` have the
/// same length.
pub fn rms_norm(pool: &Pool, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let cols = weight.len();
    assert!(x.len() == out.len() && (x.is_empty() || x.len().is_multiple_of(cols)), "whole rows of {cols}");
    for_rows(pool, out, cols, &|first, out| {
        rms_norm_rows(&x[first * cols..][..out.len()], weight, eps, out);
    });
}

simd_kernel! {
    fn rms_norm_rows(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = rms_norm_body;
}

#[inline(always)]
unsafe fn rms_norm_body<S: Simd>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let n = weight.len();
    for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        // SAFETY: the caller's promise on the instruction set.
        let factor = unsafe { rms_factor::<S>(x, eps) };
        for ((o, x), w) in out.iter_mut().zip(x).zip(weight) {
            *o = x * factor * w;
        }
    }
}

/// `1 / sqrt(mean(x²) + eps)`.
#[inline(always)]
pub(crate) unsafe fn rms_factor<S: Simd>(x: &[f32], eps: f32) -> f32 {
    // SAFETY: the caller's promise on the instruction set.
    let mean = unsafe { sum_of_squares::<S>(x) } / x.len() as f32;
    1.0 / (mean + eps).sqrt()
}

#[inline(always)]
unsafe fn sum_of_squares<S: Simd>(x: &[f32]) -> f32 {
    let whole = x.len() - x.len() % S::LANES;
    let mut rest = [0.0f32; MAX_LANES];
    rest[..x.len() - whole].copy_from_slice(&x[whole..]);
    // SAFETY: reads stay below `whole`, or are of the padded copy.
    unsafe {
        let mut sum = S::splat(0.0);
        for i in (0..whole).step_by(S::LANES) {
            let v = S::load(x.as_ptr().add(i));
            sum = S::fma(v, v, sum);
        }
        let v = S::load(rest.as_ptr());
        S::sum(S::fma(v, v, sum))
    }
}

/// Which two elements of a head a rotation pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeLayout {
    /// `(i, i + d/2)`: Hugging Face checkpoints, and GGUF of every family but Llama.
    Half,
    /// `(2i, 2i + 1)`: Meta's originals and GGUF files of Llama.
    Interleaved,
}

/// Rotates each head of `x [tokens, heads, head_dim]` in place by its token's angles. `cos` and `sin` are
/// `[tokens, head_dim / 2]`.
pub fn rope(pool: &Pool, x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32], layout: RopeLayout) {
    rotate_heads(pool, x, head_dim, None, cos, sin, layout);
}

/// [`rms_norm`] of each head of `x [tokens, heads, head_dim]` in place, and then [`rope`].
pub fn norm_rope(
    pool: &Pool,
    x: &mut [f32],
    weight: &[f32],
    eps: f32,
    cos: &[f32],
    sin: &[f32],
    layout: RopeLayout,
) {
    rotate_heads(pool, x, weight.len(), Some((weight, eps)), cos, sin, layout);
}

fn rotate_heads(
    pool: &Pool,
    x: &mut [f32],
    head_dim: usize,
    norm: Option<(&[f32], f32)>,
    cos: &[f32],
    sin: &[f32],
    layout: RopeLayout,
) {
    let half = head_dim / 2;
    assert!(
        half > 0 && cos.len() == sin.len() && cos.len().is_multiple_of(half),
        "an angle for each pair of a head"
    );
    let tokens = cos.len() / half;
    if tokens == 0 {
        return;
    }
    let cols = x.len() / tokens;
    assert!(cols * tokens == x.len() && cols.is_multiple_of(head_dim), "whole heads for each token");
    for_rows(pool, x, cols, &|first, x| {
        for (t, x) in (first..).zip(x.chunks_exact_mut(cols)) {
            let (cos, sin) = (&cos[t * half..][..half], &sin[t * half..][..half]);
            rotate_token(x, head_dim, norm, cos, sin, layout);
        }
    });
}

simd_kernel! {
    fn rotate_token(
        x: &mut [f32], head_dim: usize, norm: Option<(&[f32], f32)>, cos: &[f32], sin: &[f32], layout: RopeLayout,
    ) = rotate_token_body;
}

#[inline(always)]
unsafe fn rotate_token_body<S: Simd>(
    x: &mut [f32],
    head_dim: usize,
    norm: Option<(&[f32], f32)>,
    cos: &[f32],
    sin: &[f32],
    layout: RopeLayout,
) {
    for head in x.chunks_exact_mut(head_dim) {
        if let Some((weight, eps)) = norm {
            // SAFETY: the caller's promise on the instruction set.
            let factor = unsafe { rms_factor::<S>(head, eps) };
            for (x, w) in head.iter_mut().zip(weight) {
                *x = *x * factor * w;
            }
        }
        rotate(head, cos, sin, layout);
    }
}

#[inline(always)]
fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32], layout: RopeLayout) {
    match layout {
        RopeLayout::Half => {
            let (a, b) = head.split_at_mut(cos.len());
            for (((a, b), c), s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
        RopeLayout::Interleaved => {
            for ((pair, c), s) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                (pair[0], pair[1]) = (pair[0] * c - pair[1] * s, pair[1] * c + pair[0] * s);
            }
        }
    }
}

/// `gate = silu(gate) · up`, element by element.
pub fn silu_mul(pool: &Pool, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    // rows of one vector: an element's place in its vector never changes its value
    for_rows(pool, gate, 1, &|first, gate| silu_mul_run(gate, &up[first..][..gate.len()]));
}

simd_kernel! {
    fn silu_mul_run(gate: &mut [f32], up: &[f32]) = silu_mul_body;
}

#[inline(always)]
unsafe fn silu_mul_body<S: Simd>(gate: &mut [f32], up: &[f32]) {
    // SAFETY: pointers are to whole vectors, of the slices or of padded copies.
    unsafe {
        let whole = gate.len() - gate.len() % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            silu_mul_step::<S>(gate.as_mut_ptr().add(i), up.as_ptr().add(i));
        }
        let rest = gate.len() - whole;
        let (mut g, mut u) = ([0.0f32; MAX_LANES], [0.0f32; MAX_LANES]);
        g[..rest].copy_from_slice(&gate[whole..]);
        u[..rest].copy_from_slice(&up[whole..]);
        silu_mul_step::<S>(g.as_mut_ptr(), u.as_ptr());
        gate[whole..].copy_from_slice(&g[..rest]);
    }
}

/// One vector of [`silu_mul`].
#[inline(always)]
unsafe fn silu_mul_step<S: Simd>(gate: *mut f32, up: *const f32) {
    // SAFETY: the caller's promise on the pointers and the instruction set.
    unsafe { S::store(gate, silu_mul_vector::<S>(S::load(gate), S::load(up))) }
}

/// `silu(gate) · up`.
#[inline(always)]
pub(crate) unsafe fn silu_mul_vector<S: Simd>(gate: S::V, up: S::V) -> S::V {
    // SAFETY: the caller's promise on the instruction set.
    unsafe {
        let e = S::exp(S::mul(gate, S::splat(-1.0)));
        S::mul(S::div(gate, S::add(S::splat(1.0), e)), up)
    }
}

/// `x += y`.
pub fn add_assign(pool: &Pool, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len());
    for_rows(pool, x, 1, &|first, x| {
        x.iter_mut().zip(&y[first..]).for_each(|(x, y)| *x += y);
    });
}
