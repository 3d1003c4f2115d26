//! What all requests share.

use crate::auth::Access;
use crate::error::{ApiError, quoted};
use crate::hub::Hub;
use crate::lifecycle::Lifecycle;
use crate::limits::MAX_NAMES_IN_MESSAGE;
use crate::metrics::Metrics;
use crate::options::{Limits, ServedModel, ServerOptions, Timeouts};
use crate::server::ServerError;
use engine::{Engine, Grammars, LoadedAdapter};
use models::chat::RenderInput;
use models::{Model, ModelKind, Tokenizer};
use serde_json::json;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

/// What all requests share.
pub struct App {
    /// Models by id and alias.
    models: HashMap<String, Arc<Served>>,
    /// Models in the order of the options.
    pub listed: Vec<Arc<Served>>,
    /// Who may ask.
    pub access: Arc<Access>,
    /// How long anything may take.
    pub timeouts: Timeouts,
    /// How much there may be of anything.
    pub limits: Limits,
    /// Where adapters are loaded from at run time, without links in its path; `None`: they are not.
    pub adapter_dir: Option<PathBuf>,
    /// The model hub, when it is one.
    pub hub: Option<Arc<Hub>>,
    /// Serving or draining, and what runs.
    pub lifecycle: Lifecycle,
    /// Counters and histograms.
    pub metrics: Metrics,
    /// When the server started, in seconds since 1970.
    pub started: u64,
    /// Slots for work that is heavy before the engine sees it: templates, tokenizing, grammars.
    preparing: Arc<Semaphore>,
}

/// A model that is served, as it is or beside an adapter, with what its requests need beside the engine.
#[derive(Clone)]
pub struct Served {
    /// The name in answers.
    pub id: String,
    /// The id of the model without the adapter, when there is one.
    pub parent: Option<String>,
    /// The adapter that requests go through.
    pub adapter: Option<LoadedAdapter>,
    /// What runs it.
    pub engine: Engine,
    /// Compiles constraints; absent from models without an end token, which could not end a constrained answer.
    pub grammars: Option<Arc<Grammars>>,
    /// Whether and how it thinks.
    pub thinking: ThinkingSupport,
    /// Tokens that its tokenizer puts before every text (`<s>` of Llama; nothing for Qwen).
    pub text_prefix: Vec<u32>,
}

/// Whether a model reasons before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingSupport {
    /// It does not.
    No,
    /// The template's `enable_thinking` says.
    Switch,
    /// The template always opens `<think>`.
    Always,
}

impl App {
    /// Checks that the options are consistent and prepares the models.
    pub fn new(options: ServerOptions) -> Result<App, ServerError> {
        let mut models = HashMap::new();
        let mut listed = Vec::new();
        for model in options.models {
            let names: Vec<String> = std::iter::once(&model.id).chain(&model.aliases).cloned().collect();
            let served = Arc::new(Served::new(model));
            for name in names {
                if name.is_empty() {
                    return Err(ServerError::Options("a model's name is empty".to_owned()));
                }
                if models.insert(name.clone(), served.clone()).is_some() {
                    return Err(ServerError::Options(format!("two models are named `{name}`; rename one")));
                }
            }
            listed.push(served);
        }
        if listed.is_empty() && options.hub.is_none() {
            return Err(ServerError::Options("neither a model to serve nor a hub to be".to_owned()));
        }
        if options.api_keys.iter().any(|key| key.trim().is_empty()) {
            return Err(ServerError::Options("an API key is empty".to_owned()));
        }
        let adapter_dir = options.adapter_dir.map(|dir| match dir.canonicalize() {
            Ok(found) if found.is_dir() => Ok(found),
            _ => Err(ServerError::Options(format!("the adapter directory {} is not there", dir.display()))),
        });
        let access = Arc::new(Access::new(&options.api_keys, &options.allowed_hosts));
        let hub = options.hub.map(|hub| {
            let (access, timeouts) = (access.clone(), options.timeouts.clone());
            Arc::new(Hub::new(hub, access, timeouts, options.limits.body_bytes))
        });
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Ok(App {
            access,
            hub,
            metrics: Metrics::new(&listed),
            models,
            listed,
            timeouts: options.timeouts,
            limits: options.limits,
            adapter_dir: adapter_dir.transpose()?,
            lifecycle: Lifecycle::default(),
            started: unix_seconds(),
            preparing: Arc::new(Semaphore::new(cores)),
        })
    }

    /// The model that a request names: by its id or an alias, as `model:adapter`, or by an adapter's name alone, as vLLM's
    /// clients do, where only one model has it.
    pub fn model(&self, name: &str) -> Result<Arc<Served>, ApiError> {
        let found = self.models.get(name).cloned().or_else(|| self.adapted(name).map(Arc::new));
        found.ok_or_else(|| ApiError::UnknownModel { model: quoted(name), known: self.known() })
    }

    fn adapted(&self, name: &str) -> Option<Served> {
        if let Some((model, adapter)) = name.rsplit_once(':') {
            return self.models.get(model)?.beside(adapter);
        }
        let mut found = self.listed.iter().filter_map(|served| served.beside(name));
        let one = found.next()?;
        found.next().is_none().then_some(one)
    }

    /// The names there are, for a message.
    fn known(&self) -> String {
        let names: Vec<String> = self.listed.iter().flat_map(|served| served.all()).map(|s| s.id).collect();
        if names.is_empty() {
            return "none".to_owned();
        }
        let first = names[..names.len().min(MAX_NAMES_IN_MESSAGE)].join(", ");
        match names.len() - names.len().min(MAX_NAMES_IN_MESSAGE) {
            0 => first,
            more => format!("{first} and {more} more, which GET /v1/models lists"),
        }
    }

    /// Runs heavy work off the async threads, no more of it at once than there are cores. The work goes on when the
    /// caller has left, and keeps its slot.
    pub async fn prepare<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let slot = self.preparing.clone().acquire_owned().await.map_err(ApiError::internal)?;
        let work = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        work.await.map_err(ApiError::internal)?
    }
}

/// The time in seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Served {
    fn new(served: ServedModel) -> Served {
        let model = served.engine.model().clone();
        let eos = model.generation.eos_token_ids.first().copied();
        let vocab_size = model.lm.config().vocab_size;
        Served {
            id: served.id,
            parent: None,
            adapter: None,
            grammars: eos.map(|eos| Arc::new(Grammars::new(model.tokenizer.clone(), vocab_size, eos))),
            thinking: ThinkingSupport::of(&model),
            text_prefix: text_prefix(&model.tokenizer),
            engine: served.engine,
        }
    }

    /// This model beside the adapter of that name.
    pub fn beside(&self, adapter: &str) -> Option<Served> {
        let adapter = self.engine.adapter(adapter)?;
        Some(Served {
            id: format!("{}:{}", self.id, adapter.name()),
            parent: Some(self.id.clone()),
            adapter: Some(adapter),
            ..self.clone()
        })
    }

    /// The model as it is, and beside each of its adapters.
    pub fn all(&self) -> impl Iterator<Item = Served> {
        let adapters = self.engine.adapters();
        let beside = move |adapter: LoadedAdapter| self.beside(adapter.name().as_str());
        std::iter::once(self.clone()).chain(adapters.into_iter().filter_map(beside))
    }

    /// The id of the model itself.
    pub fn base_id(&self) -> &str {
        self.parent.as_deref().unwrap_or(&self.id)
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        self.engine.model()
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.engine.model().tokenizer
    }

    /// Refuses a request that needs another kind of model. `param` is `model`'s field.
    pub fn must_be(&self, kinds: &[ModelKind], to: &str) -> Result<(), ApiError> {
        let kind = self.model().kind;
        if kinds.contains(&kind) {
            return Ok(());
        }
        let is = match kind {
            ModelKind::Generate => "generates text",
            ModelKind::Embed => "makes embeddings",
            ModelKind::Rerank => "ranks documents",
        };
        Err(ApiError::invalid("model", format!("`{}` {is}; it does not {to}", self.id)))
    }
}

impl ThinkingSupport {
    fn of(model: &Model) -> ThinkingSupport {
        let Some(template) = &model.chat_template else { return ThinkingSupport::No };
        if template.reads("enable_thinking") {
            return ThinkingSupport::Switch;
        }
        let probe = RenderInput {
            messages: vec![json!({"role": "user", "content": "?"})],
            add_generation_prompt: true,
            ..RenderInput::default()
        };
        match template.render(&probe) {
            Ok(prompt) if prompt.trim_end().ends_with("<think>") => ThinkingSupport::Always,
            _ => ThinkingSupport::No,
        }
    }
}

/// What the tokenizer puts before a text, found by comparing a text with and without it.
fn text_prefix(tokenizer: &Tokenizer) -> Vec<u32> {
    const PROBE: &str = "a";
    let (plain, wrapped) = (tokenizer.encode_text(PROBE), tokenizer.encode_wrapped(PROBE));
    let start = wrapped.windows(plain.len().max(1)).position(|window| window == plain);
    wrapped[..start.unwrap_or(0)].to_vec()
}
