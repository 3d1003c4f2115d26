//! From an ordinary directory into the store.

use super::{Operation, Store, disk, is_large};
use crate::StoreError;
use crate::limits::{MAX_OPERATIONS, MAX_PATH_DEPTH};
use crate::name::{FilePath, NameError};
use std::fs::File;
use std::path::{Path, PathBuf};

impl Store {
    /// Stores every file in `dir` and in the folders inside it, and returns the operations that make a commit of them.
    /// Hidden files and folders other than `.gitattributes` are left out. Links to files are followed where they stay
    /// inside, or lead to the `blobs` of the hub's cache that `dir` is a snapshot of.
    ///
    /// # Errors
    /// When a file cannot be read, has a name that no repository can have, is a link to elsewhere, or is neither file nor
    /// folder.
    pub fn import(&self, dir: &Path) -> Result<Vec<Operation>, StoreError> {
        files_in(dir)?.into_iter().map(|(path, file)| self.import_file(path, &file)).collect()
    }

    fn import_file(&self, path: FilePath, file: &Path) -> Result<Operation, StoreError> {
        let mut content = File::open(file).map_err(StoreError::at(file))?;
        let blob = self.put(&mut content)?;
        let lfs = is_large(&path, blob.size);
        Ok(Operation::Add { path, sha256: blob.sha256, lfs })
    }
}

/// The files that [`Store::import`] stores: what each is called in a repository, and where it really is.
pub(crate) fn files_in(dir: &Path) -> Result<Vec<(FilePath, PathBuf)>, StoreError> {
    let dir = dir.canonicalize().map_err(StoreError::at(dir))?;
    let mut files = Vec::new();
    find_files(&dir, "", 0, &mut files)?;
    let allowed = allowed_roots(&dir);
    let real = |(path, file): (FilePath, PathBuf)| {
        let real = file.canonicalize().map_err(StoreError::at(&file))?;
        if !allowed.iter().any(|root| real.starts_with(root)) {
            return Err(StoreError::LinkOutside(file));
        }
        match real.metadata().map_err(StoreError::at(&real))?.is_file() {
            true => Ok((path, real)),
            false => Err(StoreError::NotAFile(file)),
        }
    };
    files.into_iter().map(real).collect()
}

/// Where files may lie: in the directory, and, when it is `NAME/snapshots/REVISION` of a hub's cache, in `NAME/blobs`.
fn allowed_roots(dir: &Path) -> Vec<PathBuf> {
    let snapshots = dir.parent().filter(|parent| parent.ends_with("snapshots"));
    let blobs = snapshots.and_then(Path::parent).map(|cache| cache.join("blobs"));
    std::iter::once(dir.to_owned()).chain(blobs).collect()
}

/// Adds the files in `dir`, whose path inside what is imported is `prefix`, to `found`.
fn find_files(
    dir: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Vec<(FilePath, PathBuf)>,
) -> Result<(), StoreError> {
    for entry in disk::entries(dir)? {
        let Some(name) = entry.file_name().and_then(|name| name.to_str()) else {
            let text = entry.to_string_lossy().into_owned();
            return Err(NameError { what: "path of a file", text, why: "it is not UTF-8" }.into());
        };
        if name.starts_with('.') && name != ".gitattributes" {
            continue;
        }
        let path: FilePath = format!("{prefix}{name}").parse()?;
        // links to folders are not followed: they may lead back
        let kind = entry.symlink_metadata().map_err(StoreError::at(&entry))?;
        if kind.is_dir() {
            if depth == MAX_PATH_DEPTH {
                return Err(
                    NameError { what: "path of a file", text: path.into(), why: "it is too deep" }.into()
                );
            }
            find_files(&entry, &format!("{path}/"), depth + 1, found)?;
        } else if kind.is_file() || kind.is_symlink() {
            found.push((path, entry));
        } else {
            return Err(StoreError::NotAFile(entry));
        }
        if found.len() > MAX_OPERATIONS {
            let (what, limit) = ("files", MAX_OPERATIONS);
            return Err(StoreError::TooMany { what, found: found.len(), limit });
        }
    }
    Ok(())
}
