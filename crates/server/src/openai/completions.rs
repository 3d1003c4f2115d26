//! `POST /v1/completions`: text after text, as base models and evaluation harnesses use it.

pub mod answer;
pub mod request;
pub mod response;

use crate::error::{ApiError, ErrorBody};
use crate::generation::{Events, run_all};
use crate::json::Json;
use crate::openai::FINGERPRINT;
use crate::openai::inputs::{Prompt, tokenize};
use crate::openai::prompt::{Room, room};
use crate::openai::usage::Usage;
use crate::sse;
use crate::state::{App, Served, unix_seconds};
use answer::{PromptAnswer, Shape};
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::{Generate, Origin, Request, Scope, Task};
use futures::stream::{self, BoxStream, StreamExt};
use models::ModelKind;
use request::{CompletionRequest, Plan};
use response::{Completion, CompletionChoice};
use std::sync::Arc;

/// Continues texts.
#[utoipa::path(
    post,
    path = "/v1/completions",
    tag = "completions",
    security(("api_key" = [])),
    request_body = CompletionRequest,
    responses(
        (status = 200, description = "The continuations; with `stream`, events whose data are pieces of them, and `[DONE]`",
            content((Completion = "application/json"), (Completion = "text/event-stream"))),
        (status = "default", description = "An error", body = ErrorBody),
    )
)]
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(workspace): Extension<Scope>,
    Json(mut request): Json<CompletionRequest>,
) -> Result<Response, ApiError> {
    let served = app.model(&request.model)?;
    served.must_be(&[ModelKind::Generate, ModelKind::Rerank], "continue text")?;
    let input = request.prompt.take();
    let plan = Arc::new(Plan::new(request, &served)?);
    let prompts = {
        let served = served.clone();
        app.prepare(move || tokenize(input, "prompt", &served, encode)).await?
    };
    let rooms = prompts
        .iter()
        .map(|prompt| room(prompt.tokens.len(), plan.best_of, "prompt", &served))
        .collect::<Result<Vec<Room>, ApiError>>()?;
    let head =
        Head { id: format!("cmpl-{}", uuid::Uuid::new_v4().simple()), created: unix_seconds(), served };
    let origin = Origin { workspace, priority: plan.priority };
    let work = Work { app, head, plan, origin, prompts, rooms };
    if work.plan.stream { work.stream() } else { work.collect().await.map(IntoResponse::into_response) }
}

/// A prompt is meant as it is: control tokens in it are control tokens, and what the tokenizer puts before every
/// text comes first.
fn encode(text: &str, served: &Served) -> Vec<u32> {
    let tokens = served.tokenizer().encode_with_added(text);
    match tokens.starts_with(&served.text_prefix) {
        true => tokens,
        false => [served.text_prefix.as_slice(), &tokens].concat(),
    }
}

/// What all pieces of an answer begin with.
#[derive(Clone)]
struct Head {
    id: String,
    created: u64,
    served: Arc<Served>,
}

impl Head {
    fn completion(&self, choices: Vec<CompletionChoice>, usage: Option<Option<Usage>>) -> Completion<'_> {
        Completion {
            id: &self.id,
            object: "text_completion",
            created: self.created,
            model: &self.served.id,
            choices,
            usage,
            system_fingerprint: FINGERPRINT,
        }
    }
}

/// A request that is ready to run.
struct Work {
    app: Arc<App>,
    head: Head,
    plan: Arc<Plan>,
    origin: Origin,
    prompts: Vec<Prompt>,
    rooms: Vec<Room>,
}

impl Work {
    /// The engine's request for a prompt.
    fn request(&self, index: usize) -> Request {
        let plan = &self.plan;
        let generate = Generate {
            n: plan.best_of,
            max_tokens: plan.max_tokens.min(self.rooms[index].at_most),
            sampling: plan.sampling.clone(),
            stop: plan.stop.clone(),
            stop_token_ids: plan.stop_token_ids.clone(),
            ignore_eos: plan.ignore_eos,
            // the best of several is the most likely one
            logprobs: plan.logprobs.or((plan.best_of > plan.n).then_some(0)),
            prompt_logprobs: plan.logprobs.filter(|_| plan.echo),
            constraint: None,
            thinking: None,
        };
        let prompt = self.prompts[index].tokens.clone();
        let adapter = self.head.served.adapter.clone();
        Request { prompt, task: Task::Generate(Box::new(generate)), origin: self.origin, adapter }
    }

    /// What the answers to a prompt look like.
    fn answer(&self, index: usize) -> PromptAnswer {
        let tokenizer = self.head.served.tokenizer().clone();
        let prompt = &self.prompts[index];
        let echo = self.plan.echo.then(|| match &prompt.text {
            Some(text) => text.clone(),
            None => tokenizer.decode(&prompt.tokens, false),
        });
        let shape = Shape {
            first_index: index * self.plan.n,
            choices: self.plan.best_of,
            echo,
            logprobs: self.plan.logprobs.is_some(),
        };
        PromptAnswer::new(tokenizer, prompt.tokens.clone(), shape)
    }

    /// The whole answer.
    async fn collect(self) -> Result<Response, ApiError> {
        let served = self.head.served.clone();
        let (work, n) = (&self, self.plan.n);
        let collect = |index: usize, mut events: Events| {
            let mut answer = work.answer(index);
            async move {
                while !answer.is_complete() {
                    answer.keep(events.next().await?);
                }
                let usage = answer.usage().clone();
                Ok((answer.into_best(n), usage))
            }
        };
        let request = |index| work.request(index);
        let answers = run_all(&self.app, &served, "prompt", self.prompts.len(), request, collect).await?;
        let mut usage = Usage::default();
        let mut choices = Vec::new();
        for (best, took) in answers {
            usage.add(&took);
            choices.extend(best);
        }
        Ok(axum::Json(self.head.completion(choices, Some(Some(usage)))).into_response())
    }

    /// The answer as events; those of all prompts are interleaved.
    fn stream(self) -> Result<Response, ApiError> {
        let served = &self.head.served;
        let runs = (0..self.prompts.len())
            .map(|index| {
                let events = Events::submit(&self.app, served, self.request(index), "prompt")?;
                Ok(pieces(events, self.answer(index)))
            })
            .collect::<Result<Vec<_>, ApiError>>()?;
        let writer = Writer {
            pieces: stream::select_all(runs),
            open: self.prompts.len(),
            head: self.head,
            include_usage: self.plan.include_usage,
            usage: Usage::default(),
            ended: false,
        };
        let events = stream::unfold(writer, |mut writer| async move { Some((writer.next().await?, writer)) });
        Ok(sse::response(events.boxed(), self.app.timeouts.stream_keep_alive))
    }
}

/// What a streamed prompt gives.
enum Piece {
    Choices(Vec<CompletionChoice>),
    /// The prompt's answers are complete and took this.
    End(Usage),
}

type Pieces = BoxStream<'static, Result<Piece, ApiError>>;

fn pieces(events: Events, answer: PromptAnswer) -> Pieces {
    stream::unfold(Some((events, answer)), |state| async move {
        let (mut events, mut answer) = state?;
        if answer.is_complete() {
            return Some((Ok(Piece::End(answer.usage().clone())), None));
        }
        match events.next().await {
            Ok(event) => Some((Ok(Piece::Choices(answer.take(event))), Some((events, answer)))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

/// Writes the pieces of all prompts as events.
struct Writer {
    pieces: stream::SelectAll<Pieces>,
    /// Prompts whose answers are not complete.
    open: usize,
    head: Head,
    include_usage: bool,
    usage: Usage,
    ended: bool,
}

impl Writer {
    /// The next events, at least one; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while !self.ended && out.is_empty() {
            match self.pieces.next().await? {
                Ok(Piece::Choices(choices)) => {
                    for choice in choices {
                        let usage = self.include_usage.then_some(None);
                        sse::write_event(&mut out, &self.head.completion(vec![choice], usage));
                    }
                }
                Ok(Piece::End(took)) => {
                    self.usage.add(&took);
                    self.open -= 1;
                    if self.open == 0 {
                        if self.include_usage {
                            let usage = Some(Some(self.usage.clone()));
                            sse::write_event(&mut out, &self.head.completion(Vec::new(), usage));
                        }
                        out.extend_from_slice(sse::DONE);
                        self.ended = true;
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
}
