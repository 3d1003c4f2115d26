//! The content-addressed store.
//!
//! On disk, below a root:
//!
//! ```text
//! blobs/ab/<sha256>                    content, read-only, stored once
//! models/OWNER/NAME/repo.json          kind, private, created, branches, tags, where it came from
//!                   commits/ID.json    parent, message, author, time, files
//!                   snapshots/ID/...   links into blobs/, what loaders read; made again when missing
//!                   used               its time is when a snapshot was last asked for
//! datasets/OWNER/NAME/...              the same
//! writing/                             what is not complete, and downloads under way
//! lock                                 shared by writers, exclusive while blobs are collected
//! ```
//!
//! Everything is written into `writing/`, brought to the disk and renamed to its place, so that a crash at any point
//! leaves what was there before, or all of what is new. Several processes may use one store at once.
//!
//! All of it blocks on the disk.

mod blob;
mod collect;
mod commit;
mod disk;
mod import;
mod partial;
mod repo;
mod snapshot;
mod verify;

pub use blob::{Blob, BlobWriter};
pub use collect::Collected;
pub use commit::{Commit, FileEntry, Mirrored, MirroredFile, NewCommit, Operation, is_large};
pub use partial::Partial;
pub use repo::{RepoInfo, Upstream};
pub use verify::Fault;

use crate::StoreError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A content-addressed store in a directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    root: Arc<Path>,
}

impl Store {
    /// Opens the store in `root`, which is made when it isn't there.
    ///
    /// # Errors
    /// When the directory cannot be made or written.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        let _ = root;
        todo!()
    }

    /// Where the store is by default: what `WEN_HUB` names, else `wen/hub` in the user's data directory.
    ///
    /// # Errors
    /// When there is no home directory.
    pub fn default_root() -> Result<PathBuf, StoreError> {
        todo!()
    }

    /// The directory it is in.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
