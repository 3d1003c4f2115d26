//! Operations that move or add whole rows.

use crate::{Context, Tensor, Weight};
use kernels::elementwise;

/// Rows `tokens` of the embedding table `[vocab, hidden]`, in float32.
///
/// Backward: adds each row of `dy` to the gradient of its token's row, if the table is trained.
///
/// # Panics
/// When a token is outside the table: callers check ids where they come in.
pub fn embedding(cx: &Context, table: &Weight, tokens: &[u32]) -> Tensor {
    let cols = table.cols();
    let mut out = cx.uninit(tokens.len(), cols);
    for (row, &token) in out.values_mut().chunks_exact_mut(cols).zip(tokens) {
        table.decode_row(token as usize, row);
    }
    if let (true, Some(id)) = (cx.records(), table.parameter()) {
        let (tokens, len) = (tokens.to_vec(), table.rows() * cols);
        cx.record(&mut out, move |pass, dy| {
            let sums = pass.gradients.sum(id, len);
            for (dy, &token) in dy.values().chunks_exact(cols).zip(&tokens) {
                let sum = &mut sums[token as usize * cols..][..cols];
                sum.iter_mut().zip(dy).for_each(|(s, d)| *s += d);
            }
        });
    }
    out
}

/// `x + y`, the residual connection.
///
/// Backward: `dx += dy`, and the same for `y`. Keeps nothing.
pub fn add(cx: &Context, mut x: Tensor, y: &Tensor) -> Tensor {
    assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()));
    elementwise::add_assign(cx.pool(), x.values_mut(), y.values());
    let inputs = [x.node(), y.node()];
    if cx.records() && inputs.iter().any(Option::is_some) {
        cx.record(&mut x, move |pass, dy| {
            pass.put(inputs[0], dy.clone());
            pass.put(inputs[1], dy);
        });
    }
    x
}

/// Rows `rows` of `x`, in that order.
///
/// Backward: adds each row of `dy` to the row that it came from.
pub fn select_rows(cx: &Context, x: &Tensor, rows: &[usize]) -> Tensor {
    let mut out = cx.uninit(rows.len(), x.cols());
    for (to, &from) in out.values_mut().chunks_exact_mut(x.cols()).zip(rows) {
        to.copy_from_slice(x.row(from));
    }
    if let (true, Some(node)) = (cx.records(), x.node()) {
        let (rows, (all, cols)) = (rows.to_vec(), (x.rows(), x.cols()));
        cx.record(&mut out, move |pass, dy| {
            let mut dx = pass.take(Some(node), all, cols);
            let sums = dx.values_mut();
            for (dy, &row) in dy.values().chunks_exact(cols).zip(&rows) {
                sums[row * cols..][..cols].iter_mut().zip(dy).for_each(|(s, d)| *s += d);
            }
            pass.put(Some(node), dx);
        });
    }
    out
}
