//! How files come in: which of them are large, the batch for those, and the commit, a line for each change.

use super::refs::ref_name;
use crate::error::quoted;
use crate::hub::access::Caller;
use crate::hub::body::{BodyReader, read};
use crate::hub::request::{Body, Fields, Origin, Target, decode_base64, revision};
use crate::hub::upload::{Answer, LfsBatch, LfsObject};
use crate::hub::{Hub, HubError};
use crate::limits::{MAX_COMMIT_BYTES, MAX_COMMIT_LINE_BYTES, MAX_PREUPLOAD_FILES};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hub::limits::MAX_OPERATIONS;
use hub::store::{Operation, is_large};
use hub::{CommitId, FilePath, Repo, Revision, Sha256Digest, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, Read};
use std::sync::Arc;

/// Files that somebody is about to commit.
#[derive(Debug, Deserialize)]
pub struct Preupload {
    files: Vec<Sample>,
}

/// A file and how it begins.
#[derive(Debug, Deserialize)]
struct Sample {
    path: String,
    size: u64,
    /// Its first bytes in Base64.
    #[serde(default)]
    sample: String,
}

/// Says which files are to be sent by LFS, and which come with the commit.
pub async fn preupload(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    fields: Fields,
    Body(request): Body<Preupload>,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    no_pull_request(&fields)?;
    if request.files.len() > MAX_PREUPLOAD_FILES {
        let found = request.files.len();
        return Err(HubError::Invalid(format!("{found} files are more than {MAX_PREUPLOAD_FILES} at once")));
    }
    hub.blocking(move |hub| {
        let info = hub.view(caller, &target.repo)?;
        let branch = ref_name(&target)?;
        let commit = match info.branches.get(&branch) {
            Some(None) => None,
            _ => Some(hub.store.resolve(&target.repo, &Revision::Ref(branch))?),
        };
        let describe = |file: &Sample| {
            let path: FilePath = file.path.parse()?;
            let large = is_large(&path, file.size) || is_binary(&file.sample);
            // what the branch has already need not be sent again
            let oid = commit.as_ref().and_then(|commit| commit.file(&path)).map(|file| file.etag());
            let mode = if large { "lfs" } else { "regular" };
            Ok(json!({"path": file.path, "uploadMode": mode, "shouldIgnore": false, "oid": oid}))
        };
        let files = request.files.iter().map(describe).collect::<Result<Vec<Value>, HubError>>()?;
        Ok(Json(json!({"files": files})))
    })
    .await
}

/// Text has no zero bytes.
fn is_binary(sample: &str) -> bool {
    STANDARD.decode(sample).is_ok_and(|bytes| bytes.contains(&0))
}

fn no_pull_request(fields: &Fields) -> Result<(), HubError> {
    match fields.is_true("create_pr") {
        true => Err(HubError::Unsupported("there are no pull requests; commit to a branch")),
        false => Ok(()),
    }
}

/// Says for each large file where it is to be sent, if the hub doesn't have it.
pub async fn lfs_batch(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Origin(origin): Origin,
    target: Target,
    Body(batch): Body<LfsBatch>,
) -> Result<impl IntoResponse, HubError> {
    caller.must_be_member()?;
    hub.blocking(move |hub| {
        hub.view(caller, &target.repo)?;
        let describe = |(LfsObject { oid, size }, answer): (LfsObject, Answer)| match answer {
            Answer::Stored => json!({"oid": oid, "size": size}),
            Answer::Send(mut actions) => {
                actions["verify"] = json!({"href": format!("{origin}/api/lfs/verify")});
                json!({"oid": oid, "size": size, "authenticated": true, "actions": actions})
            }
            Answer::Refused(message) => {
                json!({"oid": oid, "size": size, "error": {"code": 422, "message": message}})
            }
        };
        let objects: Vec<Value> = hub.batch(&origin, &batch)?.into_iter().map(describe).collect();
        let body = json!({"transfer": "basic", "objects": objects, "hash_algo": "sha256"});
        Ok(([(header::CONTENT_TYPE, "application/vnd.git-lfs+json")], body.to_string()))
    })
    .await
}

/// Says whether a large file has come.
pub async fn lfs_verify(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Body(object): Body<LfsObject>,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    let sha256: Sha256Digest = object.oid.parse().map_err(StoreError::from)?;
    hub.blocking(move |hub| match hub.store.has(&sha256)? {
        Some(blob) if blob.size == object.size => Ok(Json(json!({}))),
        Some(blob) => {
            Err(HubError::Invalid(format!("{sha256} has {} bytes, not {}", blob.size, object.size)))
        }
        None => Err(StoreError::NoBlob(sha256).into()),
    })
    .await
}

/// A line of a commit.
#[derive(Debug, Deserialize)]
#[serde(tag = "key", content = "value", rename_all = "camelCase")]
enum Line {
    #[serde(rename_all = "camelCase")]
    Header {
        summary: String,
        #[serde(default)]
        description: String,
        parent_commit: Option<String>,
    },
    File {
        path: String,
        content: String,
        encoding: Option<String>,
    },
    LfsFile {
        path: String,
        oid: String,
    },
    DeletedFile {
        path: String,
    },
    DeletedFolder {
        path: String,
    },
    #[serde(rename_all = "camelCase")]
    CopyFile {
        path: String,
        src_path: String,
        src_revision: Option<String>,
    },
}

/// What the lines of a commit come to.
#[derive(Default)]
struct Lines {
    message: Option<String>,
    parent: Option<CommitId>,
    operations: Vec<Operation>,
}

/// Makes a commit. Its lines are taken as they come: small files go to the store one by one.
pub async fn create(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Origin(origin): Origin,
    target: Target,
    fields: Fields,
    request: Request,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    no_pull_request(&fields)?;
    let branch = ref_name(&target)?;
    let patience = hub.timeouts.body_read;
    read(request.into_body(), MAX_COMMIT_BYTES, patience, move |body| {
        hub.view(caller, &target.repo)?;
        let mut lines = Lines::default();
        while let Some(line) = next_line(body)? {
            lines.take(&hub, &target.repo, line)?;
        }
        let message =
            lines.message.ok_or_else(|| HubError::Invalid("the commit has no header line".to_owned()))?;
        let commit = hub.commit(&target.repo, &branch, message, lines.parent, lines.operations)?;
        let url = format!("{origin}/{}/commit/{}", target.repo, commit.id);
        Ok(Json(
            json!({"success": true, "commitOid": commit.id.to_string(), "commitUrl": url, "hookOutput": ""}),
        ))
    })
    .await
}

fn next_line(body: &mut BodyReader) -> Result<Option<Line>, HubError> {
    loop {
        let mut bytes = Vec::new();
        let limit = MAX_COMMIT_LINE_BYTES as u64;
        let read = body.take(limit + 1).read_until(b'\n', &mut bytes).map_err(StoreError::Content)?;
        if read as u64 > limit {
            let message = format!("a line of the commit has more than {limit} bytes; send its file by LFS");
            return Err(HubError::Invalid(message));
        }
        if read == 0 {
            return Ok(None);
        }
        if !bytes.trim_ascii().is_empty() {
            return serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                HubError::Invalid(format!("a line of the commit is wrong: {}", quoted(&error.to_string())))
            });
        }
    }
}

impl Lines {
    fn take(&mut self, hub: &Hub, repo: &Repo, line: Line) -> Result<(), HubError> {
        if self.operations.len() >= MAX_OPERATIONS {
            return Err(HubError::too_many_changes());
        }
        self.operations.push(match line {
            Line::Header { summary, description, parent_commit } => {
                let message = format!("{summary}\n\n{description}");
                self.message = Some(message.trim_end().to_owned());
                self.parent = parent_commit.map(|id| id.parse()).transpose()?;
                return Ok(());
            }
            Line::File { path, content, encoding } => {
                let content = match encoding.as_deref() {
                    None | Some("utf-8") => content.into_bytes(),
                    Some("base64") => decode_base64(&path, &content)?,
                    Some(other) => {
                        return Err(HubError::Invalid(format!(
                            "the encoding `{}` is not known",
                            quoted(other)
                        )));
                    }
                };
                hub.add(path.parse()?, content)?
            }
            Line::LfsFile { path, oid } => Operation::Add {
                path: path.parse()?,
                sha256: oid.parse().map_err(StoreError::from)?,
                lfs: true,
            },
            Line::DeletedFile { path } => Operation::Delete { path: path.parse()? },
            Line::DeletedFolder { path } => {
                Operation::DeleteFolder { path: path.strip_suffix('/').unwrap_or(&path).parse()? }
            }
            Line::CopyFile { path, src_path, src_revision } => Operation::Copy {
                from: src_path.parse()?,
                revision: src_revision.map(|text| revision(repo, &text)).transpose()?,
                to: path.parse()?,
            },
        });
        Ok(())
    }
}
