//! What is learned: losses, and their gradients by the model's parameters.
//!
//! Examples are computed together as packed sequences, each of which sees only itself. Logits are made for the positions
//! that carry loss alone.

use models::CausalLm;
use nn::{Batch, Context, DType, Gradients, KvCache, Tensor, ops};

/// Tokens in a cache block of a training step.
const BLOCK_TOKENS: usize = 32;

/// A sequence, and which of its tokens are to be learned from those before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    tokens: Vec<u32>,
    learned: Vec<bool>,
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
        Example { tokens, learned }
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

/// The hidden states of `examples` that predict a learned token.
fn forward(cx: &Context, lm: &CausalLm, examples: &[&Example]) -> Positions {
    let batch = Batch::packed(examples.iter().map(|e| e.tokens()), BLOCK_TOKENS);
    let shape = lm.kv_cache_shape(DType::F32, BLOCK_TOKENS, batch.blocks());
    let mut cache = KvCache::passing(shape).expect("address space for one layer of a batch");
    let hidden = lm.forward(cx, &batch, &mut cache);
    let (mut rows, mut tokens, mut start) = (Vec::new(), Vec::new(), 0);
    for example in examples {
        for (i, _) in example.learned.iter().enumerate().filter(|(_, learned)| **learned) {
            rows.push(start + i - 1);
            tokens.push(example.tokens[i]);
        }
        start += example.tokens.len();
    }
    let hidden = ops::select_rows(cx, &hidden, &rows);
    Positions { hidden, tokens, counts: examples.iter().map(|e| e.learned()).collect() }
}

/// The natural logarithm of the probability of each learned token, one list for each example.
pub fn log_probs(cx: &Context, lm: &CausalLm, examples: &[&Example]) -> Vec<Vec<f32>> {
    let positions = forward(cx, lm, examples);
    cx.discard();
    let found = ops::log_probs(cx, &positions.hidden, lm.head(), &positions.tokens);
    positions.split(&found)
}

/// The sum of the cross-entropy of all learned tokens of `examples`, in nats; the gradient of that sum divided by `total`
/// is added to `gradients`. `total` is the number of learned tokens of the whole step, of which these examples may be a
/// part. `cx` must record.
pub fn next_token(
    cx: &Context,
    lm: &CausalLm,
    examples: &[&Example],
    total: usize,
    gradients: &mut Gradients,
) -> f64 {
    let Positions { hidden, tokens, .. } = forward(cx, lm, examples);
    if tokens.is_empty() {
        cx.discard();
        return 0.0;
    }
    let factors = vec![-1.0 / total as f32; tokens.len()];
    let (found, dhidden) = ops::log_probs_backward(cx, &hidden, lm.head(), &tokens, &factors, gradients);
    cx.backward(vec![(hidden, dhidden)], gradients);
    -found.iter().map(|&l| f64::from(l)).sum::<f64>()
}

/// Direct preference optimisation (arXiv:2305.18290).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dpo {
    /// How far the policy may go from the reference: less for larger values.
    pub beta: f64,
    /// Which loss of the pair's margin.
    pub loss: PreferenceLoss,
}

/// A loss of the margin by which the policy prefers the chosen answer more than the reference does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PreferenceLoss {
    /// `-(1 - s) ln σ(β h) - s ln σ(-β h)` with the margin `h` of summed logarithms; `s` is the share of pairs that are
    /// assumed to be the wrong way round.
    Sigmoid {
        /// `s`.
        label_smoothing: f64,
    },
    /// `(h - 1 / 2β)²` with the margin of logarithms averaged over an answer's tokens (arXiv:2310.12036).
    Ipo,
}

/// A prompt with two answers, and what the reference thinks of them.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The better answer.
    pub chosen: Example,
    /// The worse one.
    pub rejected: Example,
    /// Sum of the logarithms of the chosen answer's tokens by the reference model.
    pub reference_chosen: f64,
    /// The same of the rejected answer.
    pub reference_rejected: f64,
}

/// What a step found of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairResult {
    /// Sum of the logarithms of the chosen answer's tokens.
    pub chosen: f64,
    /// The same of the rejected answer.
    pub rejected: f64,
    /// `β (chosen - reference)`.
    pub chosen_reward: f64,
    /// The same of the rejected answer.
    pub rejected_reward: f64,
    /// The pair's loss.
    pub loss: f64,
}

impl Dpo {
    /// The loss of each pair; the gradient of their sum divided by `total`, the pairs of the whole step, is added to
    /// `gradients`. `cx` must record.
    pub fn step(
        &self,
        cx: &Context,
        lm: &CausalLm,
        pairs: &[&Pair],
        total: usize,
        gradients: &mut Gradients,
    ) -> Vec<PairResult> {
        let examples: Vec<&Example> = pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]).collect();
        let positions = forward(cx, lm, &examples);
        let found = ops::log_probs(cx, &positions.hidden, lm.head(), &positions.tokens);
        let mut factors = Vec::with_capacity(found.len());
        let answers = positions.split(&found);
        let results = pairs.iter().zip(answers.chunks_exact(2)).map(|(pair, answers)| {
            let [chosen, rejected] = [0, 1].map(|i| answers[i].iter().map(|&l| f64::from(l)).sum::<f64>());
            let lens = [0, 1].map(|i| answers[i].len().max(1) as f64);
            let (loss, slopes) = self.loss(pair, [chosen, rejected], lens);
            for (answer, slope) in answers.iter().zip(slopes) {
                factors.extend(std::iter::repeat_n((slope / total as f64) as f32, answer.len()));
            }
            PairResult {
                chosen,
                rejected,
                chosen_reward: self.beta * (chosen - pair.reference_chosen),
                rejected_reward: self.beta * (rejected - pair.reference_rejected),
                loss,
            }
        });
        let results = results.collect();
        let Positions { hidden, tokens, .. } = positions;
        let (_, dhidden) = ops::log_probs_backward(cx, &hidden, lm.head(), &tokens, &factors, gradients);
        cx.backward(vec![(hidden, dhidden)], gradients);
        results
    }

    /// The loss of a pair, and its derivatives by each token's logarithm in the chosen and the rejected answer.
    fn loss(&self, pair: &Pair, [chosen, rejected]: [f64; 2], lens: [f64; 2]) -> (f64, [f64; 2]) {
        let beta = self.beta;
        let (chosen, rejected) = (chosen - pair.reference_chosen, rejected - pair.reference_rejected);
        match self.loss {
            PreferenceLoss::Sigmoid { label_smoothing: s } => {
                let h = beta * (chosen - rejected);
                let slope = beta * (s * sigmoid(h) - (1.0 - s) * sigmoid(-h));
                (-(1.0 - s) * log_sigmoid(h) - s * log_sigmoid(-h), [slope, -slope])
            }
            PreferenceLoss::Ipo => {
                let off = chosen / lens[0] - rejected / lens[1] - 1.0 / (2.0 * beta);
                (off * off, [2.0 * off / lens[0], -2.0 * off / lens[1]])
            }
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn log_sigmoid(x: f64) -> f64 {
    // of the two forms the one whose exponential does not overflow
    if x >= 0.0 { -(-x).exp().ln_1p() } else { x - x.exp().ln_1p() }
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
