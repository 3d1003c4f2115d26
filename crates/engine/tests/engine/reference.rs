//! An engine's answers, log-probabilities, vectors and scores are the reference's.

use crate::client::{Receiver, answers, assert_idle, greedy, options, reply, start, submit};
use crate::fixture::{Expected, QWEN3, checkpoints_with, fixture, open};
use engine::{Engine, EngineOptions, Event, FinishReason, Generate, Origin, Request, Task};
use kernels::matmul::rounds_activations;
use nn::{Batch, Context, DType, KvCache};
use std::sync::Arc;

const FAMILIES: [&str; 4] = ["qwen3-tied", "qwen2-tied", "qwen3-moe", "llama3-rope-tied"];

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - max).exp()).sum();
    logits.iter().map(|&l| (f64::from(l - max) - sum.ln()) as f32).collect()
}

#[track_caller]
fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        // written so that NaN fails
        let close = (found - expected).abs() <= tolerance;
        assert!(close, "{what}: value {i} is {found}, not {expected}");
    }
}

#[test]
fn greedy_ids_equal_the_reference() {
    for (dir, expected) in checkpoints_with("case0.greedy_ids", &FAMILIES) {
        let engine = start(&open(&dir), options());
        let context = engine.options().context_length;
        let cases = expected.inputs("case");
        let replies: Vec<Receiver> =
            cases.iter().map(|(_, prompt)| submit(&engine, prompt, greedy(24)).unwrap()).collect();
        for ((case, prompt), receiver) in cases.iter().zip(replies) {
            let what = format!("{} {case}", dir.display());
            let mut ids = expected.ids(&format!("{case}.greedy_ids"));
            // the reference goes on behind the end of a small model's context
            ids.truncate(context - prompt.len());
            let found = reply(receiver, 1).answers.remove(0);
            assert_eq!(found.ids, ids, "{what}");
            assert_eq!((found.reason, found.tokens), (Some(FinishReason::Length), ids.len()), "{what}");
        }
    }
}

#[test]
fn text_is_what_all_tokens_together_decode_to() {
    let engine = start(&QWEN3, options());
    for (case, prompt) in Expected::of("qwen3-tied").inputs("case") {
        let found = answers(&engine, &prompt, greedy(24)).remove(0);
        assert_eq!(found.text, QWEN3.tokenizer.decode(&found.ids, true), "{case}");
    }
}

#[test]
fn log_probabilities_of_an_answer_equal_the_reference() {
    for (dir, expected) in checkpoints_with("case0.greedy_logits", &FAMILIES) {
        let what = dir.display().to_string();
        let model = open(&dir);
        let engine = start(&model, options());
        let vocab = model.lm.config().vocab_size;
        let tolerance = if rounds_activations(model.lm.config().dtype) { 0.1 } else { 1e-3 };
        let request = Generate { logprobs: Some(5), ..greedy(8) };
        let found = answers(&engine, &expected.ids("case0.input_ids"), request).remove(0);
        assert_eq!(found.logprobs.len(), 8, "{what}");
        let rows = expected.f32("case0.greedy_logits");
        for (i, (entry, row)) in found.logprobs.iter().zip(rows.chunks_exact(vocab)).enumerate() {
            let expected = log_softmax(row);
            let what = format!("{what} token {i}");
            assert_eq!(
                (entry.id, entry.top[0].0, entry.top.len()),
                (found.ids[i], found.ids[i], 5),
                "{what}"
            );
            assert_close(&what, &[entry.logprob], &[expected[entry.id as usize]], tolerance);
            for &(id, logprob) in &entry.top {
                assert_close(&what, &[logprob], &[expected[id as usize]], tolerance);
            }
            let more_likely = expected.iter().filter(|&&l| l > entry.top[4].1 + tolerance).count();
            assert!(more_likely < 5, "{what}: {more_likely} are more likely than the fifth alternative");
            assert!(entry.top.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{what}: {:?}", entry.top);
            assert!(entry.logprob <= 0.0, "{what}: {}", entry.logprob);
        }
    }
}

/// What the model computes for a whole prompt at once, without an engine: log-probabilities after each token.
fn computed_directly(engine: &Engine, prompt: &[u32]) -> Vec<Vec<f32>> {
    let lm = &engine.model().lm;
    let cx = Context::new(Arc::new(kernels::Pool::new(1)));
    let mut cache = KvCache::new(lm.kv_cache_shape(DType::F32, 16, 32)).unwrap();
    let blocks = (0..prompt.len().div_ceil(16) as u32).collect();
    let hidden = lm.forward(&cx, &Batch::single(prompt, 0, blocks), &mut cache);
    let logits = lm.logits(&cx, &hidden);
    (0..prompt.len()).map(|row| log_softmax(logits.row(row))).collect()
}

#[test]
fn log_probabilities_of_a_prompt_equal_those_of_the_model_and_the_reference() {
    // more rows than one matrix of logits holds, a chunk that ends inside the prompt, and chunks of one token
    for step_tokens in [256, 16, 1] {
        for name in FAMILIES {
            let expected = Expected::of(name);
            let engine =
                start(&open(&fixture(name)), EngineOptions { step_tokens, max_sequences: 1, ..options() });
            for (case, prompt) in expected.inputs("case") {
                let what = format!("{name} {case}, {step_tokens} tokens a step");
                for max_tokens in [0, 2] {
                    let request = Generate { prompt_logprobs: Some(2), ..greedy(max_tokens) };
                    let found = reply(submit(&engine, &prompt, request).unwrap(), 1);
                    assert_eq!(found.answers[0].ids.len(), max_tokens, "{what}");
                    let told = found.prompt.unwrap();
                    assert_eq!((told.len(), &told[0]), (prompt.len(), &None), "{what}");
                    let direct = computed_directly(&engine, &prompt);
                    for (at, (token, row)) in told[1..].iter().zip(&direct).enumerate() {
                        let token = token.as_ref().unwrap();
                        let what = format!("{what}, token {}", at + 1);
                        assert_eq!((token.id, token.top.len()), (prompt[at + 1], 2), "{what}");
                        assert_close(&what, &[token.logprob], &[row[token.id as usize]], 1e-3);
                        assert_close(&what, &[token.top[0].1], &[row[token.top[0].0 as usize]], 1e-3);
                    }
                    let vocab = engine.model().lm.config().vocab_size;
                    let last = expected.f32(&format!("{case}.logits"));
                    let rows = last.len() / vocab;
                    // the last row foretells a token that the prompt does not have
                    for (i, row) in last.chunks_exact(vocab).take(rows - 1).enumerate() {
                        let token = told[prompt.len() - rows + i + 1].as_ref().unwrap();
                        assert_close(&what, &[token.logprob], &[log_softmax(row)[token.id as usize]], 1e-3);
                    }
                }
            }
        }
    }
}

/// Sends all prompts at once and listens to one after the other.
fn ask_all(engine: &Engine, prompts: &[(String, Vec<u32>)], task: impl Fn() -> Task) -> Vec<Vec<f32>> {
    let ask = |prompt: &Vec<u32>| {
        engine
            .submit(Request {
                prompt: prompt.clone(),
                task: task(),
                origin: Origin::default(),
                adapter: None,
            })
            .unwrap()
    };
    let receivers: Vec<Receiver> = prompts.iter().map(|(_, prompt)| ask(prompt)).collect();
    let found = receivers.into_iter().map(|mut receiver| {
        let values = match receiver.blocking_recv() {
            Some(Event::Embedding(values) | Event::Scores(values)) => values,
            other => panic!("{other:?}"),
        };
        assert!(receiver.blocking_recv().is_none(), "it is told once");
        values
    });
    found.collect()
}

/// Room for all prompts in a step, for a part of one, and for one sequence at a time.
fn batchings() -> [EngineOptions; 3] {
    [
        options(),
        EngineOptions { step_tokens: 16, max_sequences: 8, ..options() },
        EngineOptions { max_sequences: 1, cache_tokens: 256, context_length: 256, ..options() },
    ]
}

#[test]
fn embeddings_equal_the_reference_alone_and_in_batches() {
    for (dir, expected) in checkpoints_with("embeddings", &["qwen3-embedding"]) {
        let model = open(&dir);
        let texts = expected.inputs("text");
        let vectors = expected.f32("embeddings");
        let width = vectors.len() / texts.len();
        for options in batchings() {
            let engine = start(&model, options);
            let together = ask_all(&engine, &texts, || Task::Embed);
            for (i, (vector, expected)) in together.iter().zip(vectors.chunks_exact(width)).enumerate() {
                let what = format!("{} {}", dir.display(), texts[i].0);
                assert_close(&what, vector, expected, 2e-4);
                assert_eq!(ask_all(&engine, &texts[i..=i], || Task::Embed)[0], *vector, "{what} alone");
            }
            assert_idle(&engine);
        }
    }
}

#[test]
fn rerank_scores_equal_the_reference_alone_and_in_batches() {
    for (dir, expected) in checkpoints_with("no_yes_logits", &["qwen3-reranker"]) {
        let model = open(&dir);
        let words = ["no", "yes"].map(|word| model.tokenizer.token_id(word).unwrap());
        let pairs = expected.inputs("pair");
        let logits = expected.f32("no_yes_logits");
        let task = || Task::Score(words.to_vec());
        for options in batchings() {
            let engine = start(&model, options);
            let together = ask_all(&engine, &pairs, task);
            let mut scores = Vec::new();
            for (i, (found, expected)) in together.iter().zip(logits.chunks_exact(2)).enumerate() {
                let what = format!("{} {}", dir.display(), pairs[i].0);
                assert_close(&what, found, expected, 2e-4 * expected[0].abs().max(1.0));
                assert_eq!(ask_all(&engine, &pairs[i..=i], task)[0], *found, "{what} alone");
                scores.push(1.0 / (1.0 + (found[0] - found[1]).exp()));
            }
            assert_close(&dir.display().to_string(), &scores, &expected.f32("scores"), 2e-4);
            assert_idle(&engine);
        }
    }
}
