//! Many adapters beside one model.

use crate::client::{Reply, assert_idle, greedy, options, reply, seeded, settled, start, submit, submit_to};
use crate::fixture::{QWEN3, fixture, open, packed, prompts};
use engine::{
    AdapterName, Engine, EngineOptions, Event, Generate, LoadAdapterError, LoadedAdapter, SubmitError,
};
use kernels::Pool;
use models::adapter::AdapterError;
use models::causal_lm::ServedAdapter;
use models::{Adapter, Model, Quantization};
use nn::DType;
use std::sync::Arc;

fn name(name: &str) -> AdapterName {
    name.parse().unwrap()
}

/// Loads adapters of different ranks, and one that is beside some layers only.
fn load(engine: &Engine) -> Vec<LoadedAdapter> {
    let lm = &engine.model().lm;
    let ranks = [4, 16, 3, 4];
    let load = |(i, rank): (usize, usize)| {
        let mut adapter = Adapter::random(lm, rank, i as u64);
        if i == 3 {
            adapter.layers.retain(|layer, _| layer.ends_with("q_proj") || layer.ends_with("down_proj"));
        }
        engine.load_adapter(name(&format!("a{i}")), &adapter, false).unwrap()
    };
    ranks.into_iter().enumerate().map(load).collect()
}

/// What is asked: each prompt of the model as it is or beside one of the adapters.
fn requests<'a>(
    engine: &Engine,
    adapters: &'a [LoadedAdapter],
) -> Vec<(Option<&'a LoadedAdapter>, Vec<u32>, Generate)> {
    let vocab = engine.model().lm.config().vocab_size as u32;
    let requests = (0..15).map(|i| {
        let prompt = prompts().remove(i % 8).into_iter().map(|token| token % vocab).collect();
        let one = if i % 2 == 0 { greedy(24) } else { seeded(24, i as u64) };
        let n = 1 + i % 2;
        let generate = Generate { logprobs: Some(2), prompt_logprobs: (i < 2).then_some(1), n, ..one };
        (adapters.get(i % (adapters.len() + 1)), prompt, generate)
    });
    requests.collect()
}

fn replies(engine: &Engine, at_once: bool) -> Vec<Reply> {
    let adapters = load(engine);
    let mut receivers = Vec::new();
    let mut replies = Vec::new();
    for (adapter, prompt, generate) in requests(engine, &adapters) {
        let n = generate.n;
        receivers.push((submit_to(engine, adapter, &prompt, generate).unwrap(), n));
        if !at_once {
            replies.extend(receivers.drain(..).map(|(receiver, n)| reply(receiver, n)));
        }
    }
    replies.extend(receivers.into_iter().map(|(receiver, n)| reply(receiver, n)));
    replies
}

#[test]
fn a_request_gives_the_same_tokens_whatever_adapters_run_beside_it() {
    let cases = [
        ("together", 1, options()),
        ("on two threads, in chunks", 2, EngineOptions { step_tokens: 9, max_sequences: 9, ..options() }),
        ("with too little cache", 1, EngineOptions { cache_tokens: 256, context_length: 256, ..options() }),
    ];
    for (fixture, cache_dtype, quantization) in [
        ("qwen3-tied", DType::F32, Quantization::None),
        ("qwen2-tied", DType::BF16, Quantization::None),
        ("qwen3-moe", DType::F32, Quantization::None),
        ("qwen3-tied", DType::BF16, Quantization::Int8),
        ("qwen3-tied", DType::BF16, Quantization::Int4),
        ("qwen3-moe", DType::BF16, Quantization::Int4),
        ("gguf-qwen3/q8_0.gguf", DType::BF16, Quantization::None),
        ("gguf-qwen3/q8_0.gguf", DType::BF16, Quantization::Stored),
        ("gguf-qwen3/q4_0.gguf", DType::BF16, Quantization::Stored),
        ("gguf-qwen3-kquants/q4_k_m.gguf", DType::BF16, Quantization::Stored),
    ] {
        let model = packed(fixture, quantization);
        let expected = replies(&start(&model, EngineOptions { cache_dtype, ..options() }), false);
        for (case, threads, options) in cases.clone() {
            let what = format!("{fixture}, {quantization:?}, {case}");
            let options = EngineOptions { cache_dtype, ..options };
            let engine = Engine::start(Arc::clone(&model), Arc::new(Pool::new(threads)), options).unwrap();
            for (i, (found, expected)) in replies(&engine, true).iter().zip(&expected).enumerate() {
                assert_eq!(found, expected, "{what}: request {i}");
            }
            assert_idle(&engine);
        }
    }
}

#[test]
fn answers_are_those_of_the_merged_model() {
    let path = fixture("qwen3-train-base");
    let base = open(&path);
    let engine = start(&base, EngineOptions { context_length: 128, ..options() });
    let prompt: Vec<u32> = (0..40).map(|i| 3 + i * 5 % 250).collect();
    let tell = |engine: &Engine, adapter: Option<&LoadedAdapter>| {
        let reply = reply(submit_to(engine, adapter, &prompt, greedy(60)).unwrap(), 1);
        reply.answers[0].ids.clone()
    };
    let plain = tell(&engine, None);
    for which in ["adapter", "adapter-rslora"] {
        let adapter = Adapter::read(&fixture("lora").join(which)).unwrap();
        let loaded = engine.load_adapter(name(which), &adapter, false).unwrap();
        let mut merged = Model::open(&path).unwrap();
        adapter.merge(&mut merged.lm, &Pool::new(1)).unwrap();
        let merged = start(&Arc::new(merged), EngineOptions { context_length: 128, ..options() });
        let found = tell(&engine, Some(&loaded));
        assert_eq!(found, tell(&merged, None), "{which}");
        assert_ne!(found, plain, "{which} changes nothing");
    }
}

#[test]
fn an_adapter_that_is_unloaded_stays_until_its_last_request_is_done() {
    let engine = start(&QWEN3, options());
    let a = Adapter::random(&QWEN3.lm, 4, 1);
    let prompt = &prompts()[1];
    let loaded = engine.load_adapter(name("a"), &a, false).unwrap();
    let expected = reply(submit_to(&engine, Some(&loaded), prompt, greedy(100)).unwrap(), 1);
    let mut receiver = submit_to(&engine, Some(&loaded), prompt, greedy(100)).unwrap();
    drop(loaded);
    let first = receiver.blocking_recv().unwrap();
    assert!(matches!(first, Event::Prompt { .. }));
    assert!(engine.unload_adapter("a"));
    assert!(engine.adapter("a").is_none() && !engine.unload_adapter("a"));
    let mut ids = Vec::new();
    while let Some(event) = receiver.blocking_recv() {
        match event {
            Event::Tokens { ids: new, .. } => ids.extend(new),
            Event::Finished { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ids, expected.answers[0].ids);
    let stats = settled(&engine);
    assert_eq!((stats.adapters, stats.adapter_bytes), (0, 0), "its memory is free");
}

#[test]
fn prefixes_are_not_shared_between_adapters_nor_with_what_a_name_meant_before() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[7];
    let load = |seed| engine.load_adapter(name("a"), &Adapter::random(&QWEN3.lm, 4, seed), true).unwrap();
    let hits = |adapter: Option<&LoadedAdapter>| {
        let mut receiver = submit_to(&engine, adapter, prompt, greedy(1)).unwrap();
        match receiver.blocking_recv() {
            Some(Event::Prompt { cached_tokens, .. }) => cached_tokens,
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (load(1), load(2));
    let found = [None, Some(&first), Some(&second), None, Some(&first), Some(&second)].map(hits);
    assert_eq!(found, [0, 0, 0, 160, 160, 160]);
}

#[test]
fn what_cannot_be_served_is_refused_and_takes_no_memory() {
    let dtype = QWEN3.lm.adapter_dtype();
    let small = ServedAdapter::bytes_of(&Adapter::random(&QWEN3.lm, 4, 0), dtype);
    let engine = start(&QWEN3, EngineOptions { adapter_bytes: small * 2, ..options() });
    let random = |rank, seed| Adapter::random(&QWEN3.lm, rank, seed);
    let load = |adapter: &Adapter, which: &str, replace| engine.load_adapter(name(which), adapter, replace);
    load(&random(4, 1), "a", false).unwrap();
    let refused = |adapter: &Adapter, which: &str| load(adapter, which, false).unwrap_err();
    assert!(matches!(refused(&random(4, 2), "a"), LoadAdapterError::Exists(_)));
    assert!(matches!(refused(&random(513, 2), "b"), LoadAdapterError::Rank(513)));
    let memory = refused(&random(5, 2), "b");
    assert!(matches!(memory, LoadAdapterError::Memory { used, .. } if used == small), "{memory}");
    let other = Adapter::read(&fixture("lora/adapter")).unwrap();
    let other = refused(&other, "b");
    assert!(matches!(other, LoadAdapterError::Adapter(AdapterError::Shape { .. })), "{other}");
    load(&random(4, 3), "a", true).unwrap();
    assert_eq!((engine.stats().adapters, engine.stats().adapter_bytes), (1, small));

    let elsewhere = start(&packed("qwen3-tied", Quantization::Int8), options());
    let foreign = elsewhere.load_adapter(name("a"), &random(4, 1), false).unwrap();
    let error = submit_to(&engine, Some(&foreign), &[1], greedy(1)).unwrap_err();
    assert!(matches!(error, SubmitError::Invalid { field: "adapter", .. }), "{error}");
    assert_eq!(reply(submit(&engine, &[1], greedy(2)).unwrap(), 1).failed, None);
}
