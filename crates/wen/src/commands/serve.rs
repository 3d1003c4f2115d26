//! `wen serve`: models over HTTP, and a hub that keeps them.

use crate::exit::{Exit, Usage};
use crate::sizes::{self, SizeArgs, Wishes};
use crate::{builtin, loading, output};
use anyhow::Context;
use clap::ValueEnum;
use engine::{AdapterNameError, EngineOptions, Speculation};
use hub::Store;
use models::model::model_name;
use models::{Model, ModelKind};
use server::{HubOptions, ServedModel, Server, ServerOptions};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Threads for HTTP beside those that compute; a request costs them little.
const HTTP_THREADS: usize = 2;
/// Bytes of a file of keys.
const MAX_KEY_FILE_BYTES: u64 = 1 << 20;

/// What to serve, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen serve
  wen serve --model models/Qwen3-0.6B
  wen serve --model Qwen/Qwen3-0.6B
  wen serve --model qwen=Qwen3-8B-Q4_K_M.gguf --model models/Qwen3-Embedding-0.6B --port 9000
  wen serve --model models/Qwen3-0.6B --adapter sql=out/adapter --adapter-dir adapters
  WEN_API_KEY=sk-secret wen serve --model models/Qwen3-0.6B --host 0.0.0.0
  WEN_API_KEY=sk-secret wen serve --host 0.0.0.0 --no-model --hub /srv/hub    # the hub alone
  HF_ENDPOINT=http://localhost:8000 HF_TOKEN=sk-secret hf upload my-model ./my-model")]
pub struct Args {
    /// A model, and before = the name that requests use [default name: the last part of the path]; several are
    /// allowed, and several names for one path [default: wen-nano, the built-in one]
    #[arg(long = "model", value_name = "[NAME=]MODEL", default_value = builtin::NAME, hide_default_value = true)]
    models: Vec<String>,
    /// Serve no model: be a hub only
    #[arg(long, conflicts_with_all = ["models", "adapters", "adapter_dir", "no_hub"])]
    no_model: bool,
    /// An adapter (a PEFT directory) with its name: requests ask for the model MODEL:NAME. Several are allowed, also in
    /// one batch; MODEL is needed where several are served
    #[arg(long = "adapter", value_name = "[MODEL:]NAME=DIR")]
    adapters: Vec<String>,
    /// Let clients load adapters from this directory, and unload them, while the server runs [default: they can't]
    #[arg(long, value_name = "DIR")]
    adapter_dir: Option<PathBuf>,
    /// The directory whose models and datasets clients of Hugging Face and ModelScope can list, download and upload
    /// [default: the store that `wen models` shows]
    #[arg(long, value_name = "DIR")]
    hub: Option<PathBuf>,
    /// Be no hub
    #[arg(long, conflicts_with_all = ["hub", "hub_public"])]
    no_hub: bool,
    /// Let clients without a key read what is public in the hub, where keys are set
    #[arg(long)]
    hub_public: bool,
    /// The address to listen on; 0.0.0.0 is all of them
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// A key that clients must present; several are allowed
    #[arg(long = "api-key", value_name = "KEY", env = "WEN_API_KEY", hide_env_values = true)]
    api_keys: Vec<String>,
    /// A file with a key on each line
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// A host name, beside IP addresses and localhost, by which clients without a key may address the server
    #[arg(long = "allowed-host", value_name = "NAME")]
    allowed_hosts: Vec<String>,
    /// Tokens that each model's cache holds over all sequences [default: by memory]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    cache_tokens: Option<u32>,
    /// Sequences that run at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_sequences: u16,
    /// Requests that wait; one more is answered 429
    #[arg(long, value_name = "N", default_value_t = 256)]
    queue: u16,
    /// Tokens, of prompts and longest answers, that waiting requests may ask for together; more is answered 429
    /// [default: 16 times the cache]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    queue_tokens: Option<u32>,
    /// How to log to standard error; WEN_LOG sets what: error, warn, info, debug or trace
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: LogFormat,
    #[command(flatten)]
    sizes: SizeArgs,
}

/// How to log.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// A JSON object on each line.
    Json,
}

/// A model and all names it is to be known by.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    path: PathBuf,
    names: Vec<String>,
}

/// Serves until SIGTERM or Ctrl-C, then lets running requests end.
pub fn run(args: Args) -> anyhow::Result<()> {
    start_log(args.log)?;
    let listen = resolve(&args.host, args.port)?;
    let keys = keys(&args)?;
    let mut named = if args.no_model { Vec::new() } else { named_models(&args.models)? };
    for model in &mut named {
        model.path = loading::locate(&model.path)?;
    }
    let is_open = !listen.ip().is_loopback() && keys.is_empty();
    let hub = open_hub(&args, is_open)?;
    let pool = Arc::new(kernels::Pool::new(args.sizes.threads()));
    let open = |named: &Named| loading::pack(loading::open(&named.path)?, &args.sizes, &pool);
    let models = named.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    let draft = loading::open_draft(&args.sizes, &pool)?;
    let served = start_engines(&args, named, &models, draft.as_ref(), &pool)?;
    load_adapters(&args.adapters, &served)?;
    if is_open {
        tracing::warn!("{} can be reached from outside and asks for no key; set --api-key", listen.ip());
    }
    let mut options = ServerOptions::new(listen, served.clone());
    options.api_keys = keys;
    options.allowed_hosts = args.allowed_hosts;
    options.adapter_dir = args.adapter_dir;
    options.hub = hub.clone();
    let with_key = !options.api_keys.is_empty();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(HTTP_THREADS).enable_all().build()?;
    runtime.block_on(async {
        let server = Server::bind(options).await?;
        models.iter().chain(&draft).for_each(|model| loading::warm_up(model));
        let shutdown = shutdown()?;
        // whoever started it may not listen any more; it serves all the same
        let _ = output::line(&banner(server.local_addr(), &served, hub.as_ref(), with_key));
        server.run(shutdown).await?;
        tracing::info!("stopped");
        Ok(())
    })
}

/// The hub to be: none where the default store cannot be, or would be open to anybody, and nobody has asked for it.
fn open_hub(args: &Args, is_open: bool) -> anyhow::Result<Option<HubOptions>> {
    if args.no_hub {
        return Ok(None);
    }
    let is_asked = args.hub.is_some() || args.hub_public || args.no_model;
    if is_open {
        let why = "without a key anybody who reaches it could replace and delete models";
        if is_asked {
            let remedy = "set --api-key, or listen on 127.0.0.1";
            return Err(Usage(format!("a hub on {} needs keys: {why}; {remedy}", args.host)).into());
        }
        tracing::warn!("this is no hub: {why}; set --api-key for one");
        return Ok(None);
    }
    let opened = match &args.hub {
        Some(root) => Store::open(root),
        None => Store::default_root().and_then(|root| Store::open(&root)),
    };
    match opened {
        Ok(store) => Ok(Some(HubOptions { store, anonymous: args.hub_public })),
        Err(error) if is_asked => Err(error.into()),
        Err(error) => {
            tracing::warn!("this is no hub: {error}");
            Ok(None)
        }
    }
}

fn start_log(format: LogFormat) -> anyhow::Result<()> {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .with_env_var("WEN_LOG")
        .from_env()
        .map_err(|error| Usage(format!("WEN_LOG: {error}")))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, Usage> {
    let unknown =
        |why: &dyn std::fmt::Display| Usage(format!("--host {host} is no address of this machine: {why}"));
    let mut addresses = (host, port).to_socket_addrs().map_err(|error| unknown(&error))?;
    addresses.next().ok_or_else(|| unknown(&"it has none"))
}

fn keys(args: &Args) -> anyhow::Result<Vec<String>> {
    let mut keys = args.api_keys.clone();
    if let Some(path) = &args.api_key_file {
        let text =
            read_key_file(path).with_context(|| format!("cannot read the keys in {}", path.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let before = keys.len();
        keys.extend(lines.map(str::to_owned));
        if keys.len() == before {
            return Err(Usage(format!("{} holds no key", path.display())).into());
        }
    }
    Ok(keys)
}

fn read_key_file(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The models that `--model` asks for; names of one path come together, so that it is loaded once.
fn named_models(args: &[String]) -> Result<Vec<Named>, Usage> {
    let mut models: Vec<Named> = Vec::new();
    for arg in args {
        let (name, path) = match arg.split_once('=') {
            // a path that has an = in it
            _ if Path::new(arg).exists() => (None, Path::new(arg)),
            Some((name, path)) if !name.is_empty() => (Some(name), Path::new(path)),
            Some(_) => return Err(Usage(format!("--model {arg}: the name before = is empty"))),
            None => (None, Path::new(arg)),
        };
        let name = name.map_or_else(|| usual_name(path), str::to_owned);
        let path = same_path(path);
        match models.iter_mut().find(|model| model.path == path) {
            Some(model) => model.names.push(name),
            None => models.push(Named { path, names: vec![name] }),
        }
    }
    Ok(models)
}

/// What a model is called by requests when nobody says: as its directory, its file or its repository is.
fn usual_name(path: &Path) -> String {
    let name = model_name(path);
    match path.exists() {
        true => name,
        // a revision and a part of a file's name may follow
        false => name.split(['@', ':']).next().unwrap_or_default().to_owned(),
    }
}

/// The one path of all that lead to the same place. A file keeps its name: in a snapshot of the store it is a link to what
/// is called by its digest.
fn same_path(path: &Path) -> PathBuf {
    let same = match (path.is_file(), path.parent(), path.file_name()) {
        (true, Some(dir), Some(name)) if dir != Path::new("") => dir.canonicalize().map(|dir| dir.join(name)),
        (true, _, Some(name)) => Path::new(".").canonicalize().map(|dir| dir.join(name)),
        _ => path.canonicalize(),
    };
    same.unwrap_or_else(|_| path.to_owned())
}

fn start_engines(
    args: &Args,
    named: Vec<Named>,
    models: &[Arc<Model>],
    draft: Option<&Arc<Model>>,
    pool: &Arc<kernels::Pool>,
) -> anyhow::Result<Vec<ServedModel>> {
    let all: Vec<&Model> = models.iter().map(Arc::as_ref).collect();
    let memory = sizes::cache_memory(&all, draft.map(Arc::as_ref));
    let wishes = Wishes {
        cache_tokens: args.cache_tokens.map(|tokens| tokens as usize),
        max_sequences: args.max_sequences.into(),
        max_waiting: args.queue.into(),
        max_waiting_tokens: args.queue_tokens.map(|tokens| tokens as usize),
        memory,
    };
    let start = |(named, model): (Named, &Arc<Model>)| {
        // vectors and scores take no guesses, and guesses have to come quicker than what they are for
        let draft = draft.filter(|d| model.kind == ModelKind::Generate && model.parameters > d.parameters);
        let options = sizes::engine_options(model, draft, &args.sizes, wishes)?;
        let mut names = named.names.into_iter();
        Ok(ServedModel {
            id: names.next().unwrap_or_default(),
            engine: loading::start(model.clone(), pool.clone(), options)?,
            aliases: names.collect(),
        })
    };
    named.into_iter().zip(models).map(start).collect()
}

/// Loads the adapters that `--adapter` asks for.
fn load_adapters(adapters: &[String], served: &[ServedModel]) -> anyhow::Result<()> {
    for arg in adapters {
        let wrong = |why: &dyn std::fmt::Display| Usage(format!("--adapter {arg}: {why}"));
        let (name, dir) = arg.split_once('=').ok_or_else(|| wrong(&"give it as NAME=DIR"))?;
        let (model, name) = match (name.rsplit_once(':'), served) {
            (Some((model, name)), _) => {
                let has_name = |s: &&ServedModel| s.id == model || s.aliases.iter().any(|a| a == model);
                let found = served.iter().find(has_name);
                (found.ok_or_else(|| wrong(&format!("no model is served as `{model}`")))?, name)
            }
            (None, [only]) => (only, name),
            (None, _) => {
                return Err(wrong(&"several models are served; say which one as MODEL:NAME=DIR").into());
            }
        };
        let name = name.parse().map_err(|error: AdapterNameError| wrong(&error))?;
        loading::adapter(&model.engine, name, Path::new(dir))?;
    }
    Ok(())
}

/// Resolves at SIGTERM or Ctrl-C. From then on, another one ends the program at once.
fn shutdown() -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: running requests may end; the next signal cuts them off");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(Exit::Interrupted.code().into());
        });
    })
}

/// What is served where, and a command to try it.
fn banner(address: SocketAddr, served: &[ServedModel], hub: Option<&HubOptions>, with_key: bool) -> String {
    let mut text = format!("wen {} listens on http://{address}\n", env!("CARGO_PKG_VERSION"));
    for model in served {
        let names: Vec<&str> = std::iter::once(&model.id).chain(&model.aliases).map(String::as_str).collect();
        text.push_str(&format!(
            "  {}: {}\n",
            names.join(", "),
            sizes_line(model.engine.model(), model.engine.options())
        ));
        for adapter in model.engine.adapters() {
            let (rank, bytes) = (adapter.rank(), output::bytes(adapter.bytes() as u64));
            text.push_str(&format!(
                "  {}:{}: an adapter of rank {rank}, {bytes}\n",
                model.id,
                adapter.name()
            ));
        }
    }
    if let Some(hub) = hub {
        text.push_str(&format!("  a hub of what is in {}\n", hub.store.root().display()));
    }
    if let Some(model) = served.first() {
        let key = if with_key { " \\\n    -H \"Authorization: Bearer $WEN_API_KEY\"" } else { "" };
        let (path, body) = example(model.engine.model().kind, &model.id);
        text.push_str(&format!(
            "try:\n  curl http://{address}{path} -H 'Content-Type: application/json'{key} \\\n    -d '{body}'"
        ));
    } else {
        let key = if with_key { " HF_TOKEN=$WEN_API_KEY" } else { "" };
        text.push_str(&format!("try:\n  HF_ENDPOINT=http://{address}{key} hf upload my-model DIR"));
    }
    text
}

fn sizes_line(model: &Model, options: &EngineOptions) -> String {
    let draft = match &options.speculation {
        Speculation::Draft(draft) => Some(draft.as_ref()),
        Speculation::Lookup | Speculation::Off => None,
    };
    let per_token = sizes::cache_bytes_per_token(model, draft, options.cache_dtype);
    let cache_bytes = per_token.unwrap_or(usize::MAX).saturating_mul(options.cache_tokens) as u64;
    let guesses = draft.map_or_else(String::new, |draft| {
        format!("; guesses by a draft of {} parameters", output::count(draft.parameters))
    });
    format!(
        "{}, {} parameters, weights {}; context {} tokens; cache {} tokens, up to {} in {}{guesses}",
        model.lm.config().architecture,
        output::count(model.parameters),
        output::bytes(model.weight_bytes),
        output::thousands(options.context_length as u64),
        output::thousands(options.cache_tokens as u64),
        output::bytes(cache_bytes),
        options.cache_dtype.name(),
    )
}

/// A path and a body to try a model with.
fn example(kind: ModelKind, name: &str) -> (&'static str, serde_json::Value) {
    use serde_json::json;
    match kind {
        ModelKind::Generate => {
            let messages = json!([{"role": "user", "content": "Hello"}]);
            ("/v1/chat/completions", json!({"model": name, "messages": messages}))
        }
        ModelKind::Embed => ("/v1/embeddings", json!({"model": name, "input": "Hello"})),
        ModelKind::Rerank => {
            ("/v1/rerank", json!({"model": name, "query": "river", "documents": ["a stone", "the Yangtze"]}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_path_share_its_model() {
        let args = ["qwen-plus=/x/m", "/x/m", "other=/x/n"].map(str::to_owned);
        let expected = [
            Named { path: "/x/m".into(), names: vec!["qwen-plus".to_owned(), "m".to_owned()] },
            Named { path: "/x/n".into(), names: vec!["other".to_owned()] },
        ];
        assert_eq!(named_models(&args).unwrap(), expected);
        assert!(named_models(&["=/x/m".to_owned()]).is_err());
    }
}
