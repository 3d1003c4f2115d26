//! What another model is made from.

use super::{Lineage, gguf_card, read_card, split};
use crate::name::RepoId;
use std::path::Path;

/// A model or an adapter that another model is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    /// What it is called where the other is published: `owner/name`, or a name alone; never a path.
    pub name: String,
    /// What its files say.
    pub lineage: Lineage,
}

impl Parent {
    /// Reads the directory or the GGUF file at `path`. It is called as its `repository`, if it is from one; else as the title
    /// of its card, where that can be a name; else as the path.
    pub fn read(path: &Path, repository: Option<String>) -> Parent {
        let card = || read_card(path).or_else(|| gguf_card(path));
        let name = repository.or_else(|| title(&card()?)).unwrap_or_else(|| last_part(path));
        Parent { name, lineage: Lineage::read(path) }
    }
}

/// The first heading of a card, if it is one word that a repository may be called.
fn title(card: &str) -> Option<String> {
    let text = split(card).map_or(card, |(_, text)| text);
    let heading = text.lines().find_map(|line| line.strip_prefix("# "))?.trim();
    let is_name = heading.parse::<RepoId>().is_ok() || RepoId::new("owner", heading).is_ok();
    is_name.then(|| heading.to_owned())
}

/// The last part of a path, without a GGUF file's ending; also of a path that ends in dots.
fn last_part(path: &Path) -> String {
    let name = match path.is_file() {
        // a file of a store is a link to what is called by its digest
        true => path.file_stem().map(ToOwned::to_owned),
        false => path.canonicalize().ok().and_then(|path| path.file_name().map(ToOwned::to_owned)),
    };
    name.map_or_else(|| "base".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_called_by_its_repository_its_card_or_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        std::fs::create_dir(&base).unwrap();
        assert_eq!(Parent::read(&base.join("..").join("base"), None).name, "base");
        for (heading, name) in [
            ("# Qwen3-0.6B", "Qwen3-0.6B"),
            ("# me/notes", "me/notes"),
            ("# My first model", "base"),
            ("# ../x", "base"),
            ("no heading", "base"),
        ] {
            let card = format!("---\nlicense: mit\nbase_model: a/b\n# comment\n---\n\n{heading}\n# Other\n");
            let card = if heading.starts_with('#') { card } else { card.replace("# Other\n", "") };
            std::fs::write(base.join("README.md"), card).unwrap();
            let parent = Parent::read(&base, None);
            assert_eq!((parent.name.as_str(), parent.lineage.license.as_deref()), (name, Some("mit")));
        }
        assert_eq!(Parent::read(&base, Some("Qwen/Qwen3-0.6B".to_owned())).name, "Qwen/Qwen3-0.6B");
        std::fs::write(dir.path().join("small.gguf"), "").unwrap();
        assert_eq!(Parent::read(&dir.path().join("small.gguf"), None).name, "small");
    }
}
