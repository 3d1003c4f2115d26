//! The model card of what is pushed.
//!
//! Training writes the card of its run as `README.md`, whose front matter says base, data and evaluation as hubs read them.
//! What it doesn't know is added here: the licence, which is the base's, and a card where there is none.

use crate::Store;
use crate::lineage::{Lineage, split};
use crate::name::{Repo, RepoId, Revision};
use std::path::Path;

/// The card to push with what is in `dir` as `name`, where that differs from the `README.md` in it; `None` where it is fine
/// as it is, or nothing is known to write one from. `store` is asked for the base.
pub fn card(dir: &Path, name: &RepoId, store: Option<&Store>) -> Option<String> {
    let lineage = Lineage::read(dir);
    let license = match lineage.license {
        Some(_) => None,
        None => lineage.base_models.iter().find_map(|base| stored_license(store?, base)),
    };
    match std::fs::read_to_string(dir.join("README.md")) {
        Ok(readme) => with_license(&readme, &license?),
        Err(_) if lineage.base_models.is_empty() => None,
        Err(_) => Some(written(&lineage, name, license.as_deref())),
    }
}

/// The licence of a model that the store has.
fn stored_license(store: &Store, name: &str) -> Option<String> {
    let repo = Repo::model(name.parse().ok()?);
    let commit = store.resolve(&repo, &Revision::main()).ok()?;
    Lineage::read(&store.snapshot(&repo, &commit).ok()?).license
}

/// A card whose front matter names the licence too. A card without front matter is somebody's own, and stays.
fn with_license(readme: &str, license: &str) -> Option<String> {
    let (facts, rest) = split(readme)?;
    let facts = facts.trim_end_matches(['\r', '\n']);
    Some(format!("---\n{facts}\nlicense: {}\n---\n{rest}", serde_json::json!(license)))
}

fn written(lineage: &Lineage, name: &RepoId, license: Option<&str>) -> String {
    // JSON is YAML too
    let mut text = format!("---\nbase_model: {}\n", serde_json::json!(lineage.base_models));
    if let Some(relation) = &lineage.relation {
        text.push_str(&format!("base_model_relation: {}\n", serde_json::json!(relation)));
    }
    if let Some(license) = license {
        text.push_str(&format!("license: {}\n", serde_json::json!(license)));
    }
    let what = match lineage.relation.as_deref() {
        Some("adapter") => "An adapter for",
        _ => "Made from",
    };
    let bases: Vec<String> = lineage.base_models.iter().map(|base| format!("`{base}`")).collect();
    text.push_str(&format!("tags: [wen]\n---\n\n# {}\n\n{what} {}.\n", name.name(), bases.join(", ")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RefName;
    use crate::store::{NewCommit, Operation};

    #[test]
    fn a_card_gets_the_licence_of_its_base() {
        let (dir, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open(root.path()).unwrap();
        let base = Repo::model("Qwen/Qwen3-0.6B".parse().unwrap());
        let blob = store.put(&mut &b"---\nlicense: apache-2.0\n---\n"[..]).unwrap();
        let add = Operation::Add { path: "README.md".parse().unwrap(), sha256: blob.sha256, lfs: false };
        let (message, author) = (String::new(), String::new());
        store.create(&base, false).unwrap();
        let new = NewCommit { message, author, expected_parent: None, operations: vec![add] };
        store.commit(&base, &RefName::main(), new).unwrap();

        let name: RepoId = "me/tuned".parse().unwrap();
        let readme = dir.path().join("README.md");
        assert_eq!(card(dir.path(), &name, Some(&store)), None);
        for (text, expected) in [
            ("# mine\n", None),
            ("---\nbase_model: Qwen/Qwen3-0.6B\nlicense: mit\n---\n", None),
            ("---\nbase_model: no/such\n---\n", None),
            (
                "---\nbase_model: Qwen/Qwen3-0.6B\n---\n\n# x\n",
                Some("---\nbase_model: Qwen/Qwen3-0.6B\nlicense: \"apache-2.0\"\n---\n\n# x\n"),
            ),
        ] {
            std::fs::write(&readme, text).unwrap();
            assert_eq!(card(dir.path(), &name, Some(&store)).as_deref(), expected, "{text}");
        }
        std::fs::remove_file(&readme).unwrap();
        let config = r#"{"peft_type": "LORA", "base_model_name_or_path": "Qwen/Qwen3-0.6B"}"#;
        std::fs::write(dir.path().join("adapter_config.json"), config).unwrap();
        let text = card(dir.path(), &name, Some(&store)).unwrap();
        let lineage = Lineage::of_card(&text);
        assert_eq!(
            (lineage.license.as_deref(), lineage.relation.as_deref()),
            (Some("apache-2.0"), Some("adapter"))
        );
        assert!(text.contains("# tuned\n\nAn adapter for `Qwen/Qwen3-0.6B`."), "{text}");
    }
}
