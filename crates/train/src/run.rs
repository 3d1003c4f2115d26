//! A training run: from a recipe to an adapter or a model.

use crate::checkpoint::{self, CheckpointError, Progress};
use crate::data::{self, DataError, Dataset, Language, Order, micro_batches};
use crate::export::write_model;
use crate::objective::{self, Example};
use crate::optimizer::{AdamW, Optimizer, clip, gradient_norm};
use crate::parameters::{LoraTargets, Parameters, TargetError};
use crate::random::Random;
use crate::recipe::{Kind, Quantize, Recipe, ScheduleKind};
use crate::schedule::{Decay, Schedule};
use kernels::Pool;
use models::adapter::{Adapter, AdapterConfig, AdapterError};
use models::checkpoint::FileError;
use models::checkpoint::writer::write_file;
use models::model::open_weights;
use models::{Model, ModelError, Quantization};
use nn::{Context, Gradients};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Why a run cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The base model.
    #[error("{0}")]
    Model(#[from] ModelError),
    /// The datasets.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A target of the adapter.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The state on disk.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The adapter's files.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// Another file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A loss that is no number.
    #[error(
        "the loss of step {step} is {loss}: the run stops, and its last checkpoint stays; lower optimizer.learning_rate, or \
         optimizer.max_norm"
    )]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// The loss.
        loss: f64,
    },
    /// Weights that are not floats cannot be trained.
    #[error("training all weights needs a base that is not quantized; give method.quantize = \"none\"")]
    QuantizedFull,
}

/// What one step did: a line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// From 1.
    pub step: usize,
    /// Of all.
    pub total_steps: usize,
    /// Mean cross-entropy of the step's learned tokens, in nats.
    pub loss: f64,
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
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// All steps are done; the result is here.
    Done(PathBuf),
    /// It was stopped after this many steps, and goes on when it is run again.
    Stopped(usize),
}

/// A run that is ready to begin: everything that can be wrong with its recipe has been looked at.
pub struct Run {
    recipe: Recipe,
    model: Model,
    pool: Arc<Pool>,
    adapter: Option<AdapterConfig>,
    parameters: Parameters,
    optimizer: Optimizer,
    dataset: Dataset,
    order: Order,
    schedule: Schedule,
    done: usize,
    identity: String,
}

impl Run {
    /// Opens the model, reads all data, and goes on from the last checkpoint if there is one.
    ///
    /// # Errors
    /// When anything of it can't be used.
    pub fn prepare(recipe: Recipe) -> Result<Run, RunError> {
        let mut model = Model::open(&recipe.model)?;
        let threads = if recipe.threads == 0 { Pool::default_threads() } else { recipe.threads };
        let pool = Arc::new(Pool::new(threads));
        let dataset = data::load(
            &recipe.data.train,
            &Language {
                tokenizer: &model.tokenizer,
                template: model.chat_template.as_ref(),
                end: model.generation.eos_token_ids.first().copied(),
                max_tokens: recipe.data.max_tokens.min(model.lm.config().context_length),
            },
        )?;
        let (adapter, parameters) = mark(&recipe, &mut model, &pool)?;
        let order = Order::new(dataset.examples.len(), recipe.steps.batch, recipe.seed);
        let schedule = schedule(&recipe, &order);
        let o = &recipe.optimizer;
        let settings = AdamW {
            betas: (o.beta1, o.beta2),
            weight_decay: o.weight_decay,
            decay_vectors: false,
            ..AdamW::default()
        };
        let mut optimizer = Optimizer::new(settings, &parameters);
        let identity = identity(&recipe, &dataset);
        let dir = recipe.output.join("checkpoints");
        let done = checkpoint::resume(&dir, &identity, &mut model.lm, &parameters, &mut optimizer)?;
        Ok(Run {
            recipe,
            model,
            pool,
            adapter,
            parameters,
            optimizer,
            dataset,
            order,
            schedule,
            done,
            identity,
        })
    }

    /// The examples, and what was left out of the datasets.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The trained parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Steps that were done before.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Steps in all.
    pub fn total_steps(&self) -> usize {
        self.schedule.total_steps
    }

    /// Does the steps that are left. `report` hears of each; `stop` ends the run after the step that is under way, with a
    /// checkpoint.
    ///
    /// # Errors
    /// When a loss is no number, or the output can't be written.
    pub fn train(
        mut self,
        stop: &AtomicBool,
        report: &mut dyn FnMut(&StepReport),
    ) -> Result<Outcome, RunError> {
        let cx = Context::recording(self.pool.clone());
        let mut gradients = Gradients::new();
        let mut metrics = Metrics::open(&self.recipe.output.join("metrics.jsonl"), self.done)?;
        let (first, started) = (self.done, Instant::now());
        while self.done < self.total_steps() {
            let mut found = self.step(&cx, &mut gradients)?;
            self.done += 1;
            let pace = started.elapsed().as_secs_f64() / (self.done - first) as f64;
            found.seconds_left = pace * (self.total_steps() - self.done) as f64;
            metrics.write(&found)?;
            report(&found);
            let stopped = stop.load(Ordering::Relaxed);
            if stopped || self.done.is_multiple_of(self.recipe.steps.checkpoint_every) {
                self.checkpoint()?;
            }
            if stopped && self.done < self.total_steps() {
                return Ok(Outcome::Stopped(self.done));
            }
        }
        self.checkpoint()?;
        self.finish().map(Outcome::Done)
    }

    /// The next step.
    fn step(&mut self, cx: &Context, gradients: &mut Gradients) -> Result<StepReport, RunError> {
        let (step, started) = (self.done, Instant::now());
        let examples: Vec<&Example> =
            self.order.step(step).into_iter().map(|i| &self.dataset.examples[i]).collect();
        let learned: usize = examples.iter().map(|e| e.learned()).sum();
        gradients.clear();
        let mut sum = 0.0;
        for (part, examples) in micro_batches(&examples, self.recipe.steps.part_tokens).iter().enumerate() {
            cx.set_seed(Random::new(self.recipe.seed, "dropout", (step as u64) << 20 | part as u64).bits());
            sum += objective::next_token(cx, &self.model.lm, examples, learned, gradients);
        }
        let loss = sum / learned.max(1) as f64;
        let gradient_norm = gradient_norm(cx.pool(), gradients);
        if !(loss.is_finite() && gradient_norm.is_finite()) {
            return Err(RunError::NotFinite { step: step + 1, loss });
        }
        let max_norm = self.recipe.optimizer.max_norm;
        let scale = if max_norm > 0.0 { clip(gradient_norm, max_norm) } else { 1.0 };
        let learning_rate = self.schedule.learning_rate(step);
        let lm = &mut self.model.lm;
        self.optimizer.step(cx.pool(), lm, &self.parameters, gradients, learning_rate, scale);
        let tokens: usize = examples.iter().map(|e| e.tokens().len()).sum();
        Ok(StepReport {
            step: step + 1,
            total_steps: self.schedule.total_steps,
            loss,
            gradient_norm,
            learning_rate,
            tokens,
            learned_tokens: learned,
            tokens_per_second: tokens as f64 / started.elapsed().as_secs_f64().max(1e-9),
            seconds_left: 0.0,
        })
    }

    fn checkpoint(&mut self) -> Result<(), RunError> {
        let dir = self.recipe.output.join("checkpoints");
        let progress = Progress { step: self.done, identity: self.identity.clone() };
        let (keep, lm) = (self.recipe.steps.keep, &mut self.model.lm);
        Ok(checkpoint::save(&dir, keep, &progress, lm, &self.parameters, &self.optimizer)?)
    }

    /// Writes what was trained: `adapter/` as PEFT does, and merged as well if the recipe says so, or `model/` as a plain
    /// checkpoint.
    fn finish(mut self) -> Result<PathBuf, RunError> {
        match self.adapter.take() {
            Some(config) => {
                let dir = self.recipe.output.join("adapter");
                let adapter = Adapter::of(&mut self.model.lm, config);
                adapter.write(&dir)?;
                if self.recipe.method.merge {
                    // the base may be packed here
                    let (_, mut plain) = open_weights(&self.recipe.model)?;
                    adapter.merge(&mut plain, &self.pool)?;
                    write_model(&self.recipe.model, &mut plain, &self.recipe.output.join("model"))?;
                }
                Ok(dir)
            }
            None => {
                let dir = self.recipe.output.join("model");
                write_model(&self.recipe.model, &mut self.model.lm, &dir)?;
                Ok(dir)
            }
        }
    }
}

/// Marks what is trained.
fn mark(
    recipe: &Recipe,
    model: &mut Model,
    pool: &Pool,
) -> Result<(Option<AdapterConfig>, Parameters), RunError> {
    let m = &recipe.method;
    if m.kind == Kind::Full {
        if m.quantize != Quantize::None {
            return Err(RunError::QuantizedFull);
        }
        return Ok((None, Parameters::full(&mut model.lm)));
    }
    let quantization = match m.quantize {
        Quantize::None => Quantization::None,
        Quantize::Int8 => Quantization::Int8,
        Quantize::Int4 => Quantization::Int4,
    };
    model.pack(quantization, pool, &mut |_, _| {})?;
    let targets = match &m.targets[..] {
        [] => LoraTargets::AllLinear,
        targets => LoraTargets::Suffixes(targets.to_vec()),
    };
    let mut config = AdapterConfig::new(m.rank, m.alpha, m.rslora, m.dropout, &targets.names());
    config.base_model_name_or_path = Some(recipe.model.display().to_string());
    let parameters = Parameters::new_adapter(&mut model.lm, &config, &targets, recipe.seed)?;
    Ok((Some(config), parameters))
}

fn schedule(recipe: &Recipe, order: &Order) -> Schedule {
    let (o, steps) = (&recipe.optimizer, &recipe.steps);
    let all = steps.epochs.saturating_mul(order.steps_per_epoch());
    let total_steps = if steps.at_most == 0 { all } else { all.min(steps.at_most) };
    let by_kind = match recipe.method.kind {
        Kind::Lora => 2e-4,
        Kind::Full => 2e-5,
    };
    Schedule {
        peak: if o.learning_rate > 0.0 { o.learning_rate } else { by_kind },
        warmup_steps: (o.warmup * total_steps as f64).ceil() as usize,
        total_steps,
        decay: match o.schedule {
            ScheduleKind::Constant => Decay::Constant,
            ScheduleKind::Linear => Decay::Linear,
            ScheduleKind::Cosine => Decay::Cosine,
        },
        floor: o.floor,
    }
}

/// What makes a run the same run: the recipe, but for where and on how many threads it is done, and the examples.
fn identity(recipe: &Recipe, dataset: &Dataset) -> String {
    let mut recipe = recipe.clone();
    (recipe.output, recipe.threads, recipe.steps.keep, recipe.steps.checkpoint_every) =
        (PathBuf::new(), 0, 1, 1);
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(&recipe).expect("plain values"));
    for example in &dataset.examples {
        hash.update((example.tokens().len() as u64).to_le_bytes());
        for (token, learned) in example.tokens().iter().zip(example.marks()) {
            hash.update(token.to_le_bytes());
            hash.update([u8::from(*learned)]);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `metrics.jsonl`: a line for each step.
struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the file to go on after step `done`: lines of later steps, which will be done again, are removed.
    fn open(path: &Path, done: usize) -> Result<Metrics, FileError> {
        let failed = |source| FileError::Io { path: path.to_owned(), source };
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let before = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["step"].as_u64();
        let kept = before.lines().filter(|line| step(line).is_some_and(|step| step as usize <= done));
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        write_file(path, |out| out.write_all(kept.as_bytes()))?;
        let file = File::options().append(true).open(path).map_err(failed)?;
        Ok(Metrics { path: path.to_owned(), file })
    }

    fn write(&mut self, report: &StepReport) -> Result<(), FileError> {
        let mut line = serde_json::to_vec(report).expect("plain values");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|source| FileError::Io { path: self.path.clone(), source })
    }
}
