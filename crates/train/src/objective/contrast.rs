//! Embeddings: the vector of a query near that of its document, and far from all others.

use super::{Example, hidden_states};
use crate::data::micro_batches;
use models::CausalLm;
use nn::{Context, Gradients, Tensor};
use std::collections::HashMap;

/// Contrastive loss (InfoNCE, arXiv:1807.03748) of cosines: `-ln softmax(cos(query, documents) / temperature)` of the query's
/// own document among all documents of the step, others' and the negatives that were given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InfoNce {
    /// How sharp the softmax is: cosines are divided by it.
    pub temperature: f64,
    /// How a text's hidden states become its vector.
    pub pooling: Pooling,
}

/// How a text's hidden states become its vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// That of the last token, which has seen all others.
    Last,
    /// Their mean.
    Mean,
}

/// A query, the document that answers it, and some that don't.
#[derive(Clone, Debug, PartialEq)]
pub struct Contrast {
    /// What is looked for.
    pub query: Example,
    /// What should be found.
    pub positive: Example,
    /// What should not be, besides the other queries' documents.
    pub negatives: Vec<Example>,
}

/// What a step found of a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContrastResult {
    /// Its loss.
    pub loss: f64,
    /// Whether its own document is the nearest.
    pub found: bool,
}

/// How the texts of a step are computed.
pub struct Passes<'a> {
    /// Tokens at once.
    pub part_tokens: usize,
    /// The seed of each part's random choices.
    pub seed: &'a dyn Fn(usize) -> u64,
}

impl Contrast {
    /// All its texts: the query first, then its document.
    pub fn texts(&self) -> impl Iterator<Item = &Example> {
        [&self.query, &self.positive].into_iter().chain(&self.negatives)
    }
}

impl InfoNce {
    /// The loss of each query; the gradient of their mean is added to `gradients`. `cx` must record.
    ///
    /// The loss needs all vectors at once, but not all activations: where the texts are more than a part holds, vectors are
    /// made first and activations once more part by part, with the same random choices (GradCache, arXiv:2101.06983).
    pub fn step(
        &self,
        cx: &Context,
        lm: &CausalLm,
        items: &[&Contrast],
        passes: &Passes<'_>,
        gradients: &mut Gradients,
    ) -> Vec<ContrastResult> {
        let texts: Vec<&Example> = items.iter().flat_map(|item| item.texts()).collect();
        let parts = micro_batches(&texts, passes.part_tokens, |text| text.tokens().len());
        let part = |number: usize| {
            cx.set_seed((passes.seed)(number));
            self.hidden_states(cx, lm, &parts[number])
        };
        if let [texts] = &parts[..] {
            let hidden = part(0);
            let (results, slopes) = self.loss(items, &self.pool(&hidden, texts));
            let dhidden = self.pool_backward(cx, &hidden, texts, &slopes);
            cx.backward(vec![(hidden, dhidden)], gradients);
            return results;
        }
        let mut vectors = Vec::new();
        for (number, texts) in parts.iter().enumerate() {
            vectors.extend(self.pool(&part(number), texts));
            cx.discard();
        }
        let (results, slopes) = self.loss(items, &vectors);
        let mut rest = &slopes[..];
        for (number, texts) in parts.iter().enumerate() {
            let (own, others) = rest.split_at(texts.len());
            rest = others;
            let hidden = part(number);
            let dhidden = self.pool_backward(cx, &hidden, texts, own);
            cx.backward(vec![(hidden, dhidden)], gradients);
        }
        results
    }

    /// What [`Self::step`] returns, without its gradient.
    pub fn measure(
        &self,
        cx: &Context,
        lm: &CausalLm,
        items: &[&Contrast],
        part_tokens: usize,
    ) -> Vec<ContrastResult> {
        let texts: Vec<&Example> = items.iter().flat_map(|item| item.texts()).collect();
        let mut vectors = Vec::new();
        for part in micro_batches(&texts, part_tokens, |text| text.tokens().len()) {
            vectors.extend(self.pool(&self.hidden_states(cx, lm, &part), &part));
            cx.discard();
        }
        self.loss(items, &vectors).0
    }

    /// How many tokens a text's vector is the mean of, its last ones.
    fn pooled(&self, text: &Example) -> usize {
        match self.pooling {
            Pooling::Last => 1,
            Pooling::Mean => text.tokens().len(),
        }
    }

    /// Hidden states of the tokens that are pooled, one text after another.
    fn hidden_states(&self, cx: &Context, lm: &CausalLm, texts: &[&Example]) -> Tensor {
        let mut end = 0;
        let rows = texts.iter().flat_map(|text| {
            end += text.tokens().len();
            end - self.pooled(text)..end
        });
        let rows: Vec<usize> = rows.collect();
        hidden_states(cx, lm, texts, &rows)
    }

    /// The vector of each text out of the hidden states of its pooled tokens.
    fn pool(&self, hidden: &Tensor, texts: &[&Example]) -> Vec<Vec<f64>> {
        let mut start = 0;
        let vectors = texts.iter().map(|text| {
            let rows = start..start + self.pooled(text);
            start = rows.end;
            let mut mean = vec![0.0; hidden.cols()];
            let share = 1.0 / rows.len() as f64;
            for row in rows {
                mean.iter_mut().zip(hidden.row(row)).for_each(|(m, &x)| *m += f64::from(x) * share);
            }
            mean
        });
        vectors.collect()
    }

    /// The gradient of the hidden states of pooled tokens by those of the vectors.
    fn pool_backward(
        &self,
        cx: &Context,
        hidden: &Tensor,
        texts: &[&Example],
        slopes: &[Vec<f64>],
    ) -> Tensor {
        let mut out = cx.uninit(hidden.rows(), hidden.cols());
        let mut rows = out.values_mut().chunks_exact_mut(hidden.cols());
        for (text, slope) in texts.iter().zip(slopes) {
            let pooled = self.pooled(text);
            let share = 1.0 / pooled as f64;
            for row in rows.by_ref().take(pooled) {
                row.iter_mut().zip(slope).for_each(|(d, s)| *d = (s * share) as f32);
            }
        }
        out
    }

    /// The loss of each query by the vectors of all texts, and the gradient of their mean by each vector.
    fn loss(&self, items: &[&Contrast], vectors: &[Vec<f64>]) -> (Vec<ContrastResult>, Vec<Vec<f64>>) {
        let units: Vec<(Vec<f64>, f64)> = vectors.iter().map(|vector| unit(vector)).collect();
        let mut slopes: Vec<Vec<f64>> = vectors.iter().map(|v| vec![0.0; v.len()]).collect();
        let candidates = Candidates::of(items);
        let share = 1.0 / (items.len().max(1) as f64 * self.temperature);
        let results = candidates.queries.iter().map(|&query| {
            let own = query + 1;
            let others = candidates.documents.iter().filter(|&&d| candidates.counts(own, d));
            let documents: Vec<usize> = std::iter::once(own).chain(others.copied()).collect();
            let cosines: Vec<f64> = documents.iter().map(|&d| dot(&units[query].0, &units[d].0)).collect();
            let scores: Vec<f64> = cosines.iter().map(|cosine| cosine / self.temperature).collect();
            let largest = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            for (i, (&document, score)) in documents.iter().zip(&scores).enumerate() {
                let probability = (score - largest).exp() / sum;
                let slope = (probability - if i == 0 { 1.0 } else { 0.0 }) * share;
                add(&mut slopes[query], slope, &units[document].0);
                add(&mut slopes[document], slope, &units[query].0);
            }
            ContrastResult {
                loss: sum.ln() - (scores[0] - largest),
                found: scores[1..].iter().all(|score| *score < scores[0]),
            }
        });
        let results = results.collect();
        for (slope, (unit, length)) in slopes.iter_mut().zip(&units) {
            // backward of x / |x|
            let along = dot(slope, unit);
            slope.iter_mut().zip(unit).for_each(|(s, u)| *s = (*s - along * u) / length);
        }
        (results, slopes)
    }
}

/// Where the texts of a step are, and which of them may stand against each other.
struct Candidates {
    queries: Vec<usize>,
    documents: Vec<usize>,
    /// Of each text, the first with the same tokens.
    same: Vec<usize>,
}

impl Candidates {
    fn of(items: &[&Contrast]) -> Candidates {
        let mut candidates = Candidates { queries: Vec::new(), documents: Vec::new(), same: Vec::new() };
        let mut first: HashMap<&[u32], usize> = HashMap::new();
        for item in items {
            candidates.queries.push(candidates.same.len());
            for (i, text) in item.texts().enumerate() {
                let place = candidates.same.len();
                if i > 0 {
                    candidates.documents.push(place);
                }
                candidates.same.push(*first.entry(text.tokens()).or_insert(place));
            }
        }
        candidates
    }

    /// Whether a document stands against the document `own`. The same text under another query is no negative.
    fn counts(&self, own: usize, document: usize) -> bool {
        self.same[document] != self.same[own]
    }
}

/// The vector with length 1, and its length before.
fn unit(vector: &[f64]) -> (Vec<f64>, f64) {
    // as PyTorch's `normalize` guards against a vector of zeros
    let length = dot(vector, vector).sqrt().max(1e-12);
    (vector.iter().map(|x| x / length).collect(), length)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64], factor: f64, vector: &[f64]) {
    sum.iter_mut().zip(vector).for_each(|(s, v)| *s += factor * v);
}
