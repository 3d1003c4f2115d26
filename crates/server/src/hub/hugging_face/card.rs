//! Model cards: the YAML at the beginning of `README.md`.

use crate::hub::access::Caller;
use crate::hub::request::Body;
use crate::hub::{Hub, HubError};
use axum::Json;
use axum::http::StatusCode;
use hub::limits::MAX_CARD_BYTES;
use hub::lineage::{front_matter, split};
use hub::store::Commit;
use serde::Deserialize;
use serde_json::{Value, json};

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
    /// What the card of a commit says, if it says anything that can be read.
    pub fn card(&self, commit: &Commit) -> Result<Option<Value>, HubError> {
        let Some(file) = "README.md".parse().ok().and_then(|path| commit.file(&path)) else {
            return Ok(None);
        };
        if file.size > MAX_CARD_BYTES {
            return Ok(None);
        }
        let bytes = std::fs::read(self.store.blob_path(&file.sha256)?).map_err(HubError::internal)?;
        Ok(String::from_utf8(bytes).ok().and_then(|card| front_matter(&card)).filter(Value::is_object))
    }

    /// Adds what the card of a commit says to the description of its repository.
    pub fn add_card(&self, repo: &mut Value, commit: &Commit) -> Result<(), HubError> {
        if let Some(card) = self.card(commit)? {
            describe(repo, card);
        }
        Ok(())
    }
}

/// What a card says about its repository becomes a tag, with this in front.
const LABELS: [(&str, &str); 7] = [
    ("tags", ""),
    ("pipeline_tag", ""),
    ("library_name", ""),
    ("language", ""),
    ("license", "license:"),
    ("base_model", "base_model:"),
    ("datasets", "dataset:"),
];

/// Whether a repository that is described has a tag, in any capitals.
pub fn has_tag(repo: &Value, tag: &str) -> bool {
    let mut tags = repo["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    tags.any(|found| found.eq_ignore_ascii_case(tag))
}

fn describe(repo: &mut Value, card: Value) {
    let mut tags: Vec<String> = Vec::new();
    for (key, label) in LABELS {
        let said = card[key].as_array().map_or(std::slice::from_ref(&card[key]), Vec::as_slice);
        for tag in said.iter().filter_map(Value::as_str).map(|text| format!("{label}{text}")) {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
    }
    repo["tags"] = tags.into();
    for key in ["pipeline_tag", "library_name"] {
        if card[key].is_string() {
            repo[key] = card[key].clone();
        }
    }
    repo["cardData"] = card;
}
