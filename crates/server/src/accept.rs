//! The accept loop: connections in, requests to the router, and the end of it all.
//!
//! `axum::serve` sets no timer and gives no access to one, so a client that sends a header a minute would keep its
//! connection for ever. Here every connection has a watch ([`crate::activity`]) and there is a cap on their number.

use crate::activity::{Activity, WatchedBody, WatchedStream};
use crate::error::ApiError;
use crate::lifecycle::Phase;
use crate::limits::{
    MAX_CONCURRENT_STREAMS, MAX_CONNECTION_BUFFER_BYTES, MAX_HEADER_LIST_BYTES, MAX_HEADERS, MAX_REFUSALS,
};
use crate::router::Timing;
use crate::state::App;
use axum::Router;
use axum::response::IntoResponse;
use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tower::ServiceExt;

/// How long a connection that is told to close may take to write what it has.
const CLOSING: Duration = Duration::from_secs(2);
/// How long accepting pauses when the system refuses, as it does without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// HTTP/2 connections are asked this often whether they are still there.
const HTTP2_PING: Duration = Duration::from_secs(20);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 137\r\n\r\n\
{\"error\":{\"message\":\"too many connections; try again in a few seconds\",\"type\":\"server_error\",\"param\":null,\"code\":\"too_many_connections\"}}";

/// Serves until `shutdown` resolves and all requests have ended or been cut.
pub async fn serve(listener: TcpListener, app: Arc<App>, router: Router, shutdown: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    let slots = Arc::new(Semaphore::new(app.limits.connections));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut end = pin!(drained(&app, shutdown));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
            // ended connections are taken out as they end, so that the set does not grow
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match (slots.clone().try_acquire_owned(), refusals.clone().try_acquire_owned()) {
            (Ok(slot), _) => drop(connections.spawn(connection(stream, slot, app.clone(), router.clone()))),
            (Err(_), Ok(slot)) => drop(connections.spawn(refuse(stream, slot))),
            (Err(_), Err(_)) => {}
        }
    }
    drop(listener);
    let closed = timeout(CLOSING, async { while connections.join_next().await.is_some() {} }).await;
    if closed.is_err() {
        tracing::warn!(connections = connections.len(), "closed connections that did not end");
    }
}

/// From the shutdown's call to the end of the last request, or of the time that requests are given.
async fn drained(app: &App, shutdown: impl Future<Output = ()>) {
    shutdown.await;
    app.lifecycle.enter(Phase::Draining);
    tracing::info!(running = app.lifecycle.running(), "draining");
    if timeout(app.timeouts.drain, app.lifecycle.quiet()).await.is_err() {
        tracing::warn!(running = app.lifecycle.running(), "cutting the requests that still run");
        app.lifecycle.enter(Phase::Cutting);
        // they end as soon as they have written their error
        drop(timeout(CLOSING, app.lifecycle.quiet()).await);
    }
    app.lifecycle.enter(Phase::Cutting);
}

/// Tells a client over the cap so; it is given a second.
async fn refuse(mut stream: TcpStream, _slot: OwnedSemaphorePermit) {
    let say = async {
        // closing a socket with unread bytes resets it, and the client would see that and not the answer
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(FULL).await;
        let _ = stream.shutdown().await;
    };
    drop(timeout(Duration::from_secs(1), say).await);
}

/// Serves one connection until the client or the watch ends it.
async fn connection(stream: TcpStream, _slot: OwnedSemaphorePermit, app: Arc<App>, router: Router) {
    // tokens go out as they come, not when a packet is full
    drop(stream.set_nodelay(true));
    let activity = Activity::new();
    let io = TokioIo::new(WatchedStream::new(stream, activity.clone()));
    let service = {
        let (app, activity) = (app.clone(), activity.clone());
        hyper::service::service_fn(move |request| {
            answer(request, app.clone(), activity.clone(), router.clone())
        })
    };
    let builder = http();
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut look = interval(Activity::look_interval(&app.timeouts).max(Duration::from_millis(1)));
    let mut cutting = pin!(app.lifecycle.cutting());
    let reason = loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = &mut cutting => break None,
            now = look.tick() => {
                if let Some(overdue) = activity.overdue(now, &app.timeouts) {
                    break Some(overdue);
                }
            }
        }
    };
    tracing::debug!(?reason, "closing a connection");
    connection.as_mut().graceful_shutdown();
    drop(timeout(CLOSING, connection).await);
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // the watch does it, and knows headers from idle time
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_CONNECTION_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING)
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_send_buf_size(MAX_CONNECTION_BUFFER_BYTES);
    builder
}

/// Counts a request as running, and measures it, until its response is written or given up.
struct Running {
    app: Arc<App>,
    /// Held for its drop.
    #[allow(dead_code)]
    timing: Option<Arc<Timing>>,
}

impl Running {
    fn start(app: Arc<App>) -> Running {
        app.lifecycle.start();
        Running { app, timing: None }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.app.lifecycle.finish();
    }
}

async fn answer(
    request: Request<Incoming>,
    app: Arc<App>,
    activity: Arc<Activity>,
    router: Router,
) -> Result<Response<WatchedBody<Running>>, Infallible> {
    let (ticket, mut running) = (activity.begin(), Running::start(app));
    let answered = AssertUnwindSafe(router.oneshot(request)).catch_unwind().await;
    let response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => ApiError::internal("a handler panicked").into_response(),
    };
    let (mut parts, body) = response.into_parts();
    running.timing = parts.extensions.remove();
    let body = body.map_err(axum::Error::new).boxed_unsync();
    Ok(Response::from_parts(parts, WatchedBody::new(body, ticket, running)))
}

#[cfg(test)]
mod tests {
    use super::FULL;

    #[test]
    fn the_refusal_is_a_whole_response() {
        let text = std::str::from_utf8(FULL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
