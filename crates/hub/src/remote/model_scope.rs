//! ModelScope's protocol: `GET /api/v1/models/OWNER/NAME/repo/files?Revision=REV&Recursive=True` lists,
//! `GET /api/v1/models/OWNER/NAME/repo?Revision=REV&FilePath=PATH` sends a file. As modelscope 1.40 and modelscope-hub 0.5
//! use it.

use super::http::{Asked, Http};
use super::{Announced, Listing, Remote, RemoteError, RemoteFile};
use crate::name::{CommitId, FilePath, Revision};
use crate::{Repo, RepoKind, Sha256Digest};
use reqwest::Url;
use serde::Deserialize;

/// Entries at which the hub cuts a listing short without a word.
const MAX_ENTRIES: usize = 3_000;

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Code")]
    code: Option<i64>,
    #[serde(rename = "Success")]
    success: Option<bool>,
    #[serde(rename = "Message")]
    message: Option<String>,
    #[serde(rename = "Data")]
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    files: Option<Vec<Entry>>,
    latest_committer: Option<Committer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Committer {
    id: Option<String>,
    short_id: Option<String>,
    committed_date: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    path: String,
    r#type: Option<String>,
    size: Option<u64>,
    sha256: Option<String>,
    #[serde(rename = "IsLFS")]
    is_lfs: Option<bool>,
    /// The commit that changed the file last.
    revision: Option<String>,
}

/// The files of a revision.
pub(super) async fn list(remote: &Remote, repo: &Repo, revision: &Revision) -> Result<Listing, RemoteError> {
    if repo.kind != RepoKind::Model {
        return Err(RemoteError::Unsupported {
            hub: remote.name(),
            what: "be asked for datasets; only models",
        });
    }
    let mut url =
        remote.http.at(["api", "v1", repo.kind.plural(), repo.id.owner(), repo.id.name(), "repo", "files"]);
    // with a small letter, Recursive is not heard
    url.query_pairs_mut().append_pair("Revision", &revision.to_string()).append_pair("Recursive", "True");
    let answer = remote.http.json(Asked::get(&url)).await;
    let envelope: Envelope = answer.map_err(|failure| remote.explain(failure, repo, Some(revision)))?;
    if envelope.success == Some(false) || envelope.code.is_some_and(|code| code != 200) {
        let why = envelope.message.unwrap_or_else(|| "it did not succeed, without saying why".to_owned());
        return Err(RemoteError::Malformed { url: remote.name(), why });
    }
    let Some((entries, committer)) =
        envelope.data.and_then(|data| Some((data.files?, data.latest_committer)))
    else {
        // an unknown revision is a success without files
        return Err(RemoteError::NoRevision {
            hub: remote.name(),
            repo: repo.clone(),
            revision: revision.clone(),
        });
    };
    if entries.len() >= MAX_ENTRIES {
        return Err(RemoteError::TooManyFiles(repo.clone()));
    }
    let commit = commit(committer.as_ref(), &entries);
    let time = committer.and_then(|committer| committer.committed_date);
    let (mut files, mut refused) = (Vec::new(), Vec::new());
    for entry in entries.into_iter().filter(|entry| entry.r#type.as_deref() != Some("tree")) {
        match entry.path.parse() {
            Ok(path) => files.push(file(remote, path, &entry)?),
            Err(error) => refused.push(error),
        }
    }
    // files are asked for by the revision: their digests pin them, and not every hub takes commits here
    Ok(Listing { commit, time, files, refused, at: revision.to_string() })
}

fn file(remote: &Remote, path: FilePath, entry: &Entry) -> Result<RemoteFile, RemoteError> {
    let malformed = |why: String| RemoteError::Malformed { url: remote.name(), why };
    let sha256 = entry.sha256.as_deref().unwrap_or_default();
    let digest: Sha256Digest = sha256.parse().map_err(|error| malformed(format!("of `{path}`: {error}")))?;
    let size = entry.size.ok_or_else(|| malformed(format!("`{path}` is listed without its size")))?;
    Ok(RemoteFile { path, size, digest: Announced::Sha256(digest), lfs: entry.is_lfs == Some(true) })
}

/// The commit that is listed. The hub shortens it; the file that it changed has it whole.
fn commit(committer: Option<&Committer>, entries: &[Entry]) -> Option<CommitId> {
    let committer = committer?;
    if let Some(id) = committer.id.as_deref().and_then(|id| id.parse().ok()) {
        return Some(id);
    }
    let short = committer.short_id.as_deref().filter(|short| short.len() >= 7)?;
    let found = entries.iter().filter_map(|entry| entry.revision.as_deref()).find(|id| id.starts_with(short));
    found?.parse().ok()
}

/// Where a file lies.
pub(super) fn file_url(http: &Http, repo: &Repo, revision: &str, path: &FilePath) -> Url {
    let mut url = http.at(["api", "v1", repo.kind.plural(), repo.id.owner(), repo.id.name(), "repo"]);
    url.query_pairs_mut().append_pair("Revision", revision).append_pair("FilePath", path.as_str());
    url
}
