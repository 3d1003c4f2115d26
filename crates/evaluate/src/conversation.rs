//! A case's messages, in the two forms that they are asked for in.

use serde_json::{Value, json};

/// As chat templates read them: a call's arguments are an object, where a string would be quoted once more.
pub fn for_template(messages: &[Value]) -> Vec<Value> {
    let mut messages = messages.to_vec();
    for function in messages.iter_mut().flat_map(functions) {
        let Some(text) = function.get("arguments").and_then(Value::as_str) else { continue };
        if let Ok(arguments @ Value::Object(_)) = serde_json::from_str(text) {
            function["arguments"] = arguments;
        }
    }
    messages
}

/// As OpenAI's API takes them: arguments are text, calls have ids, and results say which call they are of. Ids that a case
/// leaves out are made up, in order.
pub fn for_wire(messages: &[Value]) -> Vec<Value> {
    let mut messages = messages.to_vec();
    let mut unanswered = std::collections::VecDeque::new();
    for (index, message) in messages.iter_mut().enumerate() {
        for function in functions(message) {
            let arguments = match function.get("arguments") {
                Some(Value::String(text)) => text.clone(),
                Some(arguments) => arguments.to_string(),
                None => "{}".to_owned(),
            };
            function["arguments"] = arguments.into();
        }
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        for (number, call) in calls.into_iter().flatten().enumerate() {
            if call.get("id").and_then(Value::as_str).is_none() {
                call["id"] = format!("call_{index}_{number}").into();
            }
            call["type"] = json!("function");
            unanswered.push_back(call["id"].clone());
        }
        if message["role"] == "tool" {
            let next = unanswered.pop_front();
            if message.get("tool_call_id").is_none() {
                message["tool_call_id"] = next.unwrap_or_else(|| json!("call"));
            }
        }
    }
    messages
}

/// The functions that a message calls. Cases are checked when they are read, so calls are objects.
fn functions(message: &mut Value) -> impl Iterator<Item = &mut Value> {
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    calls.into_iter().flatten().filter_map(|call| call.get_mut("function"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_objects_to_templates_and_text_on_the_wire() {
        let call = |arguments: Value| json!({"function": {"name": "f", "arguments": arguments}});
        let messages = |arguments: Value| {
            [
                json!({"role": "user", "content": "?"}),
                json!({"role": "assistant", "content": "", "tool_calls": [call(arguments.clone()), call(arguments)]}),
                json!({"role": "tool", "content": "1"}),
                json!({"role": "tool", "content": "2"}),
            ]
        };
        for arguments in [json!({"a": 1}), json!("{\"a\":1}")] {
            let rendered = for_template(&messages(arguments.clone()));
            assert_eq!(rendered[1]["tool_calls"][1]["function"]["arguments"], json!({"a": 1}));
            let sent = for_wire(&messages(arguments));
            assert_eq!(sent[1]["tool_calls"][0]["function"]["arguments"], json!("{\"a\":1}"));
            assert_eq!(sent[1]["tool_calls"][1]["id"], sent[3]["tool_call_id"]);
            assert_ne!(sent[2]["tool_call_id"], sent[3]["tool_call_id"]);
        }
        // what is no object stays what it is
        let broken = for_template(&messages(json!("{")));
        assert_eq!(broken[1]["tool_calls"][0]["function"]["arguments"], json!("{"));
    }
}
