//! Model cards: the YAML at the beginning of `README.md`.

use crate::hub::access::Caller;
use crate::hub::request::Body;
use crate::hub::{Hub, HubError};
use crate::limits::MAX_TAGS;
use axum::Json;
use axum::http::StatusCode;
use hub::limits::MAX_CARD_BYTES;
use hub::lineage::{front_matter, split};
use hub::store::Commit;
use hub::{FilePath, RepoKind};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// A card that somebody is about to commit.
#[derive(Debug, Deserialize)]
pub struct Card {
    content: String,
}

/// Says whether the YAML of a card can be read; clients ask before they upload one.
pub async fn validate(caller: Caller, Body(card): Body<Card>) -> Result<(StatusCode, Json<Value>), HubError> {
    caller.must_be_member()?;
    let says = |status, errors: &[&str], warnings: &[&str]| {
        let messages =
            |texts: &[&str]| -> Vec<Value> { texts.iter().map(|text| json!({"message": text})).collect() };
        (status, Json(json!({"errors": messages(errors), "warnings": messages(warnings)})))
    };
    Ok(match (split(&card.content), front_matter(&card.content)) {
        (None, _) => says(
            StatusCode::OK,
            &[],
            &["the card has no metadata: YAML between lines of `---` at its beginning"],
        ),
        (Some(_), None) => {
            says(StatusCode::BAD_REQUEST, &["the metadata of the card is not YAML that can be read"], &[])
        }
        (Some(_), Some(_)) => says(StatusCode::OK, &[], &[]),
    })
}

impl Hub {
    /// What the card of a commit says; null if it says nothing that can be read.
    pub fn card(&self, commit: &Commit) -> Result<Value, HubError> {
        let Some(file) = "README.md".parse().ok().and_then(|path| commit.file(&path)) else {
            return Ok(Value::Null);
        };
        if file.size > MAX_CARD_BYTES {
            return Ok(Value::Null);
        }
        let bytes = std::fs::read(self.store.blob_path(&file.sha256)?).map_err(HubError::internal)?;
        let card = String::from_utf8(bytes).ok().and_then(|card| front_matter(&card));
        Ok(card.filter(Value::is_object).unwrap_or_default())
    }
}

/// What a card says about its repository becomes a tag, with this in front: those that clients ask for.
const LABELS: [(&str, &str); 7] = [
    ("tags", ""),
    ("pipeline_tag", ""),
    ("library_name", ""),
    ("language", ""),
    ("license", "license:"),
    ("base_model", "base_model:"),
    ("datasets", "dataset:"),
];
/// [`LABELS`] of datasets.
const DATASET_LABELS: [(&str, &str); 8] = [
    ("tags", ""),
    ("language", "language:"),
    ("license", "license:"),
    ("task_categories", "task_categories:"),
    ("task_ids", "task_ids:"),
    ("size_categories", "size_categories:"),
    ("multilinguality", "multilinguality:"),
    ("language_creators", "language_creators:"),
];
/// Endings of files that are tags of models.
const FORMATS: [&str; 2] = ["gguf", "safetensors"];
/// Keys of a card that clients take for arguments of their own functions.
const CLIENTS_OWN: [&str; 2] = ["self", "ignore_metadata_errors"];

/// Whether a repository that is described has a tag, in any capitals.
pub fn has_tag(repo: &Value, tag: &str) -> bool {
    let mut tags = repo["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    tags.any(|found| found.eq_ignore_ascii_case(tag))
}

/// Adds to the description of a repository what it is for, by its card, null if it has none, and its files.
pub fn describe(repo: &mut Value, kind: RepoKind, commit: &Commit, card: &Value) {
    let labels = if kind == RepoKind::Model { &LABELS[..] } else { &DATASET_LABELS[..] };
    let said = labels.iter().flat_map(|(key, label)| {
        let values = card[*key].as_array().map_or(std::slice::from_ref(&card[*key]), Vec::as_slice);
        values.iter().filter_map(Value::as_str).map(move |text| format!("{label}{text}"))
    });
    let mut tags: Vec<String> = Vec::new();
    for tag in said {
        if tags.len() == MAX_TAGS {
            break;
        }
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    for format in FORMATS.into_iter().filter(|_| kind == RepoKind::Model) {
        let is_format =
            |path: &FilePath| Path::new(path.as_str()).extension().is_some_and(|end| end == format);
        if commit.files.keys().any(is_format) && !tags.iter().any(|tag| tag == format) {
            tags.push(format.to_owned());
        }
    }
    repo["tags"] = tags.into();
    for key in ["pipeline_tag", "library_name"] {
        if card[key].is_string() {
            repo[key] = card[key].clone();
        }
    }
}

/// Adds a card itself to the description of its repository, but for what clients cannot read.
pub fn add(repo: &mut Value, mut card: Value) {
    if let Some(fields) = card.as_object_mut() {
        fields.retain(|key, value| {
            !CLIENTS_OWN.contains(&key.as_str()) && (key != "tags" || value.is_string() || value.is_array())
        });
        repo["cardData"] = card;
    }
}
