//! Plain texts: every token is learned. Model Studio's continual pre-training takes the same lines.

use super::forms::{Fields, Form, parse};
use super::{Language, LineFault};
use crate::objective::Example;
use serde::Deserialize;

pub(super) const FORM: Form<Example> =
    Form { keys: &[&["text"]], others: &[], shape: "{\"text\": \"...\"}", read };

#[derive(Deserialize)]
struct Line {
    text: String,
}

fn read(fields: Fields, language: &Language<'_>) -> Result<Vec<Example>, LineFault> {
    examples(&parse::<Line>(fields)?.text, language)
}

/// `text` with the end token, in pieces of at most `max_tokens`.
pub(super) fn examples(text: &str, language: &Language<'_>) -> Result<Vec<Example>, LineFault> {
    if text.trim().is_empty() {
        return Err(LineFault::Empty("text"));
    }
    let mut tokens = language.tokenizer.encode_text(text);
    tokens.extend(language.end);
    let pieces = tokens.chunks(language.max_tokens.max(1)).filter(|piece| piece.len() > 1);
    Ok(pieces.map(|piece| Example::new(piece.to_vec(), vec![true; piece.len()])).collect())
}
