//! A draft model makes answers quicker and no different.

use crate::client::{PROBES, answer, assert_idle, greedy, options, reply, seeded, settled, start, submit};
use crate::fixture::{QWEN3, altered, fixture, open, packed, prompts};
use crate::independence::{alone, together};
use engine::{Engine, EngineOptions, Generate, Speculation, StartError};
use models::{Model, ModelKind, Quantization};
use nn::DType;
use std::sync::Arc;

fn with(draft: &Arc<Model>) -> EngineOptions {
    EngineOptions { speculation: Speculation::Draft(Arc::clone(draft)), ..options() }
}

fn without() -> EngineOptions {
    EngineOptions { speculation: Speculation::Off, ..options() }
}

fn refusal(draft: &Arc<Model>) -> StartError {
    Engine::start(Arc::clone(&QWEN3), Arc::new(kernels::Pool::new(1)), with(draft)).err().unwrap()
}

#[test]
fn tokens_are_the_same_with_any_draft_however_requests_are_cut() {
    let itself = || open(&fixture("qwen3-tied"));
    let rounded = || packed("qwen3-tied", Quantization::Int4);
    for (name, model, drafts, cache_dtype) in [
        ("float", itself(), [rounded(), open(&fixture("llama3-rope-tied"))], DType::F32),
        ("int4", rounded(), [itself(), open(&fixture("qwen3-moe"))], DType::BF16),
    ] {
        let expected = alone(&start(&model, EngineOptions { cache_dtype, ..without() }));
        for (i, draft) in drafts.iter().enumerate() {
            let whole = EngineOptions { cache_dtype, ..with(draft) };
            let engine = start(&model, whole.clone());
            assert_eq!(alone(&engine), expected, "{name}, draft {i}, alone");
            assert_eq!(together(&engine), expected, "{name}, draft {i}, together, by what is cached");
            let stats = engine.stats();
            assert!(stats.proposed_tokens > 0 && stats.cached_tokens > 0, "{stats:?}");
            assert_idle(&engine);
            let cut = EngineOptions {
                cache_tokens: 256,
                context_length: 256,
                step_tokens: 16,
                max_sequences: 16,
                ..whole
            };
            let engine = start(&model, cut);
            assert_eq!(together(&engine), expected, "{name}, draft {i}, in chunks with too little cache");
            assert!(engine.stats().preemptions > 0);
            assert_idle(&engine);
        }
    }
}

/// Asks for the most likely tokens behind each prompt at once, and sees that all guesses were right. Returns the steps
/// that it took.
#[track_caller]
fn steps_of_right_guesses(engine: &Engine, requests: &[(&[u32], usize, usize)]) -> u64 {
    let before = settled(engine);
    let ask = |&(prompt, n, tokens): &(&[u32], usize, usize)| {
        (submit(engine, prompt, Generate { n, ..greedy(tokens) }).unwrap(), n)
    };
    let receivers: Vec<_> = requests.iter().map(ask).collect();
    receivers.into_iter().for_each(|(receiver, n)| assert_eq!(reply(receiver, n).failed, None));
    let after = settled(engine);
    let proposed = after.proposed_tokens - before.proposed_tokens;
    assert_ne!(proposed, 0);
    assert_eq!(after.accepted_tokens - before.accepted_tokens, proposed);
    after.steps - before.steps - PROBES
}

/// Its keys and values must be where the model's are for this, after whatever has happened to them.
#[test]
fn a_draft_that_is_the_model_is_always_right() {
    let [p0, p1, p2, p3, p4, ..] = &prompts()[..] else { panic!("there are more prompts") };
    let engine = start(&QWEN3, with(&QWEN3));
    // one step for the prompt, then five tokens a step
    assert_eq!(steps_of_right_guesses(&engine, &[(p3, 1, 201)]), 41);
    assert_eq!(steps_of_right_guesses(&engine, &[(p3, 1, 201)]), 41, "with a part from the cache");
    steps_of_right_guesses(&engine, &[(p4, 1, 100), (p0, 1, 150), (p2, 1, 80)]);
    // answers that begin on a shared block
    steps_of_right_guesses(&engine, &[(p1, 2, 60)]);

    // what is drawn is hard to guess: the draft pauses, and falls behind meanwhile
    let drawn = answer(&engine, p2, seeded(150, 3)).ids;
    let cached = engine.stats().cached_tokens;
    steps_of_right_guesses(&engine, &[(&[p2, &drawn[..]].concat(), 1, 60)]);
    assert!(engine.stats().cached_tokens >= cached + 128, "most of the answer was found again");

    // answers that give way to each other
    let engine = start(&QWEN3, EngineOptions { cache_tokens: 256, context_length: 256, ..with(&QWEN3) });
    let gave_way = (0..100).any(|_| {
        steps_of_right_guesses(&engine, &[(p0, 1, 150), (p1, 1, 150), (p2, 1, 150)]);
        engine.stats().preemptions > 0
    });
    assert!(gave_way);
    assert_idle(&engine);
}

#[test]
fn a_draft_with_a_shorter_context_guesses_up_to_its_end() {
    let short = altered("qwen3-tied", "config.json", |config| config["max_position_embeddings"] = 64.into());
    let engine = start(&QWEN3, with(&short));
    let prompt = &prompts()[1];
    let found = answer(&engine, prompt, greedy(200));
    assert_eq!(found, answer(&start(&QWEN3, without()), prompt, greedy(200)));
    let stats = settled(&engine);
    assert_eq!(stats.accepted_tokens, stats.proposed_tokens);
    assert!((20..=36).contains(&stats.proposed_tokens), "{stats:?}: those behind 28 tokens and up to 65");
    answer(&engine, &[&prompt[..], &found.ids].concat(), greedy(5));
    assert_eq!(settled(&engine).cached_tokens, 224, "what only the model has computed is found, too");
}

#[test]
fn a_draft_for_another_purpose_or_with_another_vocabulary_is_refused() {
    let embeds = open(&fixture("qwen3-embedding"));
    assert!(matches!(refusal(&embeds), StartError::DraftKind(ModelKind::Embed)));
    let swapped = altered("qwen3-tied", "tokenizer.json", |tokenizer| {
        let vocabulary = &mut tokenizer["model"]["vocab"];
        (vocabulary["A"], vocabulary["B"]) = (vocabulary["B"].clone(), vocabulary["A"].clone());
    });
    let message = refusal(&swapped).to_string();
    assert!(message.contains(r#"is "B" to it and "A" to the model"#), "{message}");
}
