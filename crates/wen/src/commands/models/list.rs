//! `wen models list`.

use super::describe::{Description, ago};
use crate::output::{self, Table};
use hub::{RepoKind, Store};
use std::collections::BTreeMap;

/// How to list.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "Examples:
  wen models list
  wen models list --json
  wen models list --datasets")]
pub struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Datasets in place of models
    #[arg(long)]
    datasets: bool,
}

/// Writes the list to standard output.
pub fn run(store: &Store, args: &Args) -> anyhow::Result<()> {
    let kind = if args.datasets { RepoKind::Dataset } else { RepoKind::Model };
    let infos = store.list(kind)?;
    let list: Vec<Description> = infos.iter().map(|info| Description::of(store, info)).collect();
    if args.json {
        return output::json(&list);
    }
    if list.is_empty() {
        let get = match kind {
            RepoKind::Model => "; `wen pull Qwen/Qwen3-0.6B` gets one",
            RepoKind::Dataset => "",
        };
        output::note(&format!("there are no {} in {}{get}", kind.plural(), store.root().display()));
        return Ok(());
    }
    let mut table =
        Table::new(&["name", "family", "parameters", "quantization", "size", "last used", "from"]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for model in &list {
        table.row(vec![
            model.name.clone(),
            or_dash(model.family.clone()),
            or_dash(model.parameters.map(output::count)),
            or_dash(model.quantization.clone()),
            output::bytes(model.bytes),
            ago(model.used),
            or_dash(model.from.clone()),
        ]);
    }
    table.print()?;
    // content that several have is stored once
    let commits = infos.iter().filter_map(|info| store.head(&info.repo).ok());
    let contents: BTreeMap<_, _> =
        commits.flat_map(|commit| commit.files.into_values()).map(|file| (file.sha256, file.size)).collect();
    output::note(&format!("{} in {}", output::bytes(contents.values().sum()), store.root().display()));
    Ok(())
}
