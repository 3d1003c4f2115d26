//! Whether the server lives, whether it takes requests, and its numbers.

use crate::error::ApiError;
use crate::lifecycle::Phase;
use crate::metrics::CONTENT_TYPE;
use crate::state::App;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A server's health.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: &'static str,
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, description = "It does", body = Health)))]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the server takes requests.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, description = "It does", body = Health),
        (status = 503, description = "It is shutting down", body = crate::error::ErrorBody),
    )
)]
pub async fn readyz(State(app): State<Arc<App>>) -> Result<Json<Health>, ApiError> {
    match app.lifecycle.phase() {
        Phase::Serving => Ok(Json(Health { status: "ok" })),
        Phase::Draining | Phase::Cutting => Err(ApiError::Draining),
    }
}

/// Counters, gauges and histograms for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
        (status = "default", description = "An error", body = crate::error::ErrorBody),
    )
)]
pub async fn metrics(State(app): State<Arc<App>>) -> Result<impl IntoResponse, ApiError> {
    let page = app.metrics.render().map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], page))
}
