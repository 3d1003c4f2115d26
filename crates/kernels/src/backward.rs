//! Gradients of the row-wise and element-wise operations. Each adds to what is there already, as gradients do where a value
//! is used twice.

use crate::Pool;
use crate::elementwise::for_rows;
use crate::pool::Parts;
use crate::simd::{MAX_LANES, Simd, simd_kernel};

/// Rows whose shares of a weight's gradient are added first. A fixed number, so that the sum's order does not depend on
/// the threads.
const SHARE_ROWS: usize = 64;

/// Backward of [`crate::elementwise::rms_norm`]: with `r = 1 / sqrt(mean(x²) + eps)` of a row,
/// `dx += r · (weight · dy) - x · r³ · mean(weight · dy · x)` and `dweight += Σ dy · x · r`. `x`, `dy` and `dx` are rows of
/// `weight.len()` values.
///
/// # Panics
/// When lengths do not fit.
pub fn rms_norm_backward(
    pool: &Pool,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dweight: Option<&mut [f32]>,
) {
    let n = weight.len();
    assert!(x.len() == dy.len() && x.len().is_multiple_of(n), "whole rows of {n}");
    if let Some(dx) = dx {
        assert_eq!(x.len(), dx.len());
        for_rows(pool, dx, n, &|first, dx| {
            let range = first * n..first * n + dx.len();
            rms_norm_dx(&x[range.clone()], weight, eps, &dy[range], dx);
        });
    }
    let Some(dweight) = dweight else { return };
    assert_eq!(dweight.len(), n);
    let shares = (x.len() / n).div_ceil(SHARE_ROWS);
    let mut sums = vec![0.0; shares * n];
    let parts = Parts::new(&mut sums);
    pool.run(shares, &|share| {
        let range = share * SHARE_ROWS * n..((share + 1) * SHARE_ROWS * n).min(x.len());
        // SAFETY: each share has its own part.
        let sum = unsafe { parts.part(share * n, n) };
        rms_norm_dweight(&x[range.clone()], eps, &dy[range], sum);
    });
    for share in sums.chunks_exact(n) {
        dweight.iter_mut().zip(share).for_each(|(d, s)| *d += s);
    }
}

simd_kernel! {
    fn rms_norm_dx(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32]) = rms_norm_dx_body;
}

#[inline(always)]
unsafe fn rms_norm_dx_body<S: Simd>(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32]) {
    let n = weight.len();
    let rows = x.chunks_exact(n).zip(dy.chunks_exact(n)).zip(dx.chunks_exact_mut(n));
    for ((x, dy), dx) in rows {
        // SAFETY: the caller's promise on the instruction set.
        let (squares, products) =
            unsafe { (sum_of_products::<S>(x, x, None), sum_of_products::<S>(x, dy, Some(weight))) };
        let r = 1.0 / (squares / n as f32 + eps).sqrt();
        let along = r * r * r * products / n as f32;
        for (((dx, x), dy), w) in dx.iter_mut().zip(x).zip(dy).zip(weight) {
            *dx += r * w * dy - along * x;
        }
    }
}

simd_kernel! {
    fn rms_norm_dweight(x: &[f32], eps: f32, dy: &[f32], sum: &mut [f32]) = rms_norm_dweight_body;
}

#[inline(always)]
unsafe fn rms_norm_dweight_body<S: Simd>(x: &[f32], eps: f32, dy: &[f32], sum: &mut [f32]) {
    let n = sum.len();
    for (x, dy) in x.chunks_exact(n).zip(dy.chunks_exact(n)) {
        // SAFETY: the caller's promise on the instruction set.
        let squares = unsafe { sum_of_products::<S>(x, x, None) };
        let r = 1.0 / (squares / n as f32 + eps).sqrt();
        for ((sum, x), dy) in sum.iter_mut().zip(x).zip(dy) {
            *sum += dy * (x * r);
        }
    }
}

/// `Σ a · b`, or `Σ a · b · c`.
#[inline(always)]
unsafe fn sum_of_products<S: Simd>(a: &[f32], b: &[f32], c: Option<&[f32]>) -> f32 {
    let whole = a.len() - a.len() % S::LANES;
    let mut rest = [[0.0f32; MAX_LANES]; 3];
    for (rest, values) in rest.iter_mut().zip([a, b, c.unwrap_or(a)]) {
        rest[..a.len() - whole].copy_from_slice(&values[whole..a.len()]);
    }
    assert!(a.len() <= b.len() && c.is_none_or(|c| a.len() <= c.len()));
    // SAFETY: reads stay below `whole`, or are of the padded copies.
    unsafe {
        let mut sum = S::splat(0.0);
        for i in (0..whole).step_by(S::LANES) {
            let mut v = S::load(b.as_ptr().add(i));
            if let Some(c) = c {
                v = S::mul(v, S::load(c.as_ptr().add(i)));
            }
            sum = S::fma(S::load(a.as_ptr().add(i)), v, sum);
        }
        let mut v = S::load(rest[1].as_ptr());
        if c.is_some() {
            v = S::mul(v, S::load(rest[2].as_ptr()));
        }
        S::sum(S::fma(S::load(rest[0].as_ptr()), v, sum))
    }
}

/// Backward of [`crate::elementwise::silu_mul`]: `dgate += dy · up · s · (1 + gate · (1 - s))` with `s = sigmoid(gate)`, and
/// `dup += dy · gate · s`.
///
/// # Panics
/// When lengths differ.
pub fn silu_mul_backward(
    pool: &Pool,
    gate: &[f32],
    up: &[f32],
    dy: &[f32],
    dgate: Option<&mut [f32]>,
    dup: Option<&mut [f32]>,
) {
    assert_eq!((gate.len(), up.len()), (dy.len(), dy.len()));
    for (d, of_gate) in [(dgate, true), (dup, false)] {
        let Some(d) = d else { continue };
        assert_eq!(d.len(), dy.len());
        for_rows(pool, d, 1, &|first, d| {
            let range = first..first + d.len();
            silu_mul_run(&gate[range.clone()], &up[range.clone()], &dy[range], of_gate, d);
        });
    }
}

simd_kernel! {
    fn silu_mul_run(gate: &[f32], up: &[f32], dy: &[f32], of_gate: bool, d: &mut [f32]) = silu_mul_run_body;
}

#[inline(always)]
unsafe fn silu_mul_run_body<S: Simd>(gate: &[f32], up: &[f32], dy: &[f32], of_gate: bool, d: &mut [f32]) {
    let n = d.len();
    assert!(gate.len() == n && up.len() == n && dy.len() == n);
    let whole = n - n % S::LANES;
    // SAFETY: pointers are to whole vectors, of the slices or of padded copies.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            let at = [gate, up, dy].map(|v| v.as_ptr().wrapping_add(i));
            silu_mul_step::<S>(at, of_gate, d.as_mut_ptr().add(i));
        }
        let mut rest = [[0.0f32; MAX_LANES]; 4];
        for (rest, values) in rest.iter_mut().zip([gate, up, dy, &*d]) {
            rest[..n - whole].copy_from_slice(&values[whole..]);
        }
        let [gate, up, dy, mut sums] = rest;
        silu_mul_step::<S>([gate.as_ptr(), up.as_ptr(), dy.as_ptr()], of_gate, sums.as_mut_ptr());
        d[whole..].copy_from_slice(&sums[..n - whole]);
    }
}

/// One vector of [`silu_mul_backward`].
#[inline(always)]
unsafe fn silu_mul_step<S: Simd>([gate, up, dy]: [*const f32; 3], of_gate: bool, d: *mut f32) {
    // SAFETY: the caller's promise on the pointers and the instruction set.
    unsafe {
        let (g, dy, one) = (S::load(gate), S::load(dy), S::splat(1.0));
        let s = S::div(one, S::add(one, S::exp(S::mul(g, S::splat(-1.0)))));
        let slope = if of_gate {
            let rest = S::add(one, S::mul(s, S::splat(-1.0)));
            S::mul(S::mul(S::load(up), s), S::fma(g, rest, one))
        } else {
            S::mul(g, s)
        };
        S::store(d, S::fma(dy, slope, S::load(d)));
    }
}

/// `out[i] = x[i] / (1 - rate)`, or 0 with probability `rate`, decided by a hash of `seed` and `i`: the same on any number
/// of threads, and again in the backward pass.
///
/// # Panics
/// When lengths differ.
pub fn dropout(pool: &Pool, x: &[f32], rate: f32, seed: u64, out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    let keep = 1.0 / (1.0 - rate);
    // of 2^24
    let threshold = (f64::from(rate) * f64::from(1 << 24)) as u64;
    for_rows(pool, out, 1, &|first, out| {
        for (i, out) in (first..).zip(out) {
            *out = if hash(seed, i as u64) >> 40 < threshold { 0.0 } else { x[i] * keep };
        }
    });
}

/// Steele and others' SplitMix64 (OOPSLA 2014), at place `i` of the sequence of `seed`.
fn hash(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_add(i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
