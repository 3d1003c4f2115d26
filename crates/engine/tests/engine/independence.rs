//! A request's tokens depend on the request alone.

use crate::client::{Reply, assert_idle, greedy, options, reply, seeded, start, submit};
use crate::fixture::{QWEN3, packed, prompts};
use engine::{Engine, EngineOptions, Generate, Speculation};
use kernels::Pool;
use models::Quantization;
use nn::DType;
use std::sync::Arc;

/// What an engine is asked: answers of many kinds and lengths, greedy and drawn.
fn request(i: usize) -> Generate {
    let one = if i.is_multiple_of(2) { greedy(40) } else { seeded(40, i as u64) };
    Generate { logprobs: Some(2), prompt_logprobs: (i < 4).then_some(1), ..one }
}

/// One request whose eight answers run at once. They need at least 25 blocks at their end, so that a cache of fewer
/// makes them give way to each other, whatever else there is.
fn crowd() -> Generate {
    Generate { n: 8, logprobs: Some(1), ..seeded(60, 99) }
}

fn crowd_prompt(engine: &Engine) -> Vec<u32> {
    within_vocabulary(engine, prompts().remove(3))
}

fn within_vocabulary(engine: &Engine, mut prompt: Vec<u32>) -> Vec<u32> {
    let size = engine.model().lm.config().vocab_size as u32;
    prompt.iter_mut().for_each(|token| *token %= size);
    prompt
}

/// Each prompt three times, asked differently: with the crowd they are 32 answers.
fn requests(engine: &Engine) -> impl Iterator<Item = (usize, Vec<u32>)> {
    let prompts = prompts();
    let count = 3 * prompts.len();
    prompts
        .into_iter()
        .map(|p| within_vocabulary(engine, p))
        .collect::<Vec<_>>()
        .into_iter()
        .cycle()
        .take(count)
        .enumerate()
}

/// Replies to the crowd and to all requests, sent at once.
pub fn together(engine: &Engine) -> Vec<Reply> {
    let crowd = submit(engine, &crowd_prompt(engine), crowd()).unwrap();
    let receivers: Vec<_> = requests(engine).map(|(i, p)| submit(engine, &p, request(i)).unwrap()).collect();
    let mut replies = vec![reply(crowd, 8)];
    replies.extend(receivers.into_iter().map(|receiver| reply(receiver, 1)));
    replies
}

/// Replies to the same requests, one after the other.
pub fn alone(engine: &Engine) -> Vec<Reply> {
    let mut replies = vec![reply(submit(engine, &crowd_prompt(engine), crowd()).unwrap(), 8)];
    replies.extend(requests(engine).map(|(i, p)| reply(submit(engine, &p, request(i)).unwrap(), 1)));
    replies
}

#[test]
fn a_request_gives_the_same_tokens_whatever_runs_beside_it_and_however_it_is_cut() {
    let cases = [
        ("together", 1, options(), false),
        ("together, without guesses", 1, EngineOptions { speculation: Speculation::Off, ..options() }, false),
        ("together on two threads", 2, options(), false),
        ("in chunks of 9 tokens", 1, EngineOptions { step_tokens: 9, max_sequences: 9, ..options() }, false),
        (
            "with too little cache",
            1,
            EngineOptions { cache_tokens: 256, context_length: 256, ..options() },
            true,
        ),
        (
            "in chunks, with too little cache",
            2,
            EngineOptions {
                cache_tokens: 256,
                context_length: 256,
                step_tokens: 16,
                max_sequences: 16,
                ..options()
            },
            true,
        ),
    ];
    for (name, cache_dtype, quantization) in [
        ("qwen3-tied", DType::F32, Quantization::None),
        ("qwen3-tied", DType::BF16, Quantization::None),
        ("qwen3-moe", DType::F32, Quantization::None),
        ("qwen3-tied", DType::BF16, Quantization::Int8),
        ("qwen3-tied", DType::Q8_0, Quantization::Int8),
        ("qwen3-tied", DType::BF16, Quantization::Int4),
        ("qwen3-moe", DType::BF16, Quantization::Int4),
        ("gguf-qwen3/q8_0.gguf", DType::BF16, Quantization::None),
        ("gguf-qwen3/q8_0.gguf", DType::BF16, Quantization::Stored),
        ("gguf-qwen3/q4_0.gguf", DType::BF16, Quantization::Stored),
        ("gguf-qwen3-kquants/q4_k_m.gguf", DType::BF16, Quantization::Stored),
    ] {
        let model = packed(name, quantization);
        let expected = alone(&start(&model, EngineOptions { cache_dtype, ..options() }));
        for (case, threads, options, preempted) in cases.clone() {
            let what = format!("{name}, {quantization:?}, {cache_dtype:?} cache, {case}");
            let options = EngineOptions { cache_dtype, ..options };
            let engine = Engine::start(Arc::clone(&model), Arc::new(Pool::new(threads)), options).unwrap();
            for (i, (found, expected)) in together(&engine).iter().zip(&expected).enumerate() {
                assert_eq!(found, expected, "{what}: request {i}");
            }
            assert_eq!(engine.stats().preemptions > 0, preempted, "{what}");
            assert_idle(&engine);
        }
    }
}

#[test]
fn a_prompt_that_gives_way_half_computed_is_told_the_same() {
    let prompts = prompts();
    let first = || greedy(200);
    let second = || Generate { prompt_logprobs: Some(1), ..greedy(4) };
    let expected = {
        let engine = start(&QWEN3, options());
        let first = reply(submit(&engine, &prompts[0], first()).unwrap(), 1);
        [first, reply(submit(&engine, &prompts[7], second()).unwrap(), 1)]
    };
    // The second prompt takes 6 of 8 blocks and a step for each token: before it is through, the first answer needs
    // its third block. Only a second request that comes very late would meet an engine without the first.
    let small = EngineOptions {
        cache_tokens: 256,
        context_length: 256,
        step_tokens: 2,
        max_sequences: 2,
        ..options()
    };
    let engine = start(&QWEN3, small);
    let gave_way = (0..100).any(|_| {
        let first = submit(&engine, &prompts[0], first()).unwrap();
        let second = submit(&engine, &prompts[7], second()).unwrap();
        assert_eq!([reply(first, 1), reply(second, 1)], expected);
        engine.stats().preemptions > 0
    });
    assert!(gave_way);
    assert_idle(&engine);
}

#[test]
fn a_seed_decides_what_is_drawn() {
    let engine = start(&QWEN3, options());
    let draw = |request| reply(submit(&engine, &prompts()[2], request).unwrap(), 1).answers.remove(0).ids;
    assert_eq!(draw(seeded(20, 7)), draw(seeded(20, 7)));
    assert_ne!(draw(seeded(20, 7)), draw(seeded(20, 8)));
    assert_ne!(draw(seeded(20, 7)), draw(greedy(20)));
    let unseeded = || {
        let mut request = seeded(20, 0);
        request.sampling.seed = None;
        draw(request)
    };
    assert_ne!(unseeded(), unseeded(), "without a seed each time is another");
}

#[test]
fn choices_differ_and_repeat_and_the_first_is_as_alone() {
    let engine = start(&QWEN3, options());
    let run = |n, seed| {
        let request = Generate { n, ..seeded(20, seed) };
        reply(submit(&engine, &prompts()[2], request).unwrap(), n).answers
    };
    let four = run(4, 7);
    assert_eq!(four, run(4, 7));
    assert_eq!(four[..1], run(1, 7));
    assert_eq!(four[..2], run(2, 7));
    for (i, one) in four.iter().enumerate() {
        assert!(four[..i].iter().all(|other| other.ids != one.ids), "choice {i} is like an earlier one");
    }
}

#[test]
fn guesses_change_how_many_steps_an_answer_takes_and_not_its_tokens() {
    let with = start(&QWEN3, options());
    let without = start(&QWEN3, EngineOptions { speculation: Speculation::Off, ..options() });
    // greedy answers of tiny random models soon repeat themselves; what is drawn does not, but is biased to here
    let drawn = |seed| {
        let mut request = seeded(100, seed);
        request.sampling.logit_bias = (20..24).map(|token| (token, 14.0)).collect();
        Generate { logprobs: Some(2), n: 2, ..request }
    };
    let mut steps = [0, 0];
    for (i, prompt) in prompts().iter().enumerate() {
        for request in [|_| greedy(200), drawn] {
            let [a, b] = [&with, &without].map(|engine| {
                let request = request(i as u64);
                let n = request.n;
                reply(submit(engine, prompt, request).unwrap(), n)
            });
            assert_eq!(a, b, "prompt {i}");
            steps = [&with, &without].map(|engine| engine.stats().steps);
        }
    }
    assert_idle(&with);
    let stats = with.stats();
    assert!(stats.accepted_tokens > 100, "{stats:?}");
    assert!(
        steps[0] + stats.accepted_tokens / 2 < steps[1],
        "{steps:?}: each guess that is right saves a row"
    );
    assert_eq!(without.stats().proposed_tokens, 0);
}
