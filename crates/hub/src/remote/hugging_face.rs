//! Hugging Face's protocol: `GET /api/models/OWNER/NAME/revision/REV?blobs=true` lists, `GET /OWNER/NAME/resolve/REV/PATH`
//! sends a file. As huggingface_hub 1.33 and 2.4 use it.

use super::http::{Asked, Http};
use super::{Announced, Listing, Remote, RemoteError, RemoteFile};
use crate::limits::{MAX_FILES, MAX_LISTED_FILES};
use crate::name::{CommitId, FilePath, Revision};
use crate::{GitDigest, Repo, RepoKind, Sha256Digest};
use reqwest::Url;
use serde::Deserialize;

#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<GitDigest>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: Sha256Digest,
    size: u64,
}

/// The files of a revision.
pub(super) async fn list(remote: &Remote, repo: &Repo, revision: &Revision) -> Result<Listing, RemoteError> {
    let name = revision.to_string();
    let (kind, owner, id) = (repo.kind.plural(), repo.id.owner(), repo.id.name());
    let mut url = remote.http.at(["api", kind, owner, id, "revision", &name]);
    url.set_query(Some("blobs=true"));
    let answer = remote.http.json(Asked::get(&url)).await;
    let info: Info = answer.map_err(|failure| remote.explain(failure, repo, Some(revision)))?;
    if info.siblings.len() >= MAX_LISTED_FILES.min(MAX_FILES) {
        return Err(RemoteError::TooManyFiles(repo.clone()));
    }
    let malformed = |why: String| RemoteError::Malformed { url: remote.name(), why };
    let commit: CommitId =
        info.sha.parse().map_err(|source| RemoteError::Name { url: remote.name(), source })?;
    let (mut files, mut refused) = (Vec::new(), Vec::new());
    for sibling in info.siblings {
        let path: FilePath = match sibling.rfilename.parse() {
            Ok(path) => path,
            Err(error) => {
                refused.push(error);
                continue;
            }
        };
        let (size, digest, lfs) = match (sibling.lfs, sibling.size, sibling.blob_id) {
            (Some(lfs), size, _) if size.is_none_or(|size| size == lfs.size) => {
                (lfs.size, Announced::Sha256(lfs.sha256), true)
            }
            (None, Some(size), Some(oid)) => (size, Announced::Git(oid), false),
            _ => return Err(malformed(format!("`{path}` is listed without its size and its digest"))),
        };
        files.push(RemoteFile { path, size, digest, lfs });
    }
    Ok(Listing { commit: Some(commit), time: None, files, refused, at: commit.to_string() })
}

/// Where a file lies.
pub(super) fn file_url(http: &Http, repo: &Repo, revision: &str, path: &FilePath) -> Url {
    let folder = match repo.kind {
        RepoKind::Model => None,
        RepoKind::Dataset => Some("datasets"),
    };
    let parts =
        folder.into_iter().chain([repo.id.owner(), repo.id.name(), "resolve", revision]).chain(path.parts());
    http.at(parts)
}
