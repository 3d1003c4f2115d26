//! Conversations: loss on what the assistant said, and nothing else.
//!
//! Which tokens those are follows from the chat template alone: the prompt before an answer is a prefix of the conversation
//! up to it, token for token, and what comes after the prefix is the answer with its end mark. Where one rendering holds all
//! answers so, a conversation is one example. Where the template shows earlier answers differently once later ones follow
//! (Qwen3 drops their reasoning), each answer is an example of its own, in the form in which it will be asked for.

use super::{Language, LineFault};
use crate::limits::MAX_MESSAGES;
use crate::objective::Example;
use models::chat::{ChatTemplate, RenderInput};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A message as OpenAI's clients send it.
#[derive(Deserialize)]
pub(super) struct Message {
    role: String,
    content: Option<Content>,
    reasoning_content: Option<String>,
    name: Option<String>,
    tool_call_id: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
    /// OpenAI's mark: 0 leaves an assistant's message out of the loss.
    weight: Option<f32>,
}

/// Text, or parts of it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Call {
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    arguments: Value,
}

/// The examples of a conversation.
pub(super) fn examples(
    messages: Vec<Message>,
    tools: Vec<Value>,
    language: &Language<'_>,
) -> Result<Vec<Example>, LineFault> {
    if messages.len() > MAX_MESSAGES {
        let what = format!("there are more than {MAX_MESSAGES} messages; cut the conversation");
        return Err(LineFault::Message { message: MAX_MESSAGES, field: "role", what });
    }
    let template = language.template.ok_or(LineFault::NoTemplate)?;
    let answers: Vec<usize> = (0..messages.len())
        .filter(|&i| messages[i].role == "assistant" && messages[i].weight != Some(0.0))
        .collect();
    if answers.is_empty() {
        return Err(LineFault::NothingToLearn);
    }
    let messages: Vec<Value> =
        messages.into_iter().enumerate().map(|(i, m)| m.convert(i)).collect::<Result<_, _>>()?;
    let renderer = Renderer { language, template, messages: &messages, tools: &tools };
    let turns: Vec<(Vec<u32>, usize)> =
        answers.iter().map(|&answer| renderer.turn(answer)).collect::<Result<_, _>>()?;
    let whole = &turns.last().expect("there are answers").0;
    if turns.iter().all(|(tokens, _)| whole.starts_with(tokens)) {
        let mut learned = vec![false; whole.len()];
        turns.iter().for_each(|(tokens, prompt)| learned[*prompt..tokens.len()].fill(true));
        return Ok(vec![Example::new(whole.clone(), learned)]);
    }
    let single = turns.into_iter().map(|(tokens, prompt)| {
        let learned = (0..tokens.len()).map(|i| i >= prompt).collect();
        Example::new(tokens, learned)
    });
    Ok(single.collect())
}

struct Renderer<'a> {
    language: &'a Language<'a>,
    template: &'a ChatTemplate,
    messages: &'a [Value],
    tools: &'a [Value],
}

impl Renderer<'_> {
    /// The tokens of the conversation up to and with message `answer`, and how many of them are its prompt.
    fn turn(&self, answer: usize) -> Result<(Vec<u32>, usize), LineFault> {
        // without reasoning, an answer is learned as one that was asked for without thinking
        let thinks = self.messages[answer].get("reasoning_content").is_some()
            || self.messages[answer]["content"].as_str().is_some_and(|text| text.contains("<think>"));
        let tokens = self.render(answer + 1, false, thinks)?;
        for thinking in [thinks, true] {
            let prompt = self.render(answer, true, thinking)?;
            if tokens.starts_with(&prompt) && tokens.len() > prompt.len() {
                return Ok((tokens, prompt.len()));
            }
        }
        Err(LineFault::NotContinued(answer))
    }

    fn render(&self, count: usize, prompt: bool, thinking: bool) -> Result<Vec<u32>, LineFault> {
        let mut variables = Map::new();
        if !thinking && self.template.reads("enable_thinking") {
            variables.insert("enable_thinking".to_owned(), json!(false));
        }
        let input = RenderInput {
            messages: self.messages[..count].to_vec(),
            tools: self.tools.to_vec(),
            add_generation_prompt: prompt,
            variables,
        };
        Ok(self.template.encode(self.language.tokenizer, &input)?)
    }
}

impl Message {
    /// The message as templates read it.
    fn convert(self, index: usize) -> Result<Value, LineFault> {
        let fault = |field, what: String| LineFault::Message { message: index, field, what };
        let role = match self.role.as_str() {
            "system" | "developer" => "system",
            role @ ("user" | "assistant" | "tool") => role,
            other => {
                let what = format!("`{other}` is no role; use system, user, assistant or tool");
                return Err(fault("role", what));
            }
        };
        let calls = self.tool_calls.unwrap_or_default();
        if role != "assistant" && !calls.is_empty() {
            return Err(fault("tool_calls", "only an assistant's message has calls".to_owned()));
        }
        let content = match self.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => join(parts).map_err(|what| fault("content", what))?,
            None if !calls.is_empty() => String::new(),
            None => return Err(fault("content", "it is missing; give the text".to_owned())),
        };
        if role == "assistant" && content.is_empty() && calls.is_empty() {
            return Err(fault("content", "the answer is empty; give it, or remove the line".to_owned()));
        }
        let mut out = Map::new();
        out.insert("role".to_owned(), json!(role));
        out.insert("content".to_owned(), json!(content));
        let texts = [
            ("name", self.name),
            ("reasoning_content", self.reasoning_content),
            ("tool_call_id", self.tool_call_id),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                out.insert(field.to_owned(), json!(text));
            }
        }
        if !calls.is_empty() {
            let calls: Vec<Value> = calls.into_iter().map(Call::convert).collect();
            out.insert("tool_calls".to_owned(), calls.into());
        }
        Ok(Value::Object(out))
    }
}

fn join(parts: Vec<Part>) -> Result<String, String> {
    parts
        .into_iter()
        .map(|part| match (part.r#type.as_str(), part.text) {
            ("text", Some(text)) => Ok(text),
            (other, _) => Err(format!("a part of type `{other}` can't be learned from; only text can")),
        })
        .collect()
}

impl Call {
    /// Templates write arguments as JSON: an object stays one, where a string would be quoted once more.
    fn convert(self) -> Value {
        let arguments = match &self.function.arguments {
            Value::String(text) => match serde_json::from_str(text) {
                Ok(Value::Object(object)) => Value::Object(object),
                _ => self.function.arguments,
            },
            _ => self.function.arguments,
        };
        json!({
            "id": self.id,
            "type": "function",
            "function": {"name": self.function.name, "arguments": arguments},
        })
    }
}
