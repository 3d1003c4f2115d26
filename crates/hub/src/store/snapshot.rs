//! Directories that loaders read.

use super::{Commit, Store};
use crate::StoreError;
use crate::name::Repo;
use std::path::PathBuf;

impl Store {
    /// A directory with the commit's files: relative links into the blobs. It is made when it is missing, and completed
    /// when the commit has got more files. The repository counts as used.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] when content is missing, and when the disk fails.
    pub fn snapshot(&self, repo: &Repo, commit: &Commit) -> Result<PathBuf, StoreError> {
        let _ = (repo, commit);
        todo!()
    }
}
