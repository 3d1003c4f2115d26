//! Repositories: their branches, tags and settings.

use super::Store;
use crate::StoreError;
use crate::name::{CommitId, RefName, Repo, RepoId, RepoKind, Revision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a repository was pulled from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// The hub as [`Hub`](crate::Hub) prints it: `hf`, `ms` or a URL.
    pub hub: String,
    /// The repository there.
    pub repo: RepoId,
}

/// What is known of a repository without its commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoInfo {
    /// Which.
    pub repo: Repo,
    /// Whether only its owner may see it.
    pub private: bool,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// When a branch or tag last changed, in seconds since 1970.
    pub modified: u64,
    /// When a snapshot of it was last asked for, in seconds since 1970; `None` for never.
    pub used: Option<u64>,
    /// Where each branch is. `None` for a branch without commits: `main` of a new repository.
    pub branches: BTreeMap<RefName, Option<CommitId>>,
    /// What each tag names.
    pub tags: BTreeMap<RefName, CommitId>,
    /// Commits that were pulled by their ids, and are kept without a branch.
    pub pinned: Vec<CommitId>,
    /// Where it was pulled from.
    pub upstream: Option<Upstream>,
}

impl Store {
    /// Makes a repository with an empty branch `main`.
    ///
    /// # Errors
    /// [`StoreError::RepoExists`], and [`StoreError::Collision`] when its name differs from another's only in case.
    pub fn create(&self, repo: &Repo, private: bool) -> Result<(), StoreError> {
        let _ = (repo, private);
        todo!()
    }

    /// What is known of a repository.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub fn info(&self, repo: &Repo) -> Result<RepoInfo, StoreError> {
        let _ = repo;
        todo!()
    }

    /// All repositories of a kind, in the order of their names. Those that cannot be read are left out;
    /// [`verify`](Store::verify) names them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self, kind: RepoKind) -> Result<Vec<RepoInfo>, StoreError> {
        let _ = kind;
        todo!()
    }

    /// Says who may see a repository.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub fn set_private(&self, repo: &Repo, private: bool) -> Result<(), StoreError> {
        let _ = (repo, private);
        todo!()
    }

    /// Sets a tag. One that is there already moves only with `force`.
    ///
    /// # Errors
    /// [`StoreError::NoRevision`], [`StoreError::RefExists`].
    pub fn tag(
        &self,
        repo: &Repo,
        name: &RefName,
        at: &Revision,
        force: bool,
    ) -> Result<CommitId, StoreError> {
        let _ = (repo, name, at, force);
        todo!()
    }

    /// Makes a branch that begins at a revision, or sets one with `force`. `at` may be a branch without commits.
    ///
    /// # Errors
    /// [`StoreError::NoRevision`], [`StoreError::RefExists`].
    pub fn branch(&self, repo: &Repo, name: &RefName, at: &Revision, force: bool) -> Result<(), StoreError> {
        let _ = (repo, name, at, force);
        todo!()
    }

    /// Deletes a tag.
    ///
    /// # Errors
    /// [`StoreError::NoRevision`].
    pub fn delete_tag(&self, repo: &Repo, name: &RefName) -> Result<(), StoreError> {
        let _ = (repo, name);
        todo!()
    }

    /// Deletes a branch, other than `main`.
    ///
    /// # Errors
    /// [`StoreError::NoRevision`], [`StoreError::MainBranch`].
    pub fn delete_branch(&self, repo: &Repo, name: &RefName) -> Result<(), StoreError> {
        let _ = (repo, name);
        todo!()
    }

    /// Removes a repository with its history. Content that no other has goes with the next [`collect`](Store::collect).
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub fn remove(&self, repo: &Repo) -> Result<(), StoreError> {
        let _ = repo;
        todo!()
    }
}
