//! The fused operations. Shapes are `[rows, cols]`; a row is a token unless it is said otherwise.

use crate::weight::Stored;
use crate::{Batch, Context, KvCache, Tensor, Weight};
use kernels::attention::{self, AttentionShape, SequenceRows};
pub use kernels::elementwise::RopeLayout;
use kernels::packed::{Product, matmul_packed};
use kernels::{elementwise, matmul};

/// Rows `tokens` of the embedding table `[vocab, hidden]`, in float32.
///
/// # Panics
/// When a token is outside the table: callers check ids where they come in.
pub fn embedding(cx: &Context, table: &Weight, tokens: &[u32]) -> Tensor {
    let mut out = cx.uninit(tokens.len(), table.cols());
    for (row, &token) in out.values_mut().chunks_exact_mut(table.cols()).zip(tokens) {
        table.decode_row(token as usize, row);
    }
    out
}

/// `x · weightᵀ (+ bias)`: `[n, in]` to `[n, out]`.
pub fn linear(cx: &Context, x: &Tensor, weight: &Weight, bias: Option<&[f32]>) -> Tensor {
    let [out] = linears(cx, x, [(weight, bias)]);
    out
}

/// Several products of the same `x`, each as [`linear`]. Where all weights are packed, `x` is quantized once and the
/// threads share the work of all.
pub fn linears<const N: usize>(
    cx: &Context,
    x: &Tensor,
    weights: [(&Weight, Option<&[f32]>); N],
) -> [Tensor; N] {
    let mut outs = weights.map(|(weight, _)| {
        assert_eq!(x.cols(), weight.cols(), "input features match the weight");
        cx.uninit(x.rows(), weight.rows())
    });
    let mut products = Vec::with_capacity(N);
    for ((weight, bias), out) in weights.into_iter().zip(&mut outs) {
        match weight.stored() {
            Stored::Rows(matrix) => matmul::matmul(cx.pool(), x.values(), matrix, bias, out.values_mut()),
            Stored::Packed(weight) => products.push(Product { weight, bias, out: out.values_mut() }),
        }
    }
    if !products.is_empty() {
        let mut quantized = cx.quantized();
        quantized.quantize(cx.pool(), x.values(), x.cols());
        matmul_packed(cx.pool(), &quantized, &mut products);
    }
    outs
}

/// Root mean square norm (arXiv:1910.07467) over groups of `weight.len()` columns: the whole row, or each head
/// of it.
pub fn rms_norm(cx: &Context, x: &Tensor, weight: &[f32], eps: f32) -> Tensor {
    assert_eq!(x.cols() % weight.len(), 0, "columns are whole groups of the norm");
    let mut out = cx.uninit(x.rows(), x.cols());
    elementwise::rms_norm(cx.pool(), x.values(), weight, eps, out.values_mut());
    out
}

/// Rotary positions (arXiv:2104.09864): rotates each head of `x [tokens, heads * head_dim]` by its token's
/// angles, given as `cos` and `sin` `[tokens, head_dim / 2]`.
pub fn rope(cx: &Context, mut x: Tensor, cos: &Tensor, sin: &Tensor, layout: RopeLayout) -> Tensor {
    let head_dim = cos.cols() * 2;
    assert_eq!((x.rows(), x.cols() % head_dim), (cos.rows(), 0), "one angle row a token, whole heads");
    elementwise::rope(cx.pool(), x.values_mut(), head_dim, cos.values(), sin.values(), layout);
    x
}

/// Causal attention of the batch over its sequences' pasts and itself. Stores `k` and `v`
/// `[tokens, kv_heads * head_dim]` in `layer` of the cache first; `q` is `[tokens, heads * head_dim]`, and so is the result.
#[allow(clippy::too_many_arguments)]
pub fn attention(
    cx: &Context,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: AttentionShape,
    batch: &Batch,
    cache: &mut KvCache,
    layer: usize,
) -> Tensor {
    let layout = cache.shape().layout();
    assert_eq!(q.cols(), shape.heads * layout.head_dim);
    assert_eq!((k.cols(), v.cols()), (layout.kv_heads * layout.head_dim, layout.kv_heads * layout.head_dim));
    let mut start = 0;
    let sequences: Vec<SequenceRows<'_>> = batch
        .sequences
        .iter()
        .map(|s| {
            let rows = SequenceRows { start, len: s.len, past: s.past, blocks: &s.blocks };
            start += s.len;
            rows
        })
        .collect();
    assert_eq!((q.rows(), k.rows(), v.rows()), (start, start, start), "the sequences cover the batch");
    let (keys, values) = cache.layer(layer);
    attention::store_kv(cx.pool(), k.values(), layout, &sequences, keys);
    attention::store_kv(cx.pool(), v.values(), layout, &sequences, values);
    let mut out = cx.uninit(q.rows(), q.cols());
    attention::paged_attention(
        cx.pool(),
        q.values(),
        keys,
        values,
        layout,
        shape,
        &sequences,
        out.values_mut(),
    );
    out
}

/// `silu(gate) · up` (arXiv:2002.05202), element by element.
pub fn swiglu(cx: &Context, mut gate: Tensor, up: &Tensor) -> Tensor {
    assert_eq!((gate.rows(), gate.cols()), (up.rows(), up.cols()));
    elementwise::silu_mul(cx.pool(), gate.values_mut(), up.values());
    gate
}

/// `x + y`, the residual connection.
pub fn add(cx: &Context, mut x: Tensor, y: &Tensor) -> Tensor {
    assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()));
    elementwise::add_assign(cx.pool(), x.values_mut(), y.values());
    x
}

/// Rows `rows` of `x`, in that order.
pub fn select_rows(cx: &Context, x: &Tensor, rows: &[usize]) -> Tensor {
    let mut out = cx.uninit(rows.len(), x.cols());
    for (to, &from) in out.values_mut().chunks_exact_mut(x.cols()).zip(rows) {
        to.copy_from_slice(x.row(from));
    }
    out
}
