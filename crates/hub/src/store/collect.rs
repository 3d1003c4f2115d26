//! Freeing what nothing refers to.

use super::commit::{Commit, commit_file};
use super::partial::{PART, RANGES};
use super::records::Record;
use super::snapshot::snapshot_dir;
use super::{BLOBS, Store, disk};
use crate::name::{CommitId, Repo, RepoKind};
use crate::{Sha256Digest, StoreError};
use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

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
    /// When a repository or commit cannot be read: without knowing all that is needed, no content is removed.
    pub fn collect(&self, age: Duration) -> Result<Collected, StoreError> {
        let _exclusive = self.lock_exclusive()?;
        // a time in the future is that of another clock
        let is_past = |time: SystemTime| SystemTime::now().duration_since(time).is_ok_and(|past| past >= age);
        let is_old = |path: &Path| {
            let changed = path.symlink_metadata().and_then(|metadata| metadata.modified());
            changed.is_ok_and(is_past)
        };
        let mut collected = Collected::default();
        let mut needed = HashSet::new();
        for kind in RepoKind::ALL {
            for repo in self.repos(kind)? {
                collected.commits += self.collect_commits(&repo, &is_past, &mut needed)?;
            }
        }
        self.collect_objects(&is_past, &needed, &mut collected)?;
        for folder in disk::entries(&self.blobs())? {
            for path in disk::entries(&folder)? {
                let is_needed =
                    disk::name_of(&path).parse::<Sha256Digest>().is_ok_and(|sha256| needed.contains(&sha256));
                if !is_needed && is_old(&path) {
                    let bytes = remove(&path)?;
                    // what a bucket has was counted there
                    if self.bucket.is_none() {
                        collected.blobs += 1;
                        collected.bytes += bytes;
                    }
                }
            }
        }
        for path in disk::entries(&self.writing())? {
            // folders are made and removed under the lock that is held here
            if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                disk::remove_dir(&path)?;
            } else if is_old(&path) && !is_in_use(&path) {
                collected.unfinished += 1;
                collected.bytes += remove(&path)?;
            }
        }
        Ok(collected)
    }

    /// Removes content that is not needed from the bucket, if there is one.
    fn collect_objects(
        &self,
        is_past: &dyn Fn(SystemTime) -> bool,
        needed: &HashSet<Sha256Digest>,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        for object in bucket.list(BLOBS)? {
            let name = object.name.rsplit('/').next().unwrap_or_default();
            let is_needed = name.parse::<Sha256Digest>().is_ok_and(|sha256| needed.contains(&sha256));
            if !is_needed && is_past(object.modified) {
                bucket.remove(&object.name)?;
                collected.blobs += 1;
                collected.bytes += object.bytes;
            }
        }
        Ok(())
    }

    /// Removes commits of a repository that nothing leads to, with their snapshots. Adds the content of those that stay to
    /// `needed`.
    fn collect_commits(
        &self,
        repo: &Repo,
        is_past: &dyn Fn(SystemTime) -> bool,
        needed: &mut HashSet<Sha256Digest>,
    ) -> Result<usize, StoreError> {
        let dir = self.repo_dir(repo);
        let reachable = self.reachable(repo)?;
        let mut removed = 0;
        for Record { path, modified } in self.records_in(&dir.join("commits"))? {
            let Some(commit) = self.read_commit(&path)? else { continue };
            if reachable.contains(&commit.id) || !is_past(modified) {
                needed.extend(commit.files.values().map(|file| file.sha256));
                continue;
            }
            disk::remove_dir(&snapshot_dir(&dir, commit.id))?;
            self.remove_record(&path)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// The commits that a branch, a tag or a pin leads to.
    fn reachable(&self, repo: &Repo) -> Result<HashSet<CommitId>, StoreError> {
        let dir = self.repo_dir(repo);
        let file = self.read_repo(repo).map_err(|error| match error {
            StoreError::NoRepo(_) => disk::broken(&dir, "it has no repo.json".to_owned()),
            other => other,
        })?;
        let mut next: Vec<CommitId> = file.heads().collect();
        let mut reachable = HashSet::new();
        while let Some(id) = next.pop() {
            if !reachable.insert(id) {
                continue;
            }
            if let Some(Commit { parent, .. }) = self.read_commit(&commit_file(&dir, id))? {
                next.extend(parent);
            }
        }
        Ok(reachable)
    }
}

/// Whether somebody writes a file in `writing/`. The ranges of a download are in use when its bytes are.
fn is_in_use(path: &Path) -> bool {
    let is_ranges = path.extension().is_some_and(|extension| extension == RANGES);
    disk::is_locked(&if is_ranges { path.with_extension(PART) } else { path.to_owned() })
}

/// Removes a file and returns its size in bytes.
fn remove(path: &Path) -> Result<u64, StoreError> {
    let bytes = path.symlink_metadata().map_or(0, |metadata| metadata.len());
    disk::remove_file(path)?;
    Ok(bytes)
}
