//! Messages as clients send them to messages as chat templates read them.

use super::request::{Message, Role, ToolCall};
use super::tools::check_name;
use crate::error::ApiError;
use serde_json::{Map, Value, json};

/// Checks the messages and gives them the form that templates know.
pub fn messages(messages: Vec<Message>) -> Result<Vec<Value>, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::invalid("messages", "there must be at least one message"));
    }
    messages.into_iter().enumerate().map(|(index, each)| message(index, each)).collect()
}

fn message(index: usize, message: Message) -> Result<Value, ApiError> {
    let param = |field: &str| format!("messages[{index}].{field}");
    for (field, refused, instead) in [
        ("refusal", message.refusal, "send the text as `content`"),
        ("audio", message.audio, "messages are text"),
        ("function_call", message.function_call, "use `tool_calls`"),
    ] {
        if refused.is_some() {
            return Err(ApiError::unsupported(param(field), instead));
        }
    }
    let calls = message.tool_calls.map(|calls| calls.0).unwrap_or_default();
    let assistant = message.role == Role::Assistant;
    if !assistant && !calls.is_empty() {
        return Err(ApiError::invalid(param("tool_calls"), "only an assistant's message has calls"));
    }
    if !assistant && message.reasoning_content.is_some() {
        return Err(ApiError::invalid(
            param("reasoning_content"),
            "only an assistant's message has reasoning",
        ));
    }
    if message.role != Role::Tool && message.tool_call_id.is_some() {
        return Err(ApiError::invalid(param("tool_call_id"), "only a tool's message answers a call"));
    }
    let content = match message.content {
        Some(content) => content.into_text(),
        None if assistant && !calls.is_empty() => String::new(),
        None => return Err(ApiError::invalid(param("content"), "this field is required")),
    };

    let mut out = Map::new();
    let role = match message.role {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    out.insert("role".to_owned(), json!(role));
    out.insert("content".to_owned(), json!(content));
    if let Some(name) = message.name {
        out.insert("name".to_owned(), json!(name));
    }
    if let Some(reasoning) = message.reasoning_content {
        out.insert("reasoning_content".to_owned(), json!(reasoning));
    }
    if message.role == Role::Tool {
        let id = message
            .tool_call_id
            .ok_or_else(|| ApiError::invalid(param("tool_call_id"), "this field is required"))?;
        out.insert("tool_call_id".to_owned(), json!(id));
    }
    if !calls.is_empty() {
        let calls: Vec<Value> = calls
            .into_iter()
            .enumerate()
            .map(|(call, each)| tool_call(index, call, each))
            .collect::<Result<_, _>>()?;
        out.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    Ok(Value::Object(out))
}

/// Templates write arguments as JSON: an object stays one, where a string would be quoted once more.
fn tool_call(message: usize, index: usize, call: ToolCall) -> Result<Value, ApiError> {
    check_name(&format!("messages[{message}].tool_calls[{index}].function.name"), &call.function.name)?;
    let arguments =
        match crate::json::parse::<crate::openai::fields::Json>(call.function.arguments.as_bytes()) {
            Ok((value, _)) if value.0.is_object() => value.0,
            _ => Value::String(call.function.arguments),
        };
    Ok(json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.function.name, "arguments": arguments},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_MESSAGES;
    use crate::openai::fields::Items;

    fn convert(body: Value) -> Result<Vec<Value>, ApiError> {
        let parsed = crate::json::parse::<Items<Message, MAX_MESSAGES>>(body.to_string().as_bytes())?.0;
        messages(parsed.0)
    }

    #[test]
    fn messages_take_the_form_that_templates_know() {
        let call = |arguments: &str| json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}]);
        let converted = convert(json!([
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": " b"}]},
            {"role": "assistant", "content": null, "tool_calls": call("{\"z\":1,\"a\":2}"), "refusal": null},
            {"role": "tool", "tool_call_id": "c1", "content": "21"},
            {"role": "assistant", "content": "x", "tool_calls": call("not JSON"), "reasoning_content": "r"},
        ]))
        .expect("messages");
        assert_eq!(converted[0], json!({"role": "system", "content": "be brief"}));
        assert_eq!(converted[1], json!({"role": "user", "content": "a b"}));
        assert_eq!(converted[2]["content"], "");
        assert_eq!(converted[2]["tool_calls"][0]["function"]["arguments"].to_string(), r#"{"z":1,"a":2}"#);
        assert_eq!(converted[3], json!({"role": "tool", "content": "21", "tool_call_id": "c1"}));
        assert_eq!(converted[4]["tool_calls"][0]["function"]["arguments"], "not JSON");
        assert_eq!(converted[4]["reasoning_content"], "r");
    }

    #[test]
    fn a_wrong_message_names_its_place() {
        for (body, param) in [
            (json!([]), "messages"),
            (json!([{"role": "user"}]), "messages[0].content"),
            (
                json!([{"role": "user", "content": "a"}, {"role": "tool", "content": "x"}]),
                "messages[1].tool_call_id",
            ),
            (json!([{"role": "user", "content": "a", "tool_call_id": "x"}]), "messages[0].tool_call_id"),
            (json!([{"role": "assistant", "content": "a", "audio": {"id": "x"}}]), "messages[0].audio"),
            (json!([{"role": "robot", "content": "a"}]), "[0].role"),
            (json!([{"role": "user", "content": 1}]), "[0].content"),
            (
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
                "[0].content[0].type",
            ),
        ] {
            let error = convert(body).expect_err(param);
            assert_eq!(error.body().error.param.as_deref(), Some(param), "{error}");
        }
    }
}
