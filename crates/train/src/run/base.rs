//! The model that a run begins with.

use models::model::repository_name;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The model that a run begins with. The recipe names it as a person does; this is where it is, and what the card of the
/// result says of it.
#[derive(Clone, Debug)]
pub struct Base {
    /// A checkpoint directory or a GGUF file.
    pub path: PathBuf,
    /// What it is called where the result is published: `owner/name`, or a name alone; never a path.
    pub name: String,
    /// Its licence, which the result has too.
    pub license: Option<String>,
    /// Where it comes from itself, for who has the result and not the base; null when nobody knows.
    pub lineage: Value,
}

impl Base {
    /// The model at `path`, of which nobody knows more.
    pub fn at(path: &Path) -> Base {
        let name = repository_name(path).unwrap_or_else(|| last_part(path));
        Base { path: path.to_owned(), name, license: None, lineage: Value::Null }
    }
}

/// The last part of a path, also of one that ends in dots.
pub(super) fn last_part(path: &Path) -> String {
    let absolute = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    absolute.file_name().unwrap_or(absolute.as_os_str()).to_string_lossy().into_owned()
}
