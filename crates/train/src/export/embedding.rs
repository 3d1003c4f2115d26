//! What makes a checkpoint an embedding model wherever it is opened: the list of what a vector goes through, and a tokenizer
//! that puts the end token behind every text.

use crate::data::ends_texts;
use crate::recipe::PoolingKind;
use models::Tokenizer;
use models::checkpoint::FileError;
use models::export::sentence_transformers::{self, Pooling, write_json};
use serde_json::{Value, json};
use std::path::Path;

/// Adds to the checkpoint in `dir`, whose base had `tokenizer`, what its base lacked. `end` is what was put behind texts.
///
/// # Errors
/// When the directory can't be written.
pub fn write(
    dir: &Path,
    tokenizer: &Tokenizer,
    end: Option<u32>,
    hidden_size: usize,
    pooling: PoolingKind,
) -> Result<(), FileError> {
    if let (false, Some(end)) = (ends_texts(tokenizer), end) {
        end_texts(&dir.join("tokenizer.json"), tokenizer, end)?;
    }
    let pooling = match pooling {
        PoolingKind::Mean => Pooling::Mean,
        PoolingKind::Last => Pooling::Last,
    };
    sentence_transformers::write(dir, hidden_size, pooling)
}

/// Lets the tokenizer in `path` put the token `end` behind every text.
fn end_texts(path: &Path, tokenizer: &Tokenizer, end: u32) -> Result<(), FileError> {
    let failed = |source| FileError::Io { path: path.to_owned(), source };
    let text = std::fs::read(path).map_err(failed)?;
    let mut json: Value = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    let token = String::from_utf8_lossy(tokenizer.token_bytes(end).unwrap_or_default()).into_owned();
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let behind = json!({"SpecialToken": {"id": token, "type_id": 0}});
    let template = json!({
        "type": "TemplateProcessing",
        "single": [text("A"), behind],
        "pair": [text("A"), behind, text("B"), behind],
        "special_tokens": {&token: {"id": token, "ids": [end], "tokens": [token]}},
    });
    let before = json["post_processor"].take();
    json["post_processor"] = match before {
        Value::Null => template,
        before => json!({"type": "Sequence", "processors": [before, template]}),
    };
    write_json(path, &json)
}
