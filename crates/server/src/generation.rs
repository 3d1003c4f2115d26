//! From the engine's channel to the routes: events in order, faults as errors, waiting ended by the server's end.

use crate::error::ApiError;
use crate::limits::MAX_IN_FLIGHT_PROMPTS;
use crate::state::{App, Served};
use engine::{Event, Request, SubmitError};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::UnboundedReceiver;

/// The events of one request. Dropping it cancels the request.
pub struct Events {
    receiver: UnboundedReceiver<Event>,
    cutting: Pin<Box<dyn Future<Output = ()> + Send>>,
    clock: TokenClock,
}

/// Measures when tokens come.
struct TokenClock {
    app: Arc<App>,
    model: String,
    submitted: Instant,
    /// The last token of each choice.
    last: Vec<Option<Instant>>,
}

impl Events {
    /// Hands `request`, whose prompt came in the field `param`, to the model's engine.
    pub fn submit(
        app: &Arc<App>,
        served: &Served,
        request: Request,
        param: &str,
    ) -> Result<Events, ApiError> {
        Self::try_submit(app, served, request).map_err(|error| ApiError::submit(error, param))
    }

    fn try_submit(app: &Arc<App>, served: &Served, request: Request) -> Result<Events, SubmitError> {
        let submitted = Instant::now();
        let receiver = served.engine.submit(request)?;
        let clock =
            TokenClock { app: app.clone(), model: served.base_id().to_owned(), submitted, last: Vec::new() };
        Ok(Events { receiver, cutting: Box::pin(app.lifecycle.cutting()), clock })
    }

    /// The next event; it is never [`Event::Failed`].
    pub async fn next(&mut self) -> Result<Event, ApiError> {
        let event = tokio::select! {
            // what is there already goes out before the end
            biased;
            event = self.receiver.recv() => event,
            () = &mut self.cutting => return Err(ApiError::Draining),
        };
        match event {
            Some(Event::Failed(reason)) => Err(ApiError::internal(reason)),
            Some(event) => {
                self.clock.note(&event);
                Ok(event)
            }
            None => Err(ApiError::internal("the engine ended before the request did")),
        }
    }
}

impl TokenClock {
    fn note(&mut self, event: &Event) {
        let Event::Tokens { choice, ids, .. } = event else { return };
        let (Some(count), now) = (u32::try_from(ids.len()).ok().filter(|count| *count > 0), Instant::now())
        else {
            return;
        };
        if self.last.len() <= *choice {
            self.last.resize(*choice + 1, None);
        }
        match self.last[*choice].replace(now) {
            None => self.app.metrics.first_token(&self.model, now - self.submitted),
            Some(last) => self.app.metrics.next_token(&self.model, (now - last) / count),
        }
    }
}

/// Runs `count` requests, some at a time, and gives their results in order. `request` makes the request of an index and `collect` its result;
/// their prompts came in the field `param`. A full queue is an error only if nothing of ours is in it: otherwise the
/// rest waits for its turn.
pub async fn run_all<T, F>(
    app: &Arc<App>,
    served: &Served,
    param: &str,
    count: usize,
    request: impl Fn(usize) -> Request,
    collect: impl Fn(usize, Events) -> F,
) -> Result<Vec<T>, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut results: Vec<(usize, T)> = Vec::with_capacity(count);
    let mut running = FuturesUnordered::new();
    let mut next = 0;
    while results.len() < count {
        let mut blocked = next == count || running.len() == MAX_IN_FLIGHT_PROMPTS;
        if !blocked {
            match Events::try_submit(app, served, request(next)) {
                Ok(events) => {
                    let (index, result) = (next, collect(next, events));
                    running.push(async move { result.await.map(|result| (index, result)) });
                    next += 1;
                }
                Err(SubmitError::QueueFull { .. }) if !running.is_empty() => blocked = true,
                Err(error) => {
                    return Err(ApiError::submit(error, param));
                }
            }
        }
        if blocked && let Some(result) = running.next().await {
            results.push(result?);
        }
    }
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
