//! What a run is to do, as TOML.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A run. Every field has a default but the model, the datasets and the directory to write to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// The model to begin with: a checkpoint directory.
    pub model: PathBuf,
    /// The directory that the run writes.
    pub output: PathBuf,
    /// Where all random choices come from.
    pub seed: u64,
    /// Processor threads; 0 takes all.
    pub threads: usize,
    /// What is learned.
    pub data: Data,
    /// What of the model is trained.
    pub method: Method,
    /// How long, and in which parts.
    pub steps: Steps,
    /// How parameters move.
    pub optimizer: OptimizerSettings,
}

/// What is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// `.jsonl` and `.txt` files.
    pub train: Vec<PathBuf>,
    /// Longest example in tokens; longer ones are left out, and counted.
    pub max_tokens: usize,
}

/// What of the model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Method {
    /// `lora` or `full`.
    pub kind: Kind,
    /// Rank of the adapter.
    pub rank: usize,
    /// The adapter's scale is `alpha / rank`.
    pub alpha: f64,
    /// The adapter's scale is `alpha / sqrt(rank)`.
    pub rslora: bool,
    /// Share of the adapter's inputs that are left out.
    pub dropout: f32,
    /// Layers that get an adapter; none stands for all linear layers.
    pub targets: Vec<String>,
    /// How the frozen base is computed with: `none` (as stored, in float32), `int8` or `int4`.
    pub quantize: Quantize,
    /// Whether the adapter is also written merged into the base, as a plain checkpoint.
    pub merge: bool,
}

/// Ways to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A low-rank adapter beside frozen weights.
    Lora,
    /// All weights.
    Full,
}

/// How a frozen base is computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantize {
    /// The stored values.
    None,
    /// 8 bits.
    Int8,
    /// 4 bits, and 8 where they lose too much.
    Int4,
}

/// How long, and in which parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Steps {
    /// Times that every example is learned.
    pub epochs: usize,
    /// Steps at most; 0 is as many as the epochs have.
    pub at_most: usize,
    /// Examples of a step.
    pub batch: usize,
    /// Tokens that are computed at once: more take more memory, and change nothing else.
    pub part_tokens: usize,
    /// Whether activations are computed again in the backward pass: less memory, a third more time, the same result.
    pub recompute: Recompute,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
    /// Checkpoints that are kept.
    pub keep: usize,
}

/// When activations are computed again in place of being kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// When memory is too short to keep them.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How parameters move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptimizerSettings {
    /// `adamw`, `adamw8bit` or `muon`.
    pub kind: OptimizerKind,
    /// The highest learning rate; 0 takes 2e-4 for `lora` and 2e-5 for `full`.
    pub learning_rate: f64,
    /// `constant`, `linear` or `cosine`.
    pub schedule: ScheduleKind,
    /// Share of the steps in which the learning rate rises.
    pub warmup: f64,
    /// Share of the learning rate that it decays to.
    pub floor: f64,
    /// Share of matrices, times the learning rate, that a step takes off. Norms and biases do not decay.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Decay of Muon's momentum.
    pub momentum: f64,
    /// Longest gradient; longer ones are shortened to it. 0 leaves them.
    pub max_norm: f64,
}

/// Optimisers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// AdamW.
    AdamW,
    /// AdamW with moments in 8 bits: a quarter of their memory.
    AdamW8bit,
    /// Muon for the matrices within layers, AdamW for the rest.
    Muon,
}

/// How the learning rate goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// It stays.
    Constant,
    /// In a straight line.
    Linear,
    /// Along half a cosine.
    Cosine,
}

impl Default for Recipe {
    fn default() -> Recipe {
        Recipe {
            model: PathBuf::new(),
            output: PathBuf::new(),
            seed: 0,
            threads: 0,
            data: Data::default(),
            method: Method::default(),
            steps: Steps::default(),
            optimizer: OptimizerSettings::default(),
        }
    }
}

impl Default for Data {
    fn default() -> Data {
        Data { train: Vec::new(), max_tokens: 2048 }
    }
}

impl Default for Method {
    fn default() -> Method {
        Method {
            kind: Kind::Lora,
            rank: 16,
            alpha: 32.0,
            rslora: false,
            dropout: 0.0,
            targets: Vec::new(),
            quantize: Quantize::None,
            merge: false,
        }
    }
}

impl Default for Steps {
    fn default() -> Steps {
        Steps {
            epochs: 1,
            at_most: 0,
            batch: 8,
            part_tokens: 2048,
            recompute: Recompute::Auto,
            checkpoint_every: 100,
            keep: 2,
        }
    }
}

impl Default for OptimizerSettings {
    fn default() -> OptimizerSettings {
        OptimizerSettings {
            kind: OptimizerKind::AdamW,
            learning_rate: 0.0,
            schedule: ScheduleKind::Cosine,
            warmup: 0.03,
            floor: 0.0,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            momentum: 0.95,
            max_norm: 1.0,
        }
    }
}

/// Why a recipe cannot be followed.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RecipeError {
    /// Not TOML.
    #[error("the recipe is not TOML: {0}")]
    Toml(String),
    /// A key that means nothing.
    #[error("the recipe has the key `{key}`, which does not exist; the nearest that does is `{nearest}`")]
    UnknownKey {
        /// As written.
        key: String,
        /// What may have been meant.
        nearest: String,
    },
    /// `--set` without a value.
    #[error("`{0}` is not `key=value`, as in steps.epochs=3")]
    NotAssignment(String),
    /// A value that cannot be.
    #[error("{key} is {found}, but must be {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// A key that must be given.
    #[error("the recipe has no `{0}`, which says {1}")]
    Missing(&'static str, &'static str),
}

impl Recipe {
    /// Reads a recipe's text. Each of `settings` is `key=value`, whose key has dots (`steps.epochs=3`) and whose value is
    /// TOML or else a string; they count before the text.
    ///
    /// # Errors
    /// When a key does not exist, or a value can't be.
    pub fn parse(text: &str, settings: &[String]) -> Result<Recipe, RecipeError> {
        let mut table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| RecipeError::Toml(e.to_string()))?;
        for setting in settings {
            let (key, value) =
                setting.split_once('=').ok_or_else(|| RecipeError::NotAssignment(setting.clone()))?;
            set(&mut table, key.trim(), value.trim());
        }
        let known = keys(&toml::Table::try_from(Recipe::default()).expect("plain values"), "");
        if let Some(key) = keys(&table, "").into_iter().find(|key| !known.contains(key)) {
            let nearest = known.iter().min_by_key(|known| distance(known, &key));
            let nearest = nearest.cloned().unwrap_or_default();
            return Err(RecipeError::UnknownKey { key, nearest });
        }
        let recipe: Recipe =
            table.try_into().map_err(|e: toml::de::Error| RecipeError::Toml(e.to_string()))?;
        recipe.validate()?;
        Ok(recipe)
    }

    fn validate(&self) -> Result<(), RecipeError> {
        let missing = |key, says| Err(RecipeError::Missing(key, says));
        if self.model.as_os_str().is_empty() {
            return missing("model", "which checkpoint directory to begin with");
        }
        if self.output.as_os_str().is_empty() {
            return missing("output", "which directory to write to");
        }
        if self.data.train.is_empty() {
            return missing("data.train", "which .jsonl or .txt files to learn");
        }
        let counts = [
            ("data.max_tokens", self.data.max_tokens, 1 << 20),
            ("method.rank", self.method.rank, 4096),
            ("steps.epochs", self.steps.epochs, 100_000),
            ("steps.batch", self.steps.batch, 1 << 20),
            ("steps.part_tokens", self.steps.part_tokens, 1 << 20),
            ("steps.checkpoint_every", self.steps.checkpoint_every, usize::MAX),
            ("steps.keep", self.steps.keep, 1000),
        ];
        if let Some((key, found, _)) =
            counts.into_iter().find(|(_, found, most)| !(1..=*most).contains(found))
        {
            let found = found.to_string();
            return Err(RecipeError::Value { key, found, expected: "at least 1, and not out of all bounds" });
        }
        let o = &self.optimizer;
        if o.kind == OptimizerKind::Muon && self.method.kind == Kind::Lora {
            let expected =
                "adamw or adamw8bit for an adapter: muon is for all weights (method.kind = \"full\")";
            return Err(RecipeError::Value { key: "optimizer.kind", found: "muon".to_owned(), expected });
        }
        let shares = [
            ("optimizer.warmup", o.warmup),
            ("optimizer.floor", o.floor),
            ("optimizer.beta1", o.beta1),
            ("optimizer.beta2", o.beta2),
            ("optimizer.momentum", o.momentum),
            ("method.dropout", f64::from(self.method.dropout)),
        ];
        if let Some((key, found)) = shares.into_iter().find(|(_, share)| !(0.0..1.0).contains(share)) {
            return Err(RecipeError::Value { key, found: found.to_string(), expected: "from 0 to below 1" });
        }
        let sizes = [
            ("optimizer.learning_rate", o.learning_rate),
            ("optimizer.weight_decay", o.weight_decay),
            ("optimizer.max_norm", o.max_norm),
            ("method.alpha", self.method.alpha),
        ];
        match sizes.into_iter().find(|(_, size)| !(size.is_finite() && *size >= 0.0)) {
            Some((key, found)) => {
                Err(RecipeError::Value { key, found: found.to_string(), expected: "0 or above" })
            }
            None => Ok(()),
        }
    }
}

/// Sets the value at a key with dots.
fn set(table: &mut toml::Table, key: &str, value: &str) {
    let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((section, rest)) => {
            let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if !section.is_table() {
                *section = toml::Value::Table(toml::Table::new());
            }
            if let Some(section) = section.as_table_mut() {
                section.insert(rest.to_owned(), value);
            }
        }
    }
}

/// The keys of all values, with dots.
fn keys(table: &toml::Table, prefix: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) if prefix.is_empty() => all.extend(keys(inner, &format!("{key}."))),
            _ => drop(all.insert(format!("{prefix}{key}"))),
        }
    }
    all
}

/// How many letters must change to make one of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "model = 'm'\noutput = 'o'\n[data]\ntrain = ['a.jsonl']\n";

    #[test]
    fn settings_count_before_the_text() {
        let settings = ["steps.epochs=3", "method.targets=[\"q_proj\"]", "model=other/model"];
        let recipe = Recipe::parse(TEXT, &settings.map(str::to_owned)).unwrap();
        assert_eq!((recipe.steps.epochs, recipe.steps.batch), (3, 8));
        assert_eq!(recipe.method.targets, ["q_proj"]);
        assert_eq!(recipe.model, PathBuf::from("other/model"));
    }

    #[test]
    fn the_example_recipe_has_every_key_with_its_default() {
        let text = include_str!("../../../recipes/adapter.toml");
        let recipe = Recipe::parse(text, &[]).unwrap();
        let Recipe { model, output, data, .. } = recipe.clone();
        assert_eq!(recipe, Recipe { model, output, data, ..Recipe::default() });
        assert_eq!(recipe.data.max_tokens, Data::default().max_tokens);
        let written: toml::Table = text.parse().unwrap();
        assert_eq!(keys(&written, ""), keys(&toml::Table::try_from(Recipe::default()).unwrap(), ""));
    }

    #[test]
    fn an_unknown_key_names_the_nearest_that_exists() {
        let parse = |text: &str, setting: &str| {
            Recipe::parse(&format!("{TEXT}{text}"), &[setting.to_owned()]).unwrap_err().to_string()
        };
        assert!(parse("[optimizer]\nlearnig_rate = 1", "seed=1").contains("`optimizer.learning_rate`"));
        assert!(
            parse("", "steps.epoch=1")
                .contains("`steps.epoch`, which does not exist; the nearest that does is `steps.epochs`")
        );
        assert!(parse("", "steps.epochs=0").contains("steps.epochs is 0"));
        assert!(parse("", "steps.epochs=many").contains("invalid type"));
        assert!(parse("", "method.dropout=1").contains("from 0 to below 1"));
        assert!(parse("", "optimizer.kind=muon").contains("adamw or adamw8bit for an adapter"));
        assert!(parse("", "steps.epochs").contains("not `key=value`"));
        assert!(Recipe::parse("", &[]).unwrap_err().to_string().contains("no `model`"));
    }
}
