//! Steps against gradients.

use crate::parameters::Parameters;
use kernels::Pool;
use kernels::optimizer::{AdamWStep, adamw, sum_of_squares};
use models::CausalLm;
use nn::Gradients;

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

/// AdamW and its moments.
pub struct Optimizer {
    settings: AdamW,
    /// By the parameter's number.
    moments: Vec<Moments>,
}

/// Of one parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Steps taken.
    pub steps: u32,
    /// First moment; empty before the first step.
    pub m: Vec<f32>,
    /// Second moment.
    pub v: Vec<f32>,
}

impl Optimizer {
    /// An optimiser for `parameters` that has taken no step.
    pub fn new(settings: AdamW, parameters: &Parameters) -> Optimizer {
        Optimizer { settings, moments: vec![Moments::default(); parameters.all().len()] }
    }

    /// Its moments by the parameter's number, to be kept in a checkpoint.
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// Its moments, to be taken from a checkpoint.
    pub fn moments_mut(&mut self) -> &mut [Moments] {
        &mut self.moments
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
        let AdamW { betas, eps, weight_decay, decay_vectors } = self.settings;
        parameters.visit(lm, |id, values| {
            let Some(gradient) = gradients.get(id) else { return };
            let moments = &mut self.moments[id.0];
            moments.steps += 1;
            moments.m.resize(values.len(), 0.0);
            moments.v.resize(values.len(), 0.0);
            let decays = decay_vectors || parameters.info(id).shape.len() > 1;
            let steps = moments.steps as i32;
            let step = AdamWStep {
                learning_rate: learning_rate as f32,
                renewal: (1.0 - betas.0) as f32,
                second: (betas.1 as f32, (1.0 - betas.1) as f32),
                eps: eps as f32,
                weight_decay: if decays { weight_decay as f32 } else { 0.0 },
                gradient_scale,
                corrections: ((1.0 - betas.0.powi(steps)) as f32, (1.0 - betas.1.powi(steps)) as f32),
            };
            adamw(pool, step, gradient, values, &mut moments.m, &mut moments.v);
        });
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
