//! A commit's files as a tree: commits know files only, clients ask for folders.

use hub::store::{Commit, FileEntry};
use hub::{FilePath, GitDigest};

/// Something in a folder.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A file.
    File(&'a FilePath, &'a FileEntry),
    /// A folder, which has at least one file.
    Folder(&'a str),
}

impl<'a> Entry<'a> {
    /// The path in the repository.
    pub fn path(&self) -> &'a str {
        match self {
            Entry::File(path, _) => path.as_str(),
            Entry::Folder(path) => path,
        }
    }
}

/// What is in a folder, or in the whole when there is none; with `recursive`, also what is in the folders in it.
/// `None` when there is no such folder.
pub fn list<'a>(commit: &'a Commit, folder: Option<&FilePath>, recursive: bool) -> Option<Vec<Entry<'a>>> {
    let skipped = folder.map_or(0, |folder| folder.as_str().len() + 1);
    let mut entries = Vec::new();
    // paths are in the order of their bytes, so that the files of a folder follow each other
    let mut before = "";
    for (path, entry) in inside(commit, folder) {
        let text = path.as_str();
        let ends = text.match_indices('/').map(|(end, _)| end).filter(|end| *end >= skipped);
        for end in ends {
            if !before.starts_with(&text[..=end]) {
                entries.push(Entry::Folder(&text[..end]));
            }
            if !recursive {
                break;
            }
        }
        if recursive || !text[skipped..].contains('/') {
            entries.push(Entry::File(path, entry));
        }
        before = text;
    }
    (folder.is_none() || !entries.is_empty()).then_some(entries)
}

/// The file or folder at a path.
pub fn find<'a>(commit: &'a Commit, path: &'a FilePath) -> Option<Entry<'a>> {
    match commit.files.get_key_value(path) {
        Some((path, entry)) => Some(Entry::File(path, entry)),
        None => inside(commit, Some(path)).next().map(|_| Entry::Folder(path.as_str())),
    }
}

/// An id of a folder that changes with whatever is in it.
pub fn folder_id(commit: &Commit, folder: &str) -> GitDigest {
    let mut listing = String::new();
    // what is before a `/` of a path is a path
    if let Ok(folder) = folder.parse() {
        for (path, entry) in inside(commit, Some(&folder)) {
            listing.push_str(&format!("{path} {}\n", entry.oid));
        }
    }
    GitDigest::of(listing.as_bytes())
}

/// The files in a folder and in all folders in it, in the order of their paths.
fn inside<'a>(
    commit: &'a Commit,
    folder: Option<&FilePath>,
) -> impl Iterator<Item = (&'a FilePath, &'a FileEntry)> {
    let files = match folder {
        Some(folder) => commit.files.range::<FilePath, _>(folder..),
        None => commit.files.range::<FilePath, _>(..),
    };
    let is_in = move |path: &FilePath| folder.is_none_or(|folder| path.is_inside(folder));
    // `a-b` and `a.c` stand between `a` and `a/d`
    files.skip_while(move |(path, _)| !is_in(path)).take_while(move |(path, _)| is_in(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hub::{CommitId, Sha256Digest};

    fn commit(paths: &[&str]) -> Commit {
        let entry = |path: &str| FileEntry {
            size: 1,
            sha256: Sha256Digest::of(path.as_bytes()),
            oid: GitDigest::of(path.as_bytes()),
            lfs: false,
        };
        Commit {
            id: CommitId(GitDigest::of(b"")),
            parent: None,
            message: String::new(),
            author: String::new(),
            time: 0,
            upstream: None,
            files: paths.iter().map(|path| (path.parse().expect("a path"), entry(path))).collect(),
        }
    }

    fn paths(entries: Option<Vec<Entry<'_>>>) -> Option<Vec<&str>> {
        entries.map(|entries| entries.iter().map(Entry::path).collect())
    }

    #[test]
    fn folders_come_once_and_before_what_is_in_them() {
        let commit = commit(&["a", "b-x", "b.y", "b/c/1", "b/c/2", "b/d", "b/e/f/3", "z"]);
        let within = |folder: &str, recursive| {
            let folder = (!folder.is_empty()).then(|| folder.parse::<FilePath>().expect("a path"));
            paths(list(&commit, folder.as_ref(), recursive))
        };
        assert_eq!(within("", false), Some(vec!["a", "b-x", "b.y", "b", "z"]));
        assert_eq!(
            within("", true),
            Some(vec![
                "a", "b-x", "b.y", "b", "b/c", "b/c/1", "b/c/2", "b/d", "b/e", "b/e/f", "b/e/f/3", "z"
            ])
        );
        assert_eq!(within("b", false), Some(vec!["b/c", "b/d", "b/e"]));
        assert_eq!(within("b/e", true), Some(vec!["b/e/f", "b/e/f/3"]));
        assert_eq!(within("a", false), None);
        assert_eq!(within("b/x", false), None);
        let is_folder =
            |path: &str| find(&commit, &path.parse().expect("a path")).map(|e| matches!(e, Entry::Folder(_)));
        assert_eq!((is_folder("b"), is_folder("a"), is_folder("b/x")), (Some(true), Some(false), None));
    }

    #[test]
    fn an_empty_commit_is_an_empty_folder() {
        assert_eq!(paths(list(&commit(&[]), None, true)), Some(vec![]));
    }

    #[test]
    fn the_id_of_a_folder_is_that_of_its_files() {
        let (one, two) = (commit(&["a/b", "c"]), commit(&["a/b", "d"]));
        assert_eq!(folder_id(&one, "a"), folder_id(&two, "a"));
        assert_ne!(folder_id(&one, "a"), folder_id(&commit(&["a/b", "a/c"]), "a"));
    }
}
