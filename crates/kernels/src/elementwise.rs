//! Row-wise and element-wise operations: norms, rotary positions, gates.

use crate::Pool;

/// `out = x / sqrt(mean(x²) + eps) · weight` for each row of `weight.len()` values. `out` and `x` have the
/// same length.
pub fn rms_norm(_pool: &Pool, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let n = weight.len();
    for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        let mean = x.iter().map(|v| v * v).sum::<f32>() / n as f32;
        let scale = 1.0 / (mean + eps).sqrt();
        for ((o, x), w) in out.iter_mut().zip(x).zip(weight) {
            *o = x * scale * w;
        }
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
pub fn rope(_pool: &Pool, x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32], layout: RopeLayout) {
    let half = head_dim / 2;
    let tokens = cos.len() / half;
    let row = x.len() / tokens.max(1);
    for (t, x) in x.chunks_exact_mut(row).enumerate() {
        let (cos, sin) = (&cos[t * half..(t + 1) * half], &sin[t * half..(t + 1) * half]);
        for head in x.chunks_exact_mut(head_dim) {
            for i in 0..half {
                let (a, b) = match layout {
                    RopeLayout::Half => (i, i + half),
                    RopeLayout::Interleaved => (2 * i, 2 * i + 1),
                };
                let (u, v) = (head[a], head[b]);
                head[a] = u * cos[i] - v * sin[i];
                head[b] = v * cos[i] + u * sin[i];
            }
        }
    }
}

/// `gate = silu(gate) · up`, element by element.
pub fn silu_mul(_pool: &Pool, gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + (-*g).exp()) * u;
    }
}

/// `x += y`.
pub fn add_assign(_pool: &Pool, x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
