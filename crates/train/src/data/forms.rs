//! The forms of a line, known by their keys.
//!
//! A form is a file with a [`Form`] in it, and a place in the list of the items that it gives.

use super::{Item, Language, LineFault, alpaca, chat, completion, contrast, preference, share_gpt, text};
use crate::objective::{Contrast, Example, Preference};
use crate::recipe::ObjectiveKind;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A line: its keys and their values.
pub(super) type Fields = Map<String, Value>;

/// A form of a line that gives items of type `T`.
pub struct Form<T> {
    /// The keys that make a line one of this form. Each may be spelled in several ways, of which the first is the one that
    /// `read` knows.
    pub(super) keys: &'static [&'static [&'static str]],
    /// Other keys that it reads.
    pub(super) others: &'static [&'static str],
    /// What it looks like.
    pub(super) shape: &'static str,
    /// The items of a line.
    pub(super) read: fn(Fields, &Language<'_>) -> Result<Vec<T>, LineFault>,
}

/// Forms that texts to foretell come in. The first whose keys are there counts.
pub(super) const OF_EXAMPLES: &[Form<Example>] =
    &[chat::FORM, share_gpt::FORM, alpaca::FORM, completion::FORM, text::FORM];
/// Forms of preferences.
pub(super) const OF_PREFERENCES: &[Form<Preference>] = &[preference::FORM];
/// Forms of queries with documents.
pub(super) const OF_CONTRASTS: &[Form<Contrast>] = &[contrast::FORM];

/// The items of a line.
pub(super) fn items<T: Item>(fields: Fields, language: &Language<'_>) -> Result<Vec<T>, LineFault> {
    let theirs = other_objective::<T>(&fields);
    let other = |theirs| LineFault::OtherObjective { ours: T::OBJECTIVE, theirs };
    let Some(form) = T::FORMS.iter().find(|form| form.fits(&fields)) else {
        return Err(theirs.map_or_else(|| unknown::<T>(&fields), other));
    };
    let found = (form.read)(form.spelled(fields), language);
    match (found, theirs) {
        // a preference's `messages` are a conversation without its last answer
        (Err(LineFault::NothingToLearn), Some(theirs)) if T::OBJECTIVE == ObjectiveKind::NextToken => {
            Err(other(theirs))
        }
        (found, _) => found,
    }
}

/// Keys that some form of `T` reads.
pub(super) fn known_keys<T: Item>() -> Vec<&'static str> {
    let mut all: Vec<&str> = Vec::new();
    for form in T::FORMS {
        all.extend(form.keys.iter().copied().flatten());
        all.extend(form.others);
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The values of a line as a type.
pub(super) fn parse<T: DeserializeOwned>(fields: Fields) -> Result<T, LineFault> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let path = error.path().to_string();
        LineFault::value(if path == "." { "the line".to_owned() } else { path }, error.inner().to_string())
    })
}

/// Tool definitions: a list, or a text that holds one. Those without the envelope of OpenAI's get it.
pub(super) fn tools(tools: Option<Value>) -> Result<Vec<Value>, LineFault> {
    let fault = |what: &str| LineFault::value("tools", format!("{what}; give a list of tool definitions"));
    let tools = match tools {
        Some(Value::String(text)) if text.trim().is_empty() => None,
        Some(Value::String(text)) => {
            Some(serde_json::from_str(&text).map_err(|error| fault(&format!("it is no JSON ({error})")))?)
        }
        tools => tools,
    };
    match tools {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(tools)) => Ok(tools.into_iter().map(envelope).collect()),
        Some(_) => Err(fault("it is no list")),
    }
}

fn envelope(tool: Value) -> Value {
    match tool.get("name").is_some() && tool.get("function").is_none() {
        true => serde_json::json!({"type": "function", "function": tool}),
        false => tool,
    }
}

impl<T> Form<T> {
    fn fits(&self, fields: &Fields) -> bool {
        let there = |key: &&str| fields.get(*key).is_some_and(|value| !value.is_null());
        self.keys.iter().all(|spellings| spellings.iter().any(&there))
    }

    /// The line with each key in its first spelling.
    fn spelled(&self, mut fields: Fields) -> Fields {
        for spellings in self.keys {
            let found: Vec<Value> = spellings.iter().filter_map(|key| fields.remove(*key)).collect();
            if let Some(value) = found.into_iter().find(|value| !value.is_null()) {
                fields.insert(spellings[0].to_owned(), value);
            }
        }
        fields
    }
}

fn fits_any<T>(forms: &[Form<T>], fields: &Fields) -> bool {
    forms.iter().any(|form| form.fits(fields))
}

/// The objective other than that of `T` which learns from a line.
fn other_objective<T: Item>(fields: &Fields) -> Option<ObjectiveKind> {
    let fitting = [
        (ObjectiveKind::Dpo, fits_any(OF_PREFERENCES, fields)),
        (ObjectiveKind::Embedding, fits_any(OF_CONTRASTS, fields)),
        (ObjectiveKind::NextToken, fits_any(OF_EXAMPLES, fields)),
    ];
    let mut others = fitting.into_iter().filter(|(kind, fits)| *fits && *kind != T::OBJECTIVE);
    others.next().map(|(kind, _)| kind)
}

fn unknown<T: Item>(fields: &Fields) -> LineFault {
    let keys: Vec<String> = fields.keys().take(20).map(|key| format!("`{key}`")).collect();
    let known: Vec<&str> = T::FORMS.iter().map(|form| form.shape).collect();
    let keys = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
    LineFault::Form { keys, objective: T::OBJECTIVE, known: known.join(", ") }
}
