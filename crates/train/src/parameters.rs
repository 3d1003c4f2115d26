//! What of a model is trained.

use crate::random::Random;
use models::adapter::{Adapter, AdapterConfig};
use models::causal_lm::CausalLm;
use nn::ops::{Lora, row_lengths};
use nn::{ParameterId, Vector, Weight};
use std::collections::BTreeMap;

/// The trained parameters of a model, numbered by [`ParameterId`]. Their values are in the model.
pub struct Parameters {
    all: Vec<ParameterInfo>,
}

/// A trained parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Its name: as in checkpoints, or for an adapter `<layer>.lora_A`.
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
}

impl ParameterInfo {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Which linear layers get an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoraTargets {
    /// All within the layers of the decoder.
    AllLinear,
    /// Those whose name ends with one of these (`q_proj`, `self_attn.q_proj`), at a dot.
    Suffixes(Vec<String>),
}

/// A target that no layer has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no linear layer is called `{target}`; there are {}", .known.join(", "))]
pub struct TargetError {
    target: String,
    known: Vec<String>,
}

impl LoraTargets {
    /// As PEFT writes them.
    pub fn names(&self) -> Vec<String> {
        match self {
            LoraTargets::AllLinear => vec!["all-linear".to_owned()],
            LoraTargets::Suffixes(suffixes) => suffixes.clone(),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            LoraTargets::AllLinear => true,
            LoraTargets::Suffixes(suffixes) => suffixes.iter().any(|suffix| ends_with(name, suffix)),
        }
    }

    /// Checks that each target is the name of some layer.
    fn validate(&self, names: &[String]) -> Result<(), TargetError> {
        let LoraTargets::Suffixes(suffixes) = self else { return Ok(()) };
        let unknown = suffixes.iter().find(|suffix| !names.iter().any(|name| ends_with(name, suffix)));
        let Some(target) = unknown else { return Ok(()) };
        let mut known = Vec::new();
        for name in names {
            let last = name.rsplit('.').next().unwrap_or(name).to_owned();
            if !known.contains(&last) {
                known.push(last);
            }
        }
        Err(TargetError { target: target.clone(), known })
    }
}

fn ends_with(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

impl Parameters {
    /// Trains every weight of `lm`, which becomes float32.
    pub fn full(lm: &mut CausalLm) -> Parameters {
        let all = lm.with_tensors(|tensors| {
            let numbered = tensors.into_iter().enumerate();
            let infos = numbered.map(|(id, (name, mut tensor))| {
                tensor.train(ParameterId(id));
                ParameterInfo { name, shape: tensor.shape() }
            });
            infos.collect()
        });
        Parameters { all }
    }

    /// Trains new adapters beside the frozen layers of `lm`: `lora_A` evenly distributed in `±1/sqrt(in)`, `lora_B` zero, as
    /// PEFT begins.
    ///
    /// # Errors
    /// When a target is no layer's name.
    pub fn new_adapter(
        lm: &mut CausalLm,
        config: &AdapterConfig,
        targets: &LoraTargets,
        seed: u64,
    ) -> Result<Parameters, TargetError> {
        let mut linears = lm.linears_mut();
        let names: Vec<String> = linears.iter().map(|(name, _)| name.clone()).collect();
        targets.validate(&names)?;
        let mut layers = BTreeMap::new();
        for (index, (name, linear)) in linears.iter_mut().enumerate().filter(|(_, (n, _))| targets.matches(n))
        {
            let (rows, cols, rank) = (linear.weight.rows(), linear.weight.cols(), config.r);
            let mut random = Random::new(seed, "lora_A", index as u64);
            let limit = 1.0 / (cols as f32).sqrt();
            let a: Vec<f32> = (0..rank * cols).map(|_| random.uniform(limit)).collect();
            // at first the lengths are those of the frozen weights
            let magnitude = config.use_dora.then(|| Vector::new(row_lengths(&linear.weight.to_f32(), cols)));
            let lora = Lora {
                a: Weight::from_f32(a, rank, cols),
                b: Weight::from_f32(vec![0.0; rows * rank], rows, rank),
                scale: config.scale(),
                dropout: config.lora_dropout,
                magnitude,
            };
            layers.insert(name.clone(), lora);
        }
        let adapter = Adapter { config: config.clone(), layers };
        adapter.attach(lm).expect("made for these layers");
        Ok(Parameters::adapter(lm))
    }

    /// Trains the adapters that stand beside the layers of `lm` already.
    pub fn adapter(lm: &mut CausalLm) -> Parameters {
        let mut all = Vec::new();
        for (name, linear) in lm.linears_mut() {
            let Some(lora) = &mut linear.adapter else { continue };
            for (which, weight) in [("lora_A", &mut lora.a), ("lora_B", &mut lora.b)] {
                *weight = weight.trainable(ParameterId(all.len()));
                let shape = vec![weight.rows(), weight.cols()];
                all.push(ParameterInfo { name: format!("{name}.{which}"), shape });
            }
            if let Some(magnitude) = &mut lora.magnitude {
                *magnitude = magnitude.clone().trainable(ParameterId(all.len()));
                let name = format!("{name}.lora_magnitude_vector");
                all.push(ParameterInfo { name, shape: vec![magnitude.len()] });
            }
        }
        Parameters { all }
    }

    /// All of them, by their number.
    pub fn all(&self) -> &[ParameterInfo] {
        &self.all
    }

    /// The parameter `id`.
    pub fn info(&self, id: ParameterId) -> &ParameterInfo {
        &self.all[id.0]
    }

    /// Calls `f` with each parameter and its values in `lm`.
    pub fn visit(&self, lm: &mut CausalLm, mut f: impl FnMut(ParameterId, &mut [f32])) {
        lm.with_tensors(|tensors| {
            for (_, mut tensor) in tensors {
                if let Some((id, values)) = tensor.parameter() {
                    f(id, values);
                }
            }
        });
        for (_, linear) in lm.linears_mut() {
            let Some(lora) = &mut linear.adapter else { continue };
            for weight in [&mut lora.a, &mut lora.b] {
                if let (Some(id), Some(values)) = (weight.parameter(), weight.values_mut()) {
                    f(id, values);
                }
            }
            if let Some(magnitude) = &mut lora.magnitude
                && let Some(id) = magnitude.parameter()
            {
                f(id, magnitude.values_mut());
            }
        }
    }
}
