//! Which files a recipe means.

use super::DataError;
use crate::limits::{MAX_DIRECTORY_DEPTH, MAX_FILES};
use glob::{MatchOptions, glob_with};
use std::path::{Path, PathBuf};

/// How a file holds its examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A JSON object a line.
    Lines,
    /// An array of JSON objects.
    Array,
    /// Rows and columns.
    Parquet,
    /// One text.
    Text,
}

impl FileKind {
    /// By the file's ending.
    pub(super) fn of(path: &Path) -> Option<FileKind> {
        match path.extension()?.to_str()? {
            "jsonl" | "ndjson" => Some(FileKind::Lines),
            "json" => Some(FileKind::Array),
            "parquet" => Some(FileKind::Parquet),
            "txt" => Some(FileKind::Text),
            _ => None,
        }
    }
}

/// The files that `paths` stand for, each of them a file, a directory (all datasets in it, in the order of their names) or a
/// pattern (`data/*.jsonl`, `**` for directories within directories).
pub(super) fn expand(paths: &[PathBuf]) -> Result<Vec<(PathBuf, FileKind)>, DataError> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        if path.is_dir() {
            walk(path, 0, &mut files)?;
        } else if !path.exists() && is_pattern(path) {
            matches(path, &mut files)?;
        } else {
            files.push((path.clone(), FileKind::of(path).ok_or_else(|| DataError::Kind(path.clone()))?));
        }
        if files.len() == before {
            return Err(DataError::NoMatch(path.clone()));
        }
        if files.len() > MAX_FILES {
            return Err(DataError::TooManyFiles(path.clone()));
        }
    }
    Ok(files)
}

fn is_pattern(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains(['*', '?', '[']))
}

fn matches(pattern: &Path, files: &mut Vec<(PathBuf, FileKind)>) -> Result<(), DataError> {
    let bad = |reason: String| DataError::Pattern { path: pattern.to_owned(), reason };
    let text = pattern.to_str().ok_or_else(|| bad("it is not UTF-8".to_owned()))?;
    // as in directories, what begins with a dot is found only by a pattern that does
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    for found in glob_with(text, options).map_err(|error| bad(error.msg.to_owned()))? {
        let path =
            found.map_err(|error| DataError::File { path: error.path().to_owned(), source: error.into() })?;
        if path.is_dir() {
            continue;
        }
        let kind = FileKind::of(&path).ok_or_else(|| DataError::Kind(path.clone()))?;
        files.push((path, kind));
        if files.len() > MAX_FILES {
            break;
        }
    }
    Ok(())
}

/// All datasets in `dir`; hidden files and files of other kinds (a README) are none.
fn walk(dir: &Path, depth: usize, files: &mut Vec<(PathBuf, FileKind)>) -> Result<(), DataError> {
    let failed = |source| DataError::File { path: dir.to_owned(), source };
    let entries = std::fs::read_dir(dir).map_err(failed)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>().map_err(failed)?;
    paths.sort_unstable();
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    for path in paths.into_iter().filter(|path| !hidden(path)) {
        if files.len() > MAX_FILES {
            break;
        }
        if path.is_dir() {
            if depth < MAX_DIRECTORY_DEPTH {
                walk(&path, depth + 1, files)?;
            }
        } else if let Some(kind) = FileKind::of(&path) {
            files.push((path, kind));
        }
    }
    Ok(())
}
