//! Directories that loaders read.

use super::blob::blob_name;
use super::{Commit, Store, disk};
use crate::StoreError;
use crate::name::{FilePath, Repo};
use crate::{CommitId, Sha256Digest};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Folders between a snapshot and the store's root: `models/OWNER/NAME/snapshots/ID`.
const SNAPSHOT_DEPTH: usize = 5;

impl Store {
    /// A directory with the commit's files: relative links into the blobs. It is made when it is missing, and completed
    /// when the commit has got more files. The repository counts as used.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] when content is missing, and when the disk fails.
    pub fn snapshot(&self, repo: &Repo, commit: &Commit) -> Result<PathBuf, StoreError> {
        let dir = self.peek(repo, commit)?;
        self.note_use(repo);
        Ok(dir)
    }

    /// As [`snapshot`](Store::snapshot), to look at the files: the repository does not count as used.
    ///
    /// # Errors
    /// As [`snapshot`](Store::snapshot).
    pub fn peek(&self, repo: &Repo, commit: &Commit) -> Result<PathBuf, StoreError> {
        self.check_content(commit)?;
        let dir = snapshot_dir(&self.repo_dir(repo), commit.id);
        for (path, file) in &commit.files {
            let link = dir.join(path.as_str());
            let target = target(path, &file.sha256);
            if self.bucket.is_some() {
                self.blob_path(&file.sha256)?;
            }
            if link.read_link().is_ok_and(|found| found == target) {
                continue;
            }
            if let Some(folder) = link.parent() {
                std::fs::create_dir_all(folder).map_err(StoreError::at(folder))?;
            }
            disk::link(self, &target, &link)?;
        }
        Ok(dir)
    }

    fn note_use(&self, repo: &Repo) {
        let used = used_file(&self.repo_dir(repo));
        // a store that may only be read serves all the same
        if disk::set_modified(&used, SystemTime::now()).is_err() {
            let _ = File::create(used);
        }
    }
}

/// Where the snapshot of a commit is.
pub(super) fn snapshot_dir(repo: &Path, commit: CommitId) -> PathBuf {
    repo.join("snapshots").join(commit.to_string())
}

/// The file whose time is when a repository was last used.
pub(super) fn used_file(repo: &Path) -> PathBuf {
    repo.join("used")
}

/// A blob as seen from the folder of the file `path` in a snapshot.
fn target(path: &FilePath, sha256: &Sha256Digest) -> PathBuf {
    let depth = SNAPSHOT_DEPTH + path.folders().count();
    std::iter::repeat_n("..", depth).collect::<PathBuf>().join(blob_name(sha256))
}
