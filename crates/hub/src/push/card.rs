//! The model card of what is pushed.
//!
//! Training writes the card of its run as `README.md`, whose front matter says base, data and evaluation as hubs read them.
//! What it doesn't know is added here: the licence, which is the base's, and a card where there is none.

use crate::Store;
use crate::lineage::{Lineage, gguf_card, is_gguf, read_card, split};
use crate::name::{Repo, RepoId};
use std::path::Path;

/// The card to push with what is at `path`, a directory or a GGUF file, as `name`; `None` where a directory's `README.md` is
/// fine as it is, or nothing is known to write one from. `store` is asked for the base.
pub fn card(path: &Path, name: &RepoId, store: Option<&Store>) -> Option<String> {
    let readme = if path.is_dir() { read_card(path) } else { gguf_card(path).or_else(|| card_beside(path)) };
    let lineage = readme.as_deref().map_or_else(|| Lineage::read(path), Lineage::of_card);
    let license = match &lineage.license {
        Some(_) => None,
        None => lineage.base_models.iter().find_map(|base| stored_license(store?, base)),
    };
    match readme {
        Some(readme) => {
            let licensed = license.and_then(|license| with_license(&readme, &license));
            licensed.or((!path.is_dir()).then_some(readme))
        }
        // what is there and cannot be read is somebody's own
        None if lineage.base_models.is_empty() || path.join("README.md").exists() => None,
        None => Some(written(Lineage { license: lineage.license.clone().or(license), ..lineage }, name)),
    }
}

/// The `README.md` beside a GGUF file, where it is a model card, and that of no other GGUF file.
fn card_beside(file: &Path) -> Option<String> {
    let dir = file.parent()?;
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let files = std::fs::read_dir(dir).ok()?.flatten().filter(|entry| is_gguf(&entry.path()));
    let is_alone = files.count() == 1;
    read_card(dir).filter(|card| is_alone && split(card).is_some())
}

/// The licence of a model that the store has.
fn stored_license(store: &Store, name: &str) -> Option<String> {
    let repo = Repo::model(name.parse().ok()?);
    let commit = store.head(&repo).ok()?;
    Lineage::read(&store.peek(&repo, &commit).ok()?).license
}

/// A card whose front matter names the licence too. A card without front matter is somebody's own, and stays.
fn with_license(readme: &str, license: &str) -> Option<String> {
    let (facts, rest) = split(readme)?;
    let facts = facts.trim_end_matches(['\r', '\n']);
    Some(format!("---\n{facts}\nlicense: {}\n---\n{rest}", serde_json::json!(license)))
}

/// A card that was not there. A path on this machine is nobody's name for a base.
fn written(mut lineage: Lineage, name: &RepoId) -> String {
    for base in &mut lineage.base_models {
        let is_path = base.parse::<RepoId>().is_err();
        if let Some(last) = Path::new(base.as_str()).file_name().filter(|_| is_path) {
            *base = last.to_string_lossy().into_owned();
        }
    }
    let what = match lineage.relation.as_deref() {
        Some("adapter") => "An adapter for",
        _ => "Made from",
    };
    let bases: Vec<String> = lineage.base_models.iter().map(|base| format!("`{base}`")).collect();
    lineage.card(name.name(), &format!("{what} {}.", bases.join(", ")))
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
        let config = r#"{"peft_type": "LORA", "base_model_name_or_path": "/home/me/models/base"}"#;
        std::fs::write(dir.path().join("adapter_config.json"), config).unwrap();
        let text = card(dir.path(), &name, Some(&store)).unwrap();
        assert_eq!(Lineage::of_card(&text).base_models, ["base"]);
        assert!(!text.contains("/home"), "{text}");
    }

    #[test]
    fn a_gguf_file_has_the_card_inside_it_or_that_which_is_only_its() {
        let dir = tempfile::tempdir().unwrap();
        let (file, name) = (dir.path().join("model.gguf"), "me/tuned".parse().unwrap());
        std::fs::write(&file, "GGUF").unwrap();
        assert_eq!(card(&file, &name, None), None);
        for (readme, expected) in [
            ("# notes to myself\n", None),
            ("---\nbase_model: a/b\n---\n", Some("---\nbase_model: a/b\n---\n")),
        ] {
            std::fs::write(dir.path().join("README.md"), readme).unwrap();
            assert_eq!(card(&file, &name, None).as_deref(), expected);
        }
        std::fs::write(dir.path().join("other.gguf"), "GGUF").unwrap();
        assert_eq!(card(&file, &name, None), None);
        let inside = "---\nbase_model: c/d\n---\n";
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let start = [&b"GGUF"[..], &3u32.to_le_bytes(), &[0; 16]].concat();
        std::fs::write(&file, [start, text("wen.card"), 8u32.to_le_bytes().to_vec(), text(inside)].concat())
            .unwrap();
        assert_eq!(card(&file, &name, None).as_deref(), Some(inside));
    }
}
