//! `wen push`: models to hubs, and into the store.

use crate::exit::Usage;
use crate::obtaining::{RemoteArgs, interruptible, note_left_out};
use crate::output;
use crate::progress::Progress;
use hub::lineage::is_gguf;
use hub::push::{self, Load, PushOptions};
use hub::source::HubSource;
use hub::{Hub, RefName, Repo, Revision, Settings, Source, Store};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What to push where.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Push a directory, a GGUF file, or a model of the store, to a hub that speaks Hugging Face's protocol \
        (another Wen, Hugging Face itself), or into the store.\n\n\
        The repository is made if it isn't there, for its owner alone unless --public. The card of a training run becomes \
        the model card; it gets the licence of its base if the store has that. A GGUF file goes with the card inside it, or else \
        with the model card beside it, if it is the only GGUF file there. Pickles, code and hidden files stay here.",
    after_help = "Examples:
  wen push out/adapter me/notes --to local
  wen push out/model hf:me/notes --public
  wen push out/model.gguf me/notes-gguf --to local
  WEN_TOKEN=sk-... wen push me/notes https://wen.example.com/team/notes --token-env WEN_TOKEN"
)]
pub struct Args {
    /// A directory, a GGUF file, or the name of a model of the store
    what: PathBuf,
    /// What it is to be called: owner/name, hf:owner/name, https://host/owner/name
    name: String,
    /// Where to: local (the store), hf, or the URL of a hub [default: what NAME says]
    #[arg(long, value_name = "HUB")]
    to: Option<String>,
    /// Let everybody see a repository that is made for it
    #[arg(long)]
    public: bool,
    /// The branch [default: main, or what stands after @ in NAME]
    #[arg(long, value_name = "NAME")]
    branch: Option<RefName>,
    /// What changed
    #[arg(long, value_name = "TEXT", default_value = "Upload with wen push")]
    message: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Where to push.
enum Target {
    Store,
    Hub(Hub),
}

/// Pushes, and writes to standard output where it is.
pub fn run(args: Args) -> anyhow::Result<()> {
    let store = Store::open(&Store::default_root()?)?;
    let settings = Settings::read(store.root())?;
    let named = HubSource::parse(&args.name, &settings)?;
    let target = target(&args, &named)?;
    let repo = Repo { kind: named.kind, id: named.repo.clone() };
    let load = load(&store, &settings, &args.what, &repo)?;
    note_left_out(&load.left_out);
    let options =
        PushOptions { private: !args.public, branch: branch(&args, &named)?, message: args.message.clone() };
    let hub = match target {
        Target::Store => {
            let commit = push::push_local(&store, &repo, &load, &options)?;
            return Ok(output::line(&format!("{repo}@{}", commit.id))?);
        }
        Target::Hub(hub) => hub,
    };
    let remote = args.remote.remote(&hub, &settings)?;
    output::note(&format!(
        "pushing {repo} to {}: {} files, {}",
        remote.name(),
        load.files.len(),
        output::bytes(load.bytes())
    ));
    let bar = OnceLock::new();
    let tell = |done, total| bar.get_or_init(|| Progress::transfer("pushing", total, done)).set(done);
    let pushed = interruptible(async { Ok(push::push(&remote, &repo, &load, &options, &tell).await?) });
    drop(bar);
    let pushed = pushed?;
    Ok(output::line(&pushed.url.unwrap_or_else(|| format!("{}/{repo}@{}", remote.name(), pushed.commit)))?)
}

fn target(args: &Args, named: &HubSource) -> Result<Target, Usage> {
    let to = match &args.to {
        Some(to) if to == "local" => None,
        Some(to) => Some(to.parse::<Hub>().map_err(|error| Usage(format!("--to {to}: {error}")))?),
        None if named.hub_was_named => return Ok(Target::Hub(named.hub.clone())),
        // what is pushed to a place that nobody named may be seen by whom nobody meant
        None => return Err(Usage(format!("say where to: --to local, --to hf, or hf:{}", named.repo))),
    };
    match to {
        Some(hub) if named.hub_was_named && hub != named.hub => {
            Err(Usage(format!("--to says {hub}, and the name says {}", named.hub)))
        }
        None if named.hub_was_named => {
            Err(Usage(format!("--to says local, and the name says {}", named.hub)))
        }
        to => Ok(to.map_or(Target::Store, Target::Hub)),
    }
}

fn branch(args: &Args, named: &HubSource) -> Result<RefName, Usage> {
    match (&args.branch, &named.revision) {
        (Some(branch), None) => Ok(branch.clone()),
        (None, Some(Revision::Ref(branch))) => Ok(branch.clone()),
        (None, None) => Ok(RefName::main()),
        _ => Err(Usage("commits are added to a branch; name one, and once".to_owned())),
    }
}

/// The files of a model of the store, or those at a path with its card.
fn load(store: &Store, settings: &Settings, what: &Path, repo: &Repo) -> anyhow::Result<Load> {
    let source = match what.to_str() {
        Some(text) => Source::parse(text, settings)?,
        None => Source::Path(what.to_owned()),
    };
    let path = match source {
        Source::Path(path) => path,
        Source::Hub(HubSource { kind, repo: id, revision, .. }) => {
            let repo = Repo { kind, id };
            let commit = match revision {
                Some(revision) => store.resolve(&repo, &revision)?,
                None => store.head(&repo)?,
            };
            return Ok(Load::of_commit(store, &commit)?);
        }
    };
    let mut load = if path.is_dir() {
        Load::of_directory(&path)?
    } else if is_gguf(&path) {
        Load::of_file(&path)?
    } else {
        return Err(Usage(format!("{} is neither a directory nor a GGUF file", path.display())).into());
    };
    if let Some(card) = push::card(&path, &repo.id, Some(store)) {
        load.set_card("README.md".parse()?, card);
    }
    Ok(load)
}
