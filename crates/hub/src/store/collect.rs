//! Freeing what nothing refers to.

use super::Store;
use crate::StoreError;
use std::time::Duration;

/// What was freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that no commit had.
    pub blobs: usize,
    /// Commits that no branch or tag led to.
    pub commits: usize,
    /// Downloads and uploads that were given up.
    pub unfinished: usize,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Store {
    /// Removes commits that no branch or tag leads to, blobs that no commit has, and unfinished files, if they are older
    /// than `age`: younger ones may belong to an upload that has yet to commit. Content of a repository that was removed
    /// goes at once. Waits for writers, and they wait for it.
    ///
    /// # Errors
    /// When the store cannot be read: without knowing all that is needed, nothing is removed.
    pub fn collect(&self, age: Duration) -> Result<Collected, StoreError> {
        let _ = age;
        todo!()
    }
}
