//! Norms.

use crate::{Context, Tensor, Vector};
use kernels::backward::rms_norm_backward;
use kernels::elementwise;

/// Root mean square norm (arXiv:1910.07467) over groups of `weight.len()` columns: the whole row, or each head
/// of it.
///
/// Backward: with `r = 1 / sqrt(mean(x²) + eps)` of a group, `dx += r · (weight · dy) - x · r³ · mean(weight · dy · x)`
/// and `dweight += Σ dy · x · r`. Keeps `x`.
pub fn rms_norm(cx: &Context, x: &Tensor, weight: &Vector, eps: f32) -> Tensor {
    assert_eq!(x.cols() % weight.len(), 0, "columns are whole groups of the norm");
    let mut out = cx.uninit(x.rows(), x.cols());
    elementwise::rms_norm(cx.pool(), x.values(), weight, eps, out.values_mut());
    if cx.records() && (x.node().is_some() || weight.parameter().is_some()) {
        let (x, weight) = (x.clone(), weight.clone());
        cx.record(&mut out, move |pass, dy| {
            let mut dx = x.node().map(|node| pass.take(Some(node), x.rows(), x.cols()));
            let dweight = weight.parameter().map(|id| pass.gradients.sum(id, weight.len()));
            let into = dx.as_mut().map(Tensor::values_mut);
            rms_norm_backward(pass.cx.pool(), x.values(), &weight, eps, dy.values(), into, dweight);
            if let Some(dx) = dx {
                pass.put(x.node(), dx);
            }
        });
    }
    out
}
