//! What makes a checkpoint an embedding model wherever it is opened: sentence-transformers' list of what a vector goes
//! through.

use crate::checkpoint::FileError;
use crate::checkpoint::writer::{create_dir, write_file};
use serde_json::{Value, json};
use std::path::Path;

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The last one's counts.
    Last,
    /// Their mean.
    Mean,
}

/// Writes the list into the checkpoint in `dir`, whose vectors have `hidden_size` values.
///
/// # Errors
/// When the directory can't be written.
pub fn write(dir: &Path, hidden_size: usize, pooling: Pooling) -> Result<(), FileError> {
    let pooling_dir = dir.join("1_Pooling");
    create_dir(&pooling_dir)?;
    let settings = json!({
        "word_embedding_dimension": hidden_size,
        "pooling_mode_cls_token": false,
        "pooling_mode_mean_tokens": pooling == Pooling::Mean,
        "pooling_mode_max_tokens": false,
        "pooling_mode_mean_sqrt_len_tokens": false,
        "pooling_mode_weightedmean_tokens": false,
        "pooling_mode_lasttoken": pooling == Pooling::Last,
        "include_prompt": true,
    });
    write_json(&pooling_dir.join("config.json"), &settings)?;
    let module = |number: usize, path: &str, kind: &str| {
        json!({
            "idx": number,
            "name": number.to_string(),
            "path": path,
            "type": format!("sentence_transformers.models.{kind}"),
        })
    };
    let modules = json!([
        module(0, "", "Transformer"),
        module(1, "1_Pooling", "Pooling"),
        module(2, "2_Normalize", "Normalize")
    ]);
    write_json(&dir.join("modules.json"), &modules)
}

/// Writes a JSON file for people to read as well.
///
/// # Errors
/// When it can't be written.
pub fn write_json(path: &Path, value: &Value) -> Result<(), FileError> {
    write_file(path, |out| Ok(serde_json::to_writer_pretty(out, value)?))
}
