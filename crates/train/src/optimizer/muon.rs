//! Muon (Keller Jordan and others, 2024, <https://kellerjordan.github.io/posts/muon/>): momentum whose matrix is made nearly
//! orthogonal, so that a step goes as far in every direction.
//!
//! A step of `[rows, cols]` is scaled by `0.2 · sqrt(max(rows, cols))` (arXiv:2502.16982), which makes it as large as AdamW's:
//! both take the same learning rate and decay.

use crate::parameters::ParameterInfo;
use kernels::Pool;
use kernels::gemm::{Precision, Right, View, add_product};
use kernels::optimizer::sum_of_squares;

/// The settings of Muon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// Decay of the momentum.
    pub momentum: f64,
    /// Of the products that make a step orthogonal. Singular values end somewhere near 1 anyway, so that BF16 does no harm, as
    /// Jordan found.
    pub precision: Precision,
}

impl Default for Muon {
    fn default() -> Muon {
        Muon { momentum: 0.95, precision: Precision::Float32 }
    }
}

/// Iterations that make a matrix orthogonal. With [`COEFFICIENTS`], singular values end between 0.7 and 1.2.
const ITERATIONS: usize = 5;
/// `a x + b x³ + c x⁵`: steep at zero rather than exact at one, as Jordan chose them.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// Added to a matrix's length before it is divided by it.
const EPS: f64 = 1e-7;
/// The size of a step relative to the root of the larger dimension.
const SIZE: f64 = 0.2;

/// Whether a parameter is a matrix from hidden states to hidden states. The embedding table and the head are not: their rows
/// are tokens, each with a gradient of its own size.
pub(super) fn suits(info: &ParameterInfo) -> bool {
    info.shape.len() == 2 && info.name.starts_with("model.layers.")
}

impl Muon {
    /// Moves `values` of `shape` against `gradient`, which is multiplied by `scale` first; values are multiplied by `decay`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn step(
        &self,
        pool: &Pool,
        gradient: &[f32],
        scale: f32,
        values: &mut [f32],
        shape: &[usize],
        momentum: &mut [f32],
        learning_rate: f64,
        decay: f64,
    ) {
        let [rows, cols] = shape else { return };
        let renewal = (1.0 - self.momentum) as f32;
        // Nesterov's: the gradient once more than the momentum has it
        let ahead = momentum.iter_mut().zip(gradient).map(|(m, g)| {
            let g = g * scale;
            *m += (g - *m) * renewal;
            g + (*m - g) * self.momentum as f32
        });
        let step = orthogonal(pool, self.precision, ahead.collect(), *rows, *cols);
        let size = (learning_rate * SIZE * (*rows.max(cols) as f64).sqrt()) as f32;
        let decay = decay as f32;
        values.iter_mut().zip(&step).for_each(|(value, step)| *value = *value * decay - size * step);
    }
}

/// The matrix `x [rows, cols]` with singular values near 1, by Newton-Schulz iterations: `x ← a x + (b (x xᵀ) + c (x xᵀ)²) x`.
fn orthogonal(pool: &Pool, precision: Precision, mut x: Vec<f32>, rows: usize, cols: usize) -> Vec<f32> {
    if rows > cols {
        // x xᵀ should be the smaller of both products
        let turned = orthogonal(pool, precision, transposed(&x, rows, cols), cols, rows);
        return transposed(&turned, cols, rows);
    }
    let length = (sum_of_squares(pool, &x).sqrt() + EPS) as f32;
    x.iter_mut().for_each(|v| *v /= length);
    let [a, b, c] = COEFFICIENTS;
    let product = |left: &[f32], right: &[f32], n: usize, mut out: Vec<f32>| {
        let row = |row: usize, values: &mut [f32]| values.copy_from_slice(&right[row * n..][..n]);
        let left = View::new(left, left.len() / rows);
        add_product(pool, precision, left, Right::Rows(&row), n, &mut out);
        out
    };
    for _ in 0..ITERATIONS {
        let square = product(&x, &transposed(&x, rows, cols), rows, vec![0.0; rows * rows]);
        let fourth = product(&square, &square, rows, vec![0.0; rows * rows]);
        let factor: Vec<f32> = square.iter().zip(&fourth).map(|(s, f)| b * s + c * f).collect();
        let scaled = x.iter().map(|v| a * v).collect();
        x = product(&factor, &x, cols, scaled);
    }
    x
}

/// Rows and columns in a tile that is turned: both sides of it stay in the first-level cache.
const TILE: usize = 32;

fn transposed(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    for row in (0..rows).step_by(TILE) {
        for col in (0..cols).step_by(TILE) {
            for r in row..(row + TILE).min(rows) {
                for c in col..(col + TILE).min(cols) {
                    out[c * rows + r] = x[r * cols + c];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn random(len: usize, purpose: &str) -> Vec<f32> {
        let mut random = Random::new(1, purpose, 0);
        (0..len).map(|_| random.uniform(1.0)).collect()
    }

    /// The same in float64, as the formulas stand.
    struct Reference {
        values: Vec<f64>,
        momentum: Vec<f64>,
    }

    impl Reference {
        fn step(&mut self, gradient: &[f32], rows: usize, cols: usize, rate: f64, weight_decay: f64) {
            let mut x: Vec<f64> = Vec::new();
            for (m, g) in self.momentum.iter_mut().zip(gradient) {
                let g = f64::from(*g);
                *m = 0.95 * *m + 0.05 * g;
                x.push(0.05 * g + 0.95 * *m);
            }
            let length = x.iter().map(|v| v * v).sum::<f64>().sqrt() + 1e-7;
            x.iter_mut().for_each(|v| *v /= length);
            for _ in 0..5 {
                let xxt =
                    |i: usize, j: usize| (0..cols).map(|k| x[i * cols + k] * x[j * cols + k]).sum::<f64>();
                let square: Vec<f64> = (0..rows * rows).map(|at| xxt(at / rows, at % rows)).collect();
                let fourth = |i: usize, j: usize| {
                    (0..rows).map(|k| square[i * rows + k] * square[k * rows + j]).sum::<f64>()
                };
                let factor: Vec<f64> = (0..rows * rows)
                    .map(|at| -4.7750 * square[at] + 2.0315 * fourth(at / rows, at % rows))
                    .collect();
                let new = |i: usize, j: usize| {
                    3.4445 * x[i * cols + j]
                        + (0..rows).map(|k| factor[i * rows + k] * x[k * cols + j]).sum::<f64>()
                };
                x = (0..rows * cols).map(|at| new(at / cols, at % cols)).collect();
            }
            let size = rate * 0.2 * (rows.max(cols) as f64).sqrt();
            for (value, step) in self.values.iter_mut().zip(&x) {
                *value = *value * (1.0 - rate * weight_decay) - size * step;
            }
        }
    }

    #[test]
    fn steps_equal_those_in_float64() {
        let pool = Pool::new(2);
        for (rows, cols) in [(24, 40), (40, 24), (33, 33), (1, 7)] {
            let mut values = random(rows * cols, "values");
            let mut momentum = vec![0.0; rows * cols];
            let mut reference = Reference {
                values: values.iter().map(|v| f64::from(*v)).collect(),
                momentum: vec![0.0; rows * cols],
            };
            for step in 0..3 {
                let gradient = random(rows * cols, &format!("gradient {step}"));
                Muon::default().step(
                    &pool,
                    &gradient,
                    1.0,
                    &mut values,
                    &[rows, cols],
                    &mut momentum,
                    0.1,
                    0.99,
                );
                reference.step(&gradient, rows, cols, 0.1, 0.1);
            }
            let off = values.iter().zip(&reference.values).map(|(a, b)| (f64::from(*a) - b).abs());
            let worst = off.fold(0.0, f64::max);
            assert!(worst < 2e-5, "[{rows}, {cols}]: {worst:e}");
        }
    }

    #[test]
    fn all_directions_become_as_long() {
        // so wide that products gain by BF16
        let (rows, cols) = (80, 160);
        let pool = Pool::new(1);
        let mut skewed = random(rows * cols, "skewed");
        // from 1 to 1/256
        for (row, values) in skewed.chunks_exact_mut(cols).enumerate() {
            values.iter_mut().for_each(|v| *v *= 0.5f32.powi(row as i32 / 10));
        }
        let [exact, rounded] = [Precision::Float32, Precision::Bf16].map(|precision| {
            let x = orthogonal(&pool, precision, skewed.clone(), rows, cols);
            for row in x.chunks_exact(cols) {
                let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
                assert!((0.4..1.3).contains(&length), "{length} in {precision:?}");
            }
            x
        });
        assert_eq!(exact != rounded, kernels::isa::current() == kernels::Isa::Avx512Bf16);
    }
}
