//! Reads a request's body: bounded in size and time, JSON into a type, with the field named that is wrong and the
//! fields reported that nobody reads.

use crate::error::{ApiError, quoted};
use crate::limits::{MAX_UNKNOWN_FIELD_BYTES, MAX_UNKNOWN_FIELDS};
use crate::options::Timeouts;
use crate::state::App;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use std::sync::{Arc, OnceLock};
use tokio::time::{Instant, timeout, timeout_at};

/// A request's body as a `T`.
pub struct Json<T>(pub T);

/// The fields of a request that the dialect does not know; it travels with the request and is reported with the
/// response.
#[derive(Clone, Default)]
pub struct UnknownFields(Arc<OnceLock<Vec<String>>>);

impl UnknownFields {
    /// The fields' names, as the report shows them.
    pub fn names(&self) -> &[String] {
        self.0.get().map_or(&[], Vec::as_slice)
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Json<T>, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::NotJson);
        }
        let unknown = request.extensions().get::<UnknownFields>().cloned().unwrap_or_default();
        let bytes = read_body(request, &app.timeouts, app.limits.body_bytes).await?;
        let (value, names) = parse(&bytes)?;
        if !names.is_empty() {
            tracing::warn!(fields = names.join(", "), "unknown fields in the request");
            // a request has one body
            let _ = unknown.0.set(names);
        }
        Ok(Json(value))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The whole body, refused as soon as it is declared or found too large, or comes too slowly.
pub async fn read_body(request: Request, timeouts: &Timeouts, limit: usize) -> Result<Bytes, ApiError> {
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|bytes: u64| bytes > limit as u64) {
        return Err(ApiError::BodyTooLarge { limit });
    }
    let deadline = Instant::now() + timeouts.body;
    let mut body: Body = request.into_body();
    let mut bytes = BytesMut::new();
    loop {
        let frame = timeout_at(deadline, timeout(timeouts.body_read, body.frame())).await;
        let Ok(Ok(frame)) = frame else { return Err(ApiError::BodyTimeout) };
        let Some(frame) = frame else { return Ok(bytes.freeze()) };
        let frame = frame.map_err(|_| ApiError::BodyBroken)?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > limit {
                return Err(ApiError::BodyTooLarge { limit });
            }
            bytes.extend_from_slice(data);
        }
    }
}

/// JSON to `T`, and the names of the fields that `T` does not have. Nesting is bounded by `serde_json` (128).
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, Vec<String>), ApiError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ApiError::Json(format!("invalid UTF-8 after byte {}", error.valid_up_to())))?;
    let mut unknown = Vec::new();
    let mut report = |path: serde_ignored::Path| {
        if unknown.len() < MAX_UNKNOWN_FIELDS {
            unknown.push(sanitised(&field_name(&path)));
        }
    };
    let mut source = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(serde_ignored::Deserializer::new(&mut source, &mut report))
        .map_err(|error| wrong_field(&error.path().to_string(), error.inner()))?;
    source.end().map_err(|error| ApiError::Json(error.to_string()))?;
    Ok((value, unknown))
}

fn wrong_field(path: &str, error: &serde_json::Error) -> ApiError {
    let message = quoted_message(error);
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let root = matches!(path, "." | "?");
    match (missing, error.classify()) {
        (Some(field), _) if root => ApiError::invalid(field, "this field is required"),
        (Some(field), _) => ApiError::invalid(format!("{path}.{field}"), "this field is required"),
        (None, serde_json::error::Category::Data) if root => ApiError::invalid("body", message),
        (None, serde_json::error::Category::Data) => ApiError::invalid(sanitised(path), message),
        // a number that no float can hold is found by the parser, at the field that it stands in
        (None, _) if !root && message.starts_with("number out of range") => {
            ApiError::invalid(sanitised(path), "the number is too large")
        }
        (None, _) => ApiError::Json(message),
    }
}

/// The parser's message without the position (the field says more) and with the caller's texts cut.
fn quoted_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match error.classify() {
        serde_json::error::Category::Data => {
            let end = message.rfind(" at line ").unwrap_or(message.len());
            quoted(&message[..end])
        }
        _ => quoted(&message),
    }
}

/// `messages[0].name`, from the outside in.
fn field_name(path: &serde_ignored::Path) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_name(parent)),
        Path::Map { parent, key } => match field_name(parent) {
            outer if outer.is_empty() => key.clone(),
            outer => format!("{outer}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            field_name(parent)
        }
    }
}

/// A caller's field name, fit for a header and a log line.
fn sanitised(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_-.[]".contains(c) { c } else { '?' };
    name.chars().take(MAX_UNKNOWN_FIELD_BYTES).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Outer {
        #[allow(dead_code)]
        n: Option<u32>,
        #[allow(dead_code)]
        t: Option<f64>,
        #[allow(dead_code)]
        items: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[allow(dead_code)]
        role: String,
    }

    #[test]
    fn the_field_at_fault_is_named() {
        for (body, param) in [
            (r#"{"items": [{"role": 1}]}"#, "items[0].role"),
            (r#"{"items": [{"role": "a"}, {}]}"#, "items[1].role"),
            (r#"{}"#, "items"),
            (r#"{"items": [], "n": -1}"#, "n"),
            (r#"{"items": [], "n": 1.5}"#, "n"),
            (r#"{"items": [], "n": 99999999999}"#, "n"),
            (r#"{"items": [], "t": 1e999}"#, "t"),
            (r#"[]"#, "body"),
        ] {
            let error = parse::<Outer>(body.as_bytes()).expect_err(body);
            let ApiError::Invalid { param: found, .. } = &error else { panic!("{body}: {error}") };
            assert_eq!(found, param, "{body}");
        }
    }

    #[test]
    fn what_is_not_json_is_said_so() {
        for body in [&b""[..], b"{", b"{\"items\": []} x", b"\xff", b"{\"items\": NaN}"] {
            let error = parse::<Outer>(body).expect_err("not JSON");
            assert!(matches!(error, ApiError::Json(_)), "{error:?}");
        }
    }

    #[test]
    fn unknown_fields_are_reported_bounded_and_clean() {
        let (_, names) = parse::<Outer>(br#"{"items": [{"role": "a", "x": 1}], "y\r\nz: 1": {"inner": 1}}"#)
            .expect("JSON");
        assert_eq!(names, ["items[0].x", "y??z??1"]);
        let many: Vec<String> = (0..100).map(|i| format!(r#""{i}{}": 1"#, "k".repeat(1000))).collect();
        let (_, names) =
            parse::<Outer>(format!(r#"{{"items": [], {}}}"#, many.join(",")).as_bytes()).expect("JSON");
        assert_eq!(names.len(), MAX_UNKNOWN_FIELDS);
        assert!(names.iter().all(|name| name.len() <= MAX_UNKNOWN_FIELD_BYTES));
    }

    #[test]
    fn only_json_is_taken() {
        for (value, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().expect("header"));
            assert_eq!(is_json(&headers), json, "{value}");
        }
    }
}
