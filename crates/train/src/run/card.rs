//! The card of a run: what was trained, on what, at what cost, and how far the numbers go. `README.md` beside the result.

use super::base::{Base, last_part};
use super::cost::Cost;
use crate::recipe::{Kind, ObjectiveKind, Recipe};
use crate::task::Task;
use models::checkpoint::FileError;
use models::checkpoint::writer::write_file;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// A file, as what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedFile {
    /// Where it was.
    pub path: PathBuf,
    /// SHA-256 of its bytes in hexadecimal digits, as `sha256sum` prints it.
    pub sha256: String,
}

impl HashedFile {
    /// Reads all files.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn all<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Vec<HashedFile>, FileError> {
        let hashed = paths.into_iter().map(|path| {
            let mut hash = Sha256::new();
            let read = File::open(path).and_then(|file| {
                io::copy(&mut BufReader::with_capacity(1 << 20, file), &mut Hashing(&mut hash))
            });
            read.map_err(|source| FileError::Io { path: path.to_owned(), source })?;
            Ok(HashedFile { path: path.to_owned(), sha256: hex(&hash.finalize()) })
        });
        hashed.collect()
    }
}

/// Feeds a hash with what is written.
struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything that a card says.
pub struct Card<'a> {
    /// What was to be done.
    pub recipe: &'a Recipe,
    /// What it began with.
    pub base: &'a Base,
    /// The files of the base's weights.
    pub base_files: &'a [HashedFile],
    /// Those of the data.
    pub files: &'a [HashedFile],
    /// What was learned.
    pub task: &'a Task,
    /// SHA-256 of the examples as tokens.
    pub data_hash: &'a str,
    /// Values that were trained.
    pub parameters: usize,
    /// Losses of all steps.
    pub losses: &'a [f64],
    /// What the last evaluation found, by name.
    pub evaluation: &'a BTreeMap<String, f64>,
    /// Time, tokens and memory.
    pub cost: Cost,
}

/// What a card is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// An adapter as PEFT has it.
    Adapter,
    /// A plain checkpoint: all weights, or the base with the adapter merged.
    Model,
    /// Such a model as one GGUF file.
    Gguf,
}

/// Steps over which the first and the last loss are averaged.
const ENDS: usize = 20;
/// The picture beside the card.
const CHART: &str = "loss.svg";

impl Card<'_> {
    /// Writes the `README.md` of `product` and its picture into `dir`.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn write(&self, product: Product, dir: &Path) -> Result<(), FileError> {
        let (text, chart) = (self.text(product), super::chart::svg(self.losses));
        write_file(&dir.join(CHART), |out| out.write_all(chart.as_bytes()))?;
        write_file(&dir.join("README.md"), |out| out.write_all(text.as_bytes()))
    }

    /// The card of `product`. That of a file, beside which no picture goes, has none.
    pub fn text(&self, product: Product) -> String {
        let Card { recipe, losses, .. } = self;
        let mut text = format!(
            "---\nbase_model: {}\n{}\n{}---\n\n# {}\n\n{}, trained by `wen train`, version {}.\n\n",
            json!(self.base.name),
            self.kind(product),
            self.facts(),
            last_part(&recipe.output),
            self.what(product),
            env!("CARGO_PKG_VERSION"),
        );
        if product != Product::Gguf {
            let _ = write!(text, "![Loss over the steps]({CHART})\n\n");
        }
        let ends = ENDS.min(losses.len().div_ceil(2)).max(1);
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
        let (first, last) =
            (mean(&losses[..ends.min(losses.len())]), mean(&losses[losses.len().saturating_sub(ends)..]));
        let of = match recipe.objective.kind {
            ObjectiveKind::NextToken => "nats per learned token",
            ObjectiveKind::Dpo => "of a pair",
            ObjectiveKind::Embedding => "of a query",
        };
        let mut rows = vec![
            ("loss, first", format!("{first:.4} {of}, mean of {ends} steps")),
            ("loss, last", format!("{last:.4} {of}, mean of {ends} steps")),
            ("steps", losses.len().to_string()),
            ("trained values", self.parameters.to_string()),
        ];
        let evaluated = self.evaluation.iter().map(|(name, value)| (name.as_str(), format!("{value:.4}")));
        rows.extend(evaluated);
        section(&mut text, "Result", &rows);
        text.push_str(
            "The loss is that on the training data: it says how well these examples were learned, and nothing about others; \
             what begins with `eval_` is of examples that were held out. \
             How good the result is on what it has not seen has to be measured: `wen eval` does that.\n\n",
        );
        self.add_cost(&mut text);
        self.add_data(&mut text);
        let _ = write!(text, "## Recipe\n\n```toml\n{}```\n", toml::to_string(recipe).unwrap_or_default());
        text
    }

    /// How it was made of the base, and what it is loaded with, as hubs call it.
    fn kind(&self, product: Product) -> String {
        let (relation, library) = match product {
            Product::Adapter => ("adapter", "peft"),
            Product::Model if self.recipe.objective.kind == ObjectiveKind::Embedding => {
                ("finetune", "sentence-transformers")
            }
            Product::Model => ("finetune", "transformers"),
            Product::Gguf => ("finetune", "gguf"),
        };
        let tags = if self.recipe.method.kind == Kind::Lora { "lora, wen" } else { "wen" };
        format!("base_model_relation: {relation}\nlibrary_name: {library}\ntags: [{tags}]")
    }

    fn what(&self, product: Product) -> String {
        let (base, rank) = (&self.base.name, self.recipe.method.rank);
        match (self.recipe.method.kind, product) {
            (Kind::Full, _) => format!("All weights of `{base}`"),
            (Kind::Lora, Product::Adapter) => format!("A LoRA adapter of rank {rank} for `{base}`"),
            (Kind::Lora, _) => format!("`{base}` with a LoRA adapter of rank {rank} merged"),
        }
    }

    /// What hubs and `wen models show` read of the card, beside its base: the licence, the digest of the data, where the base
    /// comes from, and what was evaluated. JSON is YAML too.
    fn facts(&self) -> String {
        let mut own = json!({ "data_sha256": self.data_hash });
        if !self.base.lineage.is_null() {
            own["base"] = self.base.lineage.clone();
        }
        let mut text = format!("wen: {own}\n");
        if let Some(license) = &self.base.license {
            text.push_str(&format!("license: {}\n", json!(license)));
        }
        if !self.evaluation.is_empty() {
            let metric =
                |(name, value): (&String, &f64)| json!({ "type": name, "name": name, "value": value });
            let metrics: Vec<Value> = self.evaluation.iter().map(metric).collect();
            let results = json!([{
                "task": { "type": "text-generation" },
                "dataset": { "name": "examples that were held out", "type": "held-out" },
                "metrics": metrics,
            }]);
            let index = json!([{ "name": last_part(&self.recipe.output), "results": results }]);
            text.push_str(&format!("model-index: {index}\n"));
        }
        text
    }

    fn add_cost(&self, text: &mut String) {
        let cost = self.cost;
        let memory = match cost.peak_memory_bytes {
            0 => "not known on this system".to_owned(),
            bytes => format!("{:.2} GB", bytes as f64 / 1e9),
        };
        section(
            text,
            "Cost",
            &[
                ("time", format!("{:.2} min", cost.seconds / 60.0)),
                ("processor time", format!("{:.4} hours", cost.processor_seconds / 3600.0)),
                ("tokens", format!("{} computed, {} learned", cost.tokens, cost.learned_tokens)),
                ("memory, at most", memory),
                ("energy", "not measured".to_owned()),
            ],
        );
        text.push_str(
            "Steps that were lost because the run was killed after its last checkpoint are not counted.\n\n",
        );
    }

    fn add_data(&self, text: &mut String) {
        let (summary, findings) = (self.task.summary(), self.task.findings());
        section(
            text,
            "Base and data",
            &[
                ("base", format!("`{}`", self.base.name)),
                ("examples", format!("{} of {} tokens", summary.examples, summary.tokens)),
                ("held out", format!("{} examples, which were evaluated", summary.evaluation)),
                (
                    "left out",
                    format!("{} longer than {} tokens", findings.too_long.len(), self.recipe.data.max_tokens),
                ),
                (
                    "repeated",
                    format!(
                        "{}, and {} but for capitals, spaces and punctuation, which were learned all the same",
                        findings.duplicates.len(),
                        findings.near_duplicates.len()
                    ),
                ),
                ("SHA-256 of the examples as tokens", format!("`{}`", self.data_hash)),
            ],
        );
        text.push_str("| file | SHA-256 |\n|---|---|\n");
        for file in self.base_files.iter().chain(self.files) {
            let _ = writeln!(text, "| `{}` | `{}` |", last_part(&file.path), file.sha256);
        }
        text.push('\n');
    }
}

/// A heading and a table of two columns.
fn section(text: &mut String, heading: &str, rows: &[(&str, String)]) {
    let _ = write!(text, "## {heading}\n\n| | |\n|---|---|\n");
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text.push('\n');
}
