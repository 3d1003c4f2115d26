//! From a hub to this machine: what `wen pull` does, and every command that is given the name of a model that isn't here.

use crate::exit::{Interrupted, Usage};
use crate::output;
use crate::progress::Progress;
use hub::pull::{Found, LeftOut, Plan, PullError, PullOptions, Pulled, find};
use hub::remote::{Remote, RemoteOptions};
use hub::source::HubSource;
use hub::{FilePath, Hub, Repo, Settings, Store};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

/// Threads that wait for the network. What is written to the disk has its own.
const NETWORK_THREADS: usize = 2;
/// Files that are named of each kind that is left out.
const NAMED_FILES: usize = 3;

/// How to ask a hub.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RemoteArgs {
    /// The environment variable with the token for the hub [default: HF_TOKEN, MODELSCOPE_API_TOKEN for ModelScope, and
    /// for others what [tokens] in settings.toml names]
    #[arg(long, value_name = "VARIABLE")]
    token_env: Option<String>,
    /// Seconds that a hub may be silent [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: Option<u32>,
}

impl RemoteArgs {
    /// The hub, ready to be asked.
    pub fn remote(&self, hub: &Hub, settings: &Settings) -> anyhow::Result<Remote> {
        let named = |name: &String| match std::env::var(name) {
            Ok(token) if !token.is_empty() => Ok(token),
            _ => Err(Usage(format!("--token-env {name}: there is no such variable, or nothing in it"))),
        };
        let usual = || {
            settings
                .token_variable(hub)
                .and_then(|name| std::env::var(name).ok())
                .filter(|token| !token.is_empty())
        };
        let token = self.token_env.as_ref().map(named).transpose()?.or_else(usual);
        let mut options = RemoteOptions {
            token: token.map(|token| token.trim().to_owned()),
            offline: settings.offline,
            ..Default::default()
        };
        if let Some(seconds) = self.timeout {
            options.stall_timeout = Duration::from_secs(seconds.into());
        }
        Ok(Remote::new(hub, options).map_err(PullError::from)?)
    }
}

/// The model that `source` names: from the store if it is there, else pulled first.
pub fn obtain(source: &HubSource, settings: &Settings) -> anyhow::Result<Found> {
    let store = Store::open(&Store::default_root()?)?;
    if let Some(found) = find(&store, source)? {
        let weights = [".safetensors", ".gguf"];
        let is_weights = |path: &FilePath| weights.iter().any(|ending| path.as_str().ends_with(ending));
        if found.commit.upstream.is_some() && !found.commit.files.keys().any(is_weights) {
            output::note(&format!("only a part of {0} is here; `wen pull {0}` gets the rest", source.repo));
        }
        return Ok(found);
    }
    output::note(&format!("{} is not here yet", source.repo));
    let remote = RemoteArgs::default().remote(&source.hub, settings)?;
    let options = PullOptions { file: source.file.clone(), ..PullOptions::default() };
    pull(&store, &remote, source, &options)?;
    // what was pulled is there, unless somebody removed it meanwhile
    find(&store, source)?.ok_or_else(|| anyhow::anyhow!("{} was pulled and removed meanwhile", source.repo))
}

/// Pulls, and tells on standard error what and how far.
pub fn pull(
    store: &Store,
    remote: &Remote,
    source: &HubSource,
    options: &PullOptions,
) -> anyhow::Result<Pulled> {
    let repo = Repo { kind: source.kind, id: source.repo.clone() };
    let bar = OnceLock::new();
    let tell = |done, total| bar.get_or_init(|| Progress::transfer("pulling", total, done)).set(done);
    let pulled = interruptible(async {
        let plan = Plan::make(remote, &repo, source.revision.as_ref(), options).await?;
        output::note(&format!(
            "pulling {repo} from {}: {} files, {}",
            remote.name(),
            plan.choice().files.len(),
            output::bytes(plan.bytes()),
        ));
        note_left_out(&plan.choice().left_out);
        Ok(plan.run(store, remote, &tell).await?)
    });
    drop(bar);
    if let Ok(pulled) = &pulled {
        output::note(&format!(
            "{repo} is at {}; {} were downloaded",
            pulled.commit.id,
            output::bytes(pulled.downloaded)
        ));
    }
    pulled
}

/// Does what waits for the network; Ctrl-C ends it early. What has come until then is kept.
pub fn interruptible<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(NETWORK_THREADS).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            done = work => done,
            _ = tokio::signal::ctrl_c() => Err(Interrupted.into()),
        }
    })
}

/// Says which files stay where they are, by why they do.
pub fn note_left_out(left_out: &[LeftOut]) {
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for file in left_out {
        reasons.entry(file.why.to_string()).or_default().push(&file.path);
    }
    for (why, files) in reasons {
        let more = files.len().saturating_sub(NAMED_FILES);
        let named = files[..files.len() - more].join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        output::note(&format!("  left out ({why}): {named}{more}"));
    }
}
