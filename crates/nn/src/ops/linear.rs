//! Products with weight matrices, and low-rank adapters beside them.

use super::dora::dividing_lengths;
use super::{Input, add, swiglu};
use crate::tape::Pass;
use crate::weight::Stored;
use crate::{Context, Tensor, Vector, Weight};
use kernels::Pool;
use kernels::backward::dropout;
use kernels::gemm::{Precision, Right, View, add_product, product};
use kernels::matmul::{Matrix, matmul};
use kernels::packed::{PackedMatrix, Product, Source, gates_in_cache, matmul_gated, matmul_packed};

/// `x · weightᵀ (+ bias)`: `[n, in]` to `[n, out]`.
///
/// Backward: `dx += dy · weight` for a weight of any format, `dweight += dyᵀ · x` and `dbias += Σ dy` for those that are
/// trained. Keeps `x` only for a weight that is trained.
pub fn linear<'a>(cx: &Context, x: impl Into<Input<'a>>, weight: &Weight, bias: Option<&Vector>) -> Tensor {
    let [out] = linears(cx, x, [(weight, bias)]);
    out
}

/// `y` with what [`linear`] makes of `x`, the residual connection. What a packed weight gives is added span by span, each of
/// which is rounded, so that it may differ in the last bits from that added to `y` as a whole.
pub fn add_linear<'a>(
    cx: &Context,
    mut y: Tensor,
    x: impl Into<Input<'a>>,
    weight: &Weight,
    bias: Option<&Vector>,
) -> Tensor {
    let x = x.into();
    match weight.stored() {
        Stored::Packed(packed) if !cx.records() => {
            let bias = bias.map(|bias| &**bias);
            let product = Product { weight: packed, bias, out: y.values_mut(), adds: true };
            packed_products(cx, x.source(), x.cols(), &mut [product]);
            y
        }
        _ => add(cx, y, &linear(cx, x, weight, bias)),
    }
}

/// `x` with what a gated feed-forward layer makes of `h`, its [`super::rms_norm`]: `(silu(h · gateᵀ) · (h · upᵀ)) · downᵀ`
/// (arXiv:2002.05202). As by [`add_linear`], each part of a packed product is rounded when it is added to `x`.
pub fn add_gated(
    cx: &Context,
    mut x: Tensor,
    (norm, eps): (&Vector, f32),
    [gate, up, down]: [&Weight; 3],
) -> Tensor {
    let h = Input::Normed(&x, norm, eps);
    match [gate, up, down].map(Weight::stored) {
        [Stored::Packed(gate), Stored::Packed(up), Stored::Packed(weight)]
            if !cx.records() && gates_in_cache(cx.pool(), gate) =>
        {
            let [quantized, gated] = &mut *cx.quantized();
            quantized.quantize(cx.pool(), h.source(), h.cols());
            matmul_gated(cx.pool(), quantized, gate, up, gated);
            let product = Product { weight, bias: None, out: x.values_mut(), adds: true };
            matmul_packed(cx.pool(), gated, &mut [product]);
            x
        }
        _ => {
            let [gate, up] = linears(cx, h, [(gate, None), (up, None)]);
            add_linear(cx, x, &swiglu(cx, gate, &up), down, None)
        }
    }
}

/// Several products of the same `x`, each as [`linear`]. Where weights are packed, `x` is quantized once, as it is made, and
/// the threads share the work of all.
pub fn linears<'a, const N: usize>(
    cx: &Context,
    x: impl Into<Input<'a>>,
    weights: [(&Weight, Option<&Vector>); N],
) -> [Tensor; N] {
    let x = x.into();
    if !cx.records() {
        return products(cx, x, weights);
    }
    let x = x.tensor(cx);
    let mut outs = products(cx, &x, weights);
    for ((weight, bias), out) in weights.into_iter().zip(&mut outs) {
        record(cx, &x, weight, bias, out);
    }
    outs
}

/// [`linears`] that is not recorded.
pub(super) fn products<'a, const N: usize>(
    cx: &Context,
    x: impl Into<Input<'a>>,
    weights: [(&Weight, Option<&Vector>); N],
) -> [Tensor; N] {
    let x = x.into();
    let needs_rows = weights.iter().any(|(weight, _)| matches!(weight.stored(), Stored::Rows(_)));
    let rows = needs_rows.then(|| x.tensor(cx));
    let x = rows.as_ref().map_or(x, Input::Rows);
    let mut outs = weights.map(|(weight, _)| {
        assert_eq!(x.cols(), weight.cols(), "input features match the weight");
        cx.uninit(x.rows(), weight.rows())
    });
    let mut packed = Vec::with_capacity(N);
    for ((weight, bias), out) in weights.into_iter().zip(&mut outs) {
        let bias = bias.map(|bias| &**bias);
        match (weight.stored(), &rows) {
            // faster, but in an order of sums in which a row's bits depend on its company: serving needs another
            (Stored::Rows(matrix), Some(x)) if cx.records() || cx.precision() != Precision::Float32 => {
                rows_product(cx, x, matrix, bias, out);
            }
            (Stored::Rows(matrix), Some(x)) => {
                matmul(cx.pool(), x.values(), matrix, bias, out.values_mut());
            }
            (Stored::Rows(_), None) => unreachable!("some weight is rows"),
            (Stored::Packed(weight), _) => {
                packed.push(Product { weight, bias, out: out.values_mut(), adds: false });
            }
        }
    }
    if !packed.is_empty() {
        packed_products(cx, x.source(), x.cols(), &mut packed);
    }
    outs
}

fn rows_product(cx: &Context, x: &Tensor, weight: Matrix<'_>, bias: Option<&[f32]>, out: &mut Tensor) {
    let (a, b, n) = (View::new(x.values(), x.cols()), Right::Transposed(weight), weight.rows());
    let out = out.values_mut();
    match bias {
        None => product(cx.pool(), cx.precision(), a, b, n, out),
        Some(bias) => {
            out.chunks_exact_mut(n).for_each(|row| row.copy_from_slice(bias));
            add_product(cx.pool(), cx.precision(), a, b, n, out);
        }
    }
}

fn record(cx: &Context, x: &Tensor, weight: &Weight, bias: Option<&Vector>, out: &mut Tensor) {
    let bias = bias.and_then(Vector::parameter);
    if x.node().is_none() && weight.parameter().is_none() && bias.is_none() {
        return;
    }
    let node = x.node();
    let x = weight.parameter().map(|_| x.clone());
    let weight = weight.clone();
    cx.record(out, move |pass, dy| {
        if let Some(id) = bias {
            let sum = pass.gradients.sum(id, weight.rows());
            for dy in dy.values().chunks_exact(weight.rows()) {
                sum.iter_mut().zip(dy).for_each(|(s, d)| *s += d);
            }
        }
        if let Some(x) = &x {
            weight_gradient(pass, &weight, dy.values(), x.values());
        }
        if node.is_some() {
            let sum = pass.sum(node);
            let dx = input_gradient(pass.cx, &weight, &dy, sum);
            pass.put(node, dx);
        }
    });
}

/// `dx [n, in] = sum + dy [n, out] · weight [out, in]`.
pub(super) fn input_gradient(cx: &Context, weight: &Weight, dy: &Tensor, sum: Option<Tensor>) -> Tensor {
    let adds = sum.is_some();
    let mut dx = sum.unwrap_or_else(|| cx.uninit(dy.rows(), weight.cols()));
    input_product(cx, weight, dy.values(), adds, dx.values_mut());
    dx
}

/// `dx [n, in] = dy [n, out] · weight [out, in]`, or that added to `dx`: in integers with the weight's transpose if it has a
/// packed one, which rounds `dy` to 8 bits as the forward product does `x`; else in the context's precision, and rows of any format
/// are decoded once.
pub(super) fn input_product(cx: &Context, weight: &Weight, dy: &[f32], adds: bool, dx: &mut [f32]) {
    if let Some(Stored::Packed(transpose)) = weight.transpose().map(Weight::stored) {
        return packed_product(cx, dy, transpose, adds, dx);
    }
    let rows = |row: usize, values: &mut [f32]| weight.decode_row(row, values);
    let multiply = if adds { add_product } else { product };
    let dy = View::new(dy, weight.rows());
    multiply(cx.pool(), cx.precision(), dy, Right::Rows(&rows), weight.cols(), dx);
}

/// `out [n, out] = x [n, in] · weightᵀ`, or that added to `out`.
fn packed_product(cx: &Context, x: &[f32], weight: PackedMatrix<'_>, adds: bool, out: &mut [f32]) {
    let product = Product { weight, bias: None, out, adds };
    packed_products(cx, Source::Rows(x), weight.cols(), &mut [product]);
}

/// Products of the same rows of `cols` values, which are quantized once.
fn packed_products(cx: &Context, x: Source<'_>, cols: usize, products: &mut [Product<'_>]) {
    let [quantized, _] = &mut *cx.quantized();
    quantized.quantize(cx.pool(), x, cols);
    matmul_packed(cx.pool(), quantized, products);
}

/// `dweight [out, in] += dy [n, out]ᵀ · x [n, in]`, if the weight is trained.
pub(super) fn weight_gradient(pass: &mut Pass<'_>, weight: &Weight, dy: &[f32], x: &[f32]) {
    let Some(id) = weight.parameter() else { return };
    let sum = pass.gradients.sum(id, weight.rows() * weight.cols());
    outer_product(pass.cx, weight, dy, x, sum);
}

/// `sum [out, in] += dy [n, out]ᵀ · x [n, in]`.
pub(super) fn outer_product(cx: &Context, weight: &Weight, dy: &[f32], x: &[f32], sum: &mut [f32]) {
    let cols = weight.cols();
    let rows = |row: usize, values: &mut [f32]| values.copy_from_slice(&x[row * cols..][..cols]);
    let dy = View::new(dy, weight.rows()).transposed();
    add_product(cx.pool(), cx.precision(), dy, Right::Rows(&rows), cols, sum);
}

/// A low-rank adapter of a [`linear`] (LoRA, arXiv:2106.09685).
#[derive(Clone)]
pub struct Lora {
    /// `[rank, in]`.
    pub a: Weight,
    /// `[out, rank]`.
    pub b: Weight,
    /// Factor of what it adds: `alpha / rank`, or `alpha / sqrt(rank)` (rsLoRA, arXiv:2312.03732).
    pub scale: f32,
    /// Share of its inputs that are zero while recording; the others grow by `1 / (1 - dropout)`.
    pub dropout: f32,
    /// How long each output's weights are together with what it adds, `[out]`, where that is learned apart from their
    /// direction: then it is for `ops::dora`.
    pub magnitude: Option<Vector>,
}

impl Lora {
    /// The weight `[out, in]` that does with it what `weight` does beside it, in float32: `weight + scale · b a`, whose rows get
    /// the lengths that it has for them, if any.
    pub fn merged(&self, pool: &Pool, weight: &Weight) -> Vec<f32> {
        let mut values = self.sum(pool, weight);
        let Some(magnitude) = &self.magnitude else { return values };
        let lengths = dividing_lengths(&values, weight.cols());
        for ((row, found), length) in values.chunks_exact_mut(weight.cols()).zip(lengths).zip(&**magnitude) {
            row.iter_mut().for_each(|v| *v *= length / found);
        }
        values
    }

    /// `weight + scale · b a`.
    pub(super) fn sum(&self, pool: &Pool, weight: &Weight) -> Vec<f32> {
        let mut values = weight.to_f32();
        let b: Vec<f32> = self.b.to_f32().iter().map(|v| v * self.scale).collect();
        let row = |row: usize, out: &mut [f32]| self.a.decode_row(row, out);
        let (b, a) = (View::new(&b, self.b.cols()), Right::Rows(&row));
        add_product(pool, Precision::Float32, b, a, weight.cols(), &mut values);
        values
    }
}

/// What the first matrix of an adapter makes of an input, and what its backward needs.
pub(super) struct Narrowed {
    /// Where the choices of what was dropped began.
    pub(super) dropped: Option<u64>,
    /// What was left of the input.
    pub(super) input: Tensor,
    /// `scale · input · aᵀ`.
    pub(super) h: Tensor,
}

/// The first half of what `adapter` makes of `x [n, in]`.
pub(super) fn narrowed(cx: &Context, x: &Tensor, adapter: &Lora) -> Narrowed {
    let dropped = (cx.records() && adapter.dropout > 0.0).then(|| cx.next_seed());
    let input = dropped.map_or_else(|| x.clone(), |seed| drop_out(cx, x, adapter.dropout, seed));
    let [mut h] = products(cx, &input, [(&adapter.a, None)]);
    h.values_mut().iter_mut().for_each(|v| *v *= adapter.scale);
    Narrowed { dropped, input, h }
}

/// `y [n, out] += x [n, in] · weightᵀ`.
fn accumulate(cx: &Context, x: &Tensor, weight: &Weight, y: &mut Tensor) {
    match weight.stored() {
        Stored::Rows(matrix) => {
            let (x, matrix) = (View::new(x.values(), x.cols()), Right::Transposed(matrix));
            add_product(cx.pool(), cx.precision(), x, matrix, weight.rows(), y.values_mut());
        }
        Stored::Packed(weight) => packed_product(cx, x.values(), weight, true, y.values_mut()),
    }
}

/// `y + scale · (x · aᵀ) · bᵀ`: adds to `y [n, out]`, the product of `x [n, in]`, what the adapter makes of `x`.
///
/// Backward: with `h = scale · x aᵀ` and `dh = scale · dy b`, `db += dyᵀ h`, `da += dhᵀ x`, `dx += dh a`. Keeps `x` and `h`.
pub fn lora(cx: &Context, mut y: Tensor, x: &Tensor, adapter: &Lora) -> Tensor {
    let Narrowed { dropped, h, .. } = narrowed(cx, x, adapter);
    let node = y.node();
    accumulate(cx, &h, &adapter.b, &mut y);
    let trained = adapter.a.parameter().is_some() || adapter.b.parameter().is_some();
    if cx.records() && (node.is_some() || x.node().is_some() || trained) {
        let (x, adapter) = (x.clone(), adapter.clone());
        cx.record(&mut y, move |pass, dy| {
            lora_backward(pass, &dy, &x, &h, &adapter, dropped);
            pass.put(node, dy);
        });
    }
    y
}

pub(super) fn lora_backward(
    pass: &mut Pass<'_>,
    dy: &Tensor,
    x: &Tensor,
    h: &Tensor,
    adapter: &Lora,
    dropped: Option<u64>,
) {
    let cx = pass.cx;
    weight_gradient(pass, &adapter.b, dy.values(), h.values());
    let mut dh = input_gradient(cx, &adapter.b, dy, None);
    dh.values_mut().iter_mut().for_each(|v| *v *= adapter.scale);
    let input = dropped.map_or_else(|| x.clone(), |seed| drop_out(cx, x, adapter.dropout, seed));
    weight_gradient(pass, &adapter.a, dh.values(), input.values());
    if x.node().is_none() {
        return;
    }
    match dropped {
        None => {
            let sum = pass.sum(x.node());
            let dx = input_gradient(cx, &adapter.a, &dh, sum);
            pass.put(x.node(), dx);
        }
        Some(seed) => {
            let dx = input_gradient(cx, &adapter.a, &dh, None);
            pass.put(x.node(), drop_out(cx, &dx, adapter.dropout, seed));
        }
    }
}

/// `x` with the share `rate` of its values zero, and the others larger. The gradient goes the same way.
pub(super) fn drop_out(cx: &Context, x: &Tensor, rate: f32, seed: u64) -> Tensor {
    let mut out = cx.uninit(x.rows(), x.cols());
    dropout(cx.pool(), x.values(), rate, seed, out.values_mut());
    out
}
