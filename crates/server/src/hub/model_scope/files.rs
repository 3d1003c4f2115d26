//! What is in a repository, and the files themselves.

use super::{MASTER, revision, success};
use crate::error::quoted;
use crate::hub::access::Caller;
use crate::hub::request::{Fields, Target};
use crate::hub::tree::{self, Entry};
use crate::hub::{Hub, HubError};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use hub::store::{Commit, Operation};
use hub::{FilePath, Revision};
use serde_json::{Value, json};
use std::sync::Arc;

/// The header by which clients check a file whose digest they were not told before.
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");

/// Lists a folder: by pages where the client asks for them, as it does for datasets.
pub async fn list(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    fields: Fields,
) -> Result<Json<Value>, HubError> {
    hub.blocking(move |hub| {
        hub.view(caller, &target.repo)?;
        let text = fields.get("Revision").unwrap_or(MASTER);
        let commit = hub.store.resolve(&target.repo, &revision(hub, &target.repo, Some(text))?)?;
        let root = fields.get("Root").map(|root| root.trim_matches('/')).filter(|root| !root.is_empty());
        let root: Option<FilePath> = root.map(str::parse).transpose()?;
        let recursive = fields.get("Recursive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let entries = tree::list(&commit, root.as_ref(), recursive).ok_or_else(|| HubError::NoEntry {
            path: root.as_ref().map_or("", FilePath::as_str).to_owned(),
            commit: commit.id,
        })?;
        let total = entries.len();
        let page = match fields.number::<u64>("PageSize")? {
            Some(size) => {
                let size = usize::try_from(size.max(1)).unwrap_or(usize::MAX);
                let number = usize::try_from(fields.number::<u64>("PageNumber")?.unwrap_or(1).max(1))
                    .unwrap_or(usize::MAX);
                (number - 1).saturating_mul(size)..number.saturating_mul(size)
            }
            None => 0..total,
        };
        let page = &entries[page.start.min(total)..page.end.min(total)];
        let files: Vec<Value> = page.iter().map(|entry| describe(&commit, entry, text)).collect();
        Ok(success(json!({"Files": files, "TotalCount": total})))
    })
    .await
}

fn describe(commit: &Commit, entry: &Entry, revision: &str) -> Value {
    let path = entry.path();
    let mut text = json!({
        "Path": path,
        "Name": path.rsplit('/').next(),
        "Revision": revision,
        "CommitId": commit.id.to_string(),
        "CommittedDate": commit.time,
        "CommitMessage": commit.message.lines().next(),
        "CommitterName": commit.author,
        "InCheck": false,
    });
    match entry {
        Entry::File(_, file) => {
            text["Type"] = "blob".into();
            text["Mode"] = "33188".into();
            text["Size"] = file.size.into();
            text["Sha256"] = file.sha256.to_string().into();
            text["IsLFS"] = file.lfs.into();
        }
        Entry::Folder(path) => {
            text["Type"] = "tree".into();
            text["Mode"] = "16384".into();
            text["Size"] = 0.into();
            text["Sha256"] = "".into();
            text["IsLFS"] = false.into();
            text["Id"] = tree::folder_id(commit, path).to_string().into();
        }
    }
    text
}

/// Sends a file.
pub async fn download(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    fields: Fields,
    headers: HeaderMap,
) -> Result<Response, HubError> {
    let path = file_path(&fields)?;
    hub.blocking(move |hub| {
        hub.view(caller, &target.repo)?;
        let commit =
            hub.store.resolve(&target.repo, &revision(hub, &target.repo, fields.get("Revision"))?)?;
        let (file, download) = hub.open(&commit, Some(&path))?;
        let mut response = download.respond(&headers)?;
        let sha256 = HeaderValue::from_str(&format!("\"{}\"", file.sha256)).map_err(HubError::internal)?;
        response.headers_mut().insert(LINKED_ETAG, sha256);
        Ok(response)
    })
    .await
}

/// Deletes a file.
pub async fn delete(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    fields: Fields,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    let path = file_path(&fields)?;
    hub.blocking(move |hub| {
        let Revision::Ref(branch) = revision(hub, &target.repo, fields.get("Revision"))? else {
            return Err(HubError::Invalid("files are deleted from a branch, not from a commit".to_owned()));
        };
        let message = format!("Delete {}", quoted(path.as_str()));
        let commit = hub.commit(&target.repo, &branch, message, None, vec![Operation::Delete { path }])?;
        Ok(success(json!({"oid": commit.id.to_string()})))
    })
    .await
}

fn file_path(fields: &Fields) -> Result<FilePath, HubError> {
    let path =
        fields.get("FilePath").ok_or_else(|| HubError::Invalid("the query has no FilePath".to_owned()))?;
    Ok(path.trim_start_matches('/').parse()?)
}
