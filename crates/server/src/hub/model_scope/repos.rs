//! Repositories: made, listed, described, deleted; their branches and tags.

use super::{MASTER, revision, success};
use crate::hub::access::Caller;
use crate::hub::request::{Body, Fields, Target};
use crate::hub::{Hub, HubError};
use crate::json::read_body;
use crate::limits::{MAX_FORM_FIELDS, MAX_LISTED_COMMITS, MAX_LISTED_REPOS};
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::header;
use hub::store::RepoInfo;
use hub::{CommitId, RefName, Repo, RepoId, RepoKind, Revision};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Who may see a repository, as a number: 5 is everybody, 3 the company, 1 its owner.
const PUBLIC: i64 = 5;
const PRIVATE: i64 = 1;

/// What a model's repository is made with.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateModel {
    path: String,
    name: String,
    visibility: Option<i64>,
}

/// Makes the repository of a model; one that nobody says anything else about is private.
pub async fn create_model(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Body(request): Body<CreateModel>,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    let repo = Repo::model(RepoId::new(&request.path, &request.name)?);
    create(hub, repo, request.visibility).await
}

/// Makes the repository of a dataset, from a form.
pub async fn create_dataset(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    let fields = form(&hub, request).await?;
    let field =
        |name| fields.get(name).ok_or_else(|| HubError::Invalid(format!("the form has no field {name}")));
    let repo = Repo::dataset(RepoId::new(field("Owner")?, field("Name")?)?);
    let visibility = fields.number("Visibility")?;
    create(hub, repo, visibility).await
}

async fn create(hub: Arc<Hub>, repo: Repo, visibility: Option<i64>) -> Result<Json<Value>, HubError> {
    hub.blocking(move |hub| {
        hub.create(&repo, visibility != Some(PUBLIC))?;
        Ok(success(data(&hub.store.info(&repo)?)))
    })
    .await
}

/// The fields of a `multipart/form-data` body.
async fn form(hub: &Hub, request: Request) -> Result<Fields, HubError> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = content_type.and_then(|value| multer::parse_boundary(value).ok());
    let bytes = read_body(request, &hub.timeouts, hub.body_bytes).await?;
    let wrong = |error: multer::Error| HubError::Invalid(format!("the form cannot be read: {error}"));
    let Some(boundary) = boundary else {
        return Err(HubError::Invalid("the body is not multipart/form-data".to_owned()));
    };
    let once = futures::stream::once(async { Ok::<_, std::convert::Infallible>(bytes) });
    let mut form = multer::Multipart::new(once, boundary);
    let mut fields = Vec::new();
    while let Some(field) = form.next_field().await.map_err(wrong)? {
        if fields.len() >= MAX_FORM_FIELDS {
            return Err(HubError::Invalid(format!("the form has more than {MAX_FORM_FIELDS} fields")));
        }
        let name = field.name().unwrap_or_default().to_owned();
        fields.push((name, field.text().await.map_err(wrong)?));
    }
    Ok(Fields::new(fields))
}

/// What changes of a repository.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Settings {
    visibility: Option<i64>,
}

/// Changes who may see a repository.
pub async fn settings(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    Body(request): Body<Settings>,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    hub.blocking(move |hub| {
        if let Some(visibility) = request.visibility {
            hub.store.set_private(&target.repo, visibility != PUBLIC)?;
        }
        Ok(success(data(&hub.store.info(&target.repo)?)))
    })
    .await
}

/// Deletes a repository.
pub async fn delete(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    hub.blocking(move |hub| {
        hub.remove(&target.repo)?;
        Ok(success(Value::Null))
    })
    .await
}

/// Describes a repository.
pub async fn info(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    fields: Fields,
) -> Result<Json<Value>, HubError> {
    hub.blocking(move |hub| {
        let info = hub.view(caller, &target.repo)?;
        if let Some(text) = fields.get("Revision") {
            hub.store.resolve(&target.repo, &revision(hub, &target.repo, Some(text))?)?;
        }
        Ok(success(data(&info)))
    })
    .await
}

/// Describes a repository in the newer form.
pub async fn describe(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
) -> Result<Json<Value>, HubError> {
    hub.blocking(move |hub| {
        Ok(Json(json!({"success": true, "data": summary(&hub.view(caller, &target.repo)?)})))
    })
    .await
}

fn data(info: &RepoInfo) -> Value {
    let id = &info.repo.id;
    json!({
        // older clients ask for the files of a dataset by this
        "Id": id.as_str(),
        "Path": id.owner(),
        "Owner": id.owner(),
        "Namespace": id.owner(),
        "Name": id.name(),
        "Visibility": if info.private { PRIVATE } else { PUBLIC },
        // how a dataset's files are kept: as in any repository
        "Type": 3,
        "CreatedTime": info.created,
        "LastUpdatedTime": info.modified,
        "Downloads": 0,
        "Stars": 0,
    })
}

fn summary(info: &RepoInfo) -> Value {
    let id = &info.repo.id;
    json!({
        "id": id.as_str(),
        "owner": id.owner(),
        "name": id.name(),
        "visibility": if info.private { "private" } else { "public" },
        "private": info.private,
        "downloads": 0,
        "likes": 0,
        "created_at": info.created,
        "last_modified": info.modified,
    })
}

/// A page of a list.
struct Page {
    number: usize,
    size: usize,
}

impl Page {
    fn of<'a>(&self, repos: &'a [RepoInfo]) -> &'a [RepoInfo] {
        let start = (self.number - 1).saturating_mul(self.size).min(repos.len());
        &repos[start..start.saturating_add(self.size).min(repos.len())]
    }

    fn new(number: Option<u64>, size: Option<u64>) -> Page {
        let bounded = |value: Option<u64>, default: usize| {
            value.map_or(default, |value| value.clamp(1, MAX_LISTED_REPOS as u64) as usize)
        };
        Page { number: bounded(number, 1), size: bounded(size, 10) }
    }
}

/// Lists repositories in the newer form.
pub async fn list(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(kind): Path<String>,
    fields: Fields,
) -> Result<Json<Value>, HubError> {
    let kind =
        RepoKind::of_plural(&kind).ok_or(HubError::Unsupported("it keeps models and datasets only"))?;
    let page = Page::new(fields.number("page_number")?, fields.number("page_size")?);
    let find = move |hub: &Hub| hub.visible(caller, kind, fields.get("search"), fields.get("owner"));
    let repos = hub.blocking(find).await?;
    let items: Vec<Value> = page.of(&repos).iter().map(summary).collect();
    let mut data = json!({"total_count": repos.len(), "page_number": page.number, "page_size": page.size});
    data[kind.plural()] = items.into();
    Ok(Json(json!({"success": true, "data": data})))
}

/// What models are listed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListModels {
    path: Option<String>,
    page_number: Option<u64>,
    page_size: Option<u64>,
}

/// Lists the models of an owner, as older clients ask for it.
pub async fn list_models(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Body(request): Body<ListModels>,
) -> Result<Json<Value>, HubError> {
    let page = Page::new(request.page_number, request.page_size);
    let owner = request.path.filter(|path| !path.is_empty());
    let repos = hub.blocking(move |hub| hub.visible(caller, RepoKind::Model, None, owner.as_deref())).await?;
    let models: Vec<Value> = page.of(&repos).iter().map(data).collect();
    Ok(success(json!({"Models": models, "TotalCount": repos.len()})))
}

/// Lists datasets, as older clients ask for it.
pub async fn list_datasets(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    fields: Fields,
) -> Result<Json<Value>, HubError> {
    let page = Page::new(fields.number("PageNumber")?, fields.number("PageSize")?);
    let find = move |hub: &Hub| hub.visible(caller, RepoKind::Dataset, None, fields.get("owner"));
    let repos = hub.blocking(find).await?;
    let mut answer = success(page.of(&repos).iter().map(data).collect());
    answer.0["TotalCount"] = repos.len().into();
    answer.0["PageNumber"] = page.number.into();
    answer.0["PageSize"] = page.size.into();
    Ok(answer)
}

/// Lists branches and tags.
pub async fn revisions(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
) -> Result<Json<Value>, HubError> {
    hub.blocking(move |hub| {
        let info = hub.view(caller, &target.repo)?;
        let has_master = info.branches.keys().any(|name| name.as_str() == MASTER);
        let describe = |name: &RefName, commit: Option<CommitId>| {
            let time = match commit {
                Some(commit) => hub.store.resolve(&target.repo, &Revision::Commit(commit))?.time,
                None => info.created,
            };
            let name = if *name == RefName::main() && !has_master { MASTER } else { name.as_str() };
            let commit = commit.map(|commit| commit.to_string());
            Ok(json!({"Revision": name, "ShowName": name, "CommitId": commit, "CreatedAt": time}))
        };
        let branches = info.branches.iter().map(|(name, commit)| describe(name, *commit));
        let branches = branches.collect::<Result<Vec<Value>, HubError>>()?;
        let tags = info.tags.iter().map(|(name, commit)| describe(name, Some(*commit)));
        let mut tags = tags.collect::<Result<Vec<Value>, HubError>>()?;
        // clients take the first that is old enough
        tags.sort_by_key(|tag| std::cmp::Reverse(tag["CreatedAt"].as_u64()));
        Ok(success(json!({"RevisionMap": {"Branches": branches, "Tags": tags}})))
    })
    .await
}

/// Lists the commits that lead to a revision, the newest first.
pub async fn commits(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    fields: Fields,
) -> Result<Json<Value>, HubError> {
    hub.blocking(move |hub| {
        hub.view(caller, &target.repo)?;
        let at = revision(hub, &target.repo, fields.get("Ref").or(fields.get("Revision")))?;
        let commits = hub.store.history(&target.repo, &at, MAX_LISTED_COMMITS)?;
        let describe = |commit: &hub::store::Commit| {
            let (title, message) = commit.title_and_body();
            json!({
                "Id": commit.id.to_string(),
                "ShortId": commit.id.to_string()[..8],
                "Title": title,
                "Message": message,
                "AuthorName": commit.author,
                "CommitterName": commit.author,
                "CommittedDate": commit.time,
                "CreatedAt": commit.time,
            })
        };
        let page = Page::new(fields.number("PageNumber")?, fields.number("PageSize")?);
        let start = (page.number - 1).saturating_mul(page.size);
        let described: Vec<Value> = commits.iter().skip(start).take(page.size).map(describe).collect();
        Ok(success(json!({"Commit": described, "TotalCount": commits.len()})))
    })
    .await
}

/// A tag and what it names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NewTag {
    tag_name: String,
    #[serde(rename = "Ref")]
    at: Option<String>,
}

/// Makes a tag.
pub async fn create_tag(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    target: Target,
    Body(request): Body<NewTag>,
) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    let name: RefName = request.tag_name.parse()?;
    hub.blocking(move |hub| {
        let at = revision(hub, &target.repo, request.at.as_deref())?;
        let commit = hub.store.tag(&target.repo, &name, &at, false)?;
        Ok(success(json!({"TagName": name.as_str(), "CommitId": commit.to_string()})))
    })
    .await
}
