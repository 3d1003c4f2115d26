//! Everything that can go wrong with a request, and how a client is told.
//!
//! All texts that reach a client are here or in the typed errors of `engine` and `models` that name only the
//! caller's own values; what an internal fault says goes to the log.

use crate::limits::{MAX_QUOTED_BYTES, MAX_RETRY_AFTER_SECONDS};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::SubmitError;
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// The body is not JSON.
    #[error("the body is not valid JSON: {0}")]
    Json(String),
    /// A field's value is wrong.
    #[error("{param}: {message}")]
    Invalid {
        /// The field, as a path.
        param: String,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// A documented field that this server, or this model, does not offer.
    #[error("{param} is not supported: {message}")]
    Unsupported {
        /// The field, as a path.
        param: String,
        /// Why, and what to do instead.
        message: String,
    },
    /// No key came.
    #[error("an API key is needed: send the header `Authorization: Bearer KEY`")]
    MissingKey,
    /// The key is not one of ours.
    #[error("the API key is not valid")]
    WrongKey,
    /// A request without a key that names a host which this server does not know as its own.
    #[error(
        "requests without an API key must address this server by IP address, `localhost` or an allowed host name"
    )]
    ForeignHost,
    /// No such model.
    #[error("the model `{model}` does not exist; this server has: {known}")]
    UnknownModel {
        /// The name asked for.
        model: String,
        /// The names there are.
        known: String,
    },
    /// No such adapter.
    #[error("no adapter `{name}` is loaded beside `{model}`; there are: {known}")]
    UnknownAdapter {
        /// The name asked for.
        name: String,
        /// The model.
        model: String,
        /// The names there are.
        known: String,
    },
    /// Adapters that the operator alone changes.
    #[error(
        "this server does not load or unload adapters at run time; start it with --adapter-dir to allow that"
    )]
    FixedAdapters,
    /// No such route.
    #[error("there is no route {method} {path}; GET /openapi.json lists them")]
    UnknownRoute {
        /// The request's method.
        method: String,
        /// The request's path.
        path: String,
    },
    /// The route knows other methods only.
    #[error("this route does not take {method}")]
    MethodNotAllowed {
        /// The request's method.
        method: &'static str,
    },
    /// The body did not come in time.
    #[error("the request's body did not arrive in time")]
    BodyTimeout,
    /// The body broke off.
    #[error("the request's body could not be read to its end")]
    BodyBroken,
    /// The body is too large.
    #[error("the request's body is larger than {limit} bytes")]
    BodyTooLarge {
        /// What is allowed.
        limit: usize,
    },
    /// The body is declared as something else than JSON.
    #[error("the request's body must have the content type application/json")]
    NotJson,
    /// The prompt, alone or with the shortest answer, is longer than the context.
    #[error("{message}; shorten the prompt")]
    ContextLength {
        /// The field that holds the prompt.
        param: String,
        /// Both counts.
        message: String,
    },
    /// The queue is full.
    #[error("too many requests: {waiting} are waiting already; try again in {retry_after} s")]
    QueueFull {
        /// Requests that wait.
        waiting: usize,
        /// Seconds.
        retry_after: u64,
    },
    /// The server was told to stop.
    #[error("the server is shutting down; try again later or elsewhere")]
    Draining,
    /// A fault of ours; its text is in the log.
    #[error("the request failed inside the server; the log has the reason under this request's id")]
    Internal,
}

/// An error as OpenAI's clients expect it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// What happened, which value, what to do.
    pub message: String,
    /// The kind of error: `invalid_request_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field at fault.
    #[schema(required)]
    pub param: Option<String>,
    /// The error's name for programs.
    #[schema(required)]
    pub code: Option<&'static str>,
}

impl ApiError {
    /// A wrong value of `param`.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError::Invalid { param: param.into(), message: message.into() }
    }

    /// A documented value of `param` that is not offered.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError::Unsupported { param: param.into(), message: message.into() }
    }

    /// A fault of ours: `reason` goes to the log only.
    pub fn internal(reason: impl std::fmt::Display) -> ApiError {
        tracing::error!(%reason, "request failed inside the server");
        ApiError::Internal
    }

    /// Why the engine refuses a prompt that came in the field `param`.
    pub fn submit(error: SubmitError, param: &str) -> ApiError {
        match error {
            SubmitError::TooLong { .. } | SubmitError::NeverFits { .. } => {
                ApiError::ContextLength { param: param.to_owned(), message: error.to_string() }
            }
            SubmitError::QueueFull { waiting, retry_after, .. } => {
                ApiError::QueueFull { waiting, retry_after: retry_after.clamp(1, MAX_RETRY_AFTER_SECONDS) }
            }
            SubmitError::Invalid { field, message } => ApiError::invalid(field, message),
            SubmitError::ShuttingDown => ApiError::Draining,
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            ApiError::Json(_)
            | ApiError::Invalid { .. }
            | ApiError::Unsupported { .. }
            | ApiError::BodyBroken
            | ApiError::ContextLength { .. } => StatusCode::BAD_REQUEST,
            ApiError::MissingKey | ApiError::WrongKey => StatusCode::UNAUTHORIZED,
            ApiError::ForeignHost | ApiError::FixedAdapters => StatusCode::FORBIDDEN,
            ApiError::UnknownModel { .. }
            | ApiError::UnknownAdapter { .. }
            | ApiError::UnknownRoute { .. } => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            ApiError::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::QueueFull { .. } => StatusCode::TOO_MANY_REQUESTS,
            ApiError::Draining => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The error as it is written into a body or a stream.
    pub fn body(&self) -> ErrorBody {
        let kind = match self.status() {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        ErrorBody {
            error: ErrorDetail {
                message: self.to_string(),
                kind,
                param: self.param().map(str::to_owned),
                code: self.code(),
            },
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            ApiError::Invalid { param, .. }
            | ApiError::Unsupported { param, .. }
            | ApiError::ContextLength { param, .. } => Some(param),
            ApiError::UnknownModel { .. } => Some("model"),
            ApiError::UnknownAdapter { .. } => Some("lora_name"),
            _ => None,
        }
    }

    fn code(&self) -> Option<&'static str> {
        Some(match self {
            ApiError::Json(_) => "invalid_json",
            ApiError::Invalid { .. } => "invalid_value",
            ApiError::Unsupported { .. } => "unsupported_parameter",
            ApiError::MissingKey | ApiError::WrongKey => "invalid_api_key",
            ApiError::ForeignHost => "host_not_allowed",
            ApiError::UnknownModel { .. } => "model_not_found",
            ApiError::UnknownAdapter { .. } => "adapter_not_found",
            ApiError::FixedAdapters => "adapters_are_fixed",
            ApiError::UnknownRoute { .. } => "unknown_url",
            ApiError::MethodNotAllowed { .. } => "method_not_allowed",
            ApiError::BodyTimeout => "request_timeout",
            ApiError::BodyBroken => "incomplete_body",
            ApiError::BodyTooLarge { .. } => "request_too_large",
            ApiError::NotJson => "unsupported_media_type",
            ApiError::ContextLength { .. } => "context_length_exceeded",
            ApiError::QueueFull { .. } => "queue_full",
            ApiError::Draining => "server_draining",
            ApiError::Internal => "internal_error",
        })
    }

    /// Seconds after which another try makes sense.
    fn retry_after(&self) -> Option<u64> {
        match self {
            ApiError::QueueFull { retry_after, .. } => Some(*retry_after),
            ApiError::Draining => Some(5),
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), axum::Json(self.body())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self {
            ApiError::MissingKey | ApiError::WrongKey => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // what is left of the body, or of the client's patience, is not worth keeping the connection
            ApiError::Draining | ApiError::BodyTooLarge { .. } | ApiError::BodyTimeout => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// A caller's text, cut to what an error message may repeat.
pub fn quoted(text: &str) -> String {
    if text.len() <= MAX_QUOTED_BYTES {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(MAX_QUOTED_BYTES)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        for (retry_after, seconds) in [(0, "1"), (8, "8"), (100_000, "60")] {
            let full = SubmitError::QueueFull { waiting: 3, tokens: 3000, retry_after };
            let error = ApiError::submit(full, "messages");
            let response = error.into_response();
            assert_eq!(response.status(), 429);
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
        }
    }

    #[test]
    fn quoted_text_is_short_and_whole_characters() {
        let long = "界".repeat(1000);
        assert!(quoted(&long).len() <= MAX_QUOTED_BYTES + 3);
        assert_eq!(quoted("short"), "short");
    }
}
