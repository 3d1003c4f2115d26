//! Branches, tags, history.

use super::time;
use crate::hub::access::Caller;
use crate::hub::request::{Body, Target, revision};
use crate::hub::{Hub, HubError};
use crate::limits::MAX_LISTED_COMMITS;
use axum::Json;
use axum::extract::State;
use hub::{CommitId, RefName, Revision};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Lists branches and tags.
pub async fn list(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
) -> Result<Json<Value>, HubError> {
    hub.blocking(move |hub| {
        let info = hub.view(caller, &target.repo)?;
        let named = |kind: &str, name: &RefName, at: Option<CommitId>| {
            let at = at.map(|commit| commit.to_string());
            json!({"name": name.as_str(), "ref": format!("refs/{kind}/{}", name.as_str()), "targetCommit": at})
        };
        let branches: Vec<Value> = info.branches.iter().map(|(name, at)| named("heads", name, *at)).collect();
        let tags: Vec<Value> = info.tags.iter().map(|(name, at)| named("tags", name, Some(*at))).collect();
        Ok(Json(json!({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})))
    })
    .await
}

/// Lists the commits that lead to a revision, the newest first.
pub async fn commits(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
) -> Result<Json<Value>, HubError> {
    hub.blocking(move |hub| {
        hub.view(caller, &target.repo)?;
        let commits = hub.store.history(&target.repo, &target.revision()?, MAX_LISTED_COMMITS)?;
        let describe = |commit: &hub::store::Commit| {
            let (title, message) = commit.title_and_body();
            json!({
                "id": commit.id.to_string(),
                "title": title,
                "message": message,
                "authors": [{"user": commit.author, "avatar": ""}],
                "date": time(commit.time),
            })
        };
        Ok(Json(commits.iter().map(describe).collect()))
    })
    .await
}

/// Where a branch begins.
#[derive(Debug, Deserialize)]
pub struct NewBranch {
    #[serde(rename = "startingPoint")]
    starting_point: Option<String>,
}

/// Makes a branch.
pub async fn create_branch(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    Body(request): Body<NewBranch>,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    let name = ref_name(&target)?;
    hub.blocking(move |hub| {
        let at = match request.starting_point {
            Some(at) => revision(&target.repo, &at)?,
            None => Revision::main(),
        };
        hub.store.branch(&target.repo, &name, &at, false)?;
        Ok(Json(json!({})))
    })
    .await
}

/// Deletes a branch.
pub async fn delete_branch(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    let name = ref_name(&target)?;
    hub.blocking(move |hub| Ok(Json(hub.store.delete_branch(&target.repo, &name).map(|()| json!({}))?))).await
}

/// What a tag is called. Its message is not kept.
#[derive(Debug, Deserialize)]
pub struct NewTag {
    tag: String,
}

/// Makes a tag of the revision in the path.
pub async fn create_tag(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    Body(request): Body<NewTag>,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    let name: RefName = request.tag.parse()?;
    hub.blocking(move |hub| {
        hub.store.tag(&target.repo, &name, &target.revision()?, false)?;
        Ok(Json(json!({})))
    })
    .await
}

/// Deletes the tag in the path.
pub async fn delete_tag(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    let name = ref_name(&target)?;
    hub.blocking(move |hub| Ok(Json(hub.store.delete_tag(&target.repo, &name).map(|()| json!({}))?))).await
}

/// The branch or tag that stands in the path.
pub fn ref_name(target: &Target) -> Result<RefName, HubError> {
    Ok(target.revision.as_deref().unwrap_or_default().parse::<RefName>()?)
}
