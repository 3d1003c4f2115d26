//! What happens on one connection, and when it has waited long enough.
//!
//! One watch covers idle connections, slow headers and clients that don't read, for HTTP/1 and HTTP/2 alike:
//! hyper's own header timeout knows HTTP/1 only and counts the idle time between two requests as header time.

use crate::options::Timeouts;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, SizeHint};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What happens on one connection.
pub struct Activity(Mutex<State>);

struct State {
    /// When the connection was opened or its last request ended.
    waiting_since: Instant,
    /// When the first byte of the next request came.
    first_byte: Option<Instant>,
    /// Whether there was a request at all.
    served: bool,
    /// Requests that run, and since when the client owes us to take what their responses gave.
    running: BTreeMap<u64, Option<Instant>>,
    next: u64,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// No request for too long.
    Idle,
    /// A request's headers don't end.
    Header,
    /// The client does not take its response.
    Stalled,
}

impl Activity {
    /// A connection that was just opened.
    pub fn new() -> Arc<Activity> {
        Arc::new(Activity(Mutex::new(State {
            waiting_since: Instant::now(),
            first_byte: None,
            served: false,
            running: BTreeMap::new(),
            next: 0,
        })))
    }

    /// A request's headers are complete; it runs until the ticket is dropped.
    pub fn begin(self: &Arc<Self>) -> Ticket {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.served = true;
        state.first_byte = None;
        state.running.insert(number, None);
        Ticket { activity: self.clone(), number }
    }

    /// What has lasted too long at `now`, if anything.
    pub fn overdue(&self, now: Instant, timeouts: &Timeouts) -> Option<Overdue> {
        let state = self.state();
        let passed = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        if !state.running.is_empty() {
            let stalled = state.running.values().flatten().any(|since| passed(*since, timeouts.write_stall));
            return stalled.then_some(Overdue::Stalled);
        }
        if state.first_byte.is_some_and(|since| passed(since, timeouts.header)) {
            return Some(Overdue::Header);
        }
        let patience = if state.served { timeouts.idle } else { timeouts.header };
        passed(state.waiting_since, patience).then_some(Overdue::Idle)
    }

    /// Between two looks at [`Self::overdue`]: short against each limit, so that none is exceeded by more than half.
    pub fn look_interval(timeouts: &Timeouts) -> Duration {
        timeouts.header.min(timeouts.idle).min(timeouts.write_stall) / 2
    }

    fn bytes_came(&self) {
        let mut state = self.state();
        if state.running.is_empty() && state.first_byte.is_none() {
            state.first_byte = Some(Instant::now());
        }
    }

    fn owes(&self, number: u64, since: Option<Instant>) {
        if let Some(entry) = self.state().running.get_mut(&number) {
            *entry = since;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // the state is whole at every instant, also where a holder of the lock panicked
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running request of a connection.
pub struct Ticket {
    activity: Arc<Activity>,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.running.remove(&self.number);
        state.waiting_since = Instant::now();
    }
}

/// A response's body that notes when the client last took a piece, and ends its request when it is dropped.
pub struct WatchedBody<G> {
    body: UnsyncBoxBody<Bytes, axum::Error>,
    ticket: Ticket,
    _guard: G,
}

impl<G> WatchedBody<G> {
    /// `guard` is dropped with the body.
    pub fn new(body: UnsyncBoxBody<Bytes, axum::Error>, ticket: Ticket, guard: G) -> WatchedBody<G> {
        WatchedBody { body, ticket, _guard: guard }
    }
}

impl<G: Unpin> Body for WatchedBody<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // hyper asks for the next piece as soon as there is room for it
        let since = matches!(polled, Poll::Ready(Some(_))).then(Instant::now);
        self.ticket.activity.owes(self.ticket.number, since);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket that notes when bytes come.
pub struct WatchedStream {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl WatchedStream {
    /// Notes in `activity`.
    pub fn new(stream: TcpStream, activity: Arc<Activity>) -> WatchedStream {
        WatchedStream { stream, activity }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.bytes_came();
        }
        polled
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_silent_connection_is_given_header_time_then_idle_time() {
        let timeouts = Timeouts::default();
        let activity = Activity::new();
        assert_eq!(activity.overdue(after(9), &timeouts), None);
        assert_eq!(activity.overdue(after(11), &timeouts), Some(Overdue::Idle));
        drop(activity.begin());
        assert_eq!(activity.overdue(after(11), &timeouts), None);
        assert_eq!(activity.overdue(after(76), &timeouts), Some(Overdue::Idle));
    }

    #[test]
    fn headers_must_end_in_time_however_often_bytes_come() {
        let timeouts = Timeouts::default();
        let activity = Activity::new();
        drop(activity.begin());
        activity.bytes_came();
        activity.bytes_came();
        assert_eq!(activity.overdue(after(11), &timeouts), Some(Overdue::Header));
        let running = activity.begin();
        assert_eq!(activity.overdue(after(1000), &timeouts), None);
        drop(running);
        assert_eq!(activity.overdue(after(11), &timeouts), None);
    }

    #[tokio::test]
    async fn only_a_client_that_does_not_take_its_response_is_stalled() {
        let timeouts = Timeouts::default();
        let activity = Activity::new();
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let pieces = futures::stream::unfold(receiver, async |mut receiver| {
            let piece = receiver.recv().await?;
            Some((Ok::<_, axum::Error>(Frame::data(piece)), receiver))
        });
        let body = StreamBody::new(pieces).boxed_unsync();
        let mut body = WatchedBody::new(body, activity.begin(), ());
        // we owe the next piece: the model may take its time
        assert!(futures::poll!(body.frame()).is_pending());
        assert_eq!(activity.overdue(after(1000), &timeouts), None);
        sender.send(Bytes::from_static(b"x")).expect("open");
        assert!(body.frame().await.is_some());
        assert_eq!(activity.overdue(after(29), &timeouts), None);
        assert_eq!(activity.overdue(after(31), &timeouts), Some(Overdue::Stalled));
    }
}
