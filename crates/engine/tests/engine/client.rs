//! A client of an engine: asks, and collects what it is told.

use engine::{
    Engine, EngineOptions, Event, FinishReason, Generate, LoadedAdapter, Origin, Request, Sampling,
    Speculation, Stats, SubmitError, Task, TokenLogprob,
};
use models::Model;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;

pub type Receiver = UnboundedReceiver<Event>;

pub fn options() -> EngineOptions {
    EngineOptions {
        cache_tokens: 4096,
        cache_dtype: nn::DType::F32,
        step_tokens: 256,
        max_sequences: 32,
        max_waiting: 64,
        max_waiting_tokens: 100_000,
        context_length: 512,
        speculation: Speculation::Lookup,
        adapter_bytes: 64 << 20,
    }
}

pub fn start(model: &Arc<Model>, options: EngineOptions) -> Engine {
    Engine::start(Arc::clone(model), Arc::new(kernels::Pool::new(1)), options).unwrap()
}

/// `max_tokens` most likely tokens, whatever they are.
pub fn greedy(max_tokens: usize) -> Generate {
    Generate {
        max_tokens,
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        ignore_eos: true,
        ..Generate::default()
    }
}

/// `max_tokens` tokens drawn from the model's distribution.
pub fn seeded(max_tokens: usize, seed: u64) -> Generate {
    Generate { sampling: Sampling { seed: Some(seed), ..Sampling::default() }, ..greedy(max_tokens) }
}

/// `request` with one token's logit so large that it is always chosen where it is allowed.
pub fn forcing(token: u32, mut request: Generate) -> Generate {
    request.sampling.logit_bias = vec![(token, 1000.0)];
    request
}

pub fn submit(engine: &Engine, prompt: &[u32], generate: Generate) -> Result<Receiver, SubmitError> {
    submit_from(engine, Origin::default(), prompt, generate)
}

pub fn submit_from(
    engine: &Engine,
    origin: Origin,
    prompt: &[u32],
    generate: Generate,
) -> Result<Receiver, SubmitError> {
    ask(engine, origin, None, prompt, generate)
}

/// Asks the model beside an adapter, or as it is.
pub fn submit_to(
    engine: &Engine,
    adapter: Option<&LoadedAdapter>,
    prompt: &[u32],
    generate: Generate,
) -> Result<Receiver, SubmitError> {
    ask(engine, Origin::default(), adapter.cloned(), prompt, generate)
}

fn ask(
    engine: &Engine,
    origin: Origin,
    adapter: Option<LoadedAdapter>,
    prompt: &[u32],
    generate: Generate,
) -> Result<Receiver, SubmitError> {
    let task = Task::Generate(Box::new(generate));
    engine.submit(Request { prompt: prompt.to_vec(), task, origin, adapter })
}

/// All that a client hears of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    pub answers: Vec<Answer>,
    pub prompt: Option<Vec<Option<TokenLogprob>>>,
    pub failed: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub ids: Vec<u32>,
    pub text: String,
    pub logprobs: Vec<TokenLogprob>,
    pub reason: Option<FinishReason>,
    pub stop: Option<String>,
    pub tokens: usize,
    pub reasoning_tokens: usize,
}

/// Listens until the channel closes, and checks the order of events on the way.
#[track_caller]
pub fn reply(mut receiver: Receiver, n: usize) -> Reply {
    let mut reply = Reply { answers: vec![Answer::default(); n], ..Reply::default() };
    while let Some(event) = receiver.blocking_recv() {
        assert_eq!(reply.failed, None, "nothing follows a failure, but {event:?} did");
        if let Event::Tokens { choice, .. } | Event::Finished { choice, .. } = &event {
            assert!(reply.prompt.is_some(), "{event:?} came before the prompt");
            assert_eq!(reply.answers[*choice].reason, None, "{event:?} came after the answer's end");
        }
        match event {
            Event::Prompt { logprobs, .. } => assert_eq!(reply.prompt.replace(logprobs), None),
            Event::Tokens { choice, text, ids, logprobs } => {
                let answer = &mut reply.answers[choice];
                answer.text += &text;
                answer.ids.extend(ids);
                answer.logprobs.extend(logprobs);
            }
            Event::Finished { choice, reason, stop, tokens, reasoning_tokens } => {
                let answer = &mut reply.answers[choice];
                (answer.reason, answer.stop) = (Some(reason), stop);
                (answer.tokens, answer.reasoning_tokens) = (tokens, reasoning_tokens);
            }
            Event::Failed(why) => reply.failed = Some(why),
            Event::Embedding(_) | Event::Scores(_) => panic!("an answer was asked for, not {event:?}"),
        }
    }
    let ended = reply.answers.iter().all(|answer| answer.reason.is_some());
    assert!(ended || reply.failed.is_some(), "every answer ends");
    reply
}

/// The answers of a request that does not fail.
#[track_caller]
pub fn answers(engine: &Engine, prompt: &[u32], request: Generate) -> Vec<Answer> {
    let n = request.n;
    let reply = reply(submit(engine, prompt, request).unwrap(), n);
    assert_eq!(reply.failed, None);
    reply.answers
}

/// The answer of a request for one.
#[track_caller]
pub fn answer(engine: &Engine, prompt: &[u32], request: Generate) -> Answer {
    answers(engine, prompt, request).remove(0)
}

/// Requests that [`settled`] adds to those that have ended.
pub const PROBES: u64 = 2;

/// The statistics once the engine has taken note of everything that was done before. No clock is needed: a step is
/// reported before the next one, so when the second of two requests is through, all before the first one is.
#[track_caller]
pub fn settled(engine: &Engine) -> Stats {
    (0..PROBES).for_each(|_| assert_eq!(answer(engine, &[1], greedy(1)).tokens, 1));
    engine.stats()
}

#[track_caller]
pub fn assert_idle(engine: &Engine) {
    let stats = settled(engine);
    assert_eq!((stats.blocks_used, stats.running, stats.waiting), (0, 0, 0), "{stats:?}");
}
