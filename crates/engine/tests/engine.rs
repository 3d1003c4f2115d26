//! What an engine promises, over real checkpoints.

use engine::{
    Constraint, ConstraintSpec, Engine, EngineOptions, Event, FinishReason, Generate, Grammars, Request,
    Sampling, SubmitError, Task, TokenLogprob,
};
use models::Model;
use models::checkpoint::safetensors;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

type Receiver = tokio::sync::mpsc::UnboundedReceiver<Event>;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity").join(name)
}

fn open(name: &str) -> Arc<Model> {
    Arc::new(Model::open(&fixture(name)).unwrap_or_else(|e| panic!("{e}")))
}

static QWEN3: LazyLock<Arc<Model>> = LazyLock::new(|| open("qwen3-tied"));

fn options() -> EngineOptions {
    EngineOptions {
        cache_tokens: 4096,
        cache_dtype: nn::DType::F32,
        step_tokens: 256,
        max_sequences: 32,
        max_waiting: 64,
        context_length: 512,
    }
}

fn start(model: &Arc<Model>, options: EngineOptions) -> Engine {
    Engine::start(Arc::clone(model), Arc::new(kernels::Pool::new(1)), options).unwrap()
}

fn greedy(max_tokens: usize) -> Generate {
    Generate {
        n: 1,
        max_tokens,
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        stop: Vec::new(),
        stop_token_ids: Vec::new(),
        ignore_eos: true,
        logprobs: None,
        prompt_logprobs: None,
        constraint: None,
        thinking: None,
    }
}

fn seeded(max_tokens: usize, seed: u64) -> Generate {
    Generate { sampling: Sampling { seed: Some(seed), ..Sampling::default() }, ..greedy(max_tokens) }
}

fn generate(engine: &Engine, prompt: &[u32], generate: Generate) -> Result<Receiver, SubmitError> {
    engine.submit(Request { prompt: prompt.to_vec(), task: Task::Generate(Box::new(generate)) })
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Answer {
    ids: Vec<u32>,
    text: String,
    logprobs: Vec<TokenLogprob>,
    reason: Option<FinishReason>,
    stop: Option<String>,
    tokens: usize,
}

/// The answers of a request, and its prompt's log-probabilities.
fn answers(mut receiver: Receiver, n: usize) -> (Vec<Answer>, Vec<Option<TokenLogprob>>) {
    let mut answers = vec![Answer::default(); n];
    let mut prompt = Vec::new();
    while let Some(event) = receiver.blocking_recv() {
        match event {
            Event::Prompt { logprobs, .. } => prompt = logprobs,
            Event::Tokens { choice, text, ids, logprobs } => {
                answers[choice].text += &text;
                answers[choice].ids.extend(ids);
                answers[choice].logprobs.extend(logprobs);
            }
            Event::Finished { choice, reason, stop, tokens, .. } => {
                answers[choice].reason = Some(reason);
                answers[choice].stop = stop;
                answers[choice].tokens = tokens;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(answers.iter().all(|answer| answer.reason.is_some()), "every answer ends");
    (answers, prompt)
}

fn answer(receiver: Receiver) -> Answer {
    answers(receiver, 1).0.remove(0)
}

/// Waits for a state that must come.
#[track_caller]
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::yield_now();
    }
}

#[track_caller]
fn assert_idle(engine: &Engine) {
    wait_until("all blocks are free", || {
        let stats = engine.stats();
        (stats.blocks_used, stats.running, stats.waiting) == (0, 0, 0)
    });
}

/// Tensors of a fixture's `expected.safetensors`.
struct Expected(Vec<u8>);

impl Expected {
    fn of(name: &str) -> Expected {
        Expected(std::fs::read(fixture(name).join("expected.safetensors")).unwrap())
    }

    fn bytes(&self, tensor: &str) -> &[u8] {
        let tensors = safetensors::parse(&self.0).unwrap();
        let (_, stored) = tensors.into_iter().find(|(name, _)| name == tensor).unwrap();
        &self.0[stored.range]
    }

    fn ids(&self, tensor: &str) -> Vec<u32> {
        self.bytes(tensor).chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect()
    }

    fn f32(&self, tensor: &str) -> Vec<f32> {
        self.bytes(tensor).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

/// Prompts of different lengths, from a reference prompt.
fn prompts() -> Vec<Vec<u32>> {
    let base = Expected::of("qwen3-tied").ids("case0.input_ids");
    (0..8).map(|i| base.iter().cycle().skip(i).take(5 + 23 * i).copied().collect()).collect()
}

#[test]
fn greedy_ids_equal_the_reference() {
    for name in ["qwen3-tied", "qwen2-tied", "qwen3-moe", "llama3-rope-tied"] {
        let expected = Expected::of(name);
        let engine = start(&open(name), options());
        let found = answer(generate(&engine, &expected.ids("case0.input_ids"), greedy(24)).unwrap());
        assert_eq!(found.ids, expected.ids("case0.greedy_ids"), "{name}");
        assert_eq!((found.reason, found.tokens), (Some(FinishReason::Length), 24), "{name}");
    }
}

#[test]
fn a_request_gives_the_same_tokens_whatever_runs_beside_it_and_however_it_is_cut() {
    let prompts = prompts();
    let request = |i: usize| if i.is_multiple_of(2) { greedy(40) } else { seeded(40, i as u64) };
    let alone: Vec<Answer> = {
        let engine = start(&QWEN3, options());
        prompts.iter().enumerate().map(|(i, p)| answer(generate(&engine, p, request(i)).unwrap())).collect()
    };
    assert_ne!(
        alone[1].ids,
        answer(generate(&start(&QWEN3, options()), &prompts[1], greedy(40)).unwrap()).ids
    );
    let cases = [
        ("together", options(), false),
        ("in chunks of 7 tokens", EngineOptions { step_tokens: 7, max_sequences: 7, ..options() }, false),
        (
            "with too little cache",
            EngineOptions { cache_tokens: 384, context_length: 384, ..options() },
            true,
        ),
    ];
    for (what, options, preempted) in cases {
        let engine = start(&QWEN3, options);
        let receivers: Vec<Receiver> =
            prompts.iter().enumerate().map(|(i, p)| generate(&engine, p, request(i)).unwrap()).collect();
        let together: Vec<Answer> = receivers.into_iter().map(answer).collect();
        assert_eq!(together, alone, "{what}");
        assert_eq!(engine.stats().preemptions > 0, preempted, "{what}");
        assert_idle(&engine);
    }
}

#[test]
fn a_cancelled_request_frees_its_blocks() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[4];
    let mut running = generate(&engine, prompt, Generate { n: 3, ..greedy(400) }).unwrap();
    assert!(matches!(running.blocking_recv(), Some(Event::Prompt { .. })));
    wait_until("it holds blocks", || engine.stats().blocks_used > 0);
    drop(running);
    assert_idle(&engine);
    let stats = engine.stats();
    assert_eq!((stats.cancelled_requests, stats.finished_requests), (1, 1));
    assert!(stats.generated_tokens < 1200, "it stopped early");
    // one that still waits, behind a request that takes the whole cache
    let engine = start(&QWEN3, EngineOptions { cache_tokens: 512, max_sequences: 1, ..options() });
    let first = generate(&engine, prompt, greedy(300)).unwrap();
    drop(generate(&engine, prompt, greedy(300)).unwrap());
    assert_eq!(answer(first).tokens, 300);
    assert_idle(&engine);
}

#[test]
fn what_can_never_fit_is_refused_and_what_fits_later_waits() {
    let small = EngineOptions { cache_tokens: 128, max_waiting: 3, ..options() };
    let engine = start(&QWEN3, small);
    let refused =
        |prompt: usize, tokens: usize| generate(&engine, &vec![1; prompt], greedy(tokens)).unwrap_err();
    assert_eq!(refused(600, 1), SubmitError::TooLong { prompt: 600, answer: 1, context: 512 });
    assert_eq!(refused(512, 1), SubmitError::TooLong { prompt: 512, answer: 1, context: 512 });
    assert_eq!(refused(100, 29), SubmitError::NeverFits { needed: 129, capacity: 128 });
    // each needs the whole cache
    let whole = || generate(&engine, &[1; 64], greedy(64));
    let mut accepted = vec![whole().unwrap()];
    let full = loop {
        match whole() {
            Ok(receiver) => accepted.push(receiver),
            Err(error) => break error,
        }
    };
    assert_eq!(full, SubmitError::QueueFull { waiting: 3 });
    let first = answer(accepted.remove(0));
    assert!(accepted.into_iter().map(answer).all(|later| later == first));
    engine.drain();
    assert_eq!(whole().unwrap_err(), SubmitError::ShuttingDown);
}

#[test]
fn absurd_values_are_refused_by_name() {
    let engine = start(&QWEN3, options());
    let sampling = |change: fn(&mut Sampling)| {
        let mut request = greedy(4);
        change(&mut request.sampling);
        request
    };
    let cases = [
        ("n", Generate { n: 1_000_000_000, ..greedy(4) }),
        ("n", Generate { n: 0, ..greedy(4) }),
        ("logprobs", Generate { logprobs: Some(1_000_000), ..greedy(4) }),
        ("prompt_logprobs", Generate { prompt_logprobs: Some(21), ..greedy(4) }),
        ("stop", Generate { stop: vec!["x".repeat(1000)], ..greedy(4) }),
        ("stop_token_ids", Generate { stop_token_ids: vec![1; 1000], ..greedy(4) }),
        ("temperature", sampling(|s| s.temperature = f32::NAN)),
        ("temperature", sampling(|s| s.temperature = -1.0)),
        ("top_p", sampling(|s| s.top_p = 0.0)),
        ("min_p", sampling(|s| s.min_p = 1.5)),
        ("repetition_penalty", sampling(|s| s.repetition_penalty = 0.0)),
        ("presence_penalty", sampling(|s| s.presence_penalty = f32::INFINITY)),
        ("logit_bias", sampling(|s| s.logit_bias = vec![(1_000_000, 1.0)])),
    ];
    for (name, request) in cases {
        match generate(&engine, &[1, 2, 3], request) {
            Err(SubmitError::Invalid { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
    for prompt in [vec![], vec![1, 1_000_000]] {
        let refused = generate(&engine, &prompt, greedy(4));
        assert!(matches!(refused, Err(SubmitError::Invalid { field: "prompt", .. })), "{refused:?}");
    }
}

#[test]
fn answers_end_where_they_are_told_to() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[1];
    let whole = answer(generate(&engine, prompt, greedy(40)).unwrap());
    assert!(whole.text.chars().count() > 12, "{:?} is long enough to be cut", whole.text);

    // a stop text across tokens
    let chars: Vec<char> = whole.text.chars().collect();
    let stop: String = chars[5..10].iter().collect();
    let cut = answer(generate(&engine, prompt, Generate { stop: vec![stop.clone()], ..greedy(40) }).unwrap());
    assert_eq!(cut.text, whole.text[..whole.text.find(&stop).unwrap()]);
    assert_eq!((cut.reason, cut.stop), (Some(FinishReason::Stop), Some(stop)));

    // a stop token, which is not part of the answer but was computed
    let token = whole.ids[7];
    let at = whole.ids.iter().position(|&id| id == token).unwrap();
    let cut =
        answer(generate(&engine, prompt, Generate { stop_token_ids: vec![token], ..greedy(40) }).unwrap());
    assert_eq!(cut.ids, whole.ids[..at]);
    assert_eq!((cut.reason, cut.tokens), (Some(FinishReason::Stop), at + 1));

    // the model's own end token, forced
    let eos = QWEN3.generation.eos_token_ids[0];
    let sampling = Sampling { logit_bias: vec![(eos, 1000.0)], ..greedy(1).sampling };
    let ended = Generate { sampling: sampling.clone(), ignore_eos: false, ..greedy(40) };
    let ended = answer(generate(&engine, prompt, ended).unwrap());
    assert_eq!((ended.ids.len(), ended.reason), (0, Some(FinishReason::Stop)));
    let ignored = answer(generate(&engine, prompt, Generate { sampling, ..greedy(5) }).unwrap());
    assert_eq!((ignored.tokens, ignored.reason), (5, Some(FinishReason::Length)));
    assert_idle(&engine);
}

#[test]
fn choices_differ_and_repeat() {
    let engine = start(&QWEN3, options());
    let run = || answers(generate(&engine, &prompts()[2], Generate { n: 4, ..seeded(20, 7) }).unwrap(), 4).0;
    let first = run();
    assert_eq!(first, run());
    for (i, one) in first.iter().enumerate() {
        assert!(first[..i].iter().all(|other| other.ids != one.ids), "choice {i} is like an earlier one");
    }
    assert_eq!(
        first[0],
        answer(generate(&engine, &prompts()[2], seeded(20, 7)).unwrap()),
        "the first is as alone"
    );
}

#[test]
fn sampling_fields_have_their_effect() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[1];
    let with = |change: &dyn Fn(&mut Sampling)| {
        let mut request = greedy(24);
        change(&mut request.sampling);
        answer(generate(&engine, prompt, request).unwrap()).ids
    };
    let plain = with(&|_| {});
    assert!(with(&|s| s.logit_bias = vec![(42, 1000.0)]).iter().all(|&id| id == 42));
    assert!(!with(&|s| s.logit_bias = vec![(plain[0], -1000.0)]).contains(&plain[0]));
    let different = |ids: &[u32]| ids.iter().collect::<std::collections::HashSet<_>>().len();
    assert_eq!(different(&with(&|s| s.frequency_penalty = 1000.0)), 24, "no token comes twice");
    assert_eq!(different(&with(&|s| s.presence_penalty = 1000.0)), 24);
    assert_ne!(with(&|s| s.repetition_penalty = 5.0), plain);
    assert_eq!(with(&|s| (s.temperature, s.top_k) = (2.0, 1)), plain, "one candidate is the best one");
    assert_eq!(with(&|s| (s.temperature, s.top_p) = (1.0, 1e-6)), plain);
    assert_eq!(with(&|s| (s.temperature, s.min_p) = (1.0, 1.0)), plain);
}

#[test]
fn log_probabilities_are_those_of_the_distribution() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[1];
    let request = Generate { logprobs: Some(3), prompt_logprobs: Some(2), ..greedy(6) };
    let (answers, of_prompt) = answers(generate(&engine, prompt, request).unwrap(), 1);
    let chosen = &answers[0];
    assert_eq!(chosen.logprobs.len(), 6);
    for (entry, id) in chosen.logprobs.iter().zip(&chosen.ids) {
        assert_eq!((entry.id, entry.top.len(), entry.top[0].0), (*id, 3, *id));
        assert!(entry.logprob <= 0.0 && entry.top.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    }
    // a token's log-probability in the prompt is what it is as an answer to the tokens before it
    assert_eq!(of_prompt.len(), prompt.len());
    assert!(of_prompt[0].is_none());
    for at in [1, 2, prompt.len() - 1] {
        let forced = Sampling { logit_bias: vec![(prompt[at], 1000.0)], ..greedy(1).sampling };
        let request = Generate { sampling: forced, logprobs: Some(2), ..greedy(1) };
        let alone = answer(generate(&engine, &prompt[..at], request).unwrap());
        let (found, expected) = (of_prompt[at].as_ref().unwrap(), &alone.logprobs[0]);
        assert_eq!(found, expected, "position {at}");
    }
}

#[test]
fn a_prompt_is_scored_without_an_answer() {
    let engine = start(&QWEN3, options());
    let request = Generate { prompt_logprobs: Some(0), ..greedy(0) };
    let (answers, of_prompt) = answers(generate(&engine, &prompts()[3], request).unwrap(), 1);
    assert_eq!((answers[0].ids.len(), of_prompt.len()), (0, prompts()[3].len()));
    assert_idle(&engine);
    assert_eq!(engine.stats().generated_tokens, 0);
}

fn constraint(spec: &ConstraintSpec) -> Constraint {
    let vocabulary = QWEN3.lm.config().vocab_size;
    let grammars = Grammars::new(Arc::clone(&QWEN3.tokenizer), vocabulary, QWEN3.generation.eos_token_ids[0]);
    grammars.compile(spec).unwrap()
}

#[test]
fn a_constrained_answer_has_its_form() {
    let engine = start(&QWEN3, options());
    let text = |spec: ConstraintSpec, seed: u64| {
        let request =
            Generate { constraint: Some(constraint(&spec)), ignore_eos: false, ..seeded(400, seed) };
        let found = answer(generate(&engine, &prompts()[0], request).unwrap());
        assert_eq!(found.reason, Some(FinishReason::Stop), "{:?}", found.text);
        found.text
    };
    let schema = json!({
        "type": "object",
        "properties": {"color": {"enum": ["red", "green"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["color", "count"],
        "additionalProperties": false,
    });
    for seed in 0..4 {
        let value: Value =
            serde_json::from_str(&text(ConstraintSpec::JsonSchema(schema.clone()), seed)).unwrap();
        assert!(value["color"] == "red" || value["color"] == "green", "{value}");
        assert!(value["count"].as_u64().is_some_and(|count| count <= 9), "{value}");
        let functions = vec![("paint".to_owned(), Some(schema.clone()))];
        let calls = text(ConstraintSpec::ToolCalls { functions, required: true, parallel: false }, seed);
        let call = calls.strip_prefix("<tool_call>\n").and_then(|rest| rest.strip_suffix("\n</tool_call>"));
        let call: Value = serde_json::from_str(call.unwrap_or_else(|| panic!("{calls:?}"))).unwrap();
        assert_eq!(call["name"], "paint");
        assert!(call["arguments"]["count"].is_u64(), "{call}");
    }
    assert_idle(&engine);
}

#[test]
fn embeddings_and_scores_equal_the_reference() {
    let close = |found: &[f32], expected: &[f32]| {
        assert_eq!(found.len(), expected.len());
        found.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() <= 2e-4, "{a} is not {b}"));
    };
    let expected = Expected::of("qwen3-embedding");
    let engine = start(&open("qwen3-embedding"), options());
    let submit = |i: usize| {
        engine
            .submit(Request { prompt: expected.ids(&format!("text{i}.input_ids")), task: Task::Embed })
            .unwrap()
    };
    let vectors = expected.f32("embeddings");
    let receivers: Vec<Receiver> = (0..5).map(submit).collect();
    for (mut receiver, expected) in receivers.into_iter().zip(vectors.chunks_exact(64)) {
        match receiver.blocking_recv() {
            Some(Event::Embedding(found)) => close(&found, expected),
            other => panic!("{other:?}"),
        }
    }
    assert_idle(&engine);

    let expected = Expected::of("qwen3-reranker");
    let model = open("qwen3-reranker");
    let words = ["no", "yes"].map(|word| model.tokenizer.token_id(word).unwrap());
    let engine = start(&model, options());
    let submit = |i: usize| {
        let prompt = expected.ids(&format!("pair{i}.input_ids"));
        engine.submit(Request { prompt, task: Task::Score(words.to_vec()) }).unwrap()
    };
    let logits = expected.f32("no_yes_logits");
    let receivers: Vec<Receiver> = (0..3).map(submit).collect();
    for (mut receiver, expected) in receivers.into_iter().zip(logits.chunks_exact(2)) {
        match receiver.blocking_recv() {
            Some(Event::Scores(found)) => close(&found, expected),
            other => panic!("{other:?}"),
        }
    }
}
