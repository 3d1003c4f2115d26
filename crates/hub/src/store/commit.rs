//! What a repository held at one time.

use super::{Blob, Store, Upstream};
use crate::name::{CommitId, FilePath, RefName, Repo, Revision};
use crate::{GitDigest, Sha256Digest, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a repository held at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The digest of all the rest; of a commit that was pulled, the id that it has in its hub.
    pub id: CommitId,
    /// The one before, if there was any and the store has it.
    pub parent: Option<CommitId>,
    /// The first line says what changed.
    pub message: String,
    /// Who made it.
    pub author: String,
    /// When, in seconds since 1970.
    pub time: u64,
    /// Where it was pulled from.
    pub upstream: Option<Upstream>,
    /// All files.
    pub files: BTreeMap<FilePath, FileEntry>,
}

/// A file of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Bytes.
    pub size: u64,
    /// Its content.
    pub sha256: Sha256Digest,
    /// The git object id: of the content, or of the LFS pointer that stands for it.
    pub oid: GitDigest,
    /// Whether hubs list it as an LFS file.
    pub lfs: bool,
}

/// What is done to a commit's files to make the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The file has this content, whatever it had before.
    Add {
        /// The file.
        path: FilePath,
        /// Its content, which the store has.
        sha256: Sha256Digest,
        /// Whether hubs shall list it as an LFS file; [`is_large`] says what is usual.
        lfs: bool,
    },
    /// The file goes.
    Delete {
        /// The file.
        path: FilePath,
    },
    /// All files in the folder go.
    DeleteFolder {
        /// The folder.
        path: FilePath,
    },
    /// The file has the content that another had.
    Copy {
        /// The file whose content it gets.
        from: FilePath,
        /// At which revision; the parent when absent.
        revision: Option<Revision>,
        /// The file.
        to: FilePath,
    },
}

/// A commit to be made.
#[derive(Clone, Debug)]
pub struct NewCommit {
    /// The first line says what changes.
    pub message: String,
    /// Who makes it.
    pub author: String,
    /// What the branch must be at; a branch that has moved is refused. Not checked when absent.
    pub expected_parent: Option<CommitId>,
    /// What changes, in this order.
    pub operations: Vec<Operation>,
}

/// A commit of another hub, of which the store keeps the files that were pulled.
#[derive(Clone, Debug)]
pub struct Mirrored {
    /// Its id there. `None` where the hub has none that is 40 hexadecimal digits: it then gets one by its content.
    pub id: Option<CommitId>,
    /// The branch that is set to it; `None` when it was asked for by its id: the repository then keeps it beside its
    /// branches.
    pub branch: Option<RefName>,
    /// Where it comes from.
    pub upstream: Upstream,
    /// Its message there, if it is known.
    pub message: String,
    /// Its author there, if known.
    pub author: String,
    /// When it was made there, in seconds since 1970, if known.
    pub time: Option<u64>,
    /// The files that were pulled.
    pub files: BTreeMap<FilePath, MirroredFile>,
}

/// A file that was pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirroredFile {
    /// Its content, which the store has.
    pub sha256: Sha256Digest,
    /// Whether the hub lists it as an LFS file.
    pub lfs: bool,
}

impl Commit {
    /// The file at `path`.
    pub fn file(&self, path: &FilePath) -> Option<&FileEntry> {
        self.files.get(path)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }
}

impl FileEntry {
    /// What hubs answer as the file's `ETag`, without its quotes.
    pub fn etag(&self) -> String {
        match self.lfs {
            true => self.sha256.to_string(),
            false => self.oid.to_string(),
        }
    }

    /// Its content.
    pub fn blob(&self) -> Blob {
        Blob { sha256: self.sha256, size: self.size }
    }
}

/// Whether a file is usually kept with LFS, by the rules of Hugging Face's hub: endings of weights, archives and other
/// binary files, and anything above 10 MiB.
pub fn is_large(path: &FilePath, size: u64) -> bool {
    let _ = (path, size);
    todo!()
}

impl Store {
    /// Makes the next commit of a branch. The branch comes into being when it has no commit yet.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when the branch is not at the expected parent, [`StoreError::NoBlob`] when content is
    /// missing, and when an operation cannot be done. The branch is as it was then.
    pub fn commit(&self, repo: &Repo, branch: &RefName, new: NewCommit) -> Result<Commit, StoreError> {
        let _ = (repo, branch, new);
        todo!()
    }

    /// Keeps files of another hub's commit. The repository is made when it isn't there. Files that were pulled of the
    /// same commit before stay.
    ///
    /// # Errors
    /// [`StoreError::OtherUpstream`] when the repository is not from there, [`StoreError::NoBlob`] when content is missing.
    pub fn mirror(&self, repo: &Repo, mirrored: Mirrored) -> Result<Commit, StoreError> {
        let _ = (repo, mirrored);
        todo!()
    }

    /// The commit that a revision stands for.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`] and [`StoreError::NoRevision`]; the latter also for a branch without commits.
    pub fn resolve(&self, repo: &Repo, revision: &Revision) -> Result<Commit, StoreError> {
        let _ = (repo, revision);
        todo!()
    }

    /// The commits that lead to a revision, the newest first, at most `limit` of them.
    ///
    /// # Errors
    /// As [`resolve`](Store::resolve).
    pub fn history(&self, repo: &Repo, revision: &Revision, limit: usize) -> Result<Vec<Commit>, StoreError> {
        let _ = (repo, revision, limit);
        todo!()
    }
}
