//! What is learned: losses, and their gradients by the model's parameters.
//!
//! Examples are computed together as packed sequences, each of which sees only itself. Logits are made for the positions
//! that carry loss alone.

mod contrast;
mod preference;

pub use contrast::{Contrast, ContrastResult, InfoNce, Passes, Pooling};
pub use preference::{Dpo, PairResult, Preference, PreferenceLoss, Reference};

use models::CausalLm;
use nn::{Batch, Context, DType, Gradients, KvCache, Tensor, ops};

/// Tokens in a cache block of a training step.
const BLOCK_TOKENS: usize = 32;

/// A sequence, and which of its tokens are to be learned from those before them.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    tokens: Vec<u32>,
    learned: Vec<bool>,
    /// How much each token counts; empty where all that are learned count alike.
    weights: Vec<f32>,
}

impl Example {
    /// A sequence of `tokens`, of which those with `learned` carry loss. The first never does: nothing is before it.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn new(tokens: Vec<u32>, mut learned: Vec<bool>) -> Example {
        assert_eq!(tokens.len(), learned.len(), "a mark for each token");
        if let Some(first) = learned.first_mut() {
            *first = false;
        }
        Example { tokens, learned, weights: Vec::new() }
    }

    /// A sequence of `tokens`, each of which counts in the loss as much as its weight: 0 does not.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn weighted(tokens: Vec<u32>, weights: Vec<f32>) -> Example {
        let learned = weights.iter().map(|&weight| weight != 0.0).collect();
        let mut example = Example::new(tokens, learned);
        if weights.iter().any(|&weight| weight != 0.0 && weight != 1.0) {
            example.weights = weights;
        }
        example
    }

    /// A sequence of which nothing is foretold.
    pub fn read(tokens: Vec<u32>) -> Example {
        let learned = vec![false; tokens.len()];
        Example::new(tokens, learned)
    }

    /// Its tokens.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Number of tokens that carry loss.
    pub fn learned(&self) -> usize {
        self.learned.iter().filter(|learned| **learned).count()
    }

    /// Which tokens carry loss.
    pub fn marks(&self) -> &[bool] {
        &self.learned
    }

    /// How much the token `i` counts, from 0 to 1.
    pub fn weight_of(&self, i: usize) -> f32 {
        match self.learned[i] {
            true => self.weights.get(i).copied().unwrap_or(1.0),
            false => 0.0,
        }
    }

    /// How much all its tokens count together.
    pub fn weight(&self) -> f64 {
        (0..self.tokens.len()).map(|i| f64::from(self.weight_of(i))).sum()
    }
}

/// The positions of some examples that carry loss.
struct Positions {
    /// Hidden states `[positions, hidden]` that predict.
    hidden: Tensor,
    /// The token that each should predict.
    tokens: Vec<u32>,
    /// How many belong to each example.
    counts: Vec<usize>,
}

/// Hidden states `[rows.len(), hidden]` of some of the tokens of all examples, one after another.
fn hidden_states(cx: &Context, lm: &CausalLm, examples: &[&Example], rows: &[usize]) -> Tensor {
    let batch = Batch::packed(examples.iter().map(|e| e.tokens()), BLOCK_TOKENS);
    let shape = lm.kv_cache_shape(DType::F32, BLOCK_TOKENS, batch.blocks());
    let mut cache = KvCache::passing(shape).expect("address space for one layer of a batch");
    lm.forward_rows(cx, &batch, rows, &mut cache)
}

/// The hidden states of `examples` that predict a learned token.
fn forward(cx: &Context, lm: &CausalLm, examples: &[&Example]) -> Positions {
    let (mut rows, mut tokens, mut start) = (Vec::new(), Vec::new(), 0);
    for example in examples {
        for (i, _) in example.learned.iter().enumerate().filter(|(_, learned)| **learned) {
            rows.push(start + i - 1);
            tokens.push(example.tokens[i]);
        }
        start += example.tokens.len();
    }
    let hidden = hidden_states(cx, lm, examples, &rows);
    Positions { hidden, tokens, counts: examples.iter().map(|e| e.learned()).collect() }
}

/// The natural logarithm of the probability of each learned token, one list for each example.
pub fn log_probs(cx: &Context, lm: &CausalLm, examples: &[&Example]) -> Vec<Vec<f32>> {
    let positions = forward(cx, lm, examples);
    cx.discard();
    let found = ops::log_probs(cx, &positions.hidden, lm.head(), &positions.tokens);
    positions.split(&found)
}

/// The sum of the cross-entropy of all learned tokens of `examples`, each times its weight, in nats; the gradient of that
/// sum divided by `total` is added to `gradients`. `total` is the weight of the whole step, of which these examples may be
/// a part. `cx` must record.
pub fn next_token(
    cx: &Context,
    lm: &CausalLm,
    examples: &[&Example],
    total: f64,
    gradients: &mut Gradients,
) -> f64 {
    let Positions { hidden, tokens, .. } = forward(cx, lm, examples);
    if tokens.is_empty() {
        cx.discard();
        return 0.0;
    }
    let weights = weights(examples);
    let factors: Vec<f32> = weights.iter().map(|weight| -weight / total as f32).collect();
    let (found, dhidden) = ops::log_probs_backward(cx, &hidden, lm.head(), &tokens, &factors, gradients);
    cx.backward(vec![(hidden, dhidden)], gradients);
    weighted_sum(&found, &weights)
}

/// The sum that [`next_token`] returns, without its gradient.
pub fn cross_entropy(cx: &Context, lm: &CausalLm, examples: &[&Example]) -> f64 {
    weighted_sum(&log_probs(cx, lm, examples).concat(), &weights(examples))
}

/// The weights of all learned tokens.
fn weights(examples: &[&Example]) -> Vec<f32> {
    let of = |example: &&Example| {
        let weights = (0..example.tokens.len()).map(|i| example.weight_of(i));
        weights.filter(|weight| *weight != 0.0).collect::<Vec<_>>()
    };
    examples.iter().flat_map(of).collect()
}

fn weighted_sum(log_probs: &[f32], weights: &[f32]) -> f64 {
    -log_probs.iter().zip(weights).map(|(&l, &weight)| f64::from(l) * f64::from(weight)).sum::<f64>()
}

impl Positions {
    /// Cuts a value for each position into those of each example.
    fn split(&self, values: &[f32]) -> Vec<Vec<f32>> {
        let mut rest = values;
        let lists = self.counts.iter().map(|&count| {
            let (own, others) = rest.split_at(count);
            rest = others;
            own.to_vec()
        });
        lists.collect()
    }
}
