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
mod bucket;
mod collect;
mod commit;
mod disk;
mod import;
mod partial;
mod records;
mod repo;
mod scratch;
mod snapshot;
#[cfg(test)]
mod tests;
mod verify;

pub use blob::{Blob, BlobWriter};
pub use collect::Collected;
pub use commit::{Commit, FileEntry, Mirrored, MirroredFile, NewCommit, Operation, is_large};
pub(crate) use import::files_in;
pub use partial::Partial;
pub use repo::{RepoInfo, Upstream};
pub use scratch::Scratch;
pub use verify::Fault;

use crate::name::{Repo, RepoKind};
use crate::{Sha256Digest, StoreError};
use bucket::Bucket;
use disk::Lock;
#[cfg(test)]
use repo::RepoFile;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The folder of all content.
const BLOBS: &str = "blobs";
/// The folder of what is not complete.
const WRITING: &str = "writing";
/// The file that is locked.
const LOCK: &str = "lock";

/// A content-addressed store in a directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    root: Arc<Path>,
    /// The home of everything, if it is a bucket; the directory then has what was used of it lately.
    bucket: Option<Arc<Bucket>>,
}

impl Store {
    /// Opens the store in `root`, which is made when it isn't there: a directory, or the URL of a bucket, as
    /// `s3://bucket/prefix`, of which a directory in the user's data directory then keeps a copy of what was used.
    ///
    /// # Errors
    /// When the directory cannot be made, or the bucket's settings are wrong.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        let bucket = bucket_url(root).map(|url| Bucket::open(url).map(Arc::new)).transpose()?;
        Store::open_at(&Store::directory(root)?, bucket)
    }

    /// The directory of the store in `root`, also before it is opened: it has the settings.
    ///
    /// # Errors
    /// When there is no home directory for what is used of a bucket.
    pub fn directory(root: &Path) -> Result<PathBuf, StoreError> {
        match bucket_url(root) {
            Some(url) => {
                let here = Sha256Digest::of(url.as_bytes()).to_string();
                Ok(data_dir()?.join("wen/buckets").join(&here[..16]))
            }
            None => Ok(root.to_owned()),
        }
    }

    fn open_at(root: &Path, bucket: Option<Arc<Bucket>>) -> Result<Store, StoreError> {
        std::fs::create_dir_all(root).map_err(StoreError::at(root))?;
        let root = root.canonicalize().map_err(StoreError::at(root))?;
        let folders = RepoKind::ALL.map(RepoKind::plural);
        for folder in folders.into_iter().chain([BLOBS, WRITING]) {
            disk::create_dir(&root.join(folder))?;
        }
        Ok(Store { root: root.into(), bucket })
    }

    /// Where the store is by default: what `WEN_HUB` names, else `wen/hub` in the user's data directory.
    ///
    /// # Errors
    /// When there is no home directory.
    pub fn default_root() -> Result<PathBuf, StoreError> {
        match variable("WEN_HUB") {
            Some(root) => Ok(root),
            None => Ok(data_dir()?.join("wen/hub")),
        }
    }

    /// The directory it is in, or that keeps what was used of a bucket.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn blobs(&self) -> PathBuf {
        self.root.join(BLOBS)
    }

    fn writing(&self) -> PathBuf {
        self.root.join(WRITING)
    }

    /// Where a repository is, whether or not it exists.
    fn repo_dir(&self, repo: &Repo) -> PathBuf {
        self.root.join(repo.kind.plural()).join(repo.id.owner()).join(repo.id.name())
    }

    /// Keeps [`collect`](Store::collect) and the making and removing of repositories away for as long as it is held.
    fn lock_shared(&self) -> Result<Lock, StoreError> {
        Lock::shared(&self.root.join(LOCK))
    }

    /// Keeps all writers away for as long as it is held.
    fn lock_exclusive(&self) -> Result<Lock, StoreError> {
        Lock::exclusive(&self.root.join(LOCK))
    }
}

/// The URL of a bucket, if `root` is one.
fn bucket_url(root: &Path) -> Option<&str> {
    root.to_str().filter(|url| url.starts_with(bucket::SCHEME))
}

/// The user's data directory.
fn data_dir() -> Result<PathBuf, StoreError> {
    let home = || std::env::home_dir().filter(|home| home.is_absolute()).ok_or(StoreError::NoHome);
    match variable("XDG_DATA_HOME").filter(|dir| dir.is_absolute()) {
        Some(data) => Ok(data),
        None if cfg!(target_os = "macos") => Ok(home()?.join("Library/Application Support")),
        None => Ok(home()?.join(".local/share")),
    }
}

/// A variable of the environment that isn't empty, as a path.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The time now in seconds since 1970.
fn now() -> u64 {
    seconds(SystemTime::now())
}

/// Seconds since 1970; 0 for earlier times.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
