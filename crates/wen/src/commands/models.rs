//! `wen models`: the models that are stored on this machine.

mod describe;
mod list;
mod show;

use crate::exit::Usage;
use crate::output::{self, Facts};
use crate::progress::Progress;
use clap::Subcommand;
use hub::source::{HubSource, Settings, Source};
use hub::store::Collected;
use hub::{RefName, Repo, Revision, Store};
use std::time::Duration;

/// What to do with the models that are stored.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Models are kept where WEN_HUB points, else in wen/hub in the user's data directory. WEN_HUB is a \
directory, or a bucket: s3://bucket/prefix.

Examples:
  wen models
  wen models show Qwen/Qwen3-0.6B
  wen models rm Qwen/Qwen3-0.6B"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the models: family, parameters, quantization, size, last use
    List(list::Args),
    /// Show what a model is, and its family tree: what it was made from, how, on which data
    Show(show::Args),
    /// Remove models, and free what no other needs
    Rm(RmArgs),
    /// Free what nothing refers to: content that no commit has, old commits that no branch or tag leads to, and downloads
    /// that were given up
    Gc(GcArgs),
    /// Read everything that is stored and compare it with its digests
    Verify(VerifyArgs),
    /// Give a revision a name of one's own
    Tag(TagArgs),
}

/// Which models.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen models rm Qwen/Qwen3-0.6B
  wen models rm me/notes@v1")]
struct RmArgs {
    /// Models, or branches, tags and pulled commits of them: owner/name, owner/name@revision
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// What is old enough.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen models gc
  wen models gc --older-than 2h")]
struct GcArgs {
    /// Leave alone what is younger: it may belong to a download or an upload under way. As 30m, 2h or 7d
    #[arg(long, value_name = "AGE", default_value = "1d", value_parser = parse_age)]
    older_than: Duration,
}

/// What to do with what is broken.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen models verify
  wen models verify --discard")]
struct VerifyArgs {
    /// Remove content that is broken, so that `wen pull` fetches it again
    #[arg(long)]
    discard: bool,
}

/// Which revision, and its new name.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen models tag me/notes v1
  wen models tag me/notes@0f3a...40 digits stable --force
  wen models tag me/notes v1 --delete")]
struct TagArgs {
    /// The revision: owner/name, owner/name@branch, owner/name@commit
    name: String,
    /// The tag
    tag: String,
    /// Move the tag if it is there already
    #[arg(long, conflicts_with = "delete")]
    force: bool,
    /// Delete the tag
    #[arg(long)]
    delete: bool,
}

/// Content that is younger is not freed after removing a model.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Does it.
pub fn run(args: Args) -> anyhow::Result<()> {
    let store = Store::open(&Store::default_root()?)?;
    match args.command {
        None => list::run(&store, &list::Args::default()),
        Some(Command::List(args)) => list::run(&store, &args),
        Some(Command::Show(args)) => show::run(&store, &args),
        Some(Command::Rm(args)) => remove(&store, &args.names),
        Some(Command::Gc(args)) => Ok(freed(&store.collect(args.older_than)?).print()?),
        Some(Command::Verify(args)) => verify(&store, args.discard),
        Some(Command::Tag(args)) => tag(&store, &args),
    }
}

/// The repository and the revision, if one is named, that somebody calls `name`.
fn named(store: &Store, name: &str) -> anyhow::Result<(Repo, Option<Revision>)> {
    let settings = Settings::read(store.root())?;
    let parsed = HubSource::parse(name, &settings);
    let named = parsed.map(|HubSource { kind, repo: id, revision, .. }| (Repo { kind, id }, revision));
    let is_stored = named.as_ref().is_ok_and(|(repo, _)| store.info(repo).is_ok());
    if !is_stored && let Ok(Source::Path(path)) = Source::parse(name, &settings) {
        let path = path.display();
        return Err(Usage(format!(
            "`{name}` is the path {path}, and no model of the store; `wen inspect {path}` says what it is, `wen push {path} \
             OWNER/NAME --to local` stores it"
        ))
        .into());
    }
    Ok(named?)
}

fn remove(store: &Store, names: &[String]) -> anyhow::Result<()> {
    for name in names {
        let (repo, revision) = named(store, name)?;
        match &revision {
            None => store.remove(&repo)?,
            Some(Revision::Commit(commit)) => store.unpin(&repo, *commit)?,
            Some(Revision::Ref(name)) if store.info(&repo)?.tags.contains_key(name) => {
                store.delete_tag(&repo, name)?;
            }
            Some(Revision::Ref(name)) => store.delete_branch(&repo, name)?,
        }
        output::note(&format!("removed {name}"));
    }
    let collected = store.collect(DAY)?;
    output::note(&format!("freed {}", output::bytes(collected.bytes)));
    Ok(())
}

fn freed(collected: &Collected) -> Facts {
    let mut facts = Facts::default();
    facts.add("freed", output::bytes(collected.bytes));
    facts.add("contents", collected.blobs.to_string());
    facts.add("commits", collected.commits.to_string());
    facts.add("unfinished", collected.unfinished.to_string());
    facts
}

fn verify(store: &Store, discard: bool) -> anyhow::Result<()> {
    let mut bar = None;
    let faults = store.verify(&mut |done, total| {
        bar.get_or_insert_with(|| Progress::bytes("reading what is stored", total)).set(done);
    })?;
    drop(bar);
    for fault in &faults {
        output::line(&fault.to_string())?;
        if let hub::store::Fault::Blob { sha256, .. } = fault
            && discard
            && store.discard_broken(sha256)?
        {
            output::note(&format!("removed {sha256}; `wen pull` fetches it again"));
        }
    }
    match faults.len() {
        0 => {
            output::note("everything is as it was stored");
            Ok(())
        }
        n if discard => anyhow::bail!("{n} faults; `wen pull` the models that are named"),
        n => anyhow::bail!(
            "{n} faults; `wen models verify --discard` removes broken content, `wen pull` fetches it"
        ),
    }
}

fn tag(store: &Store, args: &TagArgs) -> anyhow::Result<()> {
    let (repo, revision) = named(store, &args.name)?;
    let tag: RefName = args.tag.parse()?;
    if args.delete {
        return Ok(store.delete_tag(&repo, &tag)?);
    }
    let commit = store.tag(&repo, &tag, &revision.unwrap_or_else(Revision::main), args.force)?;
    output::note(&format!("{repo}@{tag} is {commit}"));
    Ok(())
}

/// A number and a unit: `90s`, `30m`, `2h`, `7d`.
fn parse_age(text: &str) -> Result<Duration, Usage> {
    const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let wrong = || Usage(format!("`{text}` is no age; write a number and a unit, as 30m, 2h or 7d"));
    let (unit, seconds) = UNITS.into_iter().find(|(unit, _)| text.ends_with(*unit)).ok_or_else(wrong)?;
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("30m", 1_800), ("2h", 7_200), ("7d", 604_800)] {
            assert_eq!(parse_age(text).unwrap().as_secs(), seconds);
        }
        for text in ["", "7", "d", "-1d", "1.5h", "1w", "99999999999999999999d", "18446744073709551615d"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }
}
