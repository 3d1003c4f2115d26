//! Repositories: made, listed, described, deleted.

use super::files::sibling;
use super::{card, time};
use crate::error::quoted;
use crate::hub::access::Caller;
use crate::hub::request::{Body, Fields, Origin, Target};
use crate::hub::{Hub, HubError, USER};
use crate::limits::{MAX_FILTERS, MAX_LISTED_REPOS};
use axum::Json;
use axum::extract::State;
use hub::store::{Commit, RepoInfo};
use hub::{Repo, RepoId, RepoKind, Revision, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// A repository as the bodies of requests name it.
#[derive(Debug, Deserialize)]
pub struct Named {
    name: String,
    organization: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Named {
    fn repo(&self) -> Result<Repo, HubError> {
        let kind = match self.kind.as_deref() {
            None | Some("model") => RepoKind::Model,
            Some("dataset") => RepoKind::Dataset,
            Some(_) => return Err(HubError::Unsupported("it keeps models and datasets only")),
        };
        let id = match (&self.organization, self.name.split_once('/')) {
            (None, Some((owner, name))) => RepoId::new(owner, name)?,
            (owner, _) => RepoId::new(owner.as_deref().unwrap_or(USER), &self.name)?,
        };
        Ok(Repo { kind, id })
    }
}

/// Who may see a repository: newer clients say `visibility`, older ones `private`.
#[derive(Debug, Deserialize)]
pub struct Visibility {
    visibility: Option<String>,
    private: Option<bool>,
    gated: Option<Value>,
}

impl Visibility {
    fn private(&self) -> Result<Option<bool>, HubError> {
        if self.gated.as_ref().is_some_and(|gated| *gated != Value::Bool(false)) {
            return Err(HubError::Unsupported("repositories are private or public, not gated"));
        }
        match self.visibility.as_deref() {
            None => Ok(self.private),
            Some("private") => Ok(Some(true)),
            Some("public") => Ok(Some(false)),
            Some(other) => Err(HubError::Invalid(format!(
                "visibility is `{}`; it can be private or public",
                quoted(other)
            ))),
        }
    }
}

/// What a repository is made with.
#[derive(Debug, Deserialize)]
pub struct Create {
    #[serde(flatten)]
    named: Named,
    #[serde(flatten)]
    visibility: Visibility,
}

/// Makes a repository; one that nobody says anything else about is private.
pub async fn create(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Origin(origin): Origin,
    Body(request): Body<Create>,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    let repo = request.named.repo()?;
    let private = request.visibility.private()?.unwrap_or(true);
    let url = format!("{origin}/{repo}");
    hub.blocking(move |hub| match hub.create(&repo, private) {
        // `exist_ok` of the client reads the address out of the error
        Err(HubError::Exists { message, .. }) => Err(HubError::Exists { message, url: Some(url) }),
        Err(error) => Err(error),
        Ok(()) => Ok(Json(json!({"url": url, "name": repo.id.as_str(), "id": repo.id.as_str()}))),
    })
    .await
}

/// Deletes a repository.
pub async fn delete(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Body(request): Body<Named>,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    let repo = request.repo()?;
    hub.blocking(move |hub| {
        hub.remove(&repo)?;
        Ok(Json(json!({})))
    })
    .await
}

/// Changes who may see a repository.
pub async fn settings(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    Body(request): Body<Visibility>,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    let private = request.private()?;
    hub.blocking(move |hub| {
        if let Some(private) = private {
            hub.store.set_private(&target.repo, private)?;
        }
        Ok(Json(json!({"private": hub.store.info(&target.repo)?.private})))
    })
    .await
}

/// Whether the caller may see a repository.
pub async fn auth_check(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
) -> Result<Json<Value>, HubError> {
    hub.blocking(move |hub| hub.view(caller, &target.repo).map(|_| Json(json!({})))).await
}

/// Lists the models that the caller may see.
pub async fn list_models(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    fields: Fields,
) -> Result<Json<Value>, HubError> {
    list(hub, caller, RepoKind::Model, fields).await
}

/// Lists the datasets that the caller may see.
pub async fn list_datasets(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    fields: Fields,
) -> Result<Json<Value>, HubError> {
    list(hub, caller, RepoKind::Dataset, fields).await
}

async fn list(
    hub: Arc<Hub>,
    caller: Caller,
    kind: RepoKind,
    fields: Fields,
) -> Result<Json<Value>, HubError> {
    hub.blocking(move |hub| {
        let mut repos = hub.visible(caller, kind, fields.get("search"), fields.get("author"))?;
        let tags: Vec<&str> = fields.all("filter").collect();
        if tags.len() > MAX_FILTERS {
            return Err(HubError::Invalid(format!("a list is asked for at most {MAX_FILTERS} tags")));
        }
        let purpose = fields.get("pipeline_tag");
        let limit = fields
            .number("limit")?
            .map_or(MAX_LISTED_REPOS, |n: u64| n.min(MAX_LISTED_REPOS as u64) as usize);
        match fields.get("sort") {
            Some("createdAt") => repos.sort_by_key(|info| std::cmp::Reverse(info.created)),
            // nothing is counted here, so that what is newest is also what is liked most
            Some(_) => repos.sort_by_key(|info| std::cmp::Reverse(info.modified)),
            None => {}
        }
        let (full, with_card) = (fields.is_true("full"), fields.is_true("cardData"));
        // what a repository is for stands in its files, which are not read where nobody asks
        let reads = full || with_card || purpose.is_some() || !tags.is_empty();
        let mut listed = Vec::new();
        for info in &repos {
            if listed.len() == limit {
                break;
            }
            // one that is broken, or was removed meanwhile, does not hide the others
            let found = if reads { head_and_card(hub, info) } else { Ok(None) };
            let found = found.unwrap_or_else(|error| {
                tracing::warn!("{} is listed without its card: {error}", info.repo);
                None
            });
            let mut text = describe(info, found.as_ref().map(|(head, _)| head).filter(|_| full), false);
            if let Some((head, card)) = found {
                card::describe(&mut text, kind, &head, &card);
                if full || with_card {
                    card::add(&mut text, card);
                }
            }
            let is_wanted = tags.iter().all(|tag| card::has_tag(&text, tag))
                && purpose.is_none_or(|purpose| text["pipeline_tag"] == *purpose);
            if is_wanted {
                listed.push(text);
            }
        }
        Ok(Json(Value::Array(listed)))
    })
    .await
}

/// Describes a repository at a revision.
pub async fn info(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    fields: Fields,
) -> Result<Json<Value>, HubError> {
    hub.blocking(move |hub| {
        let info = hub.view(caller, &target.repo)?;
        let commit = match &target.revision {
            Some(_) => Some(hub.store.resolve(&target.repo, &target.revision()?)?),
            None => head(hub, &info)?,
        };
        let mut text = describe(&info, commit.as_ref(), fields.is_true("blobs"));
        if let Some(commit) = commit {
            let card = hub.card(&commit)?;
            card::describe(&mut text, info.repo.kind, &commit, &card);
            card::add(&mut text, card);
        }
        Ok(Json(text))
    })
    .await
}

/// The newest commit of a repository; one that was pulled by a commit's id may have that only.
fn head(hub: &Hub, info: &RepoInfo) -> Result<Option<Commit>, HubError> {
    match hub.store.resolve(&info.repo, &Revision::main()) {
        Ok(commit) => Ok(Some(commit)),
        Err(StoreError::NoRevision { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// [`head`] with its card.
fn head_and_card(hub: &Hub, info: &RepoInfo) -> Result<Option<(Commit, Value)>, HubError> {
    let Some(head) = head(hub, info)? else { return Ok(None) };
    let card = hub.card(&head)?;
    Ok(Some((head, card)))
}

/// `with_blobs` tells of each file what it is known by.
fn describe(info: &RepoInfo, commit: Option<&Commit>, with_blobs: bool) -> Value {
    let id = info.repo.id.as_str();
    let mut text = json!({
        "_id": id,
        "id": id,
        "author": info.repo.id.owner(),
        "private": info.private,
        "gated": false,
        "disabled": false,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "createdAt": time(info.created),
        "lastModified": time(info.modified),
    });
    if info.repo.kind == RepoKind::Model {
        text["modelId"] = id.into();
    }
    if let Some(commit) = commit {
        text["sha"] = commit.id.to_string().into();
        text["usedStorage"] = commit.bytes().into();
        let siblings = commit.files.iter().map(|(path, file)| sibling(path, file, with_blobs));
        text["siblings"] = siblings.collect();
    }
    text
}
