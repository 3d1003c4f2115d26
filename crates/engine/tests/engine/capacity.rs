//! What fits, what waits, what is refused, and what is given back.

use crate::client::{
    PROBES, Receiver, answer, assert_idle, forcing, greedy, options, reply, seeded, settled, start, submit,
};
use crate::fixture::{QWEN3, prompts};
use engine::{
    Engine, EngineOptions, Event, FinishReason, Generate, Origin, Request, Sampling, Stats, SubmitError,
    Task, Thinking,
};

/// A request that fails at its first token: its reasoning may have no token, and its end has none either.
fn failing() -> Generate {
    let thinking = Thinking { end_token: 505, end_sequence: Vec::new(), budget: Some(0) };
    Generate { thinking: Some(thinking), ..greedy(40) }
}

#[test]
fn every_way_to_end_gives_all_blocks_back_and_is_counted_once() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[4];
    let whole = answer(&engine, prompt, greedy(40));
    let eos = QWEN3.generation.eos_token_ids[0];
    let stop: String = whole.text.chars().skip(3).take(2).collect();
    let cases = [
        ("by length", greedy(40)),
        ("with no token", greedy(0)),
        ("by a stop string", Generate { stop: vec![stop], ..greedy(40) }),
        ("by a stop token", Generate { stop_token_ids: vec![whole.ids[5]], ..greedy(40) }),
        ("by the model's end token", Generate { ignore_eos: false, ..forcing(eos, greedy(40)) }),
        ("by the end of the context", greedy(10_000)),
        ("by a failure", failing()),
        ("as eight answers", Generate { n: 8, ..seeded(40, 1) }),
        ("as answers of one token", Generate { n: 3, ..seeded(1, 1) }),
        ("as answers without a token", Generate { n: 3, ..seeded(0, 1) }),
        ("as answers that fail", Generate { n: 3, ..failing() }),
    ];
    for (what, request) in cases {
        let before = settled(&engine);
        let n = request.n;
        let reply = reply(submit(&engine, prompt, request).unwrap(), n);
        // a channel closes after its request is counted
        assert_eq!(engine.stats().finished_requests, before.finished_requests + 1, "{what}");
        let after = settled(&engine);
        assert_eq!((after.blocks_used, after.running, after.waiting), (0, 0, 0), "{what}");
        assert_eq!(after.cancelled_requests, 0, "{what}");
        let generated: usize = reply.answers.iter().map(|answer| answer.tokens).sum();
        assert_eq!(after.generated_tokens, before.generated_tokens + generated as u64 + PROBES, "{what}");
        let read = |stats: &Stats| stats.prompt_tokens + stats.cached_tokens;
        assert_eq!(read(&after), read(&before) + prompt.len() as u64 + PROBES, "{what}");
    }
}

#[test]
fn a_request_whose_client_goes_away_ends_and_gives_its_blocks_back() {
    // a cache for one long answer, and chunks that make a prompt take several steps
    let engine =
        start(&QWEN3, EngineOptions { cache_tokens: 512, step_tokens: 16, max_sequences: 8, ..options() });
    let prompt = &prompts()[4];
    let long = |n| submit(&engine, prompt, Generate { n, ..seeded(400, 1) }).unwrap();
    let computed = |mut receiver: Receiver| {
        assert!(matches!(receiver.blocking_recv(), Some(Event::Prompt { .. })));
        receiver
    };
    type Case<'a> = (&'a str, u64, Box<dyn Fn() + 'a>);
    let cases: [Case; 5] = [
        ("before its first step", 1, Box::new(|| drop(long(1)))),
        ("while it is answered", 1, Box::new(|| drop(computed(long(1))))),
        ("with eight answers", 1, Box::new(|| drop(computed(long(8))))),
        ("while others wait behind it", 3, Box::new(|| drop([computed(long(8)), long(1), long(1)]))),
        (
            "while it waits behind another",
            2,
            Box::new(|| {
                let (running, waiting) = (computed(long(8)), long(1));
                drop(waiting);
                drop(running);
            }),
        ),
    ];
    for (what, requests, cancel) in cases {
        // an engine may be through before a client that is held up goes away, but not each time
        let cancelled = (0..100).any(|_| {
            let before = settled(&engine);
            cancel();
            let after = settled(&engine);
            assert_eq!((after.blocks_used, after.running, after.waiting), (0, 0, 0), "{what}");
            assert_eq!(after.finished_requests, before.finished_requests + requests + PROBES, "{what}");
            let cancelled = after.cancelled_requests - before.cancelled_requests;
            assert!(cancelled <= requests, "{what}: {cancelled} were cancelled");
            cancelled == requests
        });
        assert!(cancelled, "{what}: all {requests} are counted as cancelled");
    }
}

#[test]
fn a_cancelled_request_does_not_touch_the_others() {
    let prompts = prompts();
    let options = || EngineOptions { cache_tokens: 512, step_tokens: 32, ..options() };
    let expected = answer(&start(&QWEN3, options()), &prompts[3], seeded(60, 5));
    let engine = start(&QWEN3, options());
    let gone = submit(&engine, &prompts[2], Generate { n: 8, ..seeded(400, 1) }).unwrap();
    let stays = submit(&engine, &prompts[3], seeded(60, 5)).unwrap();
    drop(gone);
    // takes the blocks that were given back
    let later = submit(&engine, &prompts[3], Generate { n: 8, ..seeded(60, 5) }).unwrap();
    assert_eq!(reply(stays, 1).answers[0], expected);
    assert_eq!(reply(later, 8).answers[0], expected);
    assert_idle(&engine);
}

#[test]
fn what_can_never_fit_is_refused_with_both_counts() {
    let engine = start(&QWEN3, EngineOptions { cache_tokens: 100, ..options() });
    assert_eq!(engine.options().cache_tokens, 128, "whole blocks");
    assert_eq!(engine.stats().blocks_total, 4);
    let generate = |tokens| Task::Generate(Box::new(greedy(tokens)));
    let too_long = |prompt, answer| SubmitError::TooLong { prompt, answer, context: 512 };
    let never_fits = |needed| SubmitError::NeverFits { needed, capacity: 128 };
    let cases = [
        (600, generate(1), Some(too_long(600, 1))),
        (512, generate(1), Some(too_long(512, 1))),
        (513, generate(0), Some(too_long(513, 0))),
        (513, Task::Embed, Some(too_long(513, 0))),
        (513, Task::Score(vec![1]), Some(too_long(513, 0))),
        (100, generate(29), Some(never_fits(129))),
        (1, generate(usize::MAX), Some(never_fits(512))),
        (129, generate(0), Some(never_fits(129))),
        (129, Task::Embed, Some(never_fits(129))),
        (129, Task::Score(vec![1]), Some(never_fits(129))),
        (100, generate(28), None),
        (128, generate(0), None),
        (128, Task::Embed, None),
        (128, Task::Score(vec![1]), None),
    ];
    for (prompt, task, refused) in cases {
        let what = format!("{prompt} tokens, {task:?}");
        match engine.submit(Request {
            prompt: vec![1; prompt],
            task,
            origin: Origin::default(),
            adapter: None,
        }) {
            Err(error) => assert_eq!(Some(error), refused, "{what}"),
            Ok(mut receiver) => {
                assert_eq!(refused, None, "{what}");
                while let Some(event) = receiver.blocking_recv() {
                    assert!(!matches!(event, Event::Failed(_)), "{what}: {event:?}");
                }
            }
        }
    }
    let message = never_fits(129).to_string();
    assert!(message.contains("129") && message.contains("128"), "{message}");
    assert_idle(&engine);
}

#[test]
fn what_fits_later_waits_for_its_turn() {
    let engine = start(&QWEN3, EngineOptions { cache_tokens: 128, ..options() });
    // the first needs all blocks but one at its beginning and all at its end, the second all at its beginning
    let first = || submit(&engine, &[1; 70], greedy(58)).unwrap();
    let second = || submit(&engine, &[2; 110], greedy(10)).unwrap();
    let alone = [reply(first(), 1), reply(second(), 1)];
    let (mut before, mut after) = (first(), second());
    // what the first was told is in its channel before the second one's prompt is computed
    let prompt = after.blocking_recv();
    assert!(matches!(prompt, Some(Event::Prompt { .. })), "{prompt:?}");
    let told: Vec<Event> = std::iter::from_fn(|| before.try_recv().ok()).collect();
    assert!(matches!(told.last(), Some(Event::Finished { tokens: 58, .. })), "{:?}", told.last());
    assert_eq!(reply(second(), 1), alone[1]);
    assert_eq!(reply(first(), 1), alone[0]);
    drop(after);
    assert_idle(&engine);
}

#[test]
fn a_full_queue_refuses_until_there_is_room() {
    let engine = start(&QWEN3, EngineOptions { max_sequences: 1, max_waiting: 3, ..options() });
    let long = || submit(&engine, &[1; 64], greedy(400));
    let mut accepted = Vec::new();
    let full = loop {
        match long() {
            Ok(receiver) => accepted.push(receiver),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, SubmitError::QueueFull { waiting: 3, tokens: 1392, .. }), "{full:?}");
    let first = reply(accepted.remove(0), 1);
    for receiver in accepted {
        assert_eq!(reply(receiver, 1), first, "what was accepted is answered");
    }
    assert_eq!(reply(long().unwrap(), 1), first, "there is room again");
}

#[test]
fn waiting_requests_are_bounded_by_tokens_too() {
    let limits = EngineOptions { max_sequences: 1, max_waiting_tokens: 1000, ..options() };
    let engine = start(&QWEN3, limits);
    let long = || submit(&engine, &[1; 64], greedy(400));
    let mut accepted = Vec::new();
    let full = loop {
        match long() {
            Ok(receiver) => accepted.push(receiver),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, SubmitError::QueueFull { waiting: 2, tokens: 928, .. }), "{full:?}");
    let small = submit(&engine, &[1; 8], greedy(8)).unwrap();
    accepted.into_iter().for_each(|receiver| assert_eq!(reply(receiver, 1).failed, None));
    assert_eq!(reply(small, 1).answers[0].tokens, 8);
}

#[test]
fn a_draining_engine_answers_what_it_took_and_takes_no_more() {
    let engine = start(&QWEN3, EngineOptions { max_sequences: 1, ..options() });
    let taken: Vec<Receiver> = (0..3).map(|_| submit(&engine, &[1; 64], greedy(20)).unwrap()).collect();
    engine.drain();
    assert_eq!(submit(&engine, &[1], greedy(1)).unwrap_err(), SubmitError::ShuttingDown);
    for receiver in taken {
        assert_eq!(reply(receiver, 1).answers[0].tokens, 20);
    }
}

#[test]
fn an_engine_that_goes_away_tells_everybody() {
    let engine = start(&QWEN3, EngineOptions { max_sequences: 2, cache_tokens: 512, ..options() });
    let mut running = submit(&engine, &[1; 64], Generate { n: 2, ..greedy(400) }).unwrap();
    let prompt = running.blocking_recv();
    assert!(matches!(prompt, Some(Event::Prompt { .. })), "{prompt:?}");
    let waiting: Vec<Receiver> = (0..3).map(|_| submit(&engine, &[1; 64], greedy(400)).unwrap()).collect();
    drop(engine);
    for mut receiver in [running].into_iter().chain(waiting) {
        let told: Vec<Event> = std::iter::from_fn(|| receiver.blocking_recv()).collect();
        match told.split_last() {
            Some((Event::Failed(why), before)) => {
                assert!(why.contains("stopped"), "{why}");
                assert!(!before.iter().any(|event| matches!(event, Event::Failed(_))), "it is told once");
            }
            // it was quicker
            Some((Event::Finished { reason: FinishReason::Length, .. }, _)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_failure_ends_its_request_and_no_other() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[2];
    let expected = answer(&engine, prompt, seeded(40, 3));
    let beside = submit(&engine, prompt, seeded(40, 3)).unwrap();
    let failed = reply(submit(&engine, prompt, failing()).unwrap(), 1);
    assert!(failed.failed.is_some());
    // of eight answers, those that end their reasoning by themselves would go on without the others
    let end_token = answer(&engine, prompt, seeded(1, 3)).ids[0];
    let thinking = Thinking { end_token, end_sequence: Vec::new(), budget: Some(3) };
    let request = Generate { n: 8, thinking: Some(thinking), ..seeded(40, 3) };
    let failed = reply(submit(&engine, prompt, request).unwrap(), 8);
    assert!(failed.failed.is_some());
    assert_eq!(reply(beside, 1).answers[0], expected);
    assert_idle(&engine);
}

#[test]
fn values_outside_their_range_are_refused_by_name() {
    let engine = start(&QWEN3, EngineOptions { max_sequences: 4, ..options() });
    let sampling = |change: fn(&mut Sampling)| {
        let mut request = greedy(4);
        change(&mut request.sampling);
        request
    };
    let cases = [
        ("n", Generate { n: 1_000_000_000, ..greedy(4) }),
        ("n", Generate { n: 5, ..greedy(4) }),
        ("n", Generate { n: 0, ..greedy(4) }),
        ("logprobs", Generate { logprobs: Some(1_000_000), ..greedy(4) }),
        ("prompt_logprobs", Generate { prompt_logprobs: Some(21), ..greedy(4) }),
        ("stop", Generate { stop: vec!["x".repeat(1000)], ..greedy(4) }),
        ("stop", Generate { stop: vec!["x".into(); 1000], ..greedy(4) }),
        ("stop_token_ids", Generate { stop_token_ids: vec![1; 1000], ..greedy(4) }),
        ("temperature", sampling(|s| s.temperature = f32::NAN)),
        ("temperature", sampling(|s| s.temperature = -1.0)),
        ("top_p", sampling(|s| s.top_p = 0.0)),
        ("min_p", sampling(|s| s.min_p = 1.5)),
        ("repetition_penalty", sampling(|s| s.repetition_penalty = 0.0)),
        ("presence_penalty", sampling(|s| s.presence_penalty = f32::INFINITY)),
        ("frequency_penalty", sampling(|s| s.frequency_penalty = f32::NAN)),
        ("logit_bias", sampling(|s| s.logit_bias = vec![(1_000_000, 1.0)])),
        ("logit_bias", sampling(|s| s.logit_bias = vec![(1, f32::NAN)])),
        ("logit_bias", sampling(|s| s.logit_bias = vec![(1, 1.0); 10_000])),
    ];
    let refused_field = |engine: &Engine, request| match engine.submit(request) {
        Err(SubmitError::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    for (name, generate) in cases {
        let request = Request {
            prompt: vec![1, 2, 3],
            task: Task::Generate(Box::new(generate)),
            origin: Origin::default(),
            adapter: None,
        };
        assert_eq!(refused_field(&engine, request), name);
    }
    for (name, prompt, task) in [
        ("prompt", vec![], Task::Embed),
        ("prompt", vec![1, 1_000_000], Task::Embed),
        ("score", vec![1], Task::Score(vec![1_000_000])),
    ] {
        assert_eq!(
            refused_field(&engine, Request { prompt, task, origin: Origin::default(), adapter: None }),
            name
        );
    }
}
