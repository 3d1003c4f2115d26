//! Where a run stopped computing with numbers.

use crate::parameters::Parameters;
use kernels::Pool;
use kernels::optimizer::sum_of_squares;
use models::CausalLm;
use nn::{Batch, Context, DType, Gradients, KvCache};
use std::fmt;
use std::sync::Arc;

/// Tokens in a cache block of a sequence that is computed again.
const BLOCK_TOKENS: usize = 32;

/// The first thing that is infinite or NaN, in the order of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A trained parameter, from an earlier step.
    Parameter(String),
    /// Hidden states behind this many layers.
    Hidden(usize),
    /// The loss, of finite hidden states.
    Loss,
    /// The gradient of a parameter, of a finite loss.
    Gradient(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Parameter(name) => write!(f, "the parameter `{name}` is no number any more"),
            Fault::Hidden(0) => write!(f, "what `model.embed_tokens` gives is no number"),
            Fault::Hidden(layers) => write!(f, "what `model.layers.{}` gives is no number", layers - 1),
            Fault::Loss => write!(f, "the logits of `lm_head` are no numbers"),
            Fault::Gradient(name) => write!(f, "the gradient of `{name}` is no number"),
        }
    }
}

/// The first trained parameter with a value that is no number.
pub fn bad_parameter(pool: &Pool, lm: &mut CausalLm, parameters: &Parameters) -> Option<Fault> {
    let mut first = None;
    parameters.visit(lm, |id, values| {
        if !sum_of_squares(pool, values).is_finite() && values.iter().any(|v| !v.is_finite()) {
            first = first.take().or(Some(id));
        }
    });
    first.map(|id| Fault::Parameter(parameters.info(id).name.clone()))
}

/// Finds the fault of a step over `sequences` whose `loss` or gradient is no number.
pub fn find<'a>(
    pool: &Arc<Pool>,
    lm: &mut CausalLm,
    parameters: &Parameters,
    sequences: impl Iterator<Item = &'a [u32]>,
    loss: f64,
    gradients: &mut Gradients,
) -> Fault {
    if let Some(fault) = bad_parameter(pool, lm, parameters) {
        return fault;
    }
    if let Some(layers) = sequences.filter_map(|tokens| bad_hidden(pool, lm, tokens)).next() {
        return Fault::Hidden(layers);
    }
    if !loss.is_finite() {
        return Fault::Loss;
    }
    // the backward pass comes by the last parameters first
    let bad = gradients.iter_mut().filter(|(_, values)| values.iter().any(|v| !v.is_finite())).last();
    bad.map_or(Fault::Loss, |(id, _)| Fault::Gradient(parameters.info(id).name.clone()))
}

/// After how many layers the hidden states of a sequence are no numbers.
fn bad_hidden(pool: &Arc<Pool>, lm: &CausalLm, tokens: &[u32]) -> Option<usize> {
    let batch = Batch::packed([tokens], BLOCK_TOKENS);
    let shape = lm.kv_cache_shape(DType::F32, BLOCK_TOKENS, batch.blocks());
    let mut cache = KvCache::passing(shape).ok()?;
    let mut first = None;
    lm.forward_observed(&Context::new(pool.clone()), &batch, &mut cache, &mut |layers, hidden| {
        if first.is_none() && hidden.values().iter().any(|v| !v.is_finite()) {
            first = Some(layers);
        }
    });
    first
}
