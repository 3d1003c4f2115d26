//! Mixtures of experts: which experts compute a token, and the sum of what they give.

use crate::{Context, Tensor};

/// Which experts compute each token.
pub struct Routing {
    /// Of each token its experts, the one with the largest score first.
    pub experts: Vec<Vec<usize>>,
    /// `[tokens, used]`: the factors of their results.
    pub weights: Tensor,
}

/// Chooses the `used` experts with the largest of `scores [tokens, experts]`. Their weights are a softmax over all experts,
/// or with `norm_topk_prob` over those used.
///
/// Backward: with weights `w` over the set `S` of experts in the softmax, `dscore_e = w_e · (dw_e - Σ w · dw)`, where `w` and
/// `dw` of an expert that is not used are its probability and 0. Keeps the probabilities.
///
/// # Panics
/// When there are fewer experts than `used`.
pub fn route(cx: &Context, scores: &Tensor, used: usize, norm_topk_prob: bool) -> Routing {
    assert!(used <= scores.cols(), "{used} experts of {}", scores.cols());
    let mut weights = cx.uninit(scores.rows(), used);
    let mut probabilities = cx.uninit(scores.rows(), scores.cols());
    let rows = weights.values_mut().chunks_exact_mut(used.max(1));
    let rows = rows.zip(probabilities.values_mut().chunks_exact_mut(scores.cols()));
    let rows = rows.zip(scores.values().chunks_exact(scores.cols()));
    let experts: Vec<Vec<usize>> = rows
        .map(|((weights, probabilities), scores)| {
            choose(scores, used, norm_topk_prob, weights, probabilities)
        })
        .collect();
    if let (true, Some(node)) = (cx.records(), scores.node()) {
        let experts = experts.clone();
        cx.record(&mut weights, move |pass, dw| {
            let count = probabilities.cols();
            let mut dscores = pass.take(Some(node), probabilities.rows(), count);
            let rows = dscores.values_mut().chunks_exact_mut(count).enumerate();
            for (row, dscores) in rows {
                let (p, dw, chosen) = (probabilities.row(row), dw.row(row), &experts[row]);
                let mean: f32 = chosen.iter().zip(dw).map(|(&e, dw)| p[e] * dw).sum();
                dscores.iter_mut().zip(p).for_each(|(d, p)| *d -= p * mean);
                chosen.iter().zip(dw).for_each(|(&e, dw)| dscores[e] += p[e] * dw);
            }
            pass.put(Some(node), dscores);
        });
    }
    Routing { experts, weights }
}

/// The experts of one token. `probabilities` of those outside the softmax are 0.
fn choose(
    scores: &[f32],
    used: usize,
    norm_topk_prob: bool,
    weights: &mut [f32],
    probabilities: &mut [f32],
) -> Vec<usize> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f32> = scores.iter().map(|s| (s - max).exp()).collect();
    let sum: f32 = exps.iter().sum();
    let mut order: Vec<usize> = (0..exps.len()).collect();
    order.sort_by(|&a, &b| exps[b].total_cmp(&exps[a]));
    order.truncate(used);
    let top: f32 = order.iter().map(|&e| exps[e]).sum();
    let total = if norm_topk_prob { top } else { sum };
    weights.iter_mut().zip(&order).for_each(|(w, &e)| *w = exps[e] / total);
    if norm_topk_prob {
        probabilities.fill(0.0);
        order.iter().for_each(|&e| probabilities[e] = exps[e] / total);
    } else {
        probabilities.iter_mut().zip(&exps).for_each(|(p, e)| *p = e / total);
    }
    order
}

/// Adds `y [n, hidden]`, an expert's results, to rows of `out`: row `i` to the row `places[i].0` with the factor
/// `weights[places[i]]`.
///
/// Backward: `dout` goes on as it is, `dy_i += weight · dout`, `dweight += Σ dout · y_i`. Keeps `y` and the weights.
pub fn add_weighted_rows(
    cx: &Context,
    mut out: Tensor,
    y: &Tensor,
    weights: &Tensor,
    places: &[(usize, usize)],
) -> Tensor {
    let cols = y.cols();
    assert_eq!((out.cols(), y.rows()), (cols, places.len()));
    let sums = out.values_mut();
    for (i, &(row, slot)) in places.iter().enumerate() {
        let weight = weights.row(row)[slot];
        let sum = &mut sums[row * cols..][..cols];
        sum.iter_mut().zip(y.row(i)).for_each(|(sum, y)| *sum += weight * y);
    }
    let node = out.node();
    if cx.records() && [node, y.node(), weights.node()].iter().any(Option::is_some) {
        let (y, weights, places) = (y.clone(), weights.clone(), places.to_vec());
        cx.record(&mut out, move |pass, dout| {
            let mut dy = pass.take(y.node(), y.rows(), cols);
            let mut dweights = pass.take(weights.node(), weights.rows(), weights.cols());
            let used = weights.cols();
            let rows = dy.values_mut().chunks_exact_mut(cols).zip(&places);
            let dw = dweights.values_mut();
            for (i, (dy, &(row, slot))) in rows.enumerate() {
                let (weight, dout) = (weights.row(row)[slot], dout.row(row));
                dy.iter_mut().zip(dout).for_each(|(d, dout)| *d += weight * dout);
                dw[row * used + slot] += dout.iter().zip(y.row(i)).map(|(d, y)| d * y).sum::<f32>();
            }
            pass.put(y.node(), dy);
            pass.put(weights.node(), dweights);
            pass.put(node, dout);
        });
    }
    out
}
