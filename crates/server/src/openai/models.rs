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
    /// The id of the model that it is an adapter of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
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
        parent: served.parent.clone(),
    }
}

/// Lists the models, each followed by its adapters.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "models",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "The models and their adapters", body = ModelList),
        (status = "default", description = "An error", body = ErrorBody),
    )
)]
pub async fn list(State(app): State<Arc<App>>) -> Json<ModelList> {
    let served = app.listed.iter().flat_map(|served| served.all());
    Json(ModelList { object: "list", data: served.map(|served| card(&app, &served)).collect() })
}

/// Describes a model, by its id or an alias, or an adapter as `model:adapter`.
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
    let served = app.model(&id)?;
    Ok(Json(card(&app, &served)))
}
