//! The document that describes this API, made from the routes and types themselves.

use crate::{error, health, openai};
use axum::Json;
use std::sync::LazyLock;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Wen",
        description = "OpenAI's wire contract over Qwen-family models. A documented field is honoured or refused by \
                       name; a field that is not in this document is ignored and listed in the response header \
                       `x-wen-unknown-fields`. Every response has the header `x-request-id`. As a hub of models and \
                       datasets, the server also speaks the contracts of Hugging Face and ModelScope, which their \
                       clients are the description of.",
    ),
    paths(
        openai::chat::create,
        openai::completions::create,
        openai::embeddings::create,
        openai::rerank::create,
        openai::models::list,
        openai::models::get,
        openai::adapters::load,
        openai::adapters::unload,
        health::healthz,
        health::readyz,
        health::metrics,
        document,
    ),
    components(schemas(
        error::ErrorBody,
        openai::chat::request::ToolMode,
        openai::chat::request::NamedChoice,
        openai::chat::request::ContentPart,
    ))
)]
struct Document;

static DOCUMENT: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(|| {
    let mut document = Document::openapi();
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme("api_key", scheme);
    // the same route under the name that Qwen's service gives it
    if let Some(mut rerank) = document.paths.paths.get("/v1/rerank").cloned() {
        if let Some(operation) = &mut rerank.post {
            operation.operation_id = Some("reranks".to_owned());
        }
        document.paths.paths.insert("/v1/reranks".to_owned(), rerank);
    }
    document
});

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses((status = 200, description = "The document", body = Object))
)]
pub async fn document() -> Json<&'static utoipa::openapi::OpenApi> {
    Json(&DOCUMENT)
}
