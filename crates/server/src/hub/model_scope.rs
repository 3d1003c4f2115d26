//! ModelScope's dialect.

mod commit;
mod files;
mod repos;

use super::access::{Caller, SESSION_COOKIE};
use super::request::Body;
use super::{Hub, HubError, USER};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use hub::{RefName, Repo, Revision};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What ModelScope calls the branch that a repository begins with.
const MASTER: &str = "master";

/// The routes below the address that clients have in `MODELSCOPE_ENDPOINT`.
pub fn routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/api/v1/login", post(login))
        .route("/openapi/v1/users/me", get(user))
        .route("/openapi/v1/{kind}", get(repos::list))
        .route("/openapi/v1/{kind}/{owner}/{name}", get(repos::describe))
        .route("/api/v1/models", post(repos::create_model).put(repos::list_models))
        .route("/api/v1/models/", axum::routing::put(repos::list_models))
        .route("/api/v1/datasets", post(repos::create_dataset).get(repos::list_datasets))
        .route("/api/v1/{kind}/{owner}/{name}", get(repos::info).put(repos::settings).delete(repos::delete))
        .route("/api/v1/{kind}/{owner}/{name}/revisions", get(repos::revisions))
        .route("/api/v1/{kind}/{owner}/{name}/commits", get(repos::commits))
        .route("/api/v1/{kind}/{owner}/{name}/repo/tag", post(repos::create_tag))
        .route("/api/v1/{kind}/{owner}/{name}/repo/files", get(files::list))
        .route("/api/v1/{kind}/{owner}/{name}/repo/tree", get(files::list))
        .route("/api/v1/{kind}/{owner}/{name}/repo", get(files::download).delete(files::delete))
        .route("/api/v1/{kind}/{owner}/{name}/file", delete(files::delete))
        .route("/api/v1/repos/{kind}/{owner}/{name}/info/lfs/objects/batch", post(commit::batch))
        .route("/api/v1/repos/{kind}/{owner}/{name}/commit/{revision}", post(commit::create))
}

/// What answers have around them.
fn success(data: Value) -> Json<Value> {
    Json(json!({"Code": 200, "Success": true, "Message": "success", "RequestId": "", "Data": data}))
}

/// An error as ModelScope's clients expect it.
pub fn fault(error: HubError) -> Response {
    let status = match error.status() {
        // for commits, where clients know 409 as somebody having been first
        StatusCode::PRECONDITION_FAILED => StatusCode::CONFLICT,
        status => status,
    };
    let message = error.to_string();
    let body = json!({
        "Code": status.as_u16(),
        "Success": false,
        "Message": message,
        "RequestId": "",
        "Data": null,
    });
    error.answer(status, &body)
}

/// A login: a key, for which the client gets the cookie that it sends from then on.
#[derive(Deserialize)]
struct Login {
    #[serde(rename = "AccessToken")]
    access_token: String,
}

async fn login(
    State(hub): State<Arc<Hub>>,
    Body(login): Body<Login>,
) -> Result<(HeaderMap, Json<Value>), HubError> {
    let key = login.access_token.trim();
    if !hub.access.knows(key.as_bytes()) {
        return Err(HubError::WrongKey);
    }
    let mut headers = HeaderMap::new();
    // keys that a cookie cannot hold are sent as a header
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)) {
        let cookie = format!("{SESSION_COOKIE}={key}; Path=/; HttpOnly; SameSite=Strict");
        headers.insert(header::SET_COOKIE, HeaderValue::from_str(&cookie).map_err(HubError::internal)?);
    }
    Ok((headers, success(json!({"AccessToken": key, "Username": USER, "Email": ""}))))
}

async fn user(caller: Caller) -> Result<Json<Value>, HubError> {
    caller.must_be_member()?;
    Ok(Json(json!({"success": true, "data": {"id": USER, "username": USER, "name": USER, "email": ""}})))
}

/// The revision that a client names; where there is no branch `master`, that is `main`.
fn revision(hub: &Hub, repo: &Repo, text: Option<&str>) -> Result<Revision, HubError> {
    let text = text.unwrap_or(MASTER);
    if text == MASTER {
        let info = hub.store.info(repo)?;
        let has = |name: &RefName| name.as_str() == MASTER;
        if !info.branches.keys().any(has) && !info.tags.keys().any(has) {
            return Ok(Revision::main());
        }
    }
    super::request::revision(repo, text)
}
