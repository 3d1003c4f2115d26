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
}

/// Adds what a card says to the description of its repository.
pub fn describe(repo: &mut Value, card: Value) {
    let labels = |key: &str| -> Vec<Value> {
        let prefixed = |value: &Value| value.as_str().map(|text| format!("{key}:{text}").into());
        match &card[key] {
            Value::Array(list) => list.iter().filter_map(prefixed).collect(),
            one => prefixed(one).into_iter().collect(),
        }
    };
    let mut tags: Vec<Value> = card["tags"].as_array().cloned().unwrap_or_default();
    tags.retain(Value::is_string);
    tags.extend(["license", "base_model", "datasets"].into_iter().flat_map(labels));
    repo["tags"] = tags.into();
    for key in ["pipeline_tag", "library_name"] {
        if card[key].is_string() {
            repo[key] = card[key].clone();
        }
    }
    repo["cardData"] = card;
}
