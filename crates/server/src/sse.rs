//! Server-sent events.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use serde::Serialize;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::timeout;

/// The event that ends a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";
/// A comment, which clients skip: it tells the proxies on the way that the stream lives.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Appends `data: {...}` to `out`.
pub fn write_event(out: &mut Vec<u8>, data: &impl Serialize) {
    out.extend_from_slice(b"data: ");
    // our own types have string keys only and no failing serializers; JSON text has no line break inside
    if let Err(error) = serde_json::to_writer(&mut *out, data) {
        tracing::error!(%error, "an event could not be written");
    }
    out.extend_from_slice(b"\n\n");
}

/// A response with these events, and a comment wherever nothing comes for `keep_alive`.
pub fn response(events: BoxStream<'static, Bytes>, keep_alive: Duration) -> Response {
    let pieces = stream::unfold(events, move |mut events| async move {
        let piece = match timeout(keep_alive, events.next()).await {
            Ok(piece) => piece?,
            Err(_) => Bytes::from_static(KEEP_ALIVE),
        };
        Some((Ok::<_, Infallible>(piece), events))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx would collect the stream otherwise
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_gets_comments() {
        let events = stream::iter([b"data: 1\n\n".as_slice(), DONE]).then(|event| async move {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Bytes::from_static(event)
        });
        let body =
            response(events.boxed(), Duration::from_secs(15)).into_body().collect().await.expect("body");
        assert_eq!(body.to_bytes(), ": keep-alive\n\ndata: 1\n\n: keep-alive\n\ndata: [DONE]\n\n".as_bytes());
    }

    #[test]
    fn an_event_is_one_line() {
        let mut out = Vec::new();
        write_event(&mut out, &serde_json::json!({"text": "a\nb\r\n\u{2028}"}));
        assert_eq!(out, "data: {\"text\":\"a\\nb\\r\\n\u{2028}\"}\n\n".as_bytes());
    }
}
