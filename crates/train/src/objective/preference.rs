//! Preferences between two answers.

use super::{Example, Positions, forward, log_probs};
use models::CausalLm;
use nn::{Context, Gradients, ops};

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

/// A prompt with two answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    /// The better answer.
    pub chosen: Example,
    /// The worse one.
    pub rejected: Example,
}

/// What the reference model thinks of a [`Preference`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference {
    /// Sum of the logarithms of the chosen answer's tokens.
    pub chosen: f64,
    /// The same of the rejected answer.
    pub rejected: f64,
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

/// A pair, and what the reference thinks of it.
type Pair<'a> = (&'a Preference, Reference);

impl Preference {
    /// Tokens of both.
    pub fn tokens(&self) -> usize {
        self.chosen.tokens().len() + self.rejected.tokens().len()
    }
}

impl Reference {
    /// What `lm` thinks of `pairs`.
    pub fn of(cx: &Context, lm: &CausalLm, pairs: &[&Preference]) -> Vec<Reference> {
        let found = log_probs(cx, lm, &both(pairs.iter().copied()));
        let sums = found.chunks_exact(2).map(sums);
        sums.map(|[chosen, rejected]| Reference { chosen, rejected }).collect()
    }
}

impl Dpo {
    /// The loss of each pair; the gradient of their sum divided by `total`, the pairs of the whole step, is added to
    /// `gradients`. `cx` must record.
    pub fn step(
        &self,
        cx: &Context,
        lm: &CausalLm,
        pairs: &[Pair<'_>],
        total: usize,
        gradients: &mut Gradients,
    ) -> Vec<PairResult> {
        let positions = forward(cx, lm, &both(pairs.iter().map(|(pair, _)| *pair)));
        let found = ops::log_probs(cx, &positions.hidden, lm.head(), &positions.tokens);
        let mut factors = Vec::with_capacity(found.len());
        let answers = positions.split(&found);
        let results = pairs.iter().zip(answers.chunks_exact(2)).map(|((_, reference), answers)| {
            let (result, slopes) = self.judge(*reference, answers);
            for (answer, slope) in answers.iter().zip(slopes) {
                factors.extend(std::iter::repeat_n((slope / total as f64) as f32, answer.len()));
            }
            result
        });
        let results = results.collect();
        let Positions { hidden, tokens, .. } = positions;
        let (_, dhidden) = ops::log_probs_backward(cx, &hidden, lm.head(), &tokens, &factors, gradients);
        cx.backward(vec![(hidden, dhidden)], gradients);
        results
    }

    /// What [`Self::step`] returns, without its gradient.
    pub fn measure(&self, cx: &Context, lm: &CausalLm, pairs: &[Pair<'_>]) -> Vec<PairResult> {
        let found = log_probs(cx, lm, &both(pairs.iter().map(|(pair, _)| *pair)));
        let pairs = pairs.iter().zip(found.chunks_exact(2));
        pairs.map(|((_, reference), answers)| self.judge(*reference, answers).0).collect()
    }

    /// The result of a pair by the logarithms of its answers' tokens, and the derivatives of its loss by each of them.
    fn judge(&self, reference: Reference, answers: &[Vec<f32>]) -> (PairResult, [f64; 2]) {
        let [chosen, rejected] = sums(answers);
        let rewards = [chosen - reference.chosen, rejected - reference.rejected];
        let (loss, slopes) = self.loss(rewards, [0, 1].map(|i| answers[i].len().max(1) as f64));
        let [chosen_reward, rejected_reward] = rewards.map(|reward| self.beta * reward);
        (PairResult { chosen, rejected, chosen_reward, rejected_reward, loss }, slopes)
    }

    /// The loss of a pair, and its derivatives by each token's logarithm in the chosen and the rejected answer.
    fn loss(&self, [chosen, rejected]: [f64; 2], lens: [f64; 2]) -> (f64, [f64; 2]) {
        let beta = self.beta;
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

/// The chosen and the rejected answer of each pair.
fn both<'a>(pairs: impl Iterator<Item = &'a Preference>) -> Vec<&'a Example> {
    pairs.flat_map(|pair| [&pair.chosen, &pair.rejected]).collect()
}

fn sums(answers: &[Vec<f32>]) -> [f64; 2] {
    [0, 1].map(|i| answers[i].iter().map(|&l| f64::from(l)).sum())
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn log_sigmoid(x: f64) -> f64 {
    // of the two forms the one whose exponential does not overflow
    if x >= 0.0 { -(-x).exp().ln_1p() } else { x - x.exp().ln_1p() }
}
