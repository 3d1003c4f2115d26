//! What a run is to do, as TOML.

mod keys;

use keys::{distance, keys, set};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// A run. Every field has a default but the model, the datasets and the directory to write to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// The model to begin with, as a person calls it: a checkpoint directory, or what `wen` finds by its name.
    pub model: PathBuf,
    /// The directory that the run writes.
    pub output: PathBuf,
    /// Where all random choices come from.
    pub seed: u64,
    /// Processor threads; 0 takes all.
    pub threads: usize,
    /// What is learned from.
    pub data: Data,
    /// What is learned from it.
    pub objective: ObjectiveSettings,
    /// What of the model is trained.
    pub method: Method,
    /// How long, and in which parts.
    pub steps: Steps,
    /// How parameters move.
    pub optimizer: OptimizerSettings,
}

/// What is learned from. Files are `.jsonl`, `.json`, `.parquet` or `.txt`; directories and patterns stand for the files in
/// them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// Files, directories and patterns.
    pub train: Vec<PathBuf>,
    /// Several datasets by weight, in place of `train`.
    pub mix: Vec<Mix>,
    /// Files that are evaluated and not learned.
    pub eval: Vec<PathBuf>,
    /// Share of the examples that is evaluated and not learned.
    pub eval_share: f64,
    /// Longest sequence in tokens; examples with longer ones are left out, and counted.
    pub max_tokens: usize,
    /// Whether examples come in an order of chance, or in that of the files: a curriculum.
    pub shuffle: bool,
}

/// A dataset of a mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mix {
    /// Files, directories and patterns.
    pub files: Vec<PathBuf>,
    /// How often its examples come, in proportion to those of the other datasets.
    pub weight: f64,
}

/// What is learned from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectiveSettings {
    /// `next_token`, `dpo` or `embedding`.
    pub kind: ObjectiveKind,
    /// DPO: how far the model may go from what it was: less for larger values.
    pub beta: f64,
    /// DPO: share of pairs that are assumed to be the wrong way round.
    pub label_smoothing: f64,
    /// DPO: `sigmoid` or `ipo`.
    pub loss: PreferenceKind,
    /// Embedding: how sharp the nearest document is told from the others; cosines are divided by it.
    pub temperature: f64,
    /// Embedding: whether a text's vector is that of its `last` token, or the `mean` of all.
    pub pooling: PoolingKind,
}

/// What can be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveKind {
    /// Texts, and the assistant's answers in conversations.
    NextToken,
    /// Which of two answers is better.
    Dpo,
    /// Which document answers a query.
    Embedding,
}

impl fmt::Display for ObjectiveKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ObjectiveKind::NextToken => "next_token",
            ObjectiveKind::Dpo => "dpo",
            ObjectiveKind::Embedding => "embedding",
        })
    }
}

/// Losses of preferences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PreferenceKind {
    /// DPO's own.
    Sigmoid,
    /// Identity preference optimisation.
    Ipo,
}

/// How a text's hidden states become its vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolingKind {
    /// The last token's.
    Last,
    /// The mean of all.
    Mean,
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
    /// Whether the adapter learns the length of each output's weights apart from their direction (DoRA).
    pub dora: bool,
    /// Share of the adapter's inputs that are left out.
    pub dropout: f32,
    /// Layers that get an adapter; none stands for all linear layers.
    pub targets: Vec<String>,
    /// How the frozen base is computed with: `none` (as stored, in float32), `int8` or `int4`.
    pub quantize: Quantize,
    /// How products of weights that are not quantized are made: `float32`, or `bf16`, which rounds what is multiplied and keeps
    /// weights and sums in float32 (mixed precision); on processors that do not multiply BF16 numbers it changes nothing.
    pub precision: PrecisionKind,
    /// Whether the adapter is also written merged into the base, as a plain checkpoint.
    pub merge: bool,
    /// Whether the model, with the adapter merged, is also written as one GGUF file: `none`, or with matrices in `f32`,
    /// `bf16`, `f16` or `q8_0`.
    pub gguf: Gguf,
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

/// Whether a GGUF file is written, and how its matrices are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gguf {
    /// No file.
    None,
    /// Float32.
    F32,
    /// Bfloat16.
    Bf16,
    /// Float16.
    F16,
    /// 8 bits.
    Q8_0,
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

/// What products are made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionKind {
    /// Float32.
    Float32,
    /// Bfloat16, with sums in float32.
    Bf16,
}

/// How long, and in which parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Steps {
    /// Times that every example is learned.
    pub epochs: usize,
    /// Steps at most; 0 is as many as the epochs have.
    pub at_most: usize,
    /// Examples of a step. For an embedding each query stands against the documents of all others in it.
    pub batch: usize,
    /// Tokens that are computed at once: more take more memory, and change nothing else.
    pub part_tokens: usize,
    /// Whether activations are computed again in the backward pass: less memory, a third more time, the same result.
    pub recompute: Recompute,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
    /// Steps between two evaluations; there is one at the end besides.
    pub evaluate_every: usize,
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
    /// The highest learning rate; 0 takes 2e-4 for `lora` and 2e-5 for `full`, and a tenth of it for DPO.
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
    /// What is added to the root of the second moment: gradients much smaller than it hardly move a parameter. The vectors of
    /// tokens that are rare in the data feel such gradients in nearly every step, all in the same direction.
    pub eps: f64,
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
            objective: ObjectiveSettings::default(),
            method: Method::default(),
            steps: Steps::default(),
            optimizer: OptimizerSettings::default(),
        }
    }
}

impl Default for Data {
    fn default() -> Data {
        Data {
            train: Vec::new(),
            mix: Vec::new(),
            eval: Vec::new(),
            eval_share: 0.0,
            max_tokens: 2048,
            shuffle: true,
        }
    }
}

impl Default for Mix {
    fn default() -> Mix {
        Mix { files: Vec::new(), weight: 1.0 }
    }
}

impl Default for ObjectiveSettings {
    fn default() -> ObjectiveSettings {
        ObjectiveSettings {
            kind: ObjectiveKind::NextToken,
            beta: 0.1,
            label_smoothing: 0.0,
            loss: PreferenceKind::Sigmoid,
            temperature: 0.05,
            pooling: PoolingKind::Last,
        }
    }
}

impl Data {
    /// The datasets that are learned, each with its weight.
    pub fn sources(&self) -> Vec<(&[PathBuf], f64)> {
        match &self.mix[..] {
            [] => vec![(&self.train, 1.0)],
            mix => mix.iter().map(|mix| (&mix.files[..], mix.weight)).collect(),
        }
    }
}

impl Default for Method {
    fn default() -> Method {
        Method {
            kind: Kind::Lora,
            rank: 16,
            alpha: 32.0,
            rslora: false,
            dora: false,
            dropout: 0.0,
            targets: Vec::new(),
            quantize: Quantize::None,
            precision: PrecisionKind::Float32,
            merge: false,
            gguf: Gguf::None,
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
            evaluate_every: 100,
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
            eps: 1e-8,
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
    /// Keys of which only one can count.
    #[error(
        "the recipe has both data.train and data.mix; give the files of data.train as another [[data.mix]]"
    )]
    TrainAndMix,
}

impl Recipe {
    /// Reads a recipe's text. Each of `settings` is `key=value`, whose key has dots (`steps.epochs=3`) and whose value is
    /// TOML or else a string; they count before the text.
    ///
    /// # Errors
    /// When a key does not exist, or a value can't be.
    pub fn parse(text: &str, settings: &[String]) -> Result<Recipe, RecipeError> {
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| RecipeError::Toml(e.to_string()))?;
        let mut table = toml::Value::Table(table);
        for setting in settings {
            let (key, value) =
                setting.split_once('=').ok_or_else(|| RecipeError::NotAssignment(setting.clone()))?;
            let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
            let value = parsed.unwrap_or_else(|| toml::Value::String(value.trim().to_owned()));
            let path: Vec<&str> = key.trim().split('.').collect();
            set(&mut table, &path, value);
        }
        let known = Recipe::keys();
        // a value in a section's place is not an unknown key, but of the wrong type
        let section = |key: &str| {
            let within =
                |known: &String| known.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', '[']));
            known.iter().any(within)
        };
        let written = keys(&table, "");
        if let Some(key) = written.into_iter().find(|key| !known.contains(key) && !section(key)) {
            let nearest = known.iter().min_by_key(|known| distance(known, &key));
            let nearest = nearest.cloned().unwrap_or_default();
            return Err(RecipeError::UnknownKey { key, nearest });
        }
        let recipe: Recipe =
            table.try_into().map_err(|e: toml::de::Error| RecipeError::Toml(e.to_string()))?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// All keys that exist, with dots; those in lists of sections as in `data.mix[].files`.
    fn keys() -> BTreeSet<String> {
        let mut every = Recipe::default();
        every.data.mix.push(Mix::default());
        keys(&toml::Value::try_from(every).expect("plain values"), "")
    }

    fn validate(&self) -> Result<(), RecipeError> {
        let missing = |key, says| Err(RecipeError::Missing(key, says));
        if self.model.as_os_str().is_empty() {
            return missing("model", "which checkpoint directory to begin with");
        }
        if self.output.as_os_str().is_empty() {
            return missing("output", "which directory to write to");
        }
        match (self.data.train.is_empty(), self.data.mix.is_empty()) {
            (true, true) => return missing("data.train", "which files to learn"),
            (false, false) => return Err(RecipeError::TrainAndMix),
            _ => {}
        }
        if self.data.mix.iter().any(|mix| mix.files.is_empty()) {
            return missing("data.mix[].files", "which files a dataset of the mixture has");
        }
        if !self.data.mix.is_empty() && !self.data.shuffle {
            let expected = "true for a mixture, whose datasets have no order among each other";
            return Err(RecipeError::Value { key: "data.shuffle", found: "false".to_owned(), expected });
        }
        let counts = [
            ("data.max_tokens", self.data.max_tokens, 1 << 20),
            ("method.rank", self.method.rank, 4096),
            ("steps.epochs", self.steps.epochs, 100_000),
            ("steps.batch", self.steps.batch, 1 << 20),
            ("steps.part_tokens", self.steps.part_tokens, 1 << 20),
            ("steps.checkpoint_every", self.steps.checkpoint_every, usize::MAX),
            ("steps.evaluate_every", self.steps.evaluate_every, usize::MAX),
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
            ("data.eval_share", self.data.eval_share),
        ];
        if let Some((key, found)) = shares.into_iter().find(|(_, share)| !(0.0..1.0).contains(share)) {
            return Err(RecipeError::Value { key, found: found.to_string(), expected: "from 0 to below 1" });
        }
        if !(o.eps.is_finite() && o.eps > 0.0) {
            let (key, expected) = ("optimizer.eps", "a small number above 0, like 1e-8");
            return Err(RecipeError::Value { key, found: o.eps.to_string(), expected });
        }
        let sizes = [
            ("optimizer.learning_rate", o.learning_rate),
            ("optimizer.weight_decay", o.weight_decay),
            ("optimizer.max_norm", o.max_norm),
            ("method.alpha", self.method.alpha),
        ];
        if let Some((key, found)) = sizes.into_iter().find(|(_, size)| !(size.is_finite() && *size >= 0.0)) {
            return Err(RecipeError::Value { key, found: found.to_string(), expected: "0 or above" });
        }
        self.validate_objective()
    }

    fn validate_objective(&self) -> Result<(), RecipeError> {
        let o = &self.objective;
        let weights = self.data.mix.iter().map(|mix| ("data.mix[].weight", mix.weight));
        let positive = [("objective.beta", o.beta), ("objective.temperature", o.temperature)];
        let mut sizes = positive.into_iter().chain(weights);
        if let Some((key, found)) = sizes.find(|(_, size)| !(size.is_finite() && *size > 0.0)) {
            return Err(RecipeError::Value { key, found: found.to_string(), expected: "above 0" });
        }
        if !(0.0..0.5).contains(&o.label_smoothing) {
            let (key, found) = ("objective.label_smoothing", o.label_smoothing.to_string());
            return Err(RecipeError::Value { key, found, expected: "from 0 to below 0.5" });
        }
        if o.kind == ObjectiveKind::Embedding && self.steps.batch < 2 {
            let (key, found) = ("steps.batch", self.steps.batch.to_string());
            let expected = "at least 2 for an embedding, whose queries stand against each other's documents";
            return Err(RecipeError::Value { key, found, expected });
        }
        Ok(())
    }
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
        // a mixture takes the place of `train`, and has a recipe of its own
        let expected = Recipe::keys().into_iter().filter(|key| !key.starts_with("data.mix"));
        assert!(keys(&toml::Value::Table(written), "").into_iter().eq(expected));
    }

    #[test]
    fn the_other_recipes_can_be_followed() {
        for (text, kind) in [
            (include_str!("../../../recipes/dpo.toml"), ObjectiveKind::Dpo),
            (include_str!("../../../recipes/embedding.toml"), ObjectiveKind::Embedding),
            (include_str!("../../../recipes/pretrain.toml"), ObjectiveKind::NextToken),
        ] {
            assert_eq!(Recipe::parse(text, &[]).unwrap().objective.kind, kind);
        }
        let text = include_str!("../../../recipes/pretrain.toml");
        let recipe = Recipe::parse(text, &["data.mix.1.weight=0.5".to_owned()]).unwrap();
        assert_eq!(recipe.data.sources()[1].1, 0.5);
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

    #[test]
    fn keys_in_lists_and_deep_settings_are_known_by_name_as_well() {
        let parse = |text: &str, setting: &str| {
            let text = format!("model = 'm'\noutput = 'o'\n{text}");
            Recipe::parse(&text, &[setting.to_owned()]).unwrap_err().to_string()
        };
        let mix = "[[data.mix]]\nfiles = ['a']\n[[data.mix]]\nfiles = ['b']\n";
        for (text, setting, words) in [
            (
                "[[data.mix]]\nfile = ['a']",
                "seed=1",
                "`data.mix[].file`, which does not exist; the nearest that does is `data.mix[].files`",
            ),
            (mix, "data.mix.1.wieght=2", "the nearest that does is `data.mix[].weight`"),
            (mix, "data.mix.1.weight=0", "data.mix[].weight is 0, but must be above 0"),
            (mix, "data.train=['c']", "both data.train and data.mix"),
            (mix, "data.shuffle=false", "must be true for a mixture"),
            ("[[data.mix]]\nweight = 1", "seed=1", "no `data.mix[].files`"),
            ("", "data=3", "invalid type: integer `3`"),
            (
                "",
                "data.train.x=3",
                "`data.train.x`, which does not exist; the nearest that does is `data.train`",
            ),
            ("[data]\ntrain = ['a']", "objective.kind=dop", "unknown variant `dop`"),
            ("[data]\ntrain = ['a']", "objective.label_smoothing=0.5", "from 0 to below 0.5"),
            (
                "[data]\ntrain = ['a']\n[objective]\nkind = 'embedding'",
                "steps.batch=1",
                "at least 2 for an embedding",
            ),
        ] {
            let found = parse(text, setting);
            assert!(found.contains(words), "{text} {setting}: {found}");
        }
    }
}
