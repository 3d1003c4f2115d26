//! Where a model comes from.
//!
//! Read from what lies beside the weights: the front matter of `README.md`, the run card that training writes, and
//! `adapter_config.json`. All of it is what somebody wrote; nothing of it is proven.

use crate::{Repo, Revision, Store, StoreError};
use serde::Serialize;
use std::path::Path;

/// Where a model comes from, as far as its files say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lineage {
    /// The models that it was made from, as they are named there: `owner/name`, or a path on somebody's machine.
    pub base_models: Vec<String>,
    /// How: `finetune`, `adapter`, `quantized`, `merge`.
    pub relation: Option<String>,
    /// The datasets that it was trained on.
    pub datasets: Vec<String>,
    /// The licence's name.
    pub license: Option<String>,
    /// The recipe it was trained with: its objective.
    pub objective: Option<String>,
    /// The digest of the data it was trained on.
    pub data_sha256: Option<String>,
    /// What was measured of it.
    pub evaluation: Vec<Measured>,
}

/// A figure of a model card.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Of which task or dataset.
    pub task: String,
    /// In which measure.
    pub metric: String,
    /// How much.
    pub value: f64,
}

/// A model and what it was made from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Family {
    /// `owner/name`, or as its descendant names it.
    pub name: String,
    /// Whether the store has it.
    pub stored: bool,
    /// What its files say; empty for one that isn't stored.
    pub lineage: Lineage,
    /// What it was made from.
    pub bases: Vec<Family>,
}

impl Lineage {
    /// Reads what the files in `dir` say. What cannot be read says nothing.
    pub fn read(dir: &Path) -> Lineage {
        let _ = dir;
        todo!()
    }
}

/// The family tree of a stored model.
///
/// # Errors
/// When the store doesn't have it.
pub fn family(store: &Store, repo: &Repo, revision: &Revision) -> Result<Family, StoreError> {
    let _ = (store, repo, revision);
    todo!()
}
