//! From lines to items, on all processors: rendering and tokenizing take most of the time of reading.

use super::forms::{self, Fields};
use super::{Item, Language, LineFault, Place};
use kernels::Pool;
use models::chat::template::spawn_renderer;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io;
use std::thread;

/// The first 128 bits of a SHA-256: two of ten million are alike by chance with a probability of 1e-25.
pub(super) type Digest128 = [u8; 16];

/// What stands at one place of a file.
pub(super) enum Unread {
    /// A JSON object.
    Line(String),
    /// One that is read already.
    Row(Fields),
}

impl Unread {
    /// Bytes of the texts in it, about what it takes of the memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Unread::Line(text) => text.len(),
            Unread::Row(fields) => fields.values().map(text_bytes).sum(),
        }
    }
}

fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(text_bytes).sum(),
        Value::Object(fields) => fields.values().map(text_bytes).sum(),
        _ => 0,
    }
}

/// What stands at a place, or why it can't be read.
pub(super) type Found = (Place, Result<Unread, LineFault>);

/// An item, and by what its like are known.
pub(super) struct Prepared<T> {
    pub(super) item: T,
    /// Of its tokens.
    pub(super) exact: Digest128,
    /// Of its letters and digits alone, in small letters.
    pub(super) normal: Digest128,
}

/// What a place has become.
pub(super) type Outcome<T> = (Place, Result<Vec<Prepared<T>>, LineFault>);

/// What becomes of each place, in the same order.
///
/// # Errors
/// When the system has no thread to give.
pub(super) fn prepare<T: Item>(
    mut found: Vec<Found>,
    language: &Language<'_>,
) -> io::Result<Vec<Outcome<T>>> {
    let share = found.len().div_ceil(Pool::default_threads()).max(1);
    thread::scope(|scope| {
        let mut running = Vec::new();
        while !found.is_empty() {
            let rest = found.split_off(share.min(found.len()));
            let part = std::mem::replace(&mut found, rest);
            running.push(spawn_renderer(scope, move || {
                part.into_iter().map(|found| outcome(found, language)).collect::<Vec<_>>()
            })?);
        }
        let mut outcomes = Vec::new();
        for thread in running {
            outcomes.extend(thread.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked)));
        }
        Ok(outcomes)
    })
}

fn outcome<T: Item>((place, unread): Found, language: &Language<'_>) -> Outcome<T> {
    let fields = unread.and_then(|unread| match unread {
        Unread::Line(text) => serde_json::from_str(&text).map_err(|error| LineFault::Json(error.to_string())),
        Unread::Row(fields) => Ok(fields),
    });
    let items = fields.and_then(|fields| forms::items::<T>(fields, language));
    (place, items.map(|items| items.into_iter().map(|item| prepared(item, language)).collect()))
}

fn prepared<T: Item>(item: T, language: &Language<'_>) -> Prepared<T> {
    let (mut exact, mut normal) = (Sha256::new(), Sha256::new());
    for example in item.sequences() {
        let tokens = example.tokens();
        exact.update((tokens.len() as u64).to_le_bytes());
        tokens.iter().for_each(|token| exact.update(token.to_le_bytes()));
        let text = language.tokenizer.decode(tokens, true);
        let letters = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase);
        normal.update(letters.collect::<String>());
        normal.update([0xff]);
    }
    Prepared { exact: shortened(exact), normal: shortened(normal), item }
}

fn shortened(hash: Sha256) -> Digest128 {
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash.finalize()[..16]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_and_texts_weigh_what_they_hold() {
        let row = json!({"messages": [{"role": "user", "content": "hi"}], "n": 7, "text": "long"});
        let Value::Object(fields) = row else { panic!() };
        assert_eq!(Unread::Row(fields).bytes(), "user".len() + "hi".len() + "long".len());
        assert_eq!(Unread::Line("{}".to_owned()).bytes(), 2);
    }
}
