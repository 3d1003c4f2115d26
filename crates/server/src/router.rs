//! Routes, and what surrounds every request: its id, its key, its line in the log and its place in the metrics.

use crate::error::{ApiError, quoted};
use crate::json::UnknownFields;
use crate::lifecycle::Phase;
use crate::state::App;
use crate::{health, openai, openapi};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument;

/// The header with a request's id, made by the server.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header that lists the fields of a request that the dialect does not know.
const UNKNOWN_FIELDS: HeaderName = HeaderName::from_static("x-wen-unknown-fields");

/// When a request came. Its drop is the end of the response; it travels with the response to the connection.
pub struct Timing {
    app: Arc<App>,
    route: String,
    started: Instant,
}

impl Drop for Timing {
    fn drop(&mut self) {
        self.app.metrics.request_ended(&self.route, self.started.elapsed());
    }
}

/// All routes of a server.
pub fn router(app: Arc<App>) -> Router {
    // a route is in one of two lists: what is not said to be open needs a key
    let open = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/openapi.json", get(openapi::document));
    let keyed = Router::new()
        .route("/metrics", get(health::metrics))
        .route("/v1/models", get(openai::models::list))
        .route("/v1/models/{*id}", get(openai::models::get))
        .route("/v1/load_lora_adapter", post(openai::adapters::load))
        .route("/v1/unload_lora_adapter", post(openai::adapters::unload))
        .route("/v1/chat/completions", post(openai::chat::create))
        .route("/v1/completions", post(openai::completions::create))
        .route("/v1/embeddings", post(openai::embeddings::create))
        .route("/v1/rerank", post(openai::rerank::create))
        .route("/v1/reranks", post(openai::rerank::create))
        .route_layer(from_fn_with_state(app.clone(), admit));
    let hub = app.hub.as_ref().map_or_else(Router::new, |hub| crate::hub::routes(&app, hub));
    open.merge(keyed)
        .merge(hub)
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), account))
        .with_state(app)
}

/// Lets a request with a key in, while the server takes new ones.
async fn admit(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let workspace = app.access.check(request.uri(), request.headers())?;
    request.extensions_mut().insert(workspace);
    if app.lifecycle.phase() != Phase::Serving {
        return Err(ApiError::Draining);
    }
    Ok(next.run(request).await)
}

/// Gives a request its id, reports its unknown fields, logs and counts it.
async fn account(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = format!("req_{}", uuid::Uuid::new_v4().simple());
    let route = match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().to_owned(),
        None => "other".to_owned(),
    };
    let method = known_method(request.method());
    let unknown = UnknownFields::default();
    request.extensions_mut().insert(unknown.clone());

    let span = tracing::info_span!("request", %id, method, route);
    let timing = Arc::new(Timing { app: app.clone(), route: route.clone(), started });
    let mut response = next.run(request).instrument(span.clone()).await;

    let status = response.status().as_u16();
    span.in_scope(|| tracing::info!(status, elapsed_ms = started.elapsed().as_millis() as u64, "answered"));
    app.metrics.request(&route, method, status);
    response.extensions_mut().insert(timing);
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    if !unknown.names().is_empty()
        && let Ok(names) = HeaderValue::from_str(&unknown.names().join(", "))
    {
        headers.insert(UNKNOWN_FIELDS, names);
    }
    response
}

/// A method's name out of a fixed set, so that no client can make new metrics.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

async fn unknown_route(method: Method, uri: Uri) -> ApiError {
    ApiError::UnknownRoute { method: known_method(&method).to_owned(), path: quoted(uri.path()) }
}

async fn method_not_allowed(method: Method) -> ApiError {
    ApiError::MethodNotAllowed { method: known_method(&method) }
}
