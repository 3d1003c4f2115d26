//! What is in a repository, and the files themselves.

use super::{LINKED_ETAG, LINKED_SIZE, REPO_COMMIT};
use crate::hub::access::Caller;
use crate::hub::blob::Download;
use crate::hub::request::{Fields, Target};
use crate::hub::tree::{self, Entry};
use crate::hub::{Hub, HubError};
use crate::json::read_body;
use crate::limits::MAX_PATHS;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use hub::store::{Commit, FileEntry};
use hub::{FilePath, Sha256Digest};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Lists a folder.
pub async fn tree(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    fields: Fields,
) -> Result<Json<Value>, HubError> {
    hub.blocking(move |hub| {
        let commit = hub.commit_of(caller, &target)?;
        match tree::list(&commit, target.path.as_ref(), fields.is_true("recursive")) {
            Some(entries) => Ok(Json(entries.iter().map(|entry| describe(&commit, entry)).collect())),
            None => {
                let path = target.path.as_ref().map_or("", FilePath::as_str).to_owned();
                Err(HubError::NoEntry { path, commit: commit.id })
            }
        }
    })
    .await
}

/// A JSON body of paths; clients in Python send a form.
#[derive(Debug, Deserialize)]
struct Paths {
    paths: Vec<String>,
}

/// Describes those of some paths that are there.
pub async fn paths_info(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    request: Request,
) -> Result<Json<Value>, HubError> {
    let bytes = read_body(request, &hub.timeouts, hub.body_bytes).await?;
    let paths: Vec<String> = match crate::json::parse::<Paths>(&bytes) {
        Ok((body, _)) => body.paths,
        Err(_) => Fields::parse(&bytes).all("paths").map(str::to_owned).collect(),
    };
    if paths.len() > MAX_PATHS {
        return Err(HubError::Invalid(format!("{} paths are more than {MAX_PATHS} at once", paths.len())));
    }
    hub.blocking(move |hub| {
        let commit = hub.commit_of(caller, &target)?;
        // what no file can be called isn't there
        let paths: Vec<FilePath> = paths.iter().filter_map(|path| path.parse().ok()).collect();
        let found = paths.iter().filter_map(|path| tree::find(&commit, path));
        Ok(Json(found.map(|entry| describe(&commit, &entry)).collect()))
    })
    .await
}

/// Sends a file, or tells of it when the method is HEAD.
pub async fn resolve(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    headers: HeaderMap,
) -> Result<Response, HubError> {
    hub.blocking(move |hub| {
        let commit = hub.commit_of(caller, &target)?;
        let (file, download) = hub.open(&commit, target.path.as_ref())?;
        let mut response = download.respond(&headers)?;
        let headers = response.headers_mut();
        let value = |text: String| HeaderValue::from_str(&text).map_err(HubError::internal);
        headers.insert(REPO_COMMIT, value(commit.id.to_string())?);
        headers.insert(LINKED_SIZE, HeaderValue::from(file.size));
        headers.insert(LINKED_ETAG, value(format!("\"{}\"", file.etag()))?);
        Ok(response)
    })
    .await
}

impl Hub {
    /// The commit that a request's path names, if the caller may see it.
    fn commit_of(&self, caller: Caller, target: &Target) -> Result<Commit, HubError> {
        self.view(caller, &target.repo)?;
        Ok(self.store.resolve(&target.repo, &target.revision()?)?)
    }

    /// Opens a file of a commit.
    pub fn open(&self, commit: &Commit, path: Option<&FilePath>) -> Result<(FileEntry, Download), HubError> {
        let missing =
            || HubError::NoEntry { path: path.map_or("", FilePath::as_str).to_owned(), commit: commit.id };
        let path = path.ok_or_else(missing)?;
        let entry = *commit.file(path).ok_or_else(missing)?;
        let file = std::fs::File::open(self.store.blob_path(&entry.sha256)?).map_err(HubError::internal)?;
        let name = path.file_name().to_owned();
        Ok((entry, Download { file, size: entry.size, etag: entry.etag(), name }))
    }
}

fn describe(commit: &Commit, entry: &Entry) -> Value {
    match entry {
        Entry::File(path, file) => {
            let mut text = json!({"type": "file", "oid": file.oid.to_string(), "size": file.size, "path": path.as_str()});
            if file.lfs {
                text["lfs"] = json!({
                    "oid": file.sha256.to_string(),
                    "size": file.size,
                    "pointerSize": pointer_bytes(&file.sha256, file.size),
                });
            }
            text
        }
        Entry::Folder(path) => {
            json!({"type": "directory", "oid": tree::folder_id(commit, path).to_string(), "size": 0, "path": path})
        }
    }
}

/// A file in the description of a repository.
pub fn sibling(path: &FilePath, file: &FileEntry, with_blob: bool) -> Value {
    let mut text = json!({"rfilename": path.as_str()});
    if with_blob {
        text["size"] = file.size.into();
        text["blobId"] = file.oid.to_string().into();
        if file.lfs {
            text["lfs"] = json!({
                "sha256": file.sha256.to_string(),
                "size": file.size,
                "pointerSize": pointer_bytes(&file.sha256, file.size),
            });
        }
    }
    text
}

/// Bytes of the pointer that git keeps in place of a large file.
fn pointer_bytes(sha256: &Sha256Digest, size: u64) -> usize {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n").len()
}
