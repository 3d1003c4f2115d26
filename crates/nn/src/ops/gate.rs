//! Gated activations.

use crate::{Context, Tensor};
use kernels::backward::silu_mul_backward;
use kernels::elementwise;

/// `silu(gate) · up` (arXiv:2002.05202), element by element.
///
/// Backward: `dgate += dy · up · s · (1 + gate · (1 - s))` with `s = sigmoid(gate)`, and `dup += dy · gate · s`. Keeps both.
pub fn swiglu(cx: &Context, gate: Tensor, up: &Tensor) -> Tensor {
    assert_eq!((gate.rows(), gate.cols()), (up.rows(), up.cols()));
    let kept =
        (cx.records() && (gate.node().is_some() || up.node().is_some())).then(|| (gate.clone(), up.clone()));
    let mut out = gate;
    elementwise::silu_mul(cx.pool(), out.values_mut(), up.values());
    if let Some((gate, up)) = kept {
        cx.record(&mut out, move |pass, dy| {
            let [mut dgate, mut dup] =
                [&gate, &up].map(|x| x.node().map(|node| pass.take(Some(node), x.rows(), x.cols())));
            silu_mul_backward(
                pass.cx.pool(),
                gate.values(),
                up.values(),
                dy.values(),
                dgate.as_mut().map(Tensor::values_mut),
                dup.as_mut().map(Tensor::values_mut),
            );
            for (x, d) in [(gate, dgate), (up, dup)] {
                if let Some(d) = d {
                    pass.put(x.node(), d);
                }
            }
        });
    }
    out
}
