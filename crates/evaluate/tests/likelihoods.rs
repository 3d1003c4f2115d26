//! Log-likelihoods of choices are those that the reference's logits give.

use engine::{Engine, EngineOptions, Speculation};
use evaluate::Local;
use evaluate::task::Question;
use models::Model;
use models::chat::RenderInput;
use models::checkpoint::safetensors;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/parity").join(name)
}

fn start(name: &str) -> (Arc<Model>, Local) {
    let model = Arc::new(Model::open(&fixture(name)).unwrap());
    let options = EngineOptions {
        cache_tokens: 4096,
        cache_dtype: nn::DType::F32,
        step_tokens: 64,
        max_sequences: 8,
        max_waiting: 64,
        max_waiting_tokens: usize::MAX,
        context_length: 512,
        speculation: Speculation::Off,
        adapter_bytes: 0,
    };
    let engine = Engine::start(model.clone(), Arc::new(kernels::Pool::new(1)), options).unwrap();
    (model, Local::new(engine))
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn tensor(bytes: &[u8], name: &str) -> Vec<u8> {
    let (_, stored) =
        safetensors::parse(bytes).unwrap().into_iter().find(|(found, _)| found == name).unwrap();
    bytes[stored.range].to_vec()
}

#[track_caller]
fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-3 * expected.abs().max(1.0), "{found} is not {expected}");
}

#[test]
fn a_log_likelihood_is_that_of_the_references_logits() {
    for name in ["qwen3-tied", "qwen2-tied", "llama3-rope-tied"] {
        let (model, local) = start(name);
        let bytes = std::fs::read(fixture(name).join("expected.safetensors")).unwrap();
        let ids: Vec<u32> = tensor(&bytes, "case0.input_ids")
            .chunks_exact(8)
            .map(|id| i64::from_le_bytes(id.try_into().unwrap()) as u32)
            .collect();
        let logits: Vec<f64> = tensor(&bytes, "case0.logits")
            .chunks_exact(4)
            .map(|value| f32::from_le_bytes(value.try_into().unwrap()).into())
            .collect();
        let rows: Vec<&[f64]> = logits.chunks_exact(model.lm.config().vocab_size).collect();
        // the reference has the logits of the last positions; each foretells the token after it
        let scored = rows.len() - 1;
        let (context, continuation) = ids.split_at(ids.len() - scored);
        let expected: f64 = rows
            .iter()
            .zip(continuation)
            .map(|(row, id)| row[*id as usize] - row.iter().map(|l| l.exp()).sum::<f64>().ln())
            .sum();
        assert_close(block_on(local.log_likelihood(context, continuation)).unwrap(), expected);
    }
}

#[test]
fn choices_begin_the_answer_in_a_chat_and_go_on_with_a_plain_text() {
    let (model, local) = start("qwen3-tied");
    let choices = ["an umbrella".to_owned(), "雪橇".to_owned()];
    let one = |context: &[u32], rest: &[u32]| block_on(local.log_likelihood(context, rest)).unwrap();

    let messages = vec![json!({"role": "user", "content": "What do you take along?"})];
    let question = Question::Chat { messages: messages.clone(), tools: Vec::new() };
    let found = block_on(local.log_likelihoods(&question, &choices, None)).unwrap();
    let variables: Map<String, Value> = [("enable_thinking".to_owned(), json!(false))].into_iter().collect();
    let input = RenderInput { messages, add_generation_prompt: true, variables, ..RenderInput::default() };
    let prompt = model.chat_template.as_ref().unwrap().encode(&model.tokenizer, &input).unwrap();
    for (found, choice) in found.iter().zip(&choices) {
        assert_close(*found, one(&prompt, &model.tokenizer.encode_text(choice)));
    }

    // the space between belongs to the choice, as the words that the model has learned begin with it
    let question = Question::Plain { prompt: "The river ".to_owned() };
    let found = block_on(local.log_likelihoods(&question, &choices, None)).unwrap();
    let context = model.tokenizer.encode_text("The river");
    for (found, choice) in found.iter().zip(&choices) {
        let whole = model.tokenizer.encode_text(&format!("The river {choice}"));
        assert!(whole.starts_with(&context));
        assert_close(*found, one(&context, &whole[context.len()..]));
    }

    // a choice that makes one token of the prompt's last ones is that token, and not nothing that is always likely
    let question = Question::Plain { prompt: "A rive".to_owned() };
    let found = block_on(local.log_likelihoods(&question, &["r".to_owned()], None)).unwrap();
    let whole = model.tokenizer.encode_text("A river");
    assert!(whole.len() < model.tokenizer.encode_text("A rive").len(), "{whole:?}");
    assert_close(found[0], one(&whole[..whole.len() - 1], &whole[whole.len() - 1..]));
}
