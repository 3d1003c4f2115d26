//! The contrastive loss: its value, its gradient, and that neither depends on how a step is cut into parts.

mod common;

use common::{base, recording};
use models::CausalLm;
use models::adapter::AdapterConfig;
use nn::Gradients;
use train::objective::{Contrast, InfoNce, Passes, Pooling};
use train::random::Random;
use train::{Example, LoraTargets, Parameters};

fn items() -> Vec<Contrast> {
    let mut random = Random::new(5, "texts", 0);
    let mut text = |len: usize| Example::read((0..len).map(|_| random.below(300) as u32).collect());
    let mut items: Vec<Contrast> = [(3, 7), (5, 4), (1, 6)]
        .iter()
        .map(|&(query, positive)| Contrast {
            query: text(query),
            positive: text(positive),
            negatives: vec![text(5)],
        })
        .collect();
    // the same document answers another query: it must not stand against itself
    items[2].positive = items[0].positive.clone();
    items[1].negatives.clear();
    items
}

fn adapted(dropout: f32) -> (CausalLm, Parameters) {
    let mut lm = base();
    let config = AdapterConfig::new(2, 4.0, false, dropout, &LoraTargets::AllLinear.names());
    let parameters = Parameters::new_adapter(&mut lm, &config, &LoraTargets::AllLinear, 1).unwrap();
    // lora_B begins as zeros, where lora_A has no gradient
    let mut random = Random::new(1, "values", 0);
    parameters.visit(&mut lm, |_, values| values.iter_mut().for_each(|v| *v = random.uniform(0.3)));
    (lm, parameters)
}

/// The mean loss, and the gradient of all parameters one after another.
fn step(loss: InfoNce, lm: &CausalLm, parameters: &Parameters, part_tokens: usize) -> (f64, Vec<f32>) {
    let items = items();
    let items: Vec<&Contrast> = items.iter().collect();
    let mut gradients = Gradients::new();
    let passes = Passes { part_tokens, seed: &|part| part as u64 + 1 };
    let results = loss.step(&recording(), lm, &items, &passes, &mut gradients);
    let mean = results.iter().map(|r| r.loss).sum::<f64>() / results.len() as f64;
    let ids = (0..parameters.all().len()).map(nn::ParameterId);
    (mean, ids.flat_map(|id| gradients.get(id).unwrap().to_vec()).collect())
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    for pooling in [Pooling::Last, Pooling::Mean] {
        let loss = InfoNce { temperature: 0.2, pooling };
        let (mut lm, parameters) = adapted(0.0);
        let (_, gradient) = step(loss, &lm, &parameters, 1000);
        for direction in 0..4 {
            let mut random = Random::new(9, "direction", direction);
            let direction: Vec<f32> = gradient.iter().map(|_| random.uniform(1.0)).collect();
            let mut shifted = |by: f32| {
                let mut at = direction.iter();
                parameters.visit(&mut lm, |_, values| {
                    values.iter_mut().zip(&mut at).for_each(|(v, d)| *v += by * d);
                });
                step(loss, &lm, &parameters, 1000).0
            };
            let h = 1e-3;
            let (above, below) = (shifted(h), shifted(-2.0 * h));
            shifted(h);
            let slope = (above - below) / f64::from(2.0 * h);
            let expected: f64 =
                gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let off = (slope - expected).abs() / expected.abs().max(0.01);
            assert!(off < 2e-3, "{pooling:?}: a slope of {slope}, and a gradient of {expected}");
        }
    }
}

#[test]
fn parts_change_neither_loss_nor_gradient() {
    let loss = InfoNce { temperature: 0.05, pooling: Pooling::Last };
    let (lm, parameters) = adapted(0.0);
    let (whole, gradient) = step(loss, &lm, &parameters, 1000);
    for part_tokens in [1, 12] {
        let (cut, parts) = step(loss, &lm, &parameters, part_tokens);
        assert_eq!(cut, whole);
        common::assert_close("gradient", &parts, &gradient);
    }
}

#[test]
fn both_passes_of_a_part_leave_out_the_same_inputs() {
    // with other choices in the second pass, the gradient would be of another loss
    let loss = InfoNce { temperature: 0.2, pooling: Pooling::Last };
    let (lm, parameters) = adapted(0.5);
    let (first, gradient) = step(loss, &lm, &parameters, 12);
    let (again, same) = step(loss, &lm, &parameters, 12);
    assert_eq!((first, &gradient), (again, &same));
    assert_ne!(first, step(loss, &adapted(0.0).0, &parameters, 12).0);
}

#[test]
fn the_loss_is_that_of_the_formula() {
    let items = items();
    let items: Vec<&Contrast> = items.iter().collect();
    let (lm, _) = adapted(0.0);
    let loss = InfoNce { temperature: 0.2, pooling: Pooling::Last };
    let vectors: Vec<Vec<f64>> = items
        .iter()
        .flat_map(|item| item.texts())
        // each text alone: what stands beside it changes nothing
        .map(|text| vector(&lm, text))
        .collect();
    let cosine =
        |a: usize, b: usize| vectors[a].iter().zip(&vectors[b]).map(|(a, b)| a * b).sum::<f64>() / 0.2;
    // texts: query, positive and negative of the first; query and positive of the second; all three of the third, whose
    // positive is the first's
    let expected =
        [(0, 1, &[2, 4, 7][..]), (3, 4, &[1, 2, 6, 7]), (5, 6, &[2, 4, 7])].map(|(query, own, others)| {
            let sum: f64 = others.iter().chain(&[own]).map(|&d| cosine(query, d).exp()).sum();
            sum.ln() - cosine(query, own)
        });
    let found = loss.measure(&recording(), &lm, &items, 10);
    for (found, expected) in found.iter().zip(expected) {
        assert!((found.loss - expected).abs() < 1e-5, "{} for {expected}", found.loss);
    }
}

/// A text's vector of length 1, by its last token.
fn vector(lm: &CausalLm, text: &Example) -> Vec<f64> {
    let cx = nn::Context::new(std::sync::Arc::new(kernels::Pool::new(1)));
    let batch = nn::Batch::packed([text.tokens()], 32);
    let shape = lm.kv_cache_shape(nn::DType::F32, 32, batch.blocks());
    let hidden = lm.forward(&cx, &batch, &mut nn::KvCache::passing(shape).unwrap());
    let row: Vec<f64> = hidden.row(text.tokens().len() - 1).iter().map(|&x| f64::from(x)).collect();
    let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
    row.iter().map(|x| x / length).collect()
}
