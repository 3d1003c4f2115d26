//! `POST /v1/chat/completions`.

pub mod answer;
pub mod conversation;
pub mod plan;
pub mod prompt;
pub mod request;
pub mod response;
pub mod tools;

use crate::error::{ApiError, ErrorBody};
use crate::generation::Events;
use crate::json::Json;
use crate::openai::FINGERPRINT;
use crate::openai::usage::Usage;
use crate::sse;
use crate::state::{App, Served, unix_seconds};
use answer::{Answer, Whole};
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::Scope;
use futures::stream::{self, StreamExt};
use models::ModelKind;
use plan::{Plan, Thinking};
use request::ChatRequest;
use response::{ChatChunk, ChatCompletion, ChunkChoice};
use std::sync::Arc;

/// Answers a conversation.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "chat",
    security(("api_key" = [])),
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer; with `stream`, events whose data are pieces of it, and `[DONE]`",
            content((ChatCompletion = "application/json"), (ChatChunk<'static> = "text/event-stream"))),
        (status = "default", description = "An error", body = ErrorBody),
    )
)]
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(workspace): Extension<Scope>,
    Json(request): Json<ChatRequest>,
) -> Result<Response, ApiError> {
    let served = app.model(&request.model)?;
    served.must_be(&[ModelKind::Generate, ModelKind::Rerank], "chat")?;
    let mut plan = Plan::new(request, &served)?;
    let (plan, request) = {
        let served = served.clone();
        app.prepare(move || prompt::request(&mut plan, workspace, &served).map(|request| (plan, request)))
            .await?
    };
    let in_thinking = matches!(plan.thinking, Thinking::On(_));
    let answer = Answer::new(
        served.tokenizer().clone(),
        request.prompt.len(),
        plan.n,
        in_thinking,
        plan.parse_tools,
        plan.logprobs.is_some(),
    );
    let events = Events::submit(&app, &served, request, "messages")?;
    let head =
        Head { id: format!("chatcmpl-{}", uuid::Uuid::new_v4().simple()), created: unix_seconds(), served };
    if plan.stream {
        let stream = ChatStream { head, events, answer, include_usage: plan.include_usage, ended: false };
        let pieces = stream::unfold(stream, |mut stream| async move { Some((stream.next().await?, stream)) });
        return Ok(sse::response(pieces.boxed(), app.timeouts.stream_keep_alive));
    }
    let completion = collect(head, events, answer, plan.n).await?;
    Ok(axum::Json(completion).into_response())
}

/// What all pieces of an answer begin with.
struct Head {
    id: String,
    created: u64,
    served: Arc<Served>,
}

/// The whole answer.
async fn collect(
    head: Head,
    mut events: Events,
    mut answer: Answer,
    n: usize,
) -> Result<ChatCompletion, ApiError> {
    let mut choices: Vec<Whole> = (0..n).map(|_| Whole::default()).collect();
    while !answer.is_complete() {
        for piece in answer.take(events.next().await?) {
            if let Some(choice) = choices.get_mut(piece.index) {
                choice.add(piece);
            }
        }
    }
    Ok(ChatCompletion {
        id: head.id,
        object: "chat.completion",
        created: head.created,
        model: head.served.id.clone(),
        choices: choices.into_iter().enumerate().map(|(index, whole)| whole.into_choice(index)).collect(),
        usage: answer.usage().clone(),
        system_fingerprint: FINGERPRINT,
    })
}

/// An answer as events.
struct ChatStream {
    head: Head,
    events: Events,
    answer: Answer,
    include_usage: bool,
    ended: bool,
}

impl ChatStream {
    /// The next events, at least one; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while !self.ended && out.is_empty() {
            match self.events.next().await {
                Ok(event) => {
                    for piece in self.answer.take(event) {
                        self.write(&mut out, vec![piece], None);
                    }
                    if self.answer.is_complete() {
                        self.end(&mut out);
                    }
                }
                Err(error) => {
                    sse::write_event(&mut out, &error.body());
                    self.ended = true;
                }
            }
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.include_usage {
            self.write(out, Vec::new(), Some(self.answer.usage().clone()));
        }
        out.extend_from_slice(sse::DONE);
        self.ended = true;
    }

    fn write(&self, out: &mut Vec<u8>, choices: Vec<ChunkChoice>, usage: Option<Usage>) {
        let chunk = ChatChunk {
            id: &self.head.id,
            object: "chat.completion.chunk",
            created: self.head.created,
            model: &self.head.served.id,
            choices,
            system_fingerprint: FINGERPRINT,
            usage: self.include_usage.then_some(usage),
        };
        sse::write_event(out, &chunk);
    }
}
