//! Keeping control tokens inside a conversation's text from becoming control tokens of the prompt.
//!
//! A template writes control tokens and text into one string. To tell them apart afterwards, whatever in the text looks
//! like an added token is broken up by a sentinel, a character that the conversation does not contain, before the
//! template runs. Added tokens in the result are then the template's own; the sentinels are taken out of the rest.

use super::template::RenderInput;
use crate::tokenizer::{AddedTokens, Mark};
use serde_json::{Map, Value};

/// What is guarded in the text of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Every markup token; in what the assistant said before only control tokens, since templates take its thoughts
    /// and calls apart by their tags.
    Markup,
    /// Control tokens alone: for templates that look at markup in other messages too.
    Control,
}

/// A conversation with its text guarded.
pub(super) struct Guarded {
    pub input: RenderInput,
    /// Whether anything had to be guarded.
    pub changed: bool,
    /// Whether a token could not be broken up (one of a single character).
    pub unbroken: bool,
}

/// A character for breaking up tokens: a noncharacter, which no text should contain, and which `input` does not.
pub(super) fn sentinel(template: &str, input: &RenderInput) -> Option<char> {
    let mut taken = [false; 32];
    let mut take = |text: &str| {
        for c in text.chars() {
            if let Some(taken) = (c as usize).checked_sub(0xFDD0).and_then(|at| taken.get_mut(at)) {
                *taken = true;
            }
        }
    };
    take(template);
    input
        .messages
        .iter()
        .chain(&input.tools)
        .chain(input.variables.values())
        .for_each(|value| each_text(value, &mut take));
    input.variables.keys().for_each(|key| take(key));
    let free = taken.iter().position(|taken| !taken)?;
    char::from_u32(0xFDD0 + free as u32)
}

fn each_text(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, visit)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            visit(key);
            each_text(value, visit);
        }),
        _ => {}
    }
}

/// Breaks up the tokens in `input`'s text.
pub(super) fn guard(input: &RenderInput, tokens: &AddedTokens, guard: Guard, sentinel: char) -> Guarded {
    let mut guarder = Guarder { tokens, sentinel, changed: false, unbroken: false };
    let everything = match guard {
        Guard::Markup => Mark::Markup,
        Guard::Control => Mark::Control,
    };
    let messages = input.messages.iter().map(|message| match message {
        Value::Object(fields) => Value::Object(guarder.message(fields, everything)),
        other => guarder.value(other, everything),
    });
    let messages = messages.collect();
    let tools = input.tools.iter().map(|tool| guarder.value(tool, everything)).collect();
    let variables = guarder.fields(&input.variables, everything);
    let input =
        RenderInput { messages, tools, add_generation_prompt: input.add_generation_prompt, variables };
    Guarded { input, changed: guarder.changed, unbroken: guarder.unbroken }
}

struct Guarder<'a> {
    tokens: &'a AddedTokens,
    sentinel: char,
    changed: bool,
    unbroken: bool,
}

impl Guarder<'_> {
    fn message(&mut self, fields: &Map<String, Value>, mark: Mark) -> Map<String, Value> {
        let assistant = fields.get("role").and_then(Value::as_str) == Some("assistant");
        let guard_field = |(key, value): (&String, &Value)| {
            let mark = if assistant && key == "content" { Mark::Control } else { mark };
            (self.text(key, mark), self.value(value, mark))
        };
        fields.iter().map(guard_field).collect()
    }

    fn fields(&mut self, fields: &Map<String, Value>, mark: Mark) -> Map<String, Value> {
        fields.iter().map(|(key, value)| (self.text(key, mark), self.value(value, mark))).collect()
    }

    fn value(&mut self, value: &Value, mark: Mark) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text, mark)),
            Value::Array(items) => items.iter().map(|item| self.value(item, mark)).collect(),
            Value::Object(fields) => Value::Object(self.fields(fields, mark)),
            other => other.clone(),
        }
    }

    /// `text` with sentinels, so that neither it nor it between other texts holds a token.
    fn text(&mut self, text: &str, mark: Mark) -> String {
        // a role, a type, a field's name: templates compare these and build tokens from them on purpose
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
            return text.into();
        }
        let mut guarded = String::with_capacity(text.len() + 16);
        let mut begins_any = false;
        // a token that the template begins could end here
        let start = text.len() - text.trim_start().len();
        let begun_before = self.tokens.may_continue(&text[start..], mark);
        for (at, c) in text.char_indices() {
            if at == start && begun_before {
                guarded.push(self.sentinel);
            }
            guarded.push(c);
            // two characters of a token are enough to break it here, one where the text ends: more may follow there,
            // or be brought there by a template that cuts the text
            let next = at + c.len_utf8();
            let begun = self.tokens.longest_prefix(&text.as_bytes()[at..], mark);
            begins_any |= begun > 0;
            if begun > c.len_utf8() || (begun > 0 && text[next..].trim_start().is_empty()) {
                guarded.push(self.sentinel);
            }
        }
        self.unbroken |= begins_any && self.tokens.holds_any(&guarded, mark);
        self.changed |= guarded.len() > text.len();
        guarded
    }
}
