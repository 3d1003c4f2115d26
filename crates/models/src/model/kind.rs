//! What a checkpoint is for.

use super::ModelError;
use crate::Checkpoint;
use crate::checkpoint::GgufMetadata;
use crate::checkpoint::mapped_file::read_json;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What a model answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Text, token by token.
    Generate,
    /// A vector for a text (last-token pooling, normalised).
    Embed,
    /// How well a document answers a query, by the probability of `yes` against `no`. It can generate too.
    Rerank,
}

/// An entry of `modules.json`, sentence-transformers' list of what a vector goes through.
#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

/// A field of `config.json` that older files carry.
#[derive(Default, Deserialize)]
struct NameField {
    #[serde(rename = "_name_or_path")]
    name: Option<String>,
}

impl ModelKind {
    /// What the files around `checkpoint` say that it is for.
    ///
    /// # Errors
    /// When it makes vectors in a way that is not supported.
    pub fn of(checkpoint: &Checkpoint) -> Result<ModelKind, ModelError> {
        let path = checkpoint.path();
        match checkpoint.gguf() {
            Some(metadata) => ModelKind::of_gguf(path, metadata),
            None => ModelKind::of_directory(path),
        }
    }

    /// [`Self::of`] the checkpoint in the directory `path`.
    pub(crate) fn of_directory(path: &Path) -> Result<ModelKind, ModelError> {
        if let Some(kind) = by_modules(path)? {
            return Ok(kind);
        }
        let name: NameField = read_json(&path.join("config.json"))?.unwrap_or_default();
        let names = [model_name(path), name.name.unwrap_or_default()];
        Ok(if names.iter().any(|name| is_reranker(name)) { ModelKind::Rerank } else { ModelKind::Generate })
    }

    /// [`Self::of`] the GGUF file `path`, by llama.cpp's `enum llama_pooling_type`.
    pub(crate) fn of_gguf(path: &Path, metadata: &GgufMetadata) -> Result<ModelKind, ModelError> {
        let architecture = metadata.str("general.architecture")?.unwrap_or_default();
        let other = match metadata.u64(&format!("{architecture}.pooling_type"))? {
            None | Some(0) => None,
            Some(3) => return Ok(ModelKind::Embed),
            Some(4) => return Ok(ModelKind::Rerank),
            Some(1) => Some("mean pooling".to_owned()),
            Some(2) => Some("pooling by the first token".to_owned()),
            Some(n) => Some(format!("pooling type {n}")),
        };
        if let Some(found) = other {
            return Err(ModelError::Pooling { path: path.to_owned(), found });
        }
        let names = [model_name(path), metadata.str("general.name")?.unwrap_or_default().to_owned()];
        Ok(if names.iter().any(|name| is_reranker(name)) { ModelKind::Rerank } else { ModelKind::Generate })
    }
}

/// The name that a model is known by: the last part of its path without a file's ending, or the repository's where
/// the path is a snapshot in a hub's cache or store.
pub fn model_name(path: &Path) -> String {
    if path.is_file() {
        // as it is called there: in a snapshot it is a link to what is called by its digest
        return path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    }
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match repository_name(&path).as_deref().map(|name| name.rsplit('/').next()) {
        Some(Some(name)) => name.to_owned(),
        _ => path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
    }
}

/// `owner/name` of the repository that `path` is a snapshot of, or a file in one: in Hugging Face's cache
/// (`models--Qwen--Qwen3-0.6B/snapshots/...`), or in a store (`models/Qwen/Qwen3-0.6B/snapshots/...`).
pub fn repository_name(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let snapshots = path.ancestors().find(|path| path.ends_with("snapshots"))?;
    let repository = snapshots.parent()?;
    let name = repository.file_name()?.to_str()?;
    if let Some(name) = name.strip_prefix("models--") {
        return Some(name.replacen("--", "/", 1));
    }
    let owner =
        repository.parent().filter(|owner| owner.parent().is_some_and(|kind| kind.ends_with("models")))?;
    Some(format!("{}/{name}", owner.file_name()?.to_str()?))
}

fn is_reranker(name: &str) -> bool {
    name.to_ascii_lowercase().contains("reranker")
}

/// What sentence-transformers makes of the directory, if it is one of its own; every step of it must be known.
fn by_modules(dir: &Path) -> Result<Option<ModelKind>, ModelError> {
    let list = dir.join("modules.json");
    let Some(modules) = read_json::<Vec<Module>>(&list)? else {
        return match dir.join("1_Pooling").is_dir() {
            true => check_pooling(&dir.join("1_Pooling")).map(|()| Some(ModelKind::Embed)),
            false => Ok(None),
        };
    };
    let mut kind = None;
    for module in &modules {
        match module.r#type.rsplit('.').next() {
            Some("Transformer" | "Normalize") => {}
            Some("Pooling") if is_plain(&module.path) => {
                check_pooling(&dir.join(&module.path))?;
                kind = Some(ModelKind::Embed);
            }
            Some("LogitScore") if is_plain(&module.path) => {
                check_score(&dir.join(&module.path))?;
                kind = Some(ModelKind::Rerank);
            }
            _ => {
                return Err(ModelError::Pooling { path: list, found: format!("module `{}`", module.r#type) });
            }
        }
    }
    Ok(kind)
}

/// Whether `path` names a folder inside its directory.
fn is_plain(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('.') && !path.contains(['/', '\\', ':', '\0'])
}

/// Checks that the score described in `dir` is that of one answer against another, `yes` against `no`, and not of one
/// alone.
fn check_score(dir: &Path) -> Result<(), ModelError> {
    let path = dir.join("config.json");
    let fields: BTreeMap<String, serde_json::Value> = read_json(&path)?.unwrap_or_default();
    let has_id = |field: &str| fields.get(field).is_some_and(serde_json::Value::is_u64);
    match has_id("true_token_id") && has_id("false_token_id") {
        true => Ok(()),
        false => Err(ModelError::Pooling { path, found: "a score of one token alone".to_owned() }),
    }
}

/// Checks that the pooling described in `dir` takes the last token. Older files have a switch for each way, newer
/// ones name it.
fn check_pooling(dir: &Path) -> Result<(), ModelError> {
    let path = dir.join("config.json");
    let fields: BTreeMap<String, serde_json::Value> = read_json(&path)?.unwrap_or_default();
    let mut ways: Vec<&str> = fields
        .iter()
        .filter(|(_, value)| value.as_bool() == Some(true))
        .filter_map(|(field, _)| field.strip_prefix("pooling_mode_"))
        .collect();
    ways.extend(fields.get("pooling_mode").and_then(serde_json::Value::as_str));
    match ways[..] {
        ["lasttoken"] => Ok(()),
        _ => Err(ModelError::Pooling { path, found: format!("pooling by [{}]", ways.join(", ")) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_called_as_its_repository() {
        let dir = tempfile::tempdir().unwrap();
        for (path, repository, name) in [
            ("models--Qwen--Qwen3-0.6B/snapshots/abc", Some("Qwen/Qwen3-0.6B"), "Qwen3-0.6B"),
            ("models--gpt2/snapshots/abc", Some("gpt2"), "gpt2"),
            ("models/Qwen/Qwen3-0.6B/snapshots/abc", Some("Qwen/Qwen3-0.6B"), "Qwen3-0.6B"),
            ("Qwen3-0.6B", None, "Qwen3-0.6B"),
            ("other/snapshots/abc", None, "abc"),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(&path).unwrap();
            assert_eq!(repository_name(&path).as_deref(), repository);
            assert_eq!(model_name(&path), name);
        }
        let snapshot = dir.path().join("models/Qwen/Qwen3-0.6B/snapshots/abc");
        std::fs::write(dir.path().join("0123abcd"), "").unwrap();
        let file = snapshot.join("Qwen3-0.6B-Q4_K_M.gguf");
        std::os::unix::fs::symlink(dir.path().join("0123abcd"), &file).unwrap();
        assert_eq!(model_name(&file), "Qwen3-0.6B-Q4_K_M");
        assert_eq!(repository_name(&file).unwrap(), "Qwen/Qwen3-0.6B");
    }
}
