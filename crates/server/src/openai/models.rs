//! `GET /v1/models` and `GET /v1/models/{id}`.

use crate::error::{ApiError, ErrorBody};
use crate::state::{App, Served};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A model that is served.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelCard {
    /// Its id.
    pub id: String,
    /// `model`.
    pub object: &'static str,
    /// When the server started, in seconds since 1970.
    pub created: u64,
    /// `wen`.
    pub owned_by: &'static str,
    /// Longest sequence in tokens, prompt and answer.
    pub context_length: usize,
}

/// The models that are served.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    /// `list`.
    pub object: &'static str,
    /// The models.
    pub data: Vec<ModelCard>,
}

fn card(app: &App, served: &Served) -> ModelCard {
    ModelCard {
        id: served.id.clone(),
        object: "model",
        created: app.started,
        owned_by: "wen",
        context_length: served.engine.options().context_length,
    }
}

/// Lists the models.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "models",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "The models", body = ModelList),
        (status = "default", description = "An error", body = ErrorBody),
    )
)]
pub async fn list(State(app): State<Arc<App>>) -> Json<ModelList> {
    Json(ModelList { object: "list", data: app.listed.iter().map(|served| card(&app, served)).collect() })
}

/// Describes a model, by its id or an alias.
#[utoipa::path(
    get,
    path = "/v1/models/{id}",
    tag = "models",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "The model's id, which may have slashes")),
    responses(
        (status = 200, description = "The model", body = ModelCard),
        (status = "default", description = "An error", body = ErrorBody),
    )
)]
pub async fn get(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelCard>, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::invalid("model", "the name in the path is not UTF-8"))?;
    Ok(Json(card(&app, app.model(&id)?)))
}
