//! Where a model comes from.
//!
//! Read from what lies beside the weights: the model card, whose front matter Hugging Face's hub reads too and to which
//! training adds what it knows, `adapter_config.json`, and the head of a GGUF file. All of it is what somebody wrote; nothing
//! of it is proven.

mod card;
mod front_matter;
mod gguf;
mod parent;

pub use front_matter::{front_matter, split};
pub use gguf::{gguf_card, is_gguf};
pub use parent::Parent;

use crate::limits::{MAX_ANCESTORS, MAX_CARD_BYTES, MAX_RUN_CARD_BYTES};
use crate::name::{Repo, RepoId};
use crate::store::Commit;
use crate::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Where a model comes from, as far as its files say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lineage {
    /// The models that it was made from, as they are named there: `owner/name`, or a path on somebody's machine.
    pub base_models: Vec<String>,
    /// How: `finetune`, `adapter`, `quantized`, `merge`.
    pub relation: Option<String>,
    /// The datasets that it was trained on.
    pub datasets: Vec<String>,
    /// The licence's name.
    pub license: Option<String>,
    /// The recipe that it was trained with, as TOML.
    pub recipe: Option<String>,
    /// SHA-256 of the examples that it was trained on, as tokens.
    pub data_sha256: Option<String>,
    /// What was measured of it.
    pub evaluation: Vec<Measured>,
    /// What the base said of itself when this was made of it: who has this may not have that.
    pub base: Option<Box<Lineage>>,
}

/// A figure of a model card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Of which dataset, or else task.
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
    /// What its files say; for one that isn't stored, what its descendant's say of it.
    pub lineage: Lineage,
    /// What it was made from.
    pub bases: Vec<Family>,
}

impl Lineage {
    /// Reads what a GGUF file says, or the files in a directory. What cannot be read says nothing.
    pub fn read(path: &Path) -> Lineage {
        if path.is_file() {
            return Lineage::of_gguf(path);
        }
        let lineage = Lineage::read_texts(path);
        if !lineage.base_models.is_empty() {
            return lineage;
        }
        match gguf::first_in(path) {
            Some(file) => lineage.or(Lineage::of_gguf(&file)),
            None => lineage,
        }
    }

    /// What the card and `adapter_config.json` in `dir` say.
    fn read_texts(dir: &Path) -> Lineage {
        let mut lineage = Lineage::of_card(&read_card(dir).unwrap_or_default());
        let config = read_text(&dir.join("adapter_config.json"), MAX_RUN_CARD_BYTES);
        let config: Value = config.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        if lineage.base_models.is_empty() {
            lineage.base_models = texts(&config["base_model_name_or_path"]);
        }
        if lineage.relation.is_none() && config.get("peft_type").is_some() {
            lineage.relation = Some("adapter".to_owned());
        }
        lineage
    }

    /// What a model card says: its front matter, and the recipe below.
    pub fn of_card(card: &str) -> Lineage {
        let facts = front_matter(card).unwrap_or_default();
        Lineage {
            base_models: texts(&facts["base_model"]),
            relation: text(&facts["base_model_relation"]),
            datasets: texts(&facts["datasets"]),
            license: text(&facts["license_name"]).or_else(|| text(&facts["license"])),
            recipe: recipe(card),
            data_sha256: text(&facts["wen"]["data_sha256"]),
            evaluation: measured(&facts["model-index"]),
            base: serde_json::from_value(facts["wen"]["base"].clone()).unwrap_or_default(),
        }
    }

    /// What this says, and of what it doesn't, what `other` says.
    fn or(self, other: Lineage) -> Lineage {
        fn either<T>(one: Vec<T>, other: Vec<T>) -> Vec<T> {
            if one.is_empty() { other } else { one }
        }
        Lineage {
            base_models: either(self.base_models, other.base_models),
            relation: self.relation.or(other.relation),
            datasets: either(self.datasets, other.datasets),
            license: self.license.or(other.license),
            recipe: self.recipe.or(other.recipe),
            data_sha256: self.data_sha256.or(other.data_sha256),
            evaluation: either(self.evaluation, other.evaluation),
            base: self.base.or(other.base),
        }
    }
}

/// The model card in a directory.
pub fn read_card(dir: &Path) -> Option<String> {
    read_text(&dir.join("README.md"), MAX_CARD_BYTES)
}

/// The text of a file of at most `max` bytes; `None` when there is none.
fn read_text(path: &Path, max: u64) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(max + 1).read_to_string(&mut text).ok()?;
    (text.len() as u64 <= max).then_some(text)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A text, or a list of texts.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().filter_map(text).collect(),
        one => text(one).into_iter().collect(),
    }
}

/// The block of TOML below the heading `Recipe` that training writes.
fn recipe(card: &str) -> Option<String> {
    let (_, rest) = card.split_once("\n## Recipe\n")?;
    let (_, toml) = rest.split_once("```toml\n")?;
    toml.split_once("\n```").map(|(toml, _)| toml.to_owned())
}

/// The figures of Hugging Face's `model-index`.
fn measured(index: &Value) -> Vec<Measured> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut measured = Vec::new();
    for result in list(index).iter().flat_map(|model| list(&model["results"])) {
        let places = [&result["dataset"]["name"], &result["dataset"]["type"], &result["task"]["type"]];
        let task = places.into_iter().find_map(text).unwrap_or_default();
        for metric in list(&result["metrics"]) {
            let name = [&metric["name"], &metric["type"]].into_iter().find_map(text);
            if let (Some(name), Some(value)) = (name, metric["value"].as_f64()) {
                measured.push(Measured { task: task.clone(), metric: name, value });
            }
        }
    }
    measured
}

/// The family tree of a stored model.
///
/// # Errors
/// When the store cannot be read.
pub fn family(store: &Store, repo: &Repo, commit: &Commit) -> Result<Family, StoreError> {
    let lineage = Lineage::read(&store.peek(repo, commit)?);
    let mut left = MAX_ANCESTORS;
    let bases = bases(store, &lineage, &mut vec![repo.to_string()], &mut left);
    Ok(Family { name: repo.to_string(), stored: true, lineage, bases })
}

/// The models that one was made from. `descendants` are those that lead to it: one that is its own ancestor is named, and
/// not followed.
fn bases(store: &Store, lineage: &Lineage, descendants: &mut Vec<String>, left: &mut usize) -> Vec<Family> {
    let mut families = Vec::new();
    for name in &lineage.base_models {
        let Some(rest) = left.checked_sub(1) else { break };
        *left = rest;
        let name = name.clone();
        if descendants.contains(&name) {
            families.push(Family { name, stored: true, lineage: Lineage::default(), bases: Vec::new() });
            continue;
        }
        let stored = stored_lineage(store, &name).unwrap_or_default();
        // of several bases nobody knows which one it was
        let told = lineage.base.as_deref().filter(|_| lineage.base_models.len() == 1);
        let (stored, lineage) = match stored {
            Some(lineage) => (true, lineage),
            None => (false, told.cloned().unwrap_or_default()),
        };
        descendants.push(name.clone());
        let bases = bases(store, &lineage, descendants, left);
        descendants.pop();
        families.push(Family { name, stored, lineage, bases });
    }
    families
}

/// What a model of the store says of itself; `None` when the store doesn't have it.
fn stored_lineage(store: &Store, name: &str) -> Result<Option<Lineage>, StoreError> {
    let Ok(id) = name.parse::<RepoId>() else { return Ok(None) };
    let repo = Repo::model(id);
    match store.head(&repo) {
        Ok(commit) => Ok(Some(Lineage::read(&store.peek(&repo, &commit)?))),
        Err(StoreError::NoRepo(_) | StoreError::NoRevision { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RefName;
    use crate::store::NewCommit;

    const CARD: &str = "---\nbase_model: \"Qwen/Qwen3-0.6B\"\nbase_model_relation: adapter\nlicense: apache-2.0\n\
        datasets: [a/notes, b/more]\nwen: {\"data_sha256\": \"abc\"}\nmodel-index: [{\"name\": \"x\", \"results\": \
        [{\"task\": {\"type\": \"text-generation\"}, \"dataset\": {\"name\": \"held out\", \"type\": \"own\"}, \"metrics\": \
        [{\"type\": \"eval_loss\", \"value\": 1.25}, {\"type\": \"broken\", \"value\": \"much\"}]}]}]\n---\n\n# x\n\n\
        ## Recipe\n\n```toml\nmodel = \"x\"\nseed = 1\n```\n";

    #[test]
    fn a_card_and_an_adapter_say_where_they_come_from() {
        let lineage = Lineage::of_card(CARD);
        assert_eq!(
            lineage,
            Lineage {
                base_models: vec!["Qwen/Qwen3-0.6B".to_owned()],
                relation: Some("adapter".to_owned()),
                datasets: vec!["a/notes".to_owned(), "b/more".to_owned()],
                license: Some("apache-2.0".to_owned()),
                recipe: Some("model = \"x\"\nseed = 1".to_owned()),
                data_sha256: Some("abc".to_owned()),
                evaluation: vec![Measured {
                    task: "held out".to_owned(),
                    metric: "eval_loss".to_owned(),
                    value: 1.25
                }],
                base: None,
            }
        );
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Lineage::read(dir.path()), Lineage::default());
        let config = r#"{"peft_type": "LORA", "base_model_name_or_path": "Qwen/Qwen3-4B"}"#;
        std::fs::write(dir.path().join("adapter_config.json"), config).unwrap();
        std::fs::write(dir.path().join("README.md"), b"\xff").unwrap();
        let lineage = Lineage::read(dir.path());
        assert_eq!(
            (lineage.base_models, lineage.relation),
            (vec!["Qwen/Qwen3-4B".to_owned()], Some("adapter".to_owned()))
        );
    }

    #[test]
    fn a_family_tree_follows_what_is_stored_and_no_circle() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let card = |name: &str, bases: &str| {
            let repo = Repo::model(name.parse().unwrap());
            let model = tempfile::tempdir().unwrap();
            std::fs::write(model.path().join("README.md"), format!("---\nbase_model: {bases}\n---\n"))
                .unwrap();
            let operations = store.import(model.path()).unwrap();
            store.create(&repo, false).unwrap();
            let (message, author, expected_parent) = (String::new(), String::new(), None);
            let new = NewCommit { message, author, expected_parent, operations };
            store.commit(&repo, &RefName::main(), new).unwrap()
        };
        card("a/base", "[a/merged, '../elsewhere', Qwen/Qwen3-0.6B]");
        card("a/other", "~");
        let commit = card("a/merged", "[a/base, a/other]");
        let merged = Repo::model("a/merged".parse().unwrap());
        fn show(family: &Family) -> String {
            let bases: Vec<String> = family.bases.iter().map(show).collect();
            let mark = if family.stored { "" } else { "?" };
            format!("{}{mark}({})", family.name, bases.join(" "))
        }
        let tree = family(&store, &merged, &commit).unwrap();
        assert_eq!(show(&tree), "a/merged(a/base(a/merged() ../elsewhere?() Qwen/Qwen3-0.6B?()) a/other())");
        // what isn't stored is known as far as its descendant's card goes
        let told = r#"tuned
wen: {"base": {"base_models": ["out"], "license": "mit", "base": {"base_models": ["a/other"]}}}"#;
        let commit = card("a/small", told);
        let tree = family(&store, &Repo::model("a/small".parse().unwrap()), &commit).unwrap();
        assert_eq!(show(&tree), "a/small(tuned?(out?(a/other())))");
        assert_eq!(tree.bases[0].lineage.license.as_deref(), Some("mit"));
    }
}
