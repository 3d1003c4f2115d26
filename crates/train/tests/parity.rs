//! Gradients, optimiser steps, adapters and preferences equal PyTorch's and PEFT's.

mod common;

use common::{Expected, assert_close, assert_number, base, fixture, recording};
use models::CausalLm;
use models::adapter::{Adapter, AdapterError};
use models::checkpoint::safetensors;
use nn::ops::Lora;
use nn::{Batch, Context, DType, Gradients, KvCache, Vector, Weight};
use serde_json::Value;
use std::collections::BTreeMap;
use train::objective::{self, Dpo, Preference, PreferenceLoss, Reference};
use train::optimizer::{self, AdamW, Optimizer};
use train::{Example, Parameters, Schedule};

/// What three steps of training gave.
struct Trained {
    losses: Vec<f64>,
    norms: Vec<f64>,
    /// Of the first batch, by name.
    gradients: BTreeMap<String, Vec<f32>>,
    /// Values after the steps, by name.
    after: BTreeMap<String, Vec<f32>>,
}

/// One AdamW step for each of the three batches of `expected`. Each batch is computed in parts of at most `part` examples.
fn three_steps(
    lm: &mut CausalLm,
    parameters: &Parameters,
    expected: &Expected,
    max_norm: Option<f64>,
    part: usize,
) -> Trained {
    let cx = recording();
    let mut optimizer = Optimizer::new(AdamW::default(), parameters);
    let mut gradients = Gradients::new();
    let (mut losses, mut norms, mut first) = (Vec::new(), Vec::new(), BTreeMap::new());
    for step in 0..3 {
        let examples = expected.examples(&format!("batch{step}"));
        let total: f64 = examples.iter().map(Example::weight).sum();
        gradients.clear();
        let mut loss = 0.0;
        for part in examples.chunks(part) {
            let part: Vec<&Example> = part.iter().collect();
            loss += objective::next_token(&cx, lm, &part, total, &mut gradients);
        }
        losses.push(loss / total);
        let norm = optimizer::gradient_norm(cx.pool(), &mut gradients);
        norms.push(norm);
        if step == 0 {
            let named = gradients.iter_mut().map(|(id, g)| (parameters.info(id).name.clone(), g.to_vec()));
            first = named.collect();
        }
        let scale = max_norm.map_or(1.0, |max_norm| optimizer::clip(norm, max_norm));
        let learning_rate = Schedule::constant(1e-2).learning_rate(step);
        optimizer.step(cx.pool(), lm, parameters, &gradients, learning_rate, scale);
    }
    let mut after = BTreeMap::new();
    parameters.visit(lm, |id, values| {
        after.insert(parameters.info(id).name.clone(), values.to_vec());
    });
    Trained { losses, norms, gradients: first, after }
}

/// Compares with the tensors `prefix.<name>`, whose names become ours by `rename`; at least one must be there.
fn compare(
    expected: &Expected,
    prefix: &str,
    found: &BTreeMap<String, Vec<f32>>,
    rename: impl Fn(&str) -> String,
) {
    let mut count = 0;
    for name in expected.tensors.keys() {
        let Some(short) = name.strip_prefix(prefix) else { continue };
        let ours = rename(short);
        let values = found.get(&ours).unwrap_or_else(|| panic!("{ours} is not there"));
        assert_close(name, values, &expected.f32(name));
        count += 1;
    }
    assert!(count > 0, "nothing under {prefix}");
}

/// PEFT's name of an adapter's matrix to ours.
fn of_adapter(name: &str) -> String {
    name.trim_start_matches("base_model.model.").trim_end_matches(".weight").to_owned()
}

#[test]
fn training_all_weights_equals_the_reference() {
    let expected = Expected::read("full-finetuning", "expected_training.safetensors");
    for part in [8, 1] {
        let mut lm = base();
        let parameters = Parameters::full(&mut lm);
        let trained = three_steps(&mut lm, &parameters, &expected, None, part);
        compare(&expected, "grad.", &trained.gradients, str::to_owned);
        compare(&expected, "after3.", &trained.after, str::to_owned);
        compare_numbers(&trained, &expected.json["plain"]);
    }
}

#[test]
fn clipped_training_equals_the_reference() {
    let expected = Expected::read("full-finetuning", "expected_training.safetensors");
    let mut lm = base();
    let parameters = Parameters::full(&mut lm);
    let trained = three_steps(&mut lm, &parameters, &expected, Some(0.5), 8);
    compare(&expected, "clipped.after3.", &trained.after, str::to_owned);
    compare_numbers(&trained, &expected.json["clipped"]);
}

/// Three steps of training `adapter`, in one part and in several, against the reference's.
fn compare_training(adapter: &Adapter, expected: &Expected) {
    for part in [8, 1] {
        let mut lm = base();
        adapter.attach(&mut lm).unwrap();
        let parameters = Parameters::adapter(&mut lm);
        let trained = three_steps(&mut lm, &parameters, expected, None, part);
        compare(expected, "grad.", &trained.gradients, of_adapter);
        compare(expected, "after3.", &trained.after, of_adapter);
        compare_numbers(&trained, &expected.json["training"]);
    }
}

/// The losses and gradient norms of three steps.
fn compare_numbers(trained: &Trained, expected: &Value) {
    for step in 0..3 {
        assert_number("loss", trained.losses[step], &expected["losses"][step]);
        assert_number("norm", trained.norms[step], &expected["grad_norms"][step]);
    }
}

#[test]
fn training_an_adapter_equals_the_reference() {
    let expected = Expected::read("lora", "expected_training.safetensors");
    let adapter = Adapter::read(&fixture("lora/adapter")).unwrap();
    compare_training(&adapter, &expected);
}

#[test]
fn an_adapter_with_lengths_equals_the_reference() {
    let expected = Expected::read("dora", "expected_training.safetensors");
    let adapter = Adapter::read(&fixture("dora/adapter")).unwrap();
    compare_training(&adapter, &expected);
    let expected = Expected::read("dora", "expected.safetensors");
    let ids = expected.ids("input_ids");
    let mut lm = base();
    adapter.attach(&mut lm).unwrap();
    assert_close("beside", &logits(&lm, &ids), &expected.f32("logits.adapter"));
    let mut lm = base();
    adapter.merge(&mut lm, &kernels::Pool::new(2)).unwrap();
    assert_close("merged", &logits(&lm, &ids), &expected.f32("logits.adapter.merged"));
    // written as PEFT does, to the names
    let dir = tempfile::tempdir().unwrap();
    adapter.write(dir.path()).unwrap();
    let [theirs, ours] = [fixture("dora/adapter"), dir.path().to_owned()]
        .map(|dir| std::fs::read(dir.join("adapter_model.safetensors")).unwrap())
        .map(|bytes| {
            safetensors::parse(&bytes)
                .unwrap()
                .into_iter()
                .map(|(name, t)| (name, t.shape))
                .collect::<BTreeMap<_, _>>()
        });
    assert_eq!(ours, theirs);
    // a length that is no number would spoil every answer
    let mut broken = adapter;
    let lengths = broken.layers.values_mut().find_map(|lora| lora.magnitude.as_mut()).unwrap();
    *lengths = Vector::new(vec![f32::NAN; lengths.len()]);
    assert!(matches!(broken.attach(&mut base()), Err(AdapterError::NotFinite(_))));
}

fn logits(lm: &CausalLm, ids: &[i64]) -> Vec<f32> {
    let cx = Context::new(std::sync::Arc::new(kernels::Pool::new(1)));
    let tokens: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
    let batch = Batch::packed([&tokens[..]], 16);
    let mut cache = KvCache::new(lm.kv_cache_shape(DType::F32, 16, batch.blocks())).unwrap();
    let hidden = lm.forward(&cx, &batch, &mut cache);
    lm.logits(&cx, &hidden).values().to_vec()
}

#[test]
fn adapters_give_the_logits_of_the_reference_beside_the_base_and_merged() {
    let expected = Expected::read("lora", "expected.safetensors");
    let ids = expected.ids("input_ids");
    assert_close("base", &logits(&base(), &ids), &expected.f32("logits.base"));
    for name in ["adapter", "adapter-rslora"] {
        let adapter = Adapter::read(&fixture("lora").join(name)).unwrap();
        let mut lm = base();
        adapter.attach(&mut lm).unwrap();
        assert_close(name, &logits(&lm, &ids), &expected.f32(&format!("logits.{name}")));
        let mut lm = base();
        adapter.merge(&mut lm, &kernels::Pool::new(2)).unwrap();
        assert_close(name, &logits(&lm, &ids), &expected.f32(&format!("logits.{name}.merged")));
        if name == "adapter" {
            let merged = lm.with_tensors(|tensors| {
                tensors.into_iter().map(|(name, tensor)| (name, tensor.to_f32())).collect::<BTreeMap<_, _>>()
            });
            compare(&expected, "merged.", &merged, str::to_owned);
        }
    }
}

#[test]
fn a_written_adapter_reads_back_the_same() {
    let adapter = Adapter::read(&fixture("lora/adapter-rslora")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    adapter.write(dir.path()).unwrap();
    let again = Adapter::read(dir.path()).unwrap();
    assert_eq!(again.config, adapter.config);
    assert_eq!(again.layers.keys().collect::<Vec<_>>(), adapter.layers.keys().collect::<Vec<_>>());
    for (name, lora) in &adapter.layers {
        let other = &again.layers[name];
        assert_eq!((lora.a.to_f32(), lora.b.to_f32()), (other.a.to_f32(), other.b.to_f32()));
        assert_eq!((lora.scale, lora.a.rows()), (other.scale, other.a.rows()));
    }
}

/// The adapter that a fixture holds among its tensors, of the same settings as that of `lora`.
fn adapter_of(expected: &Expected) -> Adapter {
    let config = Adapter::read(&fixture("lora/adapter")).unwrap().config;
    let matrix = |name: &str| {
        let shape = &expected.tensors[name].shape;
        Weight::from_f32(expected.f32(name), shape[0], shape[1])
    };
    let names = expected.tensors.keys().filter_map(|name| name.strip_prefix("adapter."));
    let layers = names.filter_map(|name| Some((name, of_adapter(name).strip_suffix(".lora_A")?.to_owned())));
    let layers = layers.map(|(name, layer)| {
        let a = matrix(&format!("adapter.{name}"));
        let b = matrix(&format!("adapter.{}", name.replace("lora_A", "lora_B")));
        (layer, Lora { a, b, scale: config.scale(), dropout: 0.0, magnitude: None })
    });
    Adapter { layers: layers.collect(), config }
}

#[test]
fn preferences_equal_the_reference() {
    let expected = Expected::read("dpo", "expected.safetensors");
    let cx = recording();
    let [chosen, rejected] = ["chosen", "rejected"].map(|name| expected.examples(name));
    let pairs = chosen.into_iter().zip(rejected);
    let pairs: Vec<Preference> = pairs.map(|(chosen, rejected)| Preference { chosen, rejected }).collect();
    let references = Reference::of(&cx, &base(), &pairs.iter().collect::<Vec<_>>());
    let pairs: Vec<(&Preference, Reference)> = pairs.iter().zip(references.iter().copied()).collect();
    let each = |f: fn(&Reference) -> f64| references.iter().map(|r| f(r) as f32).collect::<Vec<_>>();
    assert_close("reference", &each(|r| r.chosen), &expected.f32("reference_chosen_logps"));
    assert_close("reference", &each(|r| r.rejected), &expected.f32("reference_rejected_logps"));

    let adapter = adapter_of(&expected);
    for (name, loss) in [
        ("sigmoid", PreferenceLoss::Sigmoid { label_smoothing: 0.0 }),
        ("sigmoid_label_smoothing_0.1", PreferenceLoss::Sigmoid { label_smoothing: 0.1 }),
        ("ipo", PreferenceLoss::Ipo),
    ] {
        let mut lm = base();
        adapter.attach(&mut lm).unwrap();
        let parameters = Parameters::adapter(&mut lm);
        let dpo = Dpo { beta: expected.json["beta"].as_f64().unwrap(), loss };
        let mut gradients = Gradients::new();
        let results = dpo.step(&cx, &lm, &pairs, pairs.len(), &mut gradients);
        let each =
            |f: fn(&objective::PairResult) -> f64| results.iter().map(|r| f(r) as f32).collect::<Vec<_>>();
        assert_close(name, &each(|r| r.loss), &expected.f32(&format!("{name}.per_pair_loss")));
        let mean = results.iter().map(|r| r.loss).sum::<f64>() / results.len() as f64;
        assert_number(name, mean, &expected.json["losses"][name]);
        if name == "sigmoid" {
            assert_close("chosen", &each(|r| r.chosen), &expected.f32("policy_chosen_logps"));
            assert_close("rejected", &each(|r| r.rejected), &expected.f32("policy_rejected_logps"));
            assert_close("reward", &each(|r| r.chosen_reward), &expected.f32("chosen_rewards"));
            assert_close("reward", &each(|r| r.rejected_reward), &expected.f32("rejected_rewards"));
        }
        assert_eq!(dpo.measure(&cx, &lm, &pairs), results);
        let named = gradients.iter_mut().map(|(id, g)| (parameters.info(id).name.clone(), g.to_vec()));
        compare(&expected, &format!("{name}.grad."), &named.collect(), of_adapter);
    }
}
