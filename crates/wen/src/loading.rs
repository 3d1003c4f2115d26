//! From a path to a model, and to an engine that runs it.

use crate::progress::Progress;
use crate::sizes::SizeArgs;
use crate::{builtin, obtaining};
use anyhow::Context;
use engine::{AdapterName, Engine, EngineOptions, LoadedAdapter};
use hub::source::SourceError;
use hub::{Settings, Source, Store};
use kernels::Pool;
use models::{Adapter, Model, ModelKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A path at which nothing is.
#[derive(Debug, thiserror::Error)]
#[error("there is no file or directory {}, nor is it the name of a model (owner/name)", .0.display())]
pub struct NoSuchModel(pub PathBuf);

/// A model that cannot hold a conversation.
#[derive(Debug, thiserror::Error)]
#[error("{} {why}", .path.display())]
pub struct NotForChat {
    /// The model.
    pub path: PathBuf,
    /// What it is instead.
    pub why: &'static str,
}

/// Where the model is that a person calls `name`: a path, an alias, the built-in model, or one of a hub, which is pulled first
/// if the store doesn't have it.
pub fn locate(name: &Path) -> anyhow::Result<PathBuf> {
    if name.exists() {
        return Ok(name.to_owned());
    }
    let no_such = || NoSuchModel(name.to_owned());
    let text = name.to_str().ok_or_else(no_such)?;
    let settings = Settings::read(&Store::directory(&Store::default_root()?)?)?;
    match Source::parse(text, &settings) {
        Ok(Source::Path(path)) => Ok(path),
        Ok(Source::Hub(source)) => Ok(obtaining::obtain(&source, &settings)?.path),
        // also where an alias stands for it
        Err(SourceError::Name { text: meaning, .. }) if meaning == builtin::NAME => builtin::file(),
        Err(SourceError::NoPath(_)) => Err(no_such().into()),
        Err(SourceError::Name { .. }) if !text.starts_with("hf:") && !text.starts_with("ms:") => {
            Err(no_such().into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens the model that a person calls `name`. Its weights are mapped and not yet read.
pub fn open(name: &Path) -> anyhow::Result<Model> {
    let path = &locate(name)?;
    let _progress = Progress::spinner(format!("opening {}", path.display()));
    let model = Model::open(path).with_context(|| cannot_load(path))?;
    Ok(model)
}

/// Opens the model at `path`, which has to be one that can hold a conversation.
pub fn open_for_chat(path: &Path) -> anyhow::Result<Model> {
    let model = open(path)?;
    let why = match (model.kind, &model.chat_template) {
        (ModelKind::Embed, _) => "makes embeddings; it does not chat",
        (_, None) => "has no chat template, so it does not know conversations",
        _ => return Ok(model),
    };
    Err(NotForChat { path: path.to_owned(), why }.into())
}

/// The head of an error about the model at `path`.
pub fn cannot_load(path: &Path) -> String {
    format!("cannot load the model {}", path.display())
}

/// Makes an opened model ready to compute: its weights are packed as `args` ask for it.
pub fn pack(mut model: Model, args: &SizeArgs, pool: &Pool) -> anyhow::Result<Arc<Model>> {
    let mut progress = None;
    let mut tell = |done, total| {
        progress.get_or_insert_with(|| Progress::bytes("packing weights", total)).set(done);
    };
    model.pack(args.quantize.quantization(), pool, &mut tell)?;
    Ok(Arc::new(model))
}

/// Opens the model that guesses tokens for others, if `args` name one, and makes it ready to compute.
pub fn open_draft(args: &SizeArgs, pool: &Pool) -> anyhow::Result<Option<Arc<Model>>> {
    args.draft.as_deref().map(|path| pack(open(path)?, args, pool)).transpose()
}

/// Reads the weights into memory, so that the first request does not wait for the disk.
pub fn warm_up(model: &Model) {
    let progress = Progress::bytes("reading weights", model.weight_bytes);
    model.warm_up(|done, _| progress.set(done));
}

/// Starts an engine for `model` that computes on `pool`.
pub fn start(model: Arc<Model>, pool: Arc<Pool>, options: EngineOptions) -> anyhow::Result<Engine> {
    Ok(Engine::start(model, pool, options)?)
}

/// Loads the adapter that a person calls `dir`, a PEFT directory or one of a hub, beside the engine's model.
pub fn adapter(engine: &Engine, name: AdapterName, dir: &Path) -> anyhow::Result<LoadedAdapter> {
    let dir = &locate(dir)?;
    let failed = || format!("cannot load the adapter {}", dir.display());
    let adapter = Adapter::read_limited(dir, engine.adapter_file_bytes()).with_context(failed)?;
    engine.load_adapter(name, &adapter, false).with_context(failed)
}
