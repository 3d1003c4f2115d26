//! What a stored model is, from its files.

use hub::store::{Commit, RepoInfo};
use hub::{Repo, Store};
use models::model::Summary;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A stored model in a line.
#[derive(Serialize)]
pub struct Description {
    /// `owner/name`.
    pub name: String,
    /// The commit of the branch `main`, or the newest where that has none.
    pub commit: Option<String>,
    /// Bytes of its files.
    pub bytes: u64,
    /// How many files.
    pub files: usize,
    /// The kind of its architecture.
    pub family: Option<String>,
    /// Number of parameters.
    pub parameters: Option<u64>,
    /// The type of most of its weights, or how they are quantized.
    pub quantization: Option<String>,
    /// When it was last used, in seconds since 1970.
    pub used: Option<u64>,
    /// Where it was pulled from.
    pub from: Option<String>,
    /// Whether other people's keys don't open it.
    pub private: bool,
}

impl Description {
    /// Describes a repository where nobody says a revision.
    pub fn of(store: &Store, info: &RepoInfo) -> Description {
        let commit = store.head(&info.repo).ok();
        let summary = commit.as_ref().and_then(|commit| summary(store, &info.repo, commit));
        let adapter = commit.as_ref().is_some_and(is_adapter).then(|| "adapter".to_owned());
        Description {
            name: info.repo.to_string(),
            bytes: commit.as_ref().map_or(0, Commit::bytes),
            files: commit.as_ref().map_or(0, |commit| commit.files.len()),
            commit: commit.map(|commit| commit.id.to_string()),
            family: summary.as_ref().map(|summary| summary.architecture.clone()).or(adapter),
            parameters: summary.as_ref().map(|summary| summary.parameters),
            quantization: summary.as_ref().and_then(quantization),
            used: info.used,
            from: info.upstream.as_ref().map(|upstream| format!("{}:{}", upstream.hub, upstream.repo)),
            private: info.private,
        }
    }
}

/// How the weights of a checkpoint are stored.
pub fn quantization(summary: &Summary) -> Option<String> {
    let largest = || summary.types.first().map(|stored| stored.type_name.to_string());
    summary.quantization.as_ref().map(ToString::to_string).or_else(largest)
}

/// The figures of the model that a commit has, if it has one that can be read.
pub fn summary(store: &Store, repo: &Repo, commit: &Commit) -> Option<Summary> {
    let dir = store.peek(repo, commit).ok()?;
    let mut summary = Summary::read(&weights(&dir, commit)).ok()?;
    summary.name = repo.to_string();
    Some(summary)
}

/// What of a snapshot is opened: the directory, or a GGUF file in it where that is all there is.
fn weights(dir: &Path, commit: &Commit) -> PathBuf {
    let ends = |ending: &str| commit.files.keys().find(|path| path.as_str().ends_with(ending));
    match (ends(".safetensors"), ends(".gguf")) {
        (None, Some(file)) => dir.join(file.as_str()),
        _ => dir.to_owned(),
    }
}

/// Whether a commit has an adapter and no model.
fn is_adapter(commit: &Commit) -> bool {
    commit.files.keys().any(|path| path.as_str() == "adapter_config.json")
}

/// How long ago a time is, for people.
pub fn ago(time: Option<u64>) -> String {
    let Some(time) = time else { return "never".to_owned() };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    span(now.saturating_sub(time))
}

fn span(seconds: u64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3_600), ("minute", 60)];
    match UNITS.into_iter().map(|(unit, length)| (unit, seconds / length)).find(|(_, n)| *n > 0) {
        Some((unit, 1)) => format!("1 {unit} ago"),
        Some((unit, n)) => format!("{n} {unit}s ago"),
        None => "just now".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        for (seconds, text) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (7_200, "2 hours ago"),
            (90_000, "1 day ago"),
            (40 * 86_400, "1 month ago"),
            (1_000 * 86_400, "2 years ago"),
        ] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(ago(None), "never");
    }
}
