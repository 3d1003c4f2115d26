//! Conversations: loss on what the assistant said, and nothing else.
//!
//! Which tokens those are follows from the chat template alone: the prompt before an answer is a prefix of the conversation
//! up to it, token for token, and what comes after the prefix is the answer with its end mark. Where one rendering holds all
//! answers so, a conversation is one example. Where the template shows earlier answers differently once later ones follow
//! (Qwen3 drops their reasoning), each answer is an example of its own, in the form in which it will be asked for.

use super::forms::{Fields, Form, parse, tools};
use super::{Language, LineFault};
use crate::limits::MAX_MESSAGES;
use crate::objective::Example;
use models::chat::{ChatTemplate, RenderInput};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// OpenAI's form, which Model Studio's is as well: its `loss_weight` is OpenAI's `weight`, and may be a fraction.
pub(super) const FORM: Form<Example> = Form {
    keys: &[&["messages"]],
    others: &["tools"],
    shape: "{\"messages\": [{\"role\": \"user\", \"content\": \"...\"}, ...]}",
    read,
};

#[derive(Deserialize)]
struct Line {
    messages: Vec<Message>,
    tools: Option<Value>,
}

fn read(fields: Fields, language: &Language<'_>) -> Result<Vec<Example>, LineFault> {
    let line: Line = parse(fields)?;
    Conversation { messages: line.messages, tools: tools(line.tools)? }.examples(language)
}

/// A conversation as any form gives it.
pub(super) struct Conversation {
    pub(super) messages: Vec<Message>,
    pub(super) tools: Vec<Value>,
}

/// A message as OpenAI's clients send it, or ShareGPT's users do.
#[derive(Clone, Deserialize, PartialEq)]
pub(super) struct Message {
    #[serde(alias = "from")]
    role: String,
    #[serde(alias = "value")]
    content: Option<Content>,
    reasoning_content: Option<String>,
    name: Option<String>,
    tool_call_id: Option<String>,
    tool_calls: Option<Vec<Call>>,
    /// How much an assistant's message counts: 0 leaves it out of the loss.
    #[serde(alias = "loss_weight")]
    weight: Option<f32>,
}

/// Text, or parts of it.
#[derive(Clone, Deserialize, PartialEq)]
#[serde(untagged, expecting = "it must be a text or a list of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// `{"type": "text", "text": "..."}`, or without the type as Model Studio has it.
#[derive(Clone, Deserialize, PartialEq)]
struct Part {
    r#type: Option<String>,
    text: Option<String>,
}

#[derive(Clone, Deserialize, PartialEq)]
struct Call {
    id: Option<String>,
    function: Function,
}

#[derive(Clone, Deserialize, PartialEq)]
struct Function {
    name: String,
    arguments: Value,
}

/// Who says something.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    System,
    User,
    Assistant,
    Tool,
    /// ShareGPT's name of an assistant's message that is a call, as JSON.
    Call,
}

/// Names of the roles: OpenAI's, and those that files of ShareGPT's form have.
const ROLES: [(&str, Role); 12] = [
    ("system", Role::System),
    ("developer", Role::System),
    ("user", Role::User),
    ("human", Role::User),
    ("assistant", Role::Assistant),
    ("gpt", Role::Assistant),
    ("chatgpt", Role::Assistant),
    ("model", Role::Assistant),
    ("tool", Role::Tool),
    ("observation", Role::Tool),
    ("function_response", Role::Tool),
    ("function_call", Role::Call),
];

/// What is said beforehand, if anything is.
pub(super) fn system(text: Option<String>) -> Vec<Message> {
    text.filter(|text| !text.is_empty()).map(|text| Message::new("system", text)).into_iter().collect()
}

/// Questions and answers as messages.
pub(super) fn turns(turns: Vec<(String, String)>) -> impl Iterator<Item = Message> {
    turns
        .into_iter()
        .flat_map(|(user, answer)| [Message::new("user", user), Message::new("assistant", answer)])
}

/// Leaves `messages` out of the loss.
pub(super) fn unlearned(messages: &mut [Message]) {
    messages.iter_mut().for_each(|message| message.weight = Some(0.0));
}

impl Conversation {
    /// Its examples.
    pub(super) fn examples(self, language: &Language<'_>) -> Result<Vec<Example>, LineFault> {
        if self.messages.len() > MAX_MESSAGES {
            let what = format!("there are {} of them; cut it to {MAX_MESSAGES}", self.messages.len());
            return Err(LineFault::value("messages", what));
        }
        let template = language.template.ok_or(LineFault::NoTemplate)?;
        let answers: Vec<(usize, f32)> = (0..self.messages.len())
            .filter(|&i| self.messages[i].is_answer())
            .map(|i| (i, self.messages[i].weight.unwrap_or(1.0)))
            .filter(|(_, weight)| *weight != 0.0)
            .collect();
        let messages = self.messages.into_iter().enumerate();
        let messages: Vec<Value> = messages.map(|(i, m)| m.convert(i)).collect::<Result<_, _>>()?;
        let renderer = Renderer { language, template, messages: &messages, tools: &self.tools };
        let turns: Vec<Turn> =
            answers.iter().map(|&(at, weight)| renderer.turn(at, weight)).collect::<Result<_, _>>()?;
        let whole = &turns.last().ok_or(LineFault::NothingToLearn)?.tokens;
        if turns.iter().all(|turn| whole.starts_with(&turn.tokens)) {
            let mut weights = vec![0.0; whole.len()];
            turns.iter().for_each(|turn| weights[turn.prompt..turn.tokens.len()].fill(turn.weight));
            return Ok(vec![Example::weighted(whole.clone(), weights)]);
        }
        let single = turns.into_iter().map(|turn| {
            let weight = |i| if i >= turn.prompt { turn.weight } else { 0.0 };
            let weights = (0..turn.tokens.len()).map(weight).collect();
            Example::weighted(turn.tokens, weights)
        });
        Ok(single.collect())
    }
}

/// An answer with all that is before it.
struct Turn {
    tokens: Vec<u32>,
    /// How many of the tokens are before it.
    prompt: usize,
    weight: f32,
}

struct Renderer<'a> {
    language: &'a Language<'a>,
    template: &'a ChatTemplate,
    messages: &'a [Value],
    tools: &'a [Value],
}

impl Renderer<'_> {
    /// The conversation up to and with message `answer`.
    fn turn(&self, answer: usize, weight: f32) -> Result<Turn, LineFault> {
        // without reasoning, an answer is learned as one that was asked for without thinking
        let thinks = self.messages[answer].get("reasoning_content").is_some()
            || self.messages[answer]["content"].as_str().is_some_and(|text| text.contains("<think>"));
        let tokens = self.render(answer + 1, false, thinks)?;
        for thinking in [thinks, true] {
            let prompt = self.render(answer, true, thinking)?;
            if tokens.starts_with(&prompt) && tokens.len() > prompt.len() {
                return Ok(Turn { tokens, prompt: prompt.len(), weight });
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
    /// A text that `role` says.
    pub(super) fn new(role: &str, text: String) -> Message {
        Message {
            role: role.to_owned(),
            content: Some(Content::Text(text)),
            reasoning_content: None,
            name: None,
            tool_call_id: None,
            tool_calls: None,
            weight: None,
        }
    }

    /// Whether it is the assistant's.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.known_role(), Some(Role::Assistant | Role::Call))
    }

    /// Whether it is said beforehand.
    pub(super) fn is_system(&self) -> bool {
        self.known_role() == Some(Role::System)
    }

    fn known_role(&self) -> Option<Role> {
        ROLES.iter().find(|(name, _)| *name == self.role).map(|(_, role)| *role)
    }

    /// The message as templates read it.
    fn convert(self, index: usize) -> Result<Value, LineFault> {
        let fault = |field, what: String| LineFault::value(format!("messages[{index}].{field}"), what);
        let Some(role) = self.known_role() else {
            let what = format!("`{}` is no role; use system, user, assistant or tool", self.role);
            return Err(fault("role", what));
        };
        if let Some(weight) = self.weight.filter(|weight| !(0.0..=1.0).contains(weight)) {
            return Err(fault("weight", format!("it is {weight}; give 0 to 1")));
        }
        let mut calls = self.tool_calls.unwrap_or_default();
        if role != Role::Assistant && !calls.is_empty() {
            return Err(fault("tool_calls", "only an assistant's message has calls".to_owned()));
        }
        let mut content = match self.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => join(parts).map_err(|what| fault("content", what))?,
            None if !calls.is_empty() => String::new(),
            None => return Err(fault("content", "it is missing; give the text".to_owned())),
        };
        if role == Role::Call {
            calls = Call::parse(&content).map_err(|what| fault("content", what))?;
            content.clear();
        }
        if role == Role::Assistant && content.is_empty() && calls.is_empty() {
            return Err(fault("content", "the answer is empty; give it, or remove the line".to_owned()));
        }
        let mut out = Map::new();
        out.insert("role".to_owned(), json!(role.name()));
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

impl Role {
    /// As templates know it.
    fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant | Role::Call => "assistant",
            Role::Tool => "tool",
        }
    }
}

fn join(parts: Vec<Part>) -> Result<String, String> {
    parts
        .into_iter()
        .map(|part| match (part.r#type.as_deref(), part.text) {
            (None | Some("text"), Some(text)) => Ok(text),
            (Some(other), _) => Err(format!("a part of type `{other}` can't be learned from; only text can")),
            (None, None) => Err("a part without `text` can't be learned from; only text can".to_owned()),
        })
        .collect()
}

impl Call {
    /// Calls as ShareGPT's files have them: `{"name": ..., "arguments": ...}`, or a list of such.
    fn parse(text: &str) -> Result<Vec<Call>, String> {
        let what = |error: serde_json::Error| {
            format!("a function_call must be JSON with name and arguments ({error})")
        };
        let value: Value = serde_json::from_str(text).map_err(what)?;
        let calls = if value.is_array() { value } else { json!([value]) };
        let functions: Vec<Function> = serde_json::from_value(calls).map_err(what)?;
        Ok(functions.into_iter().map(|function| Call { id: None, function }).collect())
    }

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
