//! A training run: from a recipe to an adapter or a model.

mod base;
mod card;
mod chart;
mod cost;
mod fault;
mod metrics;

pub use base::Base;
pub use card::{Card, HashedFile, Product};
pub use cost::Cost;
pub use fault::Fault;
pub use metrics::{Metrics, StepReport};

use crate::checkpoint::{self, CheckpointError, Progress};
use crate::data::{DataError, Language, Order};
use crate::export::{self, write_model};
use crate::memory::{Demand, Sizes, TooLittleMemory};
use crate::objective::Passes;
use crate::optimizer::{AdamW, Muon, Optimizer, clip, gradient_norm};
use crate::parameters::{LoraTargets, Parameters, TargetError};
use crate::random::Random;
use crate::recipe::{
    Gguf, Kind, ObjectiveKind, OptimizerKind, PrecisionKind, Quantize, Recipe, Recompute, ScheduleKind,
};
use crate::reference;
use crate::schedule::{Decay, Schedule};
use crate::task::Task;
use cost::Meter;
use kernels::gemm::Precision;
use kernels::{Pool, machine};
use models::adapter::{Adapter, AdapterConfig, AdapterError};
use models::checkpoint::FileError;
use models::checkpoint::writer::{create_dir, remove_unfinished};
use models::export::{ExportError, Options, Origin, Provenance, Storage, gguf, unheard};
use models::model::open_weights;
use models::{Model, ModelError, Quantization};
use nn::{Context, DType, Gradients};
use sha2::{Digest, Sha256};
use std::fs::{File, TryLockError};
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
    /// A disk that takes no more.
    #[error("{source}; make room and run it again: it {}", going_on(*.saved))]
    Output {
        /// The step of the last checkpoint; 0 when there is none.
        saved: usize,
        /// What could not be written.
        source: FileError,
    },
    /// Another process writes there.
    #[error("another run is writing to {}; wait for its end, or give another `output`", .0.display())]
    Busy(PathBuf),
    /// More than the machine has.
    #[error(transparent)]
    Memory(#[from] TooLittleMemory),
    /// A loss or a gradient that is no number.
    #[error(
        "step {step} computes with what is no number (its loss is {loss}): {fault}. The run stops; of its checkpoints {}. \
         Begin anew into another `output`, with a lower optimizer.learning_rate or optimizer.max_norm",
        last(*.saved)
    )]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// The loss.
        loss: f64,
        /// Where it began.
        fault: Fault,
        /// The step of the last checkpoint; 0 when there is none.
        saved: usize,
    },
    /// A model that GGUF files are not written of.
    #[error("method.gguf: {0}")]
    Export(#[from] ExportError),
    /// A result that is a whole model needs the files of its base.
    #[error(
        "{} is one file, but all weights, method.merge and method.gguf need a base that is a checkpoint directory, whose \
         tokenizer and configuration the result takes over", .0.display()
    )]
    NoDirectory(PathBuf),
    /// Weights that are not floats cannot be trained.
    #[error("training all weights needs a base that is not quantized; give method.quantize = \"none\"")]
    QuantizedFull,
}

fn going_on(saved: usize) -> String {
    match saved {
        0 => "begins anew, as no checkpoint was written yet".to_owned(),
        step => format!("goes on after step {step}, whose checkpoint is whole"),
    }
}

fn last(saved: usize) -> String {
    match saved {
        0 => "none was written yet".to_owned(),
        step => format!("that of step {step} is the last good one, and stays"),
    }
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
    base: Base,
    model: Model,
    pool: Arc<Pool>,
    adapter: Option<AdapterConfig>,
    parameters: Parameters,
    optimizer: Optimizer,
    task: Task,
    order: Order,
    schedule: Schedule,
    /// Whether activations are computed again.
    recompute: bool,
    /// What was done, and with the last checkpoint is kept.
    saved: Progress,
    done: usize,
    base_files: Vec<HashedFile>,
    data_hash: String,
    /// Keeps other processes away from the output.
    _lock: File,
}

impl Run {
    /// Opens the model, which the recipe names by its path, reads all data, and goes on from the last checkpoint if there is
    /// one.
    ///
    /// # Errors
    /// When anything of it can't be used.
    pub fn prepare(recipe: Recipe) -> Result<Run, RunError> {
        let base = Base::at(&recipe.model);
        Run::prepare_from(base, recipe)
    }

    /// As [`prepare`](Run::prepare), where it is known what the recipe's model is.
    ///
    /// # Errors
    /// When anything of it can't be used.
    pub fn prepare_from(base: Base, recipe: Recipe) -> Result<Run, RunError> {
        let mut model = Model::open(&base.path)?;
        let threads = if recipe.threads == 0 { Pool::default_threads() } else { recipe.threads };
        let pool = Arc::new(Pool::new(threads));
        let language = Language {
            tokenizer: &model.tokenizer,
            template: model.chat_template.as_ref(),
            end: model.generation.eos_token_ids.first().copied(),
            max_tokens: recipe.data.max_tokens.min(model.lm.config().context_length),
        };
        let task = Task::read(&recipe, &language)?;
        check_result(&recipe, &base.path, &mut model)?;
        let (mut adapter, parameters) = mark(&recipe, &mut model, &pool)?;
        let order = task.order(recipe.steps.batch, recipe.data.shuffle.then_some(recipe.seed));
        let schedule = schedule(&recipe, &order);
        let mut optimizer = optimizer(&recipe, &parameters);
        let recompute = recompute(&recipe, &model, &parameters, &optimizer, &task)?;
        let base_files = HashedFile::all(model.files())?;
        if let Some(config) = &mut adapter {
            config.base_model_name_or_path = Some(base.name.clone());
            config.base_model_sha256 = base_files.iter().map(|file| file.sha256.clone()).collect();
        }
        let data_hash = task_hash(&task);
        let identity = identity(&recipe, &base.path, &base_files, &data_hash);
        let lock = lock(&recipe.output)?;
        let dir = recipe.output.join("checkpoints");
        let saved = checkpoint::resume(&dir, &identity, &mut model.lm, &parameters, &mut optimizer)?;
        let saved = Progress { identity, ..saved };
        Ok(Run {
            done: saved.step,
            recipe,
            base,
            model,
            pool,
            adapter,
            parameters,
            optimizer,
            task,
            order,
            schedule,
            recompute,
            saved,
            base_files,
            data_hash,
            _lock: lock,
        })
    }

    /// What is learned, and what was left out of it.
    pub fn task(&self) -> &Task {
        &self.task
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

    /// Whether activations are computed again in the backward pass, for want of memory or as the recipe says.
    pub fn recomputes(&self) -> bool {
        self.recompute
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
        let outcome = self.go_on(stop, report);
        outcome.map_err(|error| error.of_full_disk(self.saved.step))
    }

    fn go_on(&mut self, stop: &AtomicBool, report: &mut dyn FnMut(&StepReport)) -> Result<Outcome, RunError> {
        if !self.refer(stop)? {
            return Ok(Outcome::Stopped(self.done));
        }
        let room = self.recipe.steps.part_tokens;
        let cx = Context::recording(self.pool.clone())
            .recomputing(self.recompute)
            .with_room(room)
            .with_precision(precision(&self.recipe));
        let mut gradients = Gradients::new();
        let mut metrics = Metrics::open(&self.recipe.output, self.done)?;
        let (first, mut meter) = (self.done, Meter::start(self.saved.cost));
        while self.done < self.total_steps() {
            let mut found = self.step(&cx, &mut gradients)?;
            self.done += 1;
            meter.add(found.tokens, found.learned_tokens);
            let pace = meter.seconds() / (self.done - first) as f64;
            found.seconds_left = pace * (self.total_steps() - self.done) as f64;
            self.evaluate(stop, &mut found);
            metrics.write(&found)?;
            report(&found);
            let stopped = stop.load(Ordering::Relaxed);
            let last = self.done == self.total_steps();
            if stopped || last || self.done.is_multiple_of(self.recipe.steps.checkpoint_every) {
                self.checkpoint(meter.cost())?;
            }
            if stopped && !last {
                return Ok(Outcome::Stopped(self.done));
            }
        }
        self.finish(&metrics).map(Outcome::Done)
    }

    /// The next step.
    fn step(&mut self, cx: &Context, gradients: &mut Gradients) -> Result<StepReport, RunError> {
        let (step, started) = (self.done, Instant::now());
        let items = self.order.step(step);
        gradients.clear();
        let seed = self.recipe.seed;
        let seed = |part: usize| Random::new(seed, "dropout", (step as u64) << 20 | part as u64).bits();
        let passes = Passes { part_tokens: self.recipe.steps.part_tokens, seed: &seed };
        let found = self.task.step(cx, &self.model.lm, &items, &passes, gradients);
        let loss = found.loss;
        let gradient_norm = gradient_norm(cx.pool(), gradients);
        let lm = &mut self.model.lm;
        if !(loss.is_finite() && gradient_norm.is_finite()) {
            let sequences = self.task.sequences(&items).into_iter();
            let fault = fault::find(&self.pool, lm, &self.parameters, sequences, loss, gradients);
            return Err(RunError::NotFinite { step: step + 1, loss, fault, saved: self.saved.step });
        }
        let max_norm = self.recipe.optimizer.max_norm;
        let scale = if max_norm > 0.0 { clip(gradient_norm, max_norm) } else { 1.0 };
        let learning_rate = self.schedule.learning_rate(step);
        self.optimizer.step(cx.pool(), lm, &self.parameters, gradients, learning_rate, scale);
        Ok(StepReport {
            step: step + 1,
            total_steps: self.schedule.total_steps,
            loss,
            measures: found.measures,
            gradient_norm,
            learning_rate,
            tokens: found.tokens,
            learned_tokens: found.learned_tokens,
            tokens_per_second: found.tokens as f64 / started.elapsed().as_secs_f64().max(1e-9),
            seconds_left: 0.0,
            memory_bytes: machine::resident_memory(),
        })
    }

    /// Makes sure that preferences have their references; `false` when it was stopped.
    fn refer(&mut self, stop: &AtomicBool) -> Result<bool, RunError> {
        let Some(preferences) = self.task.preferences() else { return Ok(true) };
        let (path, identity) = (self.recipe.output.join("reference.safetensors"), &self.saved.identity);
        let references = match reference::load(&path, identity, preferences.len()) {
            Some(kept) => kept,
            None => {
                // all weights have moved already when a run goes on whose file is lost
                let moved = self.done > 0 && self.adapter.is_none();
                let mut base = if moved { Some(open_weights(&self.base.path)?.1) } else { None };
                let lm = base.as_mut().unwrap_or(&mut self.model.lm);
                let part_tokens = self.recipe.steps.part_tokens;
                // as the steps compute, so that rounding is no preference
                let cx = Context::new(self.pool.clone()).with_precision(precision(&self.recipe));
                let Some(found) = reference::compute(&cx, lm, &preferences, part_tokens, stop) else {
                    return Ok(false);
                };
                reference::save(&path, identity, &found)?;
                found
            }
        };
        self.task.set_references(references);
        Ok(true)
    }

    /// Adds to the report of a step what an evaluation after it finds, if it is time for one. One that is stopped says
    /// nothing.
    fn evaluate(&self, stop: &AtomicBool, report: &mut StepReport) {
        let steps = &self.recipe.steps;
        if !self.done.is_multiple_of(steps.evaluate_every) && self.done < self.total_steps() {
            return;
        }
        let cx = Context::new(self.pool.clone());
        let Some(found) = self.task.evaluate(&cx, &self.model.lm, steps.batch, steps.part_tokens, stop)
        else {
            return;
        };
        report.measures.insert("eval_loss".to_owned(), found.loss);
        report
            .measures
            .extend(found.measures.into_iter().map(|(name, value)| (format!("eval_{name}"), value)));
    }

    /// Writes a checkpoint, unless a parameter is no number any more: then the one before is the last good one.
    fn checkpoint(&mut self, cost: Cost) -> Result<(), RunError> {
        let lm = &mut self.model.lm;
        if let Some(fault) = fault::bad_parameter(&self.pool, lm, &self.parameters) {
            let (step, saved) = (self.done, self.saved.step);
            return Err(RunError::NotFinite { step, loss: f64::NAN, fault, saved });
        }
        let progress = Progress { step: self.done, identity: self.saved.identity.clone(), cost };
        let (dir, keep) = (self.recipe.output.join("checkpoints"), self.recipe.steps.keep);
        checkpoint::save(&dir, keep, &progress, lm, &self.parameters, &self.optimizer)?;
        self.saved = progress;
        Ok(())
    }

    /// Writes what was trained: `adapter/` as PEFT does, and merged as well if the recipe says so, or `model/` as a plain
    /// checkpoint; `model.gguf` if it is asked for. Each has its card, and the output that of what came first.
    fn finish(&mut self, metrics: &Metrics) -> Result<PathBuf, RunError> {
        let [adapter_dir, model_dir] = ["adapter", "model"].map(|name| self.recipe.output.join(name));
        let (base, method) = (&self.base.path, &self.recipe.method);
        let file = gguf_type(method.gguf);
        let mut written = Vec::new();
        let mut merged = None;
        if let Some(config) = self.adapter.take() {
            let adapter = Adapter::of(&mut self.model.lm, config);
            adapter.write(&adapter_dir)?;
            written.push((Product::Adapter, adapter_dir));
            if method.merge || file.is_some() {
                // the base may be packed here
                let (_, mut plain) = open_weights(base)?;
                adapter.merge(&mut plain, &self.pool)?;
                merged = Some(plain);
            }
        }
        if method.merge || written.is_empty() {
            write_model(base, merged.as_mut().unwrap_or(&mut self.model.lm), &model_dir)?;
            if self.recipe.objective.kind == ObjectiveKind::Embedding {
                let (tokenizer, hidden) = (&self.model.tokenizer, self.model.lm.config().hidden_size);
                let end = self.model.generation.eos_token_ids.first().copied();
                export::embedding::write(&model_dir, tokenizer, end, hidden, self.recipe.objective.pooling)?;
            }
            written.push((Product::Model, model_dir));
        }
        let files = HashedFile::all(self.task.findings().files.iter().map(PathBuf::as_path))?;
        let card = Card {
            recipe: &self.recipe,
            base: &self.base,
            base_files: &self.base_files,
            files: &files,
            task: &self.task,
            data_hash: &self.data_hash,
            parameters: self.parameters.all().iter().map(|p| p.len()).sum(),
            losses: metrics.losses(),
            evaluation: metrics.evaluation(),
            cost: self.saved.cost,
        };
        let (product, result) = written[0].clone();
        for (product, dir) in written.iter().chain([&(product, self.recipe.output.clone())]) {
            card.write(*product, dir)?;
        }
        if let Some(matrices) = file {
            let provenance = Provenance {
                base: &self.base.name,
                base_url: None,
                license: self.base.license.as_deref(),
                card: &card.text(Product::Gguf),
            };
            let (storage, pool) = (Storage::In(matrices), &self.pool);
            let provenance = Some(provenance);
            let options = Options { storage, adapters: &[], provenance, pool, progress: &mut unheard };
            let plain = merged.as_mut().unwrap_or(&mut self.model.lm);
            gguf::write(plain, Origin::Directory(base), &self.recipe.output.join("model.gguf"), options)?;
        }
        Ok(result)
    }
}

impl RunError {
    /// Says of an output that could not be written what there is to go on from.
    fn of_full_disk(self, saved: usize) -> RunError {
        match self {
            RunError::File(source @ FileError::Write { .. })
            | RunError::Checkpoint(CheckpointError::File(source @ FileError::Write { .. }))
            | RunError::Adapter(AdapterError::File(source @ FileError::Write { .. }))
            | RunError::Export(ExportError::File(source @ FileError::Write { .. })) => {
                RunError::Output { saved, source }
            }
            other => other,
        }
    }
}

/// What moves the parameters. Norms and biases do not decay.
fn optimizer(recipe: &Recipe, parameters: &Parameters) -> Optimizer {
    let o = &recipe.optimizer;
    let adamw =
        AdamW { betas: (o.beta1, o.beta2), eps: o.eps, weight_decay: o.weight_decay, decay_vectors: false };
    match o.kind {
        OptimizerKind::AdamW => Optimizer::new(adamw, parameters),
        OptimizerKind::AdamW8bit => Optimizer::eight_bit(adamw, parameters),
        OptimizerKind::Muon => {
            let muon = Muon { momentum: o.momentum, precision: precision(recipe) };
            Optimizer::muon(muon, adamw, parameters)
        }
    }
}

fn precision(recipe: &Recipe) -> Precision {
    match recipe.method.precision {
        PrecisionKind::Float32 => Precision::Float32,
        PrecisionKind::Bf16 => Precision::Bf16,
    }
}

/// Takes the directory `output` for this process, and removes what one that was killed has left unfinished there.
fn lock(output: &Path) -> Result<File, RunError> {
    create_dir(output)?;
    let path = output.join(".lock");
    let opened = File::options().create(true).append(true).open(&path);
    let file = opened.map_err(|source| FileError::Write { path: path.clone(), source })?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(RunError::Busy(output.to_owned())),
        // a file system without locks
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    for dir in ["", "checkpoints", "adapter", "model"] {
        remove_unfinished(&output.join(dir));
    }
    Ok(file)
}

/// Whether activations are computed again, by the recipe and by the memory that is there.
fn recompute(
    recipe: &Recipe,
    model: &Model,
    parameters: &Parameters,
    optimizer: &Optimizer,
    task: &Task,
) -> Result<bool, TooLittleMemory> {
    let adapter = recipe.method.kind == Kind::Lora;
    let demand = Demand {
        sizes: Sizes::of(model.lm.config()),
        frozen_bytes: if adapter { model.weight_bytes } else { 0 },
        trained: parameters.all().iter().map(|p| p.len() as u64).sum(),
        optimizer_bytes: optimizer.bytes(parameters),
        rank: if adapter { recipe.method.rank as u64 } else { 0 },
        dora: adapter && recipe.method.dora,
        longest: task.longest_part() as u64,
        batch_tokens: task.longest_step(recipe.steps.batch) as u64,
    };
    let asked = match recipe.steps.recompute {
        Recompute::Auto => None,
        Recompute::On => Some(true),
        Recompute::Off => Some(false),
    };
    demand.decide(recipe.steps.part_tokens as u64, asked, machine::available_memory())
}

/// Checks that what is to be written in the end can be.
fn check_result(recipe: &Recipe, base: &Path, model: &mut Model) -> Result<(), RunError> {
    let (method, file) = (&recipe.method, gguf_type(recipe.method.gguf));
    let whole = method.kind == Kind::Full || method.merge || file.is_some();
    if whole && !base.is_dir() {
        return Err(RunError::NoDirectory(base.to_owned()));
    }
    match file {
        Some(matrices) => Ok(gguf::check(&mut model.lm, base, matrices)?),
        None => Ok(()),
    }
}

fn gguf_type(asked: Gguf) -> Option<DType> {
    match asked {
        Gguf::None => None,
        Gguf::F32 => Some(DType::F32),
        Gguf::Bf16 => Some(DType::BF16),
        Gguf::F16 => Some(DType::F16),
        Gguf::Q8_0 => Some(DType::Q8_0),
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
    model.add_transposes(pool);
    let targets = match &m.targets[..] {
        [] => LoraTargets::AllLinear,
        targets => LoraTargets::Suffixes(targets.to_vec()),
    };
    let mut config = AdapterConfig::new(m.rank, m.alpha, m.rslora, m.dropout, &targets.names());
    config.use_dora = m.dora;
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
    // preferences are overlearned at the pace of answers
    let pace = if recipe.objective.kind == ObjectiveKind::Dpo { 0.1 } else { 1.0 };
    Schedule {
        peak: if o.learning_rate > 0.0 { o.learning_rate } else { by_kind * pace },
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

/// What makes a run the same run: the recipe, but for where and how it is done and what is made of the result, the base, and
/// the examples.
fn identity(recipe: &Recipe, base: &Path, base_files: &[HashedFile], data_hash: &str) -> String {
    let mut recipe = recipe.clone();
    recipe.model = base.to_owned();
    (recipe.output, recipe.threads, recipe.method.merge, recipe.method.gguf) =
        (PathBuf::new(), 0, false, Gguf::None);
    let s = &mut recipe.steps;
    (s.keep, s.checkpoint_every, s.evaluate_every, s.recompute) = (1, 1, 1, Recompute::Auto);
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(&recipe).expect("plain values"));
    base_files.iter().for_each(|file| hash.update(&file.sha256));
    hash.update(data_hash);
    card::hex(&hash.finalize())
}

/// SHA-256 of the examples: their tokens, and how much each counts.
fn task_hash(task: &Task) -> String {
    let mut hash = Sha256::new();
    task.hash_into(&mut hash);
    card::hex(&hash.finalize())
}
