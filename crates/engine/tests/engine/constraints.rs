//! A constrained answer has its form, however little the model means it.

use crate::client::{Answer, answers, assert_idle, forcing, greedy, options, seeded, start};
use crate::fixture::{QWEN3, prompts};
use engine::{Constraint, ConstraintSpec, Engine, FinishReason, Generate, Grammars, Thinking};
use serde_json::{Value, json};
use std::sync::Arc;

fn constraint(spec: &ConstraintSpec) -> Constraint {
    let vocabulary = QWEN3.lm.config().vocab_size;
    let grammars = Grammars::new(Arc::clone(&QWEN3.tokenizer), vocabulary, QWEN3.generation.eos_token_ids[0]);
    grammars.compile(spec).unwrap_or_else(|e| panic!("{e}"))
}

/// A schema whose answers are bounded, so that even drawn at random they come to their end.
fn paint() -> Value {
    json!({
        "type": "object",
        "properties": {
            "color": {"enum": ["red", "green", "北京"]},
            "count": {"type": "integer", "minimum": 0, "maximum": 9},
            "coats": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
        },
        "required": ["color", "count", "coats"],
        "additionalProperties": false,
    })
}

#[track_caller]
fn assert_paint(value: &Value) {
    assert!(["red", "green", "北京"].iter().any(|color| value["color"] == *color), "{value}");
    assert!(value["count"].as_u64().is_some_and(|count| count <= 9), "{value}");
    let coats = value["coats"].as_array().unwrap_or_else(|| panic!("{value}"));
    assert!((1..=3).contains(&coats.len()) && coats.iter().all(Value::is_boolean), "{value}");
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(3), "{value}");
}

#[track_caller]
fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text:?}"))
}

#[track_caller]
fn constrained(engine: &Engine, spec: &ConstraintSpec, request: Generate) -> Vec<Answer> {
    let request = Generate { constraint: Some(constraint(spec)), ignore_eos: false, ..request };
    let found = answers(engine, &prompts()[1], request);
    for answer in &found {
        assert_eq!(answer.reason, Some(FinishReason::Stop), "{:?}", answer.text);
    }
    found
}

#[test]
fn an_answer_to_a_schema_is_json_that_fits_it() {
    let engine = start(&QWEN3, options());
    let spec = ConstraintSpec::JsonSchema(paint());
    constrained(&engine, &spec, greedy(400)).iter().for_each(|answer| assert_paint(&parse(&answer.text)));
    // several answers on one compiled schema, each at its own place in it
    let many = constrained(&engine, &spec, Generate { n: 8, ..seeded(400, 3) });
    many.iter().for_each(|answer| assert_paint(&parse(&answer.text)));
    assert!(many.iter().any(|answer| answer.text != many[0].text), "they are not all the same");
    assert_eq!(constrained(&engine, &spec, Generate { n: 8, ..seeded(400, 3) }), many);
    assert_idle(&engine);
}

#[test]
fn an_answer_in_any_json_is_an_object() {
    let engine = start(&QWEN3, options());
    let brace = QWEN3.tokenizer.token_id("}").unwrap();
    let found = constrained(&engine, &ConstraintSpec::JsonObject, forcing(brace, greedy(400)));
    assert_eq!(parse(&found[0].text), json!({}));
}

#[test]
fn a_schema_holds_once_reasoning_is_over() {
    let engine = start(&QWEN3, options());
    let end_token = QWEN3.tokenizer.token_id("</think>").unwrap();
    let thinking = Thinking { end_token, end_sequence: vec![end_token], budget: Some(6) };
    let request = Generate { thinking: Some(thinking), ..seeded(400, 5) };
    let found = constrained(&engine, &ConstraintSpec::JsonSchema(paint()), request).remove(0);
    let (_, text) = found.text.split_once("</think>").unwrap_or_else(|| panic!("{:?}", found.text));
    assert_paint(&parse(text));
    assert!(found.reasoning_tokens <= 7 && found.reasoning_tokens < found.tokens);
}

/// The calls of a text that has nothing else.
#[track_caller]
fn calls(text: &str) -> Vec<Value> {
    let call = |part: &str| {
        let call = part.strip_prefix("<tool_call>\n").and_then(|rest| rest.strip_suffix("\n"));
        parse(call.unwrap_or_else(|| panic!("{text:?}")))
    };
    let text = text.strip_suffix("</tool_call>").unwrap_or_else(|| panic!("{text:?}"));
    text.split("</tool_call>\n").map(call).collect()
}

#[test]
fn tool_calls_name_a_function_and_carry_its_arguments() {
    let engine = start(&QWEN3, options());
    let spec = |parallel| ConstraintSpec::ToolCalls {
        functions: vec![("paint".into(), Some(paint())), ("paint_\"twice\"".into(), Some(paint()))],
        required: true,
        parallel,
    };
    let single = Generate { n: 8, ..seeded(400, 1) };
    let mut called: Vec<Vec<Value>> =
        constrained(&engine, &spec(false), single).iter().map(|answer| calls(&answer.text)).collect();
    assert!(called.iter().all(|calls| calls.len() == 1), "{called:?}");
    // at random it goes on calling until its answer is full
    let request = Generate { constraint: Some(constraint(&spec(true))), ..seeded(480, 4) };
    let text = answers(&engine, &prompts()[1], request).remove(0).text;
    let (whole, _) = text.rsplit_once("</tool_call>").unwrap_or_else(|| panic!("{text:?}"));
    called.push(calls(&(whole.to_owned() + "</tool_call>")));
    assert!(called[8].len() > 1, "{text:?}");
    for call in called.iter().flatten() {
        assert!(call["name"] == "paint" || call["name"] == "paint_\"twice\"", "{call}");
        assert_paint(&call["arguments"]);
    }
    assert_idle(&engine);
}

#[test]
fn text_is_free_until_a_tool_call_opens() {
    let engine = start(&QWEN3, options());
    let functions = vec![("paint".to_owned(), Some(paint()))];
    let spec = ConstraintSpec::ToolCalls { functions, required: false, parallel: false };
    let ask = |token, stop: Option<&str>| {
        let request = forcing(QWEN3.tokenizer.token_id(token).unwrap(), seeded(400, 3));
        let stop = stop.map(str::to_owned).into_iter().collect();
        let request = Generate { constraint: Some(constraint(&spec)), stop, ..request };
        answers(&engine, &prompts()[1], request).remove(0)
    };
    assert_eq!(ask("the", None).text, "the".repeat(400));
    let opened = ask("<tool_call>", Some("</tool_call>"));
    assert_eq!(opened.stop.as_deref(), Some("</tool_call>"), "{:?}", opened.text);
    assert_paint(&calls(&(opened.text + "</tool_call>"))[0]["arguments"]);
}
