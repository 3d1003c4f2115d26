//! What a run says of its steps, to people and to programs.

use crate::tensorboard::EventFile;
use models::checkpoint::FileError;
use models::checkpoint::writer::{create_dir, write_file};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What one step did: a line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// From 1.
    pub step: usize,
    /// Of all.
    pub total_steps: usize,
    /// The objective's mean loss: of the step's learned tokens, in nats, its pairs or its queries.
    pub loss: f64,
    /// What else the objective has to say (`reward_accuracy`), and after an evaluation what that found (`eval_loss`).
    #[serde(flatten)]
    pub measures: BTreeMap<String, f64>,
    /// Length of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Tokens that were computed.
    pub tokens: usize,
    /// Tokens that were learned.
    pub learned_tokens: usize,
    /// Tokens per second of this step.
    pub tokens_per_second: f64,
    /// Seconds that the steps to come will take at the pace so far.
    pub seconds_left: f64,
    /// Memory that the process holds, where the system says so.
    pub memory_bytes: Option<u64>,
}

/// What counts of a step that is read back.
#[derive(Deserialize)]
struct Line {
    step: usize,
    loss: f64,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

/// `metrics.jsonl`, a line for each step, and the same for TensorBoard in `tensorboard/`.
pub struct Metrics {
    path: PathBuf,
    file: File,
    events: EventFile,
    /// Of all steps so far.
    losses: Vec<f64>,
    /// What the last evaluation found.
    evaluation: BTreeMap<String, f64>,
}

/// What the names of an evaluation's measures begin with.
pub const EVALUATED: &str = "eval_";

impl Metrics {
    /// Opens the files in `dir` to go on after step `done`: lines of later steps, which will be done again, are removed, as
    /// are torn ones.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn open(dir: &Path, done: usize) -> Result<Metrics, FileError> {
        create_dir(dir)?;
        let path = dir.join("metrics.jsonl");
        let before = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(FileError::Io { path, source }),
        };
        let (mut kept, mut losses, mut evaluation) = (String::new(), Vec::new(), BTreeMap::new());
        for line in before.lines() {
            let Some(found) = serde_json::from_str::<Line>(line).ok().filter(|l| l.step <= done) else {
                continue;
            };
            kept.push_str(&format!("{line}\n"));
            losses.push(found.loss);
            let numbers = found.others.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
            keep_evaluation(numbers, &mut evaluation);
        }
        write_file(&path, |out| out.write_all(kept.as_bytes()))?;
        let file = File::options().append(true).open(&path);
        let file = file.map_err(|source| FileError::Write { path: path.clone(), source })?;
        let events = EventFile::create(&dir.join("tensorboard"), done)?;
        Ok(Metrics { path, file, events, losses, evaluation })
    }

    /// Adds a step.
    ///
    /// # Errors
    /// When the files can't be written.
    pub fn write(&mut self, report: &StepReport) -> Result<(), FileError> {
        let mut line = serde_json::to_vec(report).expect("plain values");
        line.push(b'\n');
        let written = self.file.write_all(&line);
        written.map_err(|source| FileError::Write { path: self.path.clone(), source })?;
        self.losses.push(report.loss);
        keep_evaluation(report.measures.clone(), &mut self.evaluation);
        let mut values = vec![
            ("train/loss", report.loss),
            ("train/gradient_norm", report.gradient_norm),
            ("train/learning_rate", report.learning_rate),
            ("train/tokens_per_second", report.tokens_per_second),
        ];
        values.extend(report.memory_bytes.map(|bytes| ("train/memory_bytes", bytes as f64)));
        let measures: Vec<(String, f64)> =
            report.measures.iter().map(|(name, value)| (tag(name), *value)).collect();
        values.extend(measures.iter().map(|(tag, value)| (tag.as_str(), *value)));
        self.events.write(report.step, &values)
    }

    /// What the last evaluation found, by name; empty where there was none.
    pub fn evaluation(&self) -> &BTreeMap<String, f64> {
        &self.evaluation
    }

    /// The losses of all steps, also of those before the run was cut off.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }
}

/// Puts what an evaluation found in the place of what one before it did.
fn keep_evaluation(measures: impl IntoIterator<Item = (String, f64)>, last: &mut BTreeMap<String, f64>) {
    last.extend(measures.into_iter().filter(|(name, _)| name.starts_with(EVALUATED)));
}

/// A measure's name in TensorBoard: `eval/loss`, `train/reward_accuracy`.
fn tag(name: &str) -> String {
    match name.strip_prefix(EVALUATED) {
        Some(name) => format!("eval/{name}"),
        None => format!("train/{name}"),
    }
}
