//! Parts of a forward pass whose activations are not kept.

use crate::{Context, Tensor};

/// `part(x)`, of which only `x` is kept: the backward pass computes the part again, with the same random choices, and then
/// its gradients (activation checkpointing, arXiv:1604.06174). Gradients have the same bits as without.
///
/// `part` must compute the same each time, and take `x` as the only tensor that a gradient flows to.
pub fn recompute(
    cx: &Context,
    x: Tensor,
    part: impl Fn(&Context, Tensor) -> Tensor + Send + 'static,
) -> Tensor {
    let Some(seed) = cx.seed() else { return part(cx, x) };
    // recorded as well, though forgotten at once: what it would record says whether a gradient flows, and its random
    // choices must be those of the second time
    let inner = cx.inner(seed);
    let mut out = part(&inner, inner.leaf(&x));
    cx.set_seed(inner.seed().unwrap_or(seed));
    inner.discard();
    if out.take_node().is_some() {
        let node = x.node();
        cx.record(&mut out, move |pass, dy| {
            let inner = pass.cx.inner(seed);
            let out = part(&inner, inner.leaf(&x));
            drop(x);
            if let Some(dx) = inner.backward_to_leaf(vec![(out, dy)], pass.gradients) {
                pass.put(node, dx);
            }
        });
    }
    out
}
