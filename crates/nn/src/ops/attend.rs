//! Attention and the positions that it knows.

use super::rms_norm;
use crate::{Batch, Context, KvCache, Tensor, Vector};
use kernels::attention::{self, AttentionShape, SequenceRows};
use kernels::attention_backward::{AttentionForward, attention_backward};
use kernels::elementwise::{self, RopeLayout};

/// Rotary positions (arXiv:2104.09864): rotates each head of `x [tokens, heads * head_dim]` by its token's
/// angles, given as `cos` and `sin` `[tokens, head_dim / 2]`.
///
/// Backward: rotates `dy` the other way. Keeps `cos` and `sin`.
pub fn rope(cx: &Context, mut x: Tensor, cos: &Tensor, sin: &Tensor, layout: RopeLayout) -> Tensor {
    let head_dim = cos.cols() * 2;
    assert_eq!((x.rows(), x.cols() % head_dim), (cos.rows(), 0), "one angle row a token, whole heads");
    elementwise::rope(cx.pool(), x.values_mut(), head_dim, cos.values(), sin.values(), layout);
    if let (true, Some(node)) = (cx.records(), x.node()) {
        let (cos, sin) = (cos.clone(), sin.clone());
        cx.record(&mut x, move |pass, dy| {
            let back: Vec<f32> = sin.values().iter().map(|s| -s).collect();
            let mut dx = dy;
            elementwise::rope(pass.cx.pool(), dx.values_mut(), head_dim, cos.values(), &back, layout);
            pass.put(Some(node), dx);
        });
    }
    x
}

/// [`rope`] of what [`super::rms_norm`] makes of each head, if there is a norm: `weight [head_dim]` and `eps`.
pub fn norm_rope(
    cx: &Context,
    mut x: Tensor,
    norm: Option<(&Vector, f32)>,
    cos: &Tensor,
    sin: &Tensor,
    layout: RopeLayout,
) -> Tensor {
    match norm {
        Some((weight, eps)) if !cx.records() => {
            assert_eq!(
                (x.rows(), weight.len()),
                (cos.rows(), cos.cols() * 2),
                "a weight for each value of a head"
            );
            elementwise::norm_rope(
                cx.pool(),
                x.values_mut(),
                weight,
                eps,
                cos.values(),
                sin.values(),
                layout,
            );
            x
        }
        Some((weight, eps)) => rope(cx, rms_norm(cx, &x, weight, eps), cos, sin, layout),
        None => rope(cx, x, cos, sin, layout),
    }
}

/// Causal attention of the batch over its sequences' pasts and itself. Stores `k` and `v`
/// `[tokens, kv_heads * head_dim]` in `layer` of the cache first; `q` is `[tokens, heads * head_dim]`, and so is the result. Or both
/// have the rows of `asking` alone, which is [`Batch::only`] of some.
///
/// Backward: with probabilities `p = softmax(scale · q kᵀ)` of a head, `dv += pᵀ dy`,
/// `ds = p · (dy vᵀ - Σ dy · y) · scale`, `dq += ds k`, `dk += dsᵀ q`. Keeps `q`, `k`, `v` and the result; `p` is computed
/// again.
///
/// # Panics
/// When lengths do not fit; when recording, also when a sequence has a past, through which no gradient could flow, or only some
/// rows ask.
#[allow(clippy::too_many_arguments)]
pub fn attention(
    cx: &Context,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: AttentionShape,
    batch: &Batch,
    asking: Option<&Batch>,
    cache: &mut KvCache,
    layer: usize,
) -> Tensor {
    let layout = cache.shape().layout();
    assert_eq!(q.cols(), shape.heads * layout.head_dim);
    assert_eq!((k.cols(), v.cols()), (layout.kv_heads * layout.head_dim, layout.kv_heads * layout.head_dim));
    let (sequences, asked) = (sequence_rows(batch), sequence_rows(asking.unwrap_or(batch)));
    assert_eq!((k.rows(), v.rows()), (batch.rows(), batch.rows()), "the sequences cover the batch");
    assert_eq!(q.rows(), asking.unwrap_or(batch).rows(), "a query for each row that asks");
    let (keys, values) = cache.layer(layer);
    attention::store_rows(cx.pool(), k.values(), v.values(), keys, values, layout, &sequences);
    let mut out = cx.uninit(q.rows(), q.cols());
    attention::paged_attention(cx.pool(), q.values(), keys, values, layout, shape, &asked, out.values_mut());
    if cx.records() && [q, k, v].iter().any(|x| x.node().is_some()) {
        assert!(batch.sequences.iter().all(|s| s.past == 0), "recorded sequences begin in their batch");
        assert!(asking.is_none(), "all rows ask when recording");
        let lens: Vec<usize> = batch.sequences.iter().map(|s| s.len).collect();
        let inputs = [q.clone(), k.clone(), v.clone()];
        let (kv_heads, head_dim) = (layout.kv_heads, layout.head_dim);
        // the values without the place on the tape that they are about to get
        let result = out.clone();
        cx.record(&mut out, move |pass, dy| {
            let [mut dq, mut dk, mut dv] =
                [0, 1, 2].map(|i| pass.take(inputs[i].node(), inputs[i].rows(), inputs[i].cols()));
            let [q, k, v] = [0, 1, 2].map(|i| inputs[i].values());
            let forward = AttentionForward { q, k, v, out: result.values(), kv_heads, head_dim, shape };
            let sums = (dq.values_mut(), dk.values_mut(), dv.values_mut());
            attention_backward(pass.cx.pool(), forward, &lens, dy.values(), sums.0, sums.1, sums.2);
            for (x, d) in inputs.iter().zip([dq, dk, dv]) {
                pass.put(x.node(), d);
            }
        });
    }
    out
}

/// The sequences with their first rows.
fn sequence_rows(batch: &Batch) -> Vec<SequenceRows<'_>> {
    let mut start = 0;
    let rows = batch.sequences.iter().map(|s| {
        start += s.len;
        SequenceRows { start: start - s.len, len: s.len, past: s.past, blocks: &s.blocks }
    });
    rows.collect()
}
