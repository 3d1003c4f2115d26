//! Plain texts: every token is learned.

use super::{Language, LineFault};
use crate::objective::Example;

/// `text` with the end token, in pieces of at most `max_tokens`.
pub(super) fn examples(text: &str, language: &Language<'_>) -> Result<Vec<Example>, LineFault> {
    if text.is_empty() {
        return Err(LineFault::Empty);
    }
    let mut tokens = language.tokenizer.encode_text(text);
    tokens.extend(language.end);
    let pieces = tokens.chunks(language.max_tokens.max(1)).filter(|piece| piece.len() > 1);
    Ok(pieces.map(|piece| Example::new(piece.to_vec(), vec![true; piece.len()])).collect())
}
