//! Rows of scores and logits to probabilities, for losses and backward passes.

use crate::Pool;
use crate::elementwise::for_rows;
use crate::pool::Parts;
use crate::simd::{MAX_LANES, Simd, simd_kernel};

/// Values whose exponentials are added in float32 before they go into a float64 sum: a vocabulary of 150,000 would lose
/// five digits in one float32 sum.
const RUN: usize = 2048;

/// Turns each row of `logits [rows, vocab]` into probabilities, and gives the natural logarithm of the probability of its
/// token in `log_probs [rows]`.
///
/// # Panics
/// When lengths do not fit, or a token is outside the vocabulary.
pub fn log_probs(pool: &Pool, logits: &mut [f32], tokens: &[u32], log_probs: &mut [f32]) {
    assert_eq!(tokens.len(), log_probs.len());
    if tokens.is_empty() {
        return;
    }
    assert!(logits.len().is_multiple_of(tokens.len()), "a row of logits for each token");
    let vocab = logits.len() / tokens.len();
    let found = Parts::new(log_probs);
    for_rows(pool, logits, vocab, &|first, logits| {
        for (i, row) in logits.chunks_exact_mut(vocab).enumerate() {
            let logit = row[tokens[first + i] as usize];
            let (max, total) = softmax_row(row, 1.0);
            // SAFETY: each row has its own place.
            let found = unsafe { found.part(first + i, 1) };
            found[0] = (f64::from(logit - max) - total.ln()) as f32;
        }
    });
}

/// Gradients of [`log_probs`] by the logits, in the place of the probabilities: `(onehot(token) - p) · factor` for each row.
///
/// # Panics
/// When lengths do not fit, or a token is outside the vocabulary.
pub fn log_probs_backward(pool: &Pool, probabilities: &mut [f32], tokens: &[u32], factors: &[f32]) {
    assert_eq!(tokens.len(), factors.len());
    if tokens.is_empty() {
        return;
    }
    assert!(probabilities.len().is_multiple_of(tokens.len()), "a row of probabilities for each token");
    let vocab = probabilities.len() / tokens.len();
    for_rows(pool, probabilities, vocab, &|first, rows| {
        for (i, row) in rows.chunks_exact_mut(vocab).enumerate() {
            let factor = factors[first + i];
            row.iter_mut().for_each(|p| *p *= -factor);
            row[tokens[first + i] as usize] += factor;
        }
    });
}

simd_kernel! {
    /// `softmax(row · scale)` in place. Returns the largest scaled value and the sum of exponentials relative to it.
    pub fn softmax_row(row: &mut [f32], scale: f32) -> (f32, f64) = softmax_row_body;
}

#[inline(always)]
unsafe fn softmax_row_body<S: Simd>(row: &mut [f32], scale: f32) -> (f32, f64) {
    let mut lanes = [f32::NEG_INFINITY; MAX_LANES];
    let mut total = 0.0f64;
    // SAFETY: pointers are to whole vectors, of the row or of padded copies.
    unsafe {
        let mut largest = S::splat(f32::NEG_INFINITY);
        for values in row.chunks_mut(S::LANES) {
            let scaled = S::mul(load::<S>(values, f32::NEG_INFINITY), S::splat(scale));
            store::<S>(values, scaled);
            // the second operand counts where one is no number, so that it isn't lost
            largest = S::max(largest, scaled);
        }
        S::store(lanes.as_mut_ptr(), largest);
        let max = lanes[..S::LANES].iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        let down = S::splat(-max);
        for run in row.chunks_mut(RUN) {
            let mut sum = 0.0f32;
            let mut sums = S::splat(0.0);
            for values in run.chunks_mut(S::LANES) {
                let e = S::exp(S::add(load::<S>(values, f32::NEG_INFINITY), down));
                store::<S>(values, e);
                if values.len() == S::LANES {
                    sums = S::add(sums, e);
                } else {
                    sum = values.iter().sum();
                }
            }
            total += f64::from(S::sum(sums) + sum);
        }
        let factor = (1.0 / total) as f32;
        row.iter_mut().for_each(|v| *v *= factor);
        (max, total)
    }
}

/// At most a vector of values; those that are missing are `rest`.
#[inline(always)]
unsafe fn load<S: Simd>(values: &[f32], rest: f32) -> S::V {
    // SAFETY: both pointers are to a whole vector.
    unsafe {
        if values.len() == S::LANES {
            return S::load(values.as_ptr());
        }
        let mut padded = [rest; MAX_LANES];
        padded[..values.len()].copy_from_slice(values);
        S::load(padded.as_ptr())
    }
}

/// The first values of a vector.
#[inline(always)]
unsafe fn store<S: Simd>(out: &mut [f32], v: S::V) {
    // SAFETY: both pointers are to a whole vector.
    unsafe {
        if out.len() == S::LANES {
            return S::store(out.as_mut_ptr(), v);
        }
        let mut lanes = [0.0f32; MAX_LANES];
        S::store(lanes.as_mut_ptr(), v);
        out.copy_from_slice(&lanes[..out.len()]);
    }
}
