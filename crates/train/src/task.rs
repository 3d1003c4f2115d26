//! What a run learns: its datasets, and the loss of some of their items.

use crate::data::{self, DataError, Datasets, Findings, Item, Language, Order, micro_batches};
use crate::objective::{
    self, Contrast, ContrastResult, Dpo, Example, InfoNce, PairResult, Passes, Pooling, Preference,
    PreferenceLoss, Reference,
};
use crate::recipe::{ObjectiveKind, ObjectiveSettings, PoolingKind, PreferenceKind, Recipe};
use models::CausalLm;
use nn::{Context, Gradients};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// An objective with its data.
pub struct Task {
    kind: Kind,
    summary: Summary,
    findings: Findings,
}

enum Kind {
    NextToken(Datasets<Example>),
    Preference {
        dpo: Dpo,
        data: Datasets<Preference>,
        /// Of what is learned and then of what is evaluated; empty until they are [given](Task::set_references).
        references: Vec<Reference>,
    },
    Contrast {
        loss: InfoNce,
        data: Datasets<Contrast>,
    },
}

/// How much there is to learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Examples that are learned.
    pub examples: usize,
    /// Their tokens.
    pub tokens: usize,
    /// Tokens among them that are foretold.
    pub learned_tokens: usize,
    /// Examples that are evaluated.
    pub evaluation: usize,
}

/// What was found of some items.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The mean loss: in nats of a learned token, a pair or a query.
    pub loss: f64,
    /// What else can be said, by name: `reward_accuracy`, ...
    pub measures: BTreeMap<String, f64>,
    /// Tokens that were computed.
    pub tokens: usize,
    /// Tokens that were foretold.
    pub learned_tokens: usize,
}

impl Task {
    /// Reads all data of a recipe.
    ///
    /// # Errors
    /// When some of it can't be used.
    pub fn read(recipe: &Recipe, language: &Language<'_>) -> Result<Task, DataError> {
        let (data, settings, seed) = (&recipe.data, &recipe.objective, recipe.seed);
        match settings.kind {
            ObjectiveKind::NextToken => Ok(Task::new(data::load(data, seed, language)?, Kind::NextToken)),
            ObjectiveKind::Dpo => {
                let kind = |data| Kind::Preference { dpo: dpo(settings), data, references: Vec::new() };
                Ok(Task::new(data::load(data, seed, language)?, kind))
            }
            ObjectiveKind::Embedding => {
                let pooling = match settings.pooling {
                    PoolingKind::Last => Pooling::Last,
                    PoolingKind::Mean => Pooling::Mean,
                };
                let loss = InfoNce { temperature: settings.temperature, pooling };
                Ok(Task::new(data::load(data, seed, language)?, |data| Kind::Contrast { loss, data }))
            }
        }
    }

    fn new<T: Item>(mut data: Datasets<T>, kind: impl FnOnce(Datasets<T>) -> Kind) -> Task {
        let sequences = || data.train.iter().flat_map(Item::sequences);
        let summary = Summary {
            examples: data.train.len(),
            tokens: sequences().map(|e| e.tokens().len()).sum(),
            learned_tokens: sequences().map(Example::learned).sum(),
            evaluation: data.evaluation.len(),
        };
        let findings = std::mem::take(&mut data.findings);
        Task { kind: kind(data), summary, findings }
    }

    /// How much there is.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// What was found in the data besides.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The order in which steps of `batch` items go through the data; without a seed it is that of the files.
    pub fn order(&self, batch: usize, seed: Option<u64>) -> Order {
        let sources = match &self.kind {
            Kind::NextToken(data) => &data.sources,
            Kind::Preference { data, .. } => &data.sources,
            Kind::Contrast { data, .. } => &data.sources,
        };
        Order::new(sources.clone(), batch, seed)
    }

    /// The texts of `items`.
    pub fn sequences(&self, items: &[usize]) -> Vec<&[u32]> {
        match &self.kind {
            Kind::NextToken(data) => sequences(&data.train, items),
            Kind::Preference { data, .. } => sequences(&data.train, items),
            Kind::Contrast { data, .. } => sequences(&data.train, items),
        }
    }

    /// Tokens of the largest part that can't be cut: a text, or both answers of a preference.
    pub fn longest_part(&self) -> usize {
        let longest = |lens: &mut dyn Iterator<Item = usize>| lens.max().unwrap_or(0);
        match &self.kind {
            Kind::NextToken(data) => longest(&mut data.train.iter().map(|e| e.tokens().len())),
            Kind::Preference { data, .. } => longest(&mut data.train.iter().map(Preference::tokens)),
            Kind::Contrast { data, .. } => {
                longest(&mut data.train.iter().flat_map(Contrast::texts).map(|text| text.tokens().len()))
            }
        }
    }

    /// Tokens that a step of `batch` items can have at most.
    pub fn longest_step(&self, batch: usize) -> usize {
        match &self.kind {
            Kind::NextToken(data) => largest(&data.train, batch),
            Kind::Preference { data, .. } => largest(&data.train, batch),
            Kind::Contrast { data, .. } => largest(&data.train, batch),
        }
    }

    /// Adds all items to a hash.
    pub fn hash_into(&self, hash: &mut Sha256) {
        match &self.kind {
            Kind::NextToken(data) => hash_items(data, hash),
            Kind::Preference { data, .. } => hash_items(data, hash),
            Kind::Contrast { data, .. } => hash_items(data, hash),
        }
    }

    /// The preferences that a reference must be given of before the first step, in their order.
    pub fn preferences(&self) -> Option<Vec<&Preference>> {
        match &self.kind {
            Kind::Preference { data, .. } => Some(data.train.iter().chain(&data.evaluation).collect()),
            _ => None,
        }
    }

    /// Gives the references of [`Self::preferences`].
    ///
    /// # Panics
    /// When there is not one for each.
    pub fn set_references(&mut self, given: Vec<Reference>) {
        assert_eq!(self.preferences().map(|all| all.len()), Some(given.len()), "one for each");
        if let Kind::Preference { references, .. } = &mut self.kind {
            *references = given;
        }
    }

    /// The loss of a step over `items`, whose gradient is added to `gradients`. `cx` must record.
    pub fn step(
        &self,
        cx: &Context,
        lm: &CausalLm,
        items: &[usize],
        passes: &Passes<'_>,
        gradients: &mut Gradients,
    ) -> Found {
        match &self.kind {
            Kind::NextToken(data) => {
                let items: Vec<&Example> = items.iter().map(|&i| &data.train[i]).collect();
                let total: f64 = items.iter().map(|e| e.weight()).sum();
                let mut sum = 0.0;
                for (part, items) in parts(&items, passes.part_tokens).iter().enumerate() {
                    cx.set_seed((passes.seed)(part));
                    sum += objective::next_token(cx, lm, items, total, gradients);
                }
                Found::of(&items, sum / total.max(f64::MIN_POSITIVE))
            }
            Kind::Preference { dpo, data, references } => {
                let pairs: Vec<_> = items.iter().map(|&i| (&data.train[i], references[i])).collect();
                let mut results = Vec::with_capacity(pairs.len());
                let parts = micro_batches(&pairs, passes.part_tokens, |(pair, _)| pair.tokens());
                for (part, pairs) in parts.iter().enumerate() {
                    cx.set_seed((passes.seed)(part));
                    results.extend(dpo.step(cx, lm, pairs, items.len(), gradients));
                }
                of_pairs(&pairs, &results)
            }
            Kind::Contrast { loss, data } => {
                let items: Vec<&Contrast> = items.iter().map(|&i| &data.train[i]).collect();
                of_queries(&items, &loss.step(cx, lm, &items, passes, gradients))
            }
        }
    }

    /// The loss of what is evaluated, for an embedding in batches of `batch`; `None` when there is nothing, or it was
    /// stopped.
    pub fn evaluate(
        &self,
        cx: &Context,
        lm: &CausalLm,
        batch: usize,
        part_tokens: usize,
        stop: &AtomicBool,
    ) -> Option<Found> {
        let stopped = || stop.load(Ordering::Relaxed);
        match &self.kind {
            Kind::NextToken(data) => {
                let items: Vec<&Example> = data.evaluation.iter().collect();
                let mut sum = 0.0;
                for part in parts(&items, part_tokens) {
                    if stopped() {
                        return None;
                    }
                    sum += objective::cross_entropy(cx, lm, &part);
                }
                let total: f64 = items.iter().map(|e| e.weight()).sum();
                (!items.is_empty()).then(|| Found::of(&items, sum / total.max(f64::MIN_POSITIVE)))
            }
            Kind::Preference { dpo, data, references } => {
                let references = references.get(data.train.len()..)?.iter().copied();
                let pairs: Vec<_> = data.evaluation.iter().zip(references).collect();
                let mut results = Vec::with_capacity(pairs.len());
                for part in micro_batches(&pairs, part_tokens, |(pair, _)| pair.tokens()) {
                    if stopped() {
                        return None;
                    }
                    results.extend(dpo.measure(cx, lm, &part));
                }
                (!pairs.is_empty()).then(|| of_pairs(&pairs, &results))
            }
            Kind::Contrast { loss, data } => {
                let items: Vec<&Contrast> = data.evaluation.iter().collect();
                let mut results = Vec::with_capacity(items.len());
                for part in items.chunks(batch.max(1)) {
                    if stopped() {
                        return None;
                    }
                    results.extend(loss.measure(cx, lm, part, part_tokens));
                }
                (!items.is_empty()).then(|| of_queries(&items, &results))
            }
        }
    }
}

impl Found {
    fn of<T: Item>(items: &[&T], loss: f64) -> Found {
        let sequences = || items.iter().flat_map(|item| item.sequences());
        Found {
            loss,
            measures: BTreeMap::new(),
            tokens: sequences().map(|e| e.tokens().len()).sum(),
            learned_tokens: sequences().map(Example::learned).sum(),
        }
    }
}

/// What the results of pairs come to. A reward is `β` times what the model thinks of an answer more than the reference does.
fn of_pairs(pairs: &[(&Preference, Reference)], results: &[PairResult]) -> Found {
    let items: Vec<&Preference> = pairs.iter().map(|(pair, _)| *pair).collect();
    let mut found = Found::of(&items, mean(results, |r| r.loss));
    let right = |r: &PairResult| if r.chosen_reward > r.rejected_reward { 1.0 } else { 0.0 };
    found.measures = [
        ("chosen_reward", mean(results, |r| r.chosen_reward)),
        ("rejected_reward", mean(results, |r| r.rejected_reward)),
        ("reward_margin", mean(results, |r| r.chosen_reward - r.rejected_reward)),
        ("reward_accuracy", mean(results, right)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    found
}

/// What the results of queries come to: `accuracy` is the share of those whose own document is the nearest.
fn of_queries(items: &[&Contrast], results: &[ContrastResult]) -> Found {
    let mut found = Found::of(items, mean(results, |r| r.loss));
    let accuracy = mean(results, |r| if r.found { 1.0 } else { 0.0 });
    found.measures.insert("accuracy".to_owned(), accuracy);
    found
}

fn mean<T>(items: &[T], value: impl Fn(&T) -> f64) -> f64 {
    items.iter().map(value).sum::<f64>() / items.len().max(1) as f64
}

fn parts<'a>(items: &[&'a Example], part_tokens: usize) -> Vec<Vec<&'a Example>> {
    micro_batches(items, part_tokens, |example| example.tokens().len())
}

fn dpo(settings: &ObjectiveSettings) -> Dpo {
    let loss = match settings.loss {
        PreferenceKind::Sigmoid => PreferenceLoss::Sigmoid { label_smoothing: settings.label_smoothing },
        PreferenceKind::Ipo => PreferenceLoss::Ipo,
    };
    Dpo { beta: settings.beta, loss }
}

fn sequences<'a, T: Item>(all: &'a [T], items: &[usize]) -> Vec<&'a [u32]> {
    items.iter().flat_map(|&i| all[i].sequences()).map(|example| example.tokens()).collect()
}

/// Tokens of the `count` largest items.
fn largest<T: Item>(items: &[T], count: usize) -> usize {
    let tokens = |item: &T| item.sequences().iter().map(|e| e.tokens().len()).sum();
    let mut lens: Vec<usize> = items.iter().map(tokens).collect();
    lens.sort_unstable_by(|a, b| b.cmp(a));
    lens.iter().take(count).sum()
}

fn hash_items<T: Item>(data: &Datasets<T>, hash: &mut Sha256) {
    for example in data.train.iter().chain(&data.evaluation).flat_map(Item::sequences) {
        hash.update((example.tokens().len() as u64).to_le_bytes());
        for (i, token) in example.tokens().iter().enumerate() {
            hash.update(token.to_le_bytes());
            hash.update(example.weight_of(i).to_le_bytes());
        }
    }
}
