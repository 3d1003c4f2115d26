//! Steps of optimisers over a parameter's values.

mod eight_bit;

pub use eight_bit::{BLOCK, EightBit, adamw_8bit};

use crate::Pool;
use crate::pool::Parts;
use crate::simd::{Simd, simd_kernel};

/// Values in a task. Fixed, so that sums over tasks have one order on any number of threads.
const RUN: usize = 16 * 1024;

/// The numbers of one AdamW step (arXiv:1711.05101), as PyTorch computes it.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// Learning rate.
    pub learning_rate: f32,
    /// `1 - β` of the first moment: what of it is replaced. Given like this because `1 - 0.999` in float32 is 1.3e-5 off.
    pub renewal: f32,
    /// `β` and `1 - β` of the second moment.
    pub second: (f32, f32),
    /// Added to the root of the second moment.
    pub eps: f32,
    /// The share of a value, times the learning rate, that is taken off before the step.
    pub weight_decay: f32,
    /// Factor on the gradient, from clipping.
    pub gradient_scale: f32,
    /// `1 - beta^t` of both moments at step `t`, which counts from 1.
    pub corrections: (f32, f32),
}

/// Steps `values` against `gradient`; `m` and `v` are the moments, zero at first:
/// `value ← value · (1 - lr · decay)`, `m ← β₁ m + (1 - β₁) g`, `v ← β₂ v + (1 - β₂) g²`,
/// `value ← value - lr / c₁ · m / (sqrt(v) / sqrt(c₂) + eps)`.
///
/// # Panics
/// When lengths differ.
pub fn adamw(
    pool: &Pool,
    step: AdamWStep,
    gradient: &[f32],
    values: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    let n = values.len();
    assert_eq!((gradient.len(), m.len(), v.len()), (n, n, n));
    let (values, m, v) = (Parts::new(values), Parts::new(m), Parts::new(v));
    pool.run(n.div_ceil(RUN), &|task| {
        let (from, len) = (task * RUN, RUN.min(n - task * RUN));
        // SAFETY: runs do not overlap, and `run` returns before the slices are used again.
        let (values, m, v) = unsafe { (values.part(from, len), m.part(from, len), v.part(from, len)) };
        adamw_run(step, &gradient[from..from + len], values, m, v);
    });
}

simd_kernel! {
    fn adamw_run(step: AdamWStep, gradient: &[f32], values: &mut [f32], m: &mut [f32], v: &mut [f32]) = adamw_body;
}

#[inline(always)]
unsafe fn adamw_body<S: Simd>(
    step: AdamWStep,
    gradient: &[f32],
    values: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    // plain arithmetic, which the compiler turns into vectors of this instruction set
    let keep = 1.0 - step.learning_rate * step.weight_decay;
    let size = step.learning_rate / step.corrections.0;
    let root = step.corrections.1.sqrt();
    for (((value, g), m), v) in values.iter_mut().zip(gradient).zip(m).zip(v) {
        let g = g * step.gradient_scale;
        *m += (g - *m) * step.renewal;
        *v = *v * step.second.0 + g * g * step.second.1;
        *value = *value * keep - size * *m / (v.sqrt() / root + step.eps);
    }
}

/// The sum of squares, in an order that does not depend on the threads.
pub fn sum_of_squares(pool: &Pool, values: &[f32]) -> f64 {
    let mut sums = vec![0.0f64; values.len().div_ceil(RUN)];
    let parts = Parts::new(&mut sums);
    pool.run(values.len().div_ceil(RUN), &|task| {
        let run = &values[task * RUN..((task + 1) * RUN).min(values.len())];
        // SAFETY: each task has its own place.
        let sum = unsafe { parts.part(task, 1) };
        sum[0] = run.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
    });
    sums.iter().sum()
}
