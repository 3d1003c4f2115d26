//! DoRA: adapters that learn how long each output's weights are apart from where they point.

use super::Lora;
use super::linear::{Narrowed, drop_out, input_gradient, lora_backward, narrowed, products};
use crate::{Context, Tensor, Vector, Weight};
use kernels::Pool;

/// A layer's result with a DoRA adapter (arXiv:2402.09353). `y [n, out]` is `x · wᵀ + bias`, the product of `x [n, in]` with the
/// frozen `weight`. With `v = w + scale · b a` and `g = magnitude / |v|`, by rows: `y = g · (x vᵀ) + bias`.
///
/// Backward: with `z = x vᵀ`, `dmagnitude += Σ dy z / |v|` and `dz = g dy`, which goes on as in [`super::lora`]. The lengths
/// `|v|` count as constants, as in the paper's section 4.3 and in PEFT. Keeps `x`, the adapter's inner states and `z`.
///
/// With dropout, `w` sees its inputs whole and what the adapter changes sees the rest, as PEFT has it:
/// `y = x wᵀ + bias + (g · x' vᵀ - x' wᵀ)`.
pub fn dora(
    cx: &Context,
    mut y: Tensor,
    x: &Tensor,
    weight: &Weight,
    bias: Option<&Vector>,
    adapter: &Lora,
    magnitude: &Vector,
) -> Tensor {
    let lengths = lengths(cx.pool(), weight, adapter);
    let factors: Vec<f32> = magnitude.iter().zip(&lengths).map(|(m, length)| m / length).collect();
    let Narrowed { dropped, input, h } = narrowed(cx, x, adapter);
    let [mut z] = products(cx, &h, [(&adapter.b, None)]);
    let plain = match dropped {
        Some(_) => {
            let [plain] = products(cx, &input, [(weight, None)]);
            plain
        }
        None => without(&y, bias),
    };
    kernels::elementwise::add_assign(cx.pool(), z.values_mut(), plain.values());
    let node = y.node();
    let cols = z.cols();
    let rows = y.values_mut().chunks_exact_mut(cols).zip(z.values().chunks_exact(cols));
    for ((y, z), plain) in rows.zip(plain.values().chunks_exact(cols)) {
        for (((y, z), plain), factor) in y.iter_mut().zip(z).zip(plain).zip(&factors) {
            *y += factor * z - plain;
        }
    }
    let trained = [adapter.a.parameter(), adapter.b.parameter(), magnitude.parameter()];
    if cx.records() && (node.is_some() || x.node().is_some() || trained.iter().any(Option::is_some)) {
        let (x, weight, adapter, id) = (x.clone(), weight.clone(), adapter.clone(), magnitude.parameter());
        cx.record(&mut y, move |pass, dy| {
            if let Some(id) = id {
                let sum = pass.gradients.sum(id, cols);
                for (dy, z) in dy.values().chunks_exact(cols).zip(z.values().chunks_exact(cols)) {
                    let terms = dy.iter().zip(z).zip(&lengths).map(|((dy, z), length)| dy * z / length);
                    sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
                }
            }
            let dz = scaled(&dy, |col| factors[col]);
            match dropped {
                None => pass.put(node, dz.clone()),
                Some(seed) => {
                    if x.node().is_some() {
                        let changed = scaled(&dy, |col| factors[col] - 1.0);
                        let dx = input_gradient(pass.cx, &weight, &changed, None);
                        pass.put(x.node(), drop_out(pass.cx, &dx, adapter.dropout, seed));
                    }
                    pass.put(node, dy);
                }
            }
            lora_backward(pass, &dz, &x, &h, &adapter, dropped);
        });
    }
    y
}

/// The lengths of the rows of `weight + scale · b a`, not quite 0 for rows that are: they are divided by.
pub fn lengths(pool: &Pool, weight: &Weight, adapter: &Lora) -> Vec<f32> {
    dividing_lengths(&adapter.sum(pool, weight), weight.cols())
}

/// [`row_lengths`], not quite 0 for rows that are.
pub(super) fn dividing_lengths(values: &[f32], cols: usize) -> Vec<f32> {
    let mut lengths = row_lengths(values, cols);
    lengths.iter_mut().for_each(|length| *length = length.max(f32::MIN_POSITIVE));
    lengths
}

/// The lengths of the rows of `values [rows, cols]`.
pub fn row_lengths(values: &[f32], cols: usize) -> Vec<f32> {
    let length = |row: &[f32]| row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt() as f32;
    values.chunks_exact(cols).map(length).collect()
}

/// `y - bias`.
fn without(y: &Tensor, bias: Option<&Vector>) -> Tensor {
    let mut plain = y.clone();
    if let Some(bias) = bias {
        let cols = plain.cols();
        for row in plain.values_mut().chunks_exact_mut(cols) {
            row.iter_mut().zip(&**bias).for_each(|(v, b)| *v -= b);
        }
    }
    plain
}

/// `y` with each column multiplied by a factor.
fn scaled(y: &Tensor, factor: impl Fn(usize) -> f32) -> Tensor {
    let mut out = y.clone();
    let cols = out.cols();
    for row in out.values_mut().chunks_exact_mut(cols) {
        row.iter_mut().enumerate().for_each(|(col, v)| *v *= factor(col));
    }
    out
}
