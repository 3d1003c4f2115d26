//! How files come in: the batch for large ones, and the commit, which has small ones in it.

use super::{revision, success};
use crate::error::quoted;
use crate::hub::access::Caller;
use crate::hub::request::{Body, Origin, Target, decode_base64};
use crate::hub::upload::{Answer, LfsBatch, LfsObject};
use crate::hub::{Hub, HubError};
use axum::Json;
use axum::extract::State;
use hub::limits::MAX_OPERATIONS;
use hub::store::Operation;
use hub::{Revision, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Says for each large file that the hub doesn't have where it is to be sent. Clients take what is not in the answer for
/// stored.
pub async fn batch(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Origin(origin): Origin,
    target: Target,
    Body(batch): Body<LfsBatch>,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    hub.blocking(move |hub| {
        hub.view(caller, &target.repo)?;
        let mut objects = Vec::new();
        for (LfsObject { oid, size }, answer) in hub.batch(&origin, &batch)? {
            match answer {
                Answer::Stored => {}
                Answer::Send(actions) => objects.push(json!({"oid": oid, "size": size, "actions": actions})),
                Answer::Refused(message) => return Err(HubError::Invalid(message)),
            }
        }
        Ok(success(json!({"objects": objects})))
    })
    .await
}

/// A commit.
#[derive(Debug, Deserialize)]
pub struct Commit {
    commit_message: Option<String>,
    actions: Vec<Action>,
}

/// A change.
#[derive(Debug, Deserialize)]
struct Action {
    action: String,
    path: String,
    /// `lfs` for a file that was sent before; otherwise its content is here.
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    sha256: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    encoding: String,
}

/// Makes a commit.
pub async fn create(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    Body(commit): Body<Commit>,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    if commit.actions.len() > MAX_OPERATIONS {
        return Err(HubError::too_many_changes());
    }
    hub.blocking(move |hub| {
        hub.view(caller, &target.repo)?;
        let Revision::Ref(branch) = revision(hub, &target.repo, target.revision.as_deref())? else {
            return Err(HubError::Invalid("commits are made on a branch, not on a commit".to_owned()));
        };
        let operations = commit.actions.into_iter().map(|action| operation(hub, action));
        let operations = operations.collect::<Result<Vec<Operation>, HubError>>()?;
        let message = commit.commit_message.unwrap_or_else(|| "Upload files".to_owned());
        let commit = hub.commit(&target.repo, &branch, message, None, operations)?;
        Ok(success(json!({"oid": commit.id.to_string()})))
    })
    .await
}

fn operation(hub: &Hub, action: Action) -> Result<Operation, HubError> {
    let path = action.path.parse()?;
    match (action.action.as_str(), action.kind.as_deref()) {
        ("delete", _) => Ok(Operation::Delete { path }),
        ("create" | "update", Some("lfs")) => {
            Ok(Operation::Add { path, sha256: action.sha256.parse().map_err(StoreError::from)?, lfs: true })
        }
        ("create" | "update", _) => {
            let content = match action.encoding.as_str() {
                "base64" => decode_base64(&action.path, &action.content)?,
                _ => action.content.into_bytes(),
            };
            hub.add(path, content)
        }
        (other, _) => Err(HubError::Invalid(format!("the action `{}` is not known", quoted(other)))),
    }
}
