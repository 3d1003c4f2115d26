//! `wen pull`: models from hubs.

use crate::exit::Usage;
use crate::obtaining::{self, RemoteArgs};
use crate::output;
use hub::limits::{CONNECTIONS, MAX_CONNECTIONS};
use hub::pull::{PullOptions, find};
use hub::{Settings, Source, Store};

/// What to pull, and how.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Pull a model from a hub into the store, and print where it is.\n\n\
        NAME is owner/name at the hub of the settings, hf:owner/name at Hugging Face (or where HF_ENDPOINT points), \
        ms:owner/name at ModelScope (or where MODELSCOPE_ENDPOINT points), or https://host/owner/name of another Wen. A \
        branch, tag or commit may follow after @, and after : a part of the name of the GGUF file to take.\n\n\
        Only what a model needs is pulled: weights in safetensors or GGUF, settings, tokenizer, card and licence. Pickles \
        and code never are. What was interrupted goes on from where it was.",
    after_help = "Examples:
  wen pull Qwen/Qwen3-0.6B
  wen pull ms:Qwen/Qwen3-8B-GGUF:Q4_K_M
  wen pull hf:Qwen/Qwen3-0.6B@main --include '*.json'
  WEN_TOKEN=sk-... wen pull https://wen.example.com/me/notes --token-env WEN_TOKEN"
)]
pub struct Args {
    /// The model
    name: String,
    /// The files to pull instead of what a model needs; * stands for anything [repeatable]
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Downloads at once
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS as u16,
        value_parser = clap::value_parser!(u16).range(1..=MAX_CONNECTIONS as i64))]
    connections: u16,
    /// Ask no hub; succeed only if the model is here
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Pulls, and writes the path to standard output.
pub fn run(args: Args) -> anyhow::Result<()> {
    let store = Store::open(&Store::default_root()?)?;
    let mut settings = Settings::read(store.root())?;
    let source = match Source::parse(&args.name, &settings)? {
        Source::Hub(source) => source,
        Source::Path(path) => {
            return Err(Usage(format!("{} is on this machine already", path.display())).into());
        }
    };
    settings.offline |= args.offline;
    if settings.offline
        && let Some(found) = find(&store, &source)?
    {
        return Ok(output::line(&found.path.display().to_string())?);
    }
    let remote = args.remote.remote(&source.hub, &settings)?;
    let options = PullOptions {
        include: args.include,
        file: source.file.clone(),
        connections: args.connections.into(),
    };
    let pulled = obtaining::pull(&store, &remote, &source, &options)?;
    // with --include there may be no model in it
    let path = match options.include.is_empty() {
        true => find(&store, &source)?.map_or(pulled.snapshot, |found| found.path),
        false => pulled.snapshot,
    };
    Ok(output::line(&path.display().to_string())?)
}
