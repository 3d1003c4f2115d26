//! The end of a language model: probabilities of the tokens that come, and where a backward pass begins.
//!
//! Logits of a whole batch would be the largest matrix of all (2048 tokens of Qwen3: 1.2 GB), so they are made in chunks of
//! rows and never kept.

use super::linear::{input_product, outer_product, products};
use crate::tape::Gradients;
use crate::{Context, Tensor, Weight};
use kernels::softmax;

/// Bytes of logits that are held at once.
const CHUNK_BYTES: usize = 96 << 20;
/// Rows of a chunk at most, where the vocabulary is small.
const CHUNK_ROWS: usize = 1024;

/// Natural logarithms of the probabilities that `softmax(hidden · headᵀ)` gives to `tokens`, one for each row of
/// `hidden [n, hidden]`. Nothing is recorded.
///
/// # Panics
/// When there is not one token for each row, or one is outside the vocabulary `head.rows()`.
pub fn log_probs(cx: &Context, hidden: &Tensor, head: &Weight, tokens: &[u32]) -> Vec<f32> {
    let mut found = vec![0.0; tokens.len()];
    for_chunks(cx, hidden, head, tokens, &mut found, |_, _, _| {});
    found
}

/// [`log_probs`], and the gradient `[n, hidden]` of `Σ factors · log_probs` by `hidden`; that by the head is added to
/// `gradients` if it is trained. `factors` are the derivatives of the loss by each logarithm: `-1 / n` for a mean
/// cross-entropy.
///
/// # Panics
/// As for [`log_probs`].
pub fn log_probs_backward(
    cx: &Context,
    hidden: &Tensor,
    head: &Weight,
    tokens: &[u32],
    factors: &[f32],
    gradients: &mut Gradients,
) -> (Vec<f32>, Tensor) {
    assert_eq!(tokens.len(), factors.len(), "a factor for each token");
    let mut found = vec![0.0; tokens.len()];
    let mut dhidden = cx.uninit(hidden.rows(), hidden.cols());
    let cols = hidden.cols();
    for_chunks(cx, hidden, head, tokens, &mut found, |from, x, probabilities| {
        let rows = from..from + x.rows();
        softmax::log_probs_backward(cx.pool(), probabilities, &tokens[rows.clone()], &factors[rows.clone()]);
        let dx = &mut dhidden.values_mut()[rows.start * cols..rows.end * cols];
        input_product(cx, head, probabilities, false, dx);
        if let Some(id) = head.parameter() {
            let sum = gradients.sum(id, head.rows() * cols);
            outer_product(cx, head, probabilities, x.values(), sum);
        }
    });
    (found, dhidden)
}

/// Calls `chunk(first_row, hidden, probabilities)` for runs of rows, after their logarithms are in `found`.
fn for_chunks(
    cx: &Context,
    hidden: &Tensor,
    head: &Weight,
    tokens: &[u32],
    found: &mut [f32],
    mut chunk: impl FnMut(usize, &Tensor, &mut [f32]),
) {
    assert_eq!(hidden.rows(), tokens.len(), "a token for each row");
    let vocab = head.rows();
    let rows = (CHUNK_BYTES / size_of::<f32>() / vocab.max(1)).clamp(1, CHUNK_ROWS);
    let cols = hidden.cols();
    for (i, (tokens, found)) in tokens.chunks(rows).zip(found.chunks_mut(rows)).enumerate() {
        let from = i * rows;
        let mut x = cx.uninit(tokens.len(), cols);
        x.values_mut().copy_from_slice(&hidden.values()[from * cols..][..tokens.len() * cols]);
        let [mut logits] = products(cx, &x, [(head, None)]);
        softmax::log_probs(cx.pool(), logits.values_mut(), tokens, found);
        chunk(from, &x, logits.values_mut());
    }
}
