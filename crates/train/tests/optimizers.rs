//! Optimisers against the formulas in float64, and against each other.

mod common;

use common::{Expected, base, recording};
use models::CausalLm;
use nn::{Gradients, ParameterId};
use train::objective;
use train::optimizer::{AdamW, Muon, Optimizer};
use train::random::Random;
use train::{Example, Parameters};

/// AdamW as its formulas stand, for one parameter.
struct Reference {
    values: Vec<f64>,
    m: Vec<f64>,
    v: Vec<f64>,
}

impl Reference {
    fn step(&mut self, settings: &AdamW, gradient: &[f32], rate: f64, steps: i32) {
        let (b1, b2) = settings.betas;
        for (i, g) in gradient.iter().enumerate() {
            let g = f64::from(*g);
            self.m[i] = b1 * self.m[i] + (1.0 - b1) * g;
            self.v[i] = b2 * self.v[i] + (1.0 - b2) * g * g;
            let (m, v) = (self.m[i] / (1.0 - b1.powi(steps)), self.v[i] / (1.0 - b2.powi(steps)));
            self.values[i] *= 1.0 - rate * settings.weight_decay;
            self.values[i] -= rate * m / (v.sqrt() + settings.eps);
        }
    }
}

fn values(lm: &mut CausalLm, parameters: &Parameters, wanted: ParameterId) -> Vec<f32> {
    let mut found = Vec::new();
    parameters.visit(lm, |id, values| {
        if id == wanted {
            found = values.to_vec();
        }
    });
    found
}

/// Gradients whose values have sizes of their own over two decades, and a direction that they keep.
fn noise(parameters: &Parameters, gradients: &mut Gradients, step: u64) {
    gradients.clear();
    for (id, info) in parameters.all().iter().enumerate() {
        let mut size = Random::new(1, "size", id as u64);
        let mut random = Random::new(2, "gradient", step << 20 | id as u64);
        for value in gradients.sum(ParameterId(id), info.len()) {
            let scale = 10f32.powf(size.uniform(1.0) - 3.0);
            *value = scale * (random.uniform(1.0) + 0.3);
        }
    }
}

#[test]
fn moments_in_8_bits_stay_near_those_in_float64() {
    let cx = recording();
    let mut lm = base();
    let parameters = Parameters::full(&mut lm);
    let settings = AdamW::default();
    let mut optimizer = Optimizer::eight_bit(settings, &parameters);
    let id = ParameterId(0);
    let before = values(&mut lm, &parameters, id);
    assert!(before.len() >= 4096, "large enough for 8 bits");
    let zeros = vec![0.0; before.len()];
    let start: Vec<f64> = before.iter().map(|v| f64::from(*v)).collect();
    let mut reference = Reference { values: start.clone(), m: zeros.clone(), v: zeros };
    let mut gradients = Gradients::new();
    for step in 1..=200 {
        noise(&parameters, &mut gradients, step);
        optimizer.step(cx.pool(), &mut lm, &parameters, &gradients, 1e-3, 1.0);
        reference.step(&settings, gradients.get(id).unwrap(), 1e-3, step as i32);
        let after = values(&mut lm, &parameters, id);
        let moved = |i: usize| (f64::from(after[i]) - start[i], reference.values[i] - start[i]);
        let (mut off, mut all) = (0.0, 0.0);
        for (found, expected) in (0..after.len()).map(moved) {
            off += (found - expected).powi(2);
            all += expected.powi(2);
        }
        let error = (off / all).sqrt();
        if step % 50 == 0 {
            println!("after step {step} the way is {error:.4} off");
        }
        // the first step divides moments that have not been rounded yet
        let allowed = if step == 1 { 1e-4 } else { 0.1 };
        assert!(error < allowed, "after step {step} the way is {error} off");
    }
}

/// The mean loss of the last of `steps` steps over the batches of the fixture.
fn loss_after(optimizer: impl Fn(&Parameters) -> Optimizer, rate: f64, steps: usize) -> (f64, f64) {
    let expected = Expected::read("full-finetuning", "expected_training.safetensors");
    let batches: Vec<Vec<Example>> = (0..3).map(|i| expected.examples(&format!("batch{i}"))).collect();
    let cx = recording();
    let mut lm = base();
    let parameters = Parameters::full(&mut lm);
    let mut optimizer = optimizer(&parameters);
    let mut gradients = Gradients::new();
    let mut losses = Vec::new();
    for step in 0..steps {
        let examples: Vec<&Example> = batches[step % 3].iter().collect();
        let total: f64 = examples.iter().map(|e| e.weight()).sum();
        gradients.clear();
        let loss = objective::next_token(&cx, &lm, &examples, total, &mut gradients);
        losses.push(loss / total);
        optimizer.step(cx.pool(), &mut lm, &parameters, &gradients, rate, 1.0);
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    (mean(&losses[..3]), mean(&losses[steps - 3..]))
}

#[test]
fn losses_fall_as_well_as_with_adamw() {
    let adamw = AdamW::default();
    let (first, plain) = loss_after(|p| Optimizer::new(adamw, p), 1e-3, 30);
    let (_, eight_bit) = loss_after(|p| Optimizer::eight_bit(adamw, p), 1e-3, 30);
    println!("from {first:.4} to {plain:.4} (AdamW) and {eight_bit:.4} (8 bits)");
    assert!(plain < 0.7 * first, "from {first} to {plain}");
    assert!((eight_bit - plain).abs() < 0.001 * plain, "{eight_bit} for {plain}");
    // each with the best of some learning rates
    let best = |optimizer: &dyn Fn(&Parameters) -> Optimizer| {
        let losses = [3e-3, 1e-2, 3e-2].map(|rate| loss_after(optimizer, rate, 30).1);
        println!("{losses:.4?}");
        losses.into_iter().fold(f64::MAX, f64::min)
    };
    let plain = best(&|p| Optimizer::new(adamw, p));
    let muon = best(&|p| Optimizer::muon(Muon::default(), adamw, p));
    assert!(muon < 1.1 * plain, "{muon} for {plain}");
}
