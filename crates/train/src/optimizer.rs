//! Steps against gradients.

mod muon;

use crate::parameters::{ParameterInfo, Parameters};
use kernels::Pool;
use kernels::dtype::f32_bytes;
use kernels::optimizer::{AdamWStep, BLOCK, EightBit, adamw, adamw_8bit, sum_of_squares};
use models::CausalLm;
use nn::{Gradients, ParameterId};

pub use muon::Muon;

/// The settings of AdamW (arXiv:1711.05101).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first and the second moment.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of a value, times the learning rate, that each step takes off.
    pub weight_decay: f64,
    /// Whether norms and biases decay as well, as with PyTorch's defaults.
    pub decay_vectors: bool,
}

impl Default for AdamW {
    fn default() -> AdamW {
        AdamW { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.01, decay_vectors: true }
    }
}

/// Parameters with fewer values keep float32 moments: they take no room, and norms are sensitive.
const LEAST_IN_8_BITS: usize = 4096;

/// What moves parameters, and what it remembers of them.
pub struct Optimizer {
    adamw: AdamW,
    muon: Muon,
    /// By the parameter's number.
    states: Vec<State>,
}

/// Of one parameter.
struct State {
    /// Steps taken.
    steps: u32,
    moments: Moments,
}

/// What is remembered of past gradients; empty before the first step.
enum Moments {
    /// Both of AdamW's.
    AdamW { m: Vec<f32>, v: Vec<f32> },
    /// The first, and the root of the second, in 8 bits.
    AdamW8bit { m: EightBit, root: EightBit },
    /// Muon's.
    Muon { momentum: Vec<f32> },
}

/// A named part of a parameter's state.
pub enum StatePart<'a> {
    /// Float32 values.
    Floats(&'a [f32]),
    /// Codes.
    Bytes(&'a [u8]),
}

impl StatePart<'_> {
    /// As they are stored.
    pub fn bytes(&self) -> &[u8] {
        match self {
            StatePart::Floats(values) => f32_bytes(values),
            StatePart::Bytes(bytes) => bytes,
        }
    }
}

impl Optimizer {
    /// AdamW for `parameters`, which has taken no step.
    pub fn new(adamw: AdamW, parameters: &Parameters) -> Optimizer {
        Optimizer::with(adamw, Muon::default(), parameters, |_| Moments::AdamW { m: vec![], v: vec![] })
    }

    /// AdamW with moments in 8 bits, a quarter of the memory.
    pub fn eight_bit(adamw: AdamW, parameters: &Parameters) -> Optimizer {
        Optimizer::with(adamw, Muon::default(), parameters, |info| match info.len() {
            ..LEAST_IN_8_BITS => Moments::AdamW { m: vec![], v: vec![] },
            _ => Moments::AdamW8bit { m: EightBit::default(), root: EightBit::default() },
        })
    }

    /// Muon for the matrices within layers, and AdamW for the embedding table, the head, norms and biases.
    pub fn muon(muon: Muon, adamw: AdamW, parameters: &Parameters) -> Optimizer {
        Optimizer::with(adamw, muon, parameters, |info| match muon::suits(info) {
            true => Moments::Muon { momentum: vec![] },
            false => Moments::AdamW { m: vec![], v: vec![] },
        })
    }

    fn with(
        adamw: AdamW,
        muon: Muon,
        parameters: &Parameters,
        moments: impl Fn(&ParameterInfo) -> Moments,
    ) -> Optimizer {
        let states = parameters.all().iter().map(|info| State { steps: 0, moments: moments(info) });
        Optimizer { adamw, muon, states: states.collect() }
    }

    /// Bytes that it keeps once all parameters have been stepped.
    pub fn bytes(&self, parameters: &Parameters) -> u64 {
        let of = |(state, info): (&State, &ParameterInfo)| match state.moments {
            Moments::AdamW { .. } => 2 * size_of::<f32>() * info.len(),
            Moments::AdamW8bit { .. } => 2 * (info.len() + size_of::<f32>() * info.len().div_ceil(BLOCK)),
            Moments::Muon { .. } => size_of::<f32>() * info.len(),
        };
        self.states.iter().zip(parameters.all()).map(of).sum::<usize>() as u64
    }

    /// Steps that a parameter has taken.
    pub fn steps(&self, id: ParameterId) -> u32 {
        self.states[id.0].steps
    }

    /// What is remembered of a parameter, to be kept in a checkpoint.
    pub fn state(&self, id: ParameterId) -> Vec<(&'static str, StatePart<'_>)> {
        use StatePart::{Bytes, Floats};
        match &self.states[id.0].moments {
            Moments::AdamW { m, v } => vec![("m", Floats(m)), ("v", Floats(v))],
            Moments::AdamW8bit { m, root } => vec![
                ("m8", Bytes(&m.codes)),
                ("m8.scales", Floats(&m.scales)),
                ("root8", Bytes(&root.codes)),
                ("root8.scales", Floats(&root.scales)),
            ],
            Moments::Muon { momentum } => vec![("momentum", Floats(momentum))],
        }
    }

    /// Takes what [`Self::state`] gave of a parameter of `len` values; `part` finds a part's bytes. `None` when one is missing
    /// or has another length; the parameter is then as it was.
    pub fn restore<'a>(
        &mut self,
        id: ParameterId,
        len: usize,
        steps: u32,
        part: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Option<()> {
        let floats = |name: &str, len: usize| {
            let bytes = part(name).filter(|bytes| bytes.len() == len * size_of::<f32>())?;
            Some(bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect::<Vec<f32>>())
        };
        let eight_bit = |name: &str| {
            let codes = part(name).filter(|codes| codes.len() == len)?.to_vec();
            Some(EightBit { codes, scales: floats(&format!("{name}.scales"), len.div_ceil(BLOCK))? })
        };
        let state = &mut self.states[id.0];
        let moments = match &state.moments {
            Moments::AdamW { .. } => Moments::AdamW { m: floats("m", len)?, v: floats("v", len)? },
            Moments::AdamW8bit { .. } => {
                Moments::AdamW8bit { m: eight_bit("m8")?, root: eight_bit("root8")? }
            }
            Moments::Muon { .. } => Moments::Muon { momentum: floats("momentum", len)? },
        };
        *state = State { steps, moments };
        Some(())
    }

    /// Moves every parameter that has a gradient. Gradients are multiplied by `gradient_scale` first ([`clip`]).
    pub fn step(
        &mut self,
        pool: &Pool,
        lm: &mut CausalLm,
        parameters: &Parameters,
        gradients: &Gradients,
        learning_rate: f64,
        gradient_scale: f32,
    ) {
        parameters.visit(lm, |id, values| {
            let Some(gradient) = gradients.get(id) else { return };
            let (state, info) = (&mut self.states[id.0], parameters.info(id));
            state.steps += 1;
            let adamw_step = adamw_step(&self.adamw, info, state.steps, learning_rate, gradient_scale);
            match &mut state.moments {
                Moments::AdamW { m, v } => {
                    m.resize(values.len(), 0.0);
                    v.resize(values.len(), 0.0);
                    adamw(pool, adamw_step, gradient, values, m, v);
                }
                Moments::AdamW8bit { m, root } => {
                    if m.codes.is_empty() {
                        (*m, *root) = (EightBit::zeros(values.len()), EightBit::zeros(values.len()));
                    }
                    // steps and parameters have ranges of seeds that lie apart
                    let seed =
                        state.steps.wrapping_mul(0x9e37_79b1) ^ (id.0 as u32).wrapping_mul(0x85eb_ca6b);
                    adamw_8bit(pool, adamw_step, seed, gradient, values, m, root);
                }
                Moments::Muon { momentum } => {
                    momentum.resize(values.len(), 0.0);
                    let decay = 1.0 - learning_rate * self.adamw.weight_decay;
                    self.muon.step(
                        pool,
                        gradient,
                        gradient_scale,
                        values,
                        &info.shape,
                        momentum,
                        learning_rate,
                        decay,
                    );
                }
            }
        });
    }
}

fn adamw_step(
    settings: &AdamW,
    info: &ParameterInfo,
    steps: u32,
    learning_rate: f64,
    gradient_scale: f32,
) -> AdamWStep {
    let AdamW { betas, eps, weight_decay, decay_vectors } = *settings;
    let decays = decay_vectors || info.shape.len() > 1;
    let corrections = [betas.0, betas.1].map(|beta| (1.0 - beta.powi(steps as i32)) as f32);
    AdamWStep {
        learning_rate: learning_rate as f32,
        renewal: (1.0 - betas.0) as f32,
        second: (betas.1 as f32, (1.0 - betas.1) as f32),
        eps: eps as f32,
        weight_decay: if decays { weight_decay as f32 } else { 0.0 },
        gradient_scale,
        corrections: (corrections[0], corrections[1]),
    }
}

/// The length of all gradients as one vector.
pub fn gradient_norm(pool: &Pool, gradients: &mut Gradients) -> f64 {
    gradients.iter_mut().map(|(_, values)| sum_of_squares(pool, values)).sum::<f64>().sqrt()
}

/// The factor that shortens gradients of length `norm` to `max_norm`; 1 when they are no longer. As PyTorch's
/// `clip_grad_norm_`.
pub fn clip(norm: f64, max_norm: f64) -> f32 {
    (max_norm / (norm + 1e-6)).min(1.0) as f32
}
