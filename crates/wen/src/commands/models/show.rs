//! `wen models show`.

use super::describe::{Description, ago, quantization, summary};
use super::named;
use crate::output::{self, Facts};
use hub::lineage::{Family, Lineage, family};
use hub::store::{Commit, RepoInfo};
use hub::{CommitId, RefName, Repo, Store};
use models::model::Summary;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Which model.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen models show Qwen/Qwen3-0.6B
  wen models show me/notes@v1 --json")]
pub struct Args {
    /// The model: owner/name, or owner/name@revision
    name: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What is known of a stored model.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    description: Description,
    /// Where its files can be read.
    path: PathBuf,
    /// What the last change was.
    message: String,
    branches: BTreeMap<RefName, Option<CommitId>>,
    tags: BTreeMap<RefName, CommitId>,
    summary: Option<Summary>,
    family_tree: Family,
}

/// Writes the facts and the family tree to standard output.
pub fn run(store: &Store, args: &Args) -> anyhow::Result<()> {
    let (repo, revision) = named(store, &args.name)?;
    let commit = match revision {
        Some(revision) => store.resolve(&repo, &revision)?,
        None => store.head(&repo)?,
    };
    let report = report(store, &repo, commit)?;
    if args.json {
        return output::json(&report);
    }
    facts(&report).print()?;
    output::line(&format!("\n{}", tree(&report.family_tree)))?;
    match &report.family_tree.lineage.recipe {
        Some(recipe) => Ok(output::line(&format!("recipe\n{}", indented(recipe)))?),
        None => Ok(()),
    }
}

fn report(store: &Store, repo: &Repo, commit: Commit) -> anyhow::Result<Report> {
    let info = store.info(repo)?;
    let family_tree = family(store, repo, &commit)?;
    let summary = summary(store, repo, &commit);
    let description = Description {
        commit: Some(commit.id.to_string()),
        bytes: commit.bytes(),
        files: commit.files.len(),
        ..Description::of(store, &info)
    };
    let RepoInfo { branches, tags, .. } = info;
    let path = store.peek(repo, &commit)?;
    Ok(Report { description, path, message: commit.message, branches, tags, summary, family_tree })
}

fn facts(report: &Report) -> Facts {
    let Report { description, summary, family_tree: Family { lineage, .. }, .. } = report;
    let mut facts = Facts::default();
    facts.add("name", &description.name);
    facts.add("commit", description.commit.clone().unwrap_or_default());
    if let Some(line) = report.message.lines().next().filter(|line| !line.trim().is_empty()) {
        facts.add("  message", printable(line));
    }
    if let Some(from) = &description.from {
        facts.add("from", from);
    }
    facts.add("visible to", if description.private { "its owner" } else { "everybody with a key" });
    facts.add("size", format!("{} in {} files", output::bytes(description.bytes), description.files));
    facts.add("last used", ago(description.used));
    facts.add("path", report.path.display().to_string());
    if let Some(summary) = summary {
        facts.add("architecture", &summary.architecture);
        facts.add("parameters", output::count(summary.parameters));
        facts.add("quantization", quantization(summary).unwrap_or_default());
        facts.add("context", format!("{} tokens", output::thousands(summary.context_length as u64)));
    }
    let branches = report.branches.iter().filter(|(_, commit)| commit.is_some());
    let branches: Vec<&str> = branches.map(|(name, _)| name.as_str()).collect();
    if !branches.is_empty() {
        facts.add("branches", branches.join(", "));
    }
    if !report.tags.is_empty() {
        facts.add("tags", report.tags.keys().map(RefName::as_str).collect::<Vec<_>>().join(", "));
    }
    add_lineage(&mut facts, lineage);
    facts
}

fn add_lineage(facts: &mut Facts, lineage: &Lineage) {
    if let Some(license) = &lineage.license {
        facts.add("licence", printable(license));
    }
    if !lineage.datasets.is_empty() {
        facts.add("datasets", printable(&lineage.datasets.join(", ")));
    }
    if let Some(sha256) = &lineage.data_sha256 {
        facts.add("SHA-256 of the data", printable(sha256));
    }
    for measured in &lineage.evaluation {
        let (metric, task) = (printable(&measured.metric), printable(&measured.task));
        facts.add("measured", format!("{metric} {:.4} on {task}", measured.value));
    }
}

/// The tree, each ancestor below its descendant.
fn tree(root: &Family) -> String {
    let mut text = String::from("family\n");
    branch(root, "  ", "  ", &mut text);
    text
}

fn branch(family: &Family, first: &str, rest: &str, text: &mut String) {
    let relation = family.lineage.relation.as_deref().filter(|_| !family.bases.is_empty());
    let relation = relation.map(|relation| format!(" ({relation} of)", relation = printable(relation)));
    let missing = if family.stored { "" } else { " (not stored here)" };
    let name = printable(&family.name);
    text.push_str(&format!("{first}{name}{}{missing}\n", relation.unwrap_or_default()));
    for (i, base) in family.bases.iter().enumerate() {
        let is_last = i + 1 == family.bases.len();
        let (first, next) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        branch(base, &format!("{rest}{first}"), &format!("{rest}{next}"), text);
    }
}

/// Text of a file from elsewhere, without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {}\n", printable(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, relation: &str, stored: bool, bases: Vec<Family>) -> Family {
        let lineage = Lineage { relation: Some(relation.to_owned()), ..Lineage::default() };
        Family { name: name.to_owned(), stored, lineage, bases }
    }

    #[test]
    fn a_family_tree_has_a_line_for_each_ancestor() {
        let base = member("Qwen/Base", "finetune", true, vec![member("\u{1b}[31m/x", "", false, Vec::new())]);
        let root = member("me/mix", "merge", true, vec![base, member("a/b", "finetune", true, Vec::new())]);
        assert_eq!(
            tree(&root),
            "family\n  me/mix (merge of)\n  ├─ Qwen/Base (finetune of)\n  │  └─  [31m/x (not stored here)\n  └─ a/b\n"
        );
    }
}
