//! Checking that everything is as it was stored.

use super::Store;
use crate::name::{CommitId, FilePath, Repo};
use crate::{Sha256Digest, StoreError};
use std::path::PathBuf;

/// Something that is not as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A blob whose content has another digest, or that cannot be read.
    Blob {
        /// Its name.
        sha256: Sha256Digest,
        /// What is wrong.
        reason: String,
    },
    /// A file of a commit whose content is missing, or has another size.
    File {
        /// Where.
        repo: Repo,
        /// At which commit.
        commit: CommitId,
        /// The file.
        path: FilePath,
        /// What is wrong.
        reason: String,
    },
    /// A file of the store's own that is broken.
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Store {
    /// Reads everything and compares it with its digests. `progress` is told of bytes as they were read, and of how many
    /// there are.
    ///
    /// # Errors
    /// When the store's directories cannot be read.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<Fault>, StoreError> {
        let _ = progress;
        todo!()
    }

    /// Removes a blob whose content is not what its name says, so that it is downloaded anew. A sound one stays.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn discard_broken(&self, sha256: &Sha256Digest) -> Result<bool, StoreError> {
        let _ = sha256;
        todo!()
    }
}
