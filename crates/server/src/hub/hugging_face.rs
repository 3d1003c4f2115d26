//! Hugging Face's dialect.

mod card;
mod commit;
mod files;
mod refs;
mod repos;

use super::access::Caller;
use super::{Hub, HubError, USER, xet};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;

/// The header that names the commit of an answer.
const REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
/// The header that names the content of a large file.
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
/// The header with the size of a large file.
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
/// The header by which clients tell errors apart.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
/// The header with an error's text.
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");

/// The routes below the address that clients have in `HF_ENDPOINT`.
pub fn routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/api/whoami-v2", get(whoami))
        .route("/api/validate-yaml", post(card::validate))
        .route("/api/repos/create", post(repos::create))
        .route("/api/repos/delete", delete(repos::delete))
        .route("/api/models", get(repos::list_models))
        .route("/api/datasets", get(repos::list_datasets))
        .route("/api/{kind}/{owner}/{name}", get(repos::info))
        .route("/api/{kind}/{owner}/{name}/revision/{revision}", get(repos::info))
        .route("/api/{kind}/{owner}/{name}/settings", put(repos::settings))
        .route("/api/{kind}/{owner}/{name}/auth-check", get(repos::auth_check))
        .route("/api/{kind}/{owner}/{name}/tree/{revision}", get(files::tree))
        .route("/api/{kind}/{owner}/{name}/tree/{revision}/{*path}", get(files::tree))
        .route("/api/{kind}/{owner}/{name}/paths-info/{revision}", post(files::paths_info))
        .route("/api/{kind}/{owner}/{name}/refs", get(refs::list))
        .route("/api/{kind}/{owner}/{name}/commits/{revision}", get(refs::commits))
        .route(
            "/api/{kind}/{owner}/{name}/branch/{revision}",
            post(refs::create_branch).delete(refs::delete_branch),
        )
        .route("/api/{kind}/{owner}/{name}/tag/{revision}", post(refs::create_tag).delete(refs::delete_tag))
        .route("/api/{kind}/{owner}/{name}/preupload/{revision}", post(commit::preupload))
        .route("/api/{kind}/{owner}/{name}/commit/{revision}", post(commit::create))
        .route("/api/{kind}/{owner}/{name}/xet-write-token/{revision}", get(xet::begin))
        .route("/{owner}/{name}/info/lfs/objects/batch", post(commit::lfs_batch))
        .route("/datasets/{owner}/{name}/info/lfs/objects/batch", post(commit::lfs_batch))
        .route("/api/lfs/verify", post(commit::lfs_verify))
        .route("/{owner}/{name}/resolve/{revision}/{*path}", get(files::resolve))
        .route("/datasets/{owner}/{name}/resolve/{revision}/{*path}", get(files::resolve))
}

/// Who the caller is.
async fn whoami(caller: Caller) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    Ok(Json(json!({
        "type": "user",
        "id": USER,
        "name": USER,
        "fullname": USER,
        "isPro": false,
        "orgs": [],
        "auth": {"type": "access_token", "accessToken": {"displayName": USER, "role": "write"}},
    })))
}

/// An error as Hugging Face's clients expect it: they choose their exception by the header, not by the body.
pub fn fault(error: HubError) -> Response {
    let message = match &error {
        // the words by which clients know a wrong token from a missing repository
        HubError::WrongKey => "Invalid credentials in Authorization header".to_owned(),
        error => error.to_string(),
    };
    let mut body = json!({"error": message});
    if let HubError::Exists { url: Some(url), .. } = &error {
        body["url"] = url.as_str().into();
    }
    let mut response = error.answer(error.status(), &body);
    let headers = response.headers_mut();
    let code = match &error {
        HubError::NoRepo { .. } => Some("RepoNotFound"),
        HubError::NoRevision { .. } => Some("RevisionNotFound"),
        HubError::NoEntry { .. } => Some("EntryNotFound"),
        _ => None,
    };
    if let Some(code) = code {
        headers.insert(ERROR_CODE, HeaderValue::from_static(code));
    }
    // with the commit, clients remember that a file isn't there
    if let HubError::NoEntry { commit, .. } = &error
        && let Ok(commit) = HeaderValue::from_str(&commit.to_string())
    {
        headers.insert(REPO_COMMIT, commit);
    }
    let plain: String =
        message.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
    if let Ok(text) = HeaderValue::from_str(&plain) {
        headers.insert(ERROR_MESSAGE, text);
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A time as Hugging Face's clients read it.
fn time(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}
