//! Computed prefixes are used again, and nobody can tell by the answer.

use crate::client::{Reply, assert_idle, greedy, options, reply, seeded, start, submit_from};
use crate::fixture::{QWEN3, packed};
use engine::{Engine, EngineOptions, Event, Generate, Origin, Scope};
use models::Quantization;
use nn::DType;

fn workspace(id: u128) -> Origin {
    Origin { workspace: Scope(id), priority: 0 }
}

/// A prompt whose first `shared` tokens are those of every other.
fn prompt(who: u32, shared: usize, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| 10 + (i * 7 + if (i as usize) < shared { 0 } else { who }) % 200).collect()
}

/// The reply, and how many tokens came from the cache.
fn ask(engine: &Engine, origin: Origin, prompt: &[u32], generate: Generate) -> (Reply, usize) {
    let n = generate.n;
    let mut receiver = submit_from(engine, origin, prompt, generate).unwrap();
    let (sender, forwarded) = tokio::sync::mpsc::unbounded_channel();
    let mut cached = 0;
    while let Some(event) = receiver.blocking_recv() {
        if let Event::Prompt { cached_tokens, .. } = &event {
            cached = *cached_tokens;
        }
        sender.send(event).unwrap();
    }
    drop(sender);
    (reply(forwarded, n), cached)
}

fn request(i: u64) -> Generate {
    let one = if i.is_multiple_of(2) { greedy(40) } else { seeded(40, i) };
    Generate { logprobs: Some(2), ..one }
}

#[test]
fn a_request_gives_the_same_tokens_with_and_without_hits() {
    for (quantization, cache_dtype) in [
        (Quantization::None, DType::F32),
        (Quantization::Int8, DType::BF16),
        (Quantization::Int4, DType::BF16),
    ] {
        let model = packed("qwen3-tied", quantization);
        let engine = start(&model, EngineOptions { cache_dtype, ..options() });
        for i in 0..4 {
            let prompt = prompt(i as u32 + 1, 70, 150);
            let cold = start(&model, EngineOptions { cache_dtype, ..options() });
            let (expected, none) = ask(&cold, workspace(1), &prompt, request(i));
            assert_eq!(none, 0);
            let (first, hits) = ask(&engine, workspace(1), &prompt, request(i));
            assert_eq!(hits, if i == 0 { 0 } else { 64 }, "the shared blocks");
            let (second, hits) = ask(&engine, workspace(1), &prompt, request(i));
            assert_eq!(hits, 128, "every full block");
            assert_eq!(first, expected, "{quantization:?}, request {i}");
            assert_eq!(second, expected, "{quantization:?}, request {i} again");
        }
        assert_idle(&engine);
    }
}

#[test]
fn a_conversation_goes_on_where_it_ended() {
    let engine = start(&QWEN3, options());
    let mut conversation = prompt(1, 0, 50);
    let (first, _) = ask(&engine, workspace(1), &conversation, greedy(60));
    conversation.extend(&first.answers[0].ids);
    conversation.extend([5, 6, 7]);
    let (_, hits) = ask(&engine, workspace(1), &conversation, greedy(4));
    assert_eq!(hits, 96, "the answer's full blocks are found, too");
}

#[test]
fn workspaces_share_nothing() {
    let engine = start(&QWEN3, options());
    let prompt = prompt(1, 0, 100);
    assert_eq!(ask(&engine, workspace(1), &prompt, greedy(2)).1, 0);
    assert_eq!(ask(&engine, workspace(2), &prompt, greedy(2)).1, 0);
    assert_eq!(ask(&engine, workspace(1), &prompt, greedy(2)).1, 96);
}

#[test]
fn a_prompt_whose_probabilities_are_asked_for_is_computed() {
    let engine = start(&QWEN3, options());
    let asked = || Generate { prompt_logprobs: Some(1), ..greedy(4) };
    let (first, _) = ask(&engine, workspace(1), &prompt(1, 0, 100), asked());
    let (again, hits) = ask(&engine, workspace(1), &prompt(1, 0, 100), asked());
    assert_eq!((first, 0), (again, hits));
}

#[test]
fn what_was_used_last_stays_and_all_answers_stay_right() {
    // room for two of the prompts
    let engine = start(&QWEN3, EngineOptions { cache_tokens: 448, ..options() });
    let prompts: Vec<Vec<u32>> = (1..6).map(|who| prompt(who, 0, 200)).collect();
    let expected: Vec<Reply> =
        prompts.iter().map(|p| ask(&start(&QWEN3, options()), workspace(1), p, greedy(10)).0).collect();
    let hits = |i: usize| {
        let (reply, hits) = ask(&engine, workspace(1), &prompts[i], greedy(10));
        assert_eq!(reply, expected[i]);
        hits
    };
    assert_eq!((hits(0), hits(1), hits(1), hits(0)), (0, 0, 192, 192));
    assert_eq!(hits(2), 0);
    assert_eq!(hits(0), 192, "the one before was forgotten");
    for i in [3, 4, 1, 2, 0, 4, 3, 3, 1] {
        hits(i);
    }
    assert_idle(&engine);
}
