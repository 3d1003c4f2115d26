//! Repositories: their branches, tags and settings.

use super::bucket::{Condition, Version};
use super::commit::commit_file;
use super::disk::{self, Lock};
use super::records::Record;
use super::snapshot::used_file;
use super::{Commit, Store, now, seconds};
use crate::StoreError;
use crate::limits::{MAX_COMMIT_JSON_BYTES, MAX_REFS, MAX_REPO_JSON_BYTES};
use crate::name::{CommitId, RefName, Repo, RepoId, RepoKind, Revision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

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

/// `repo.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RepoFile {
    pub private: bool,
    pub created: u64,
    pub modified: u64,
    pub branches: BTreeMap<RefName, Option<CommitId>>,
    pub tags: BTreeMap<RefName, CommitId>,
    pub pinned: Vec<CommitId>,
    pub upstream: Option<Upstream>,
}

/// A repository that nobody else changes until this is dropped.
pub(super) struct OpenRepo {
    pub file: RepoFile,
    repo: Repo,
    path: PathBuf,
    version: Option<Version>,
    /// What keeps `collect` away.
    pub shared: Lock,
    _own: Lock,
}

impl RepoFile {
    pub fn new(private: bool, upstream: Option<Upstream>) -> RepoFile {
        let (created, modified) = (now(), now());
        let branches = BTreeMap::from([(RefName::main(), None)]);
        let (tags, pinned) = (BTreeMap::new(), Vec::new());
        RepoFile { private, created, modified, branches, tags, pinned, upstream }
    }

    /// The commit that a revision stands for; `Some(None)` for a branch without commits.
    pub fn find(&self, revision: &Revision) -> Option<Option<CommitId>> {
        match revision {
            Revision::Commit(id) => Some(Some(*id)),
            Revision::Ref(name) => {
                let tag = || self.tags.get(name).map(|id| Some(*id));
                self.branches.get(name).copied().or_else(tag)
            }
        }
    }

    /// All commits that have a name or are pinned.
    pub fn heads(&self) -> impl Iterator<Item = CommitId> {
        let branches = self.branches.values().flatten();
        branches.chain(self.tags.values()).chain(&self.pinned).copied()
    }

    fn check_new_ref(&self, repo: &Repo, name: &RefName, replaces: bool) -> Result<(), StoreError> {
        let exists = self.branches.contains_key(name) || self.tags.contains_key(name);
        if exists && !replaces {
            return Err(StoreError::RefExists { repo: repo.clone(), name: name.clone() });
        }
        let found = self.branches.len() + self.tags.len() + usize::from(!exists);
        match found > MAX_REFS {
            true => Err(StoreError::TooMany { what: "branches and tags", found, limit: MAX_REFS }),
            false => Ok(()),
        }
    }
}

impl OpenRepo {
    /// Writes what was changed.
    pub fn save(mut self, store: &Store) -> Result<(), StoreError> {
        self.file.modified = now();
        let unchanged = self.version.map_or(Condition::Any, Condition::Unchanged);
        match store.write_record(&self.shared, &self.path, &self.file, unchanged)? {
            true => Ok(()),
            false => Err(StoreError::Conflict(self.repo)),
        }
    }
}

/// The file with a repository's branches and tags.
fn repo_file(dir: &Path) -> PathBuf {
    dir.join("repo.json")
}

impl Store {
    /// Makes a repository with an empty branch `main`.
    ///
    /// # Errors
    /// [`StoreError::RepoExists`], and [`StoreError::Collision`] when its name differs from another's only in case.
    pub fn create(&self, repo: &Repo, private: bool) -> Result<(), StoreError> {
        self.create_with(repo, &RepoFile::new(private, None), None)
    }

    /// Makes a repository with all it begins with.
    pub(super) fn create_with(
        &self,
        repo: &Repo,
        file: &RepoFile,
        first: Option<&Commit>,
    ) -> Result<(), StoreError> {
        let held = self.lock_exclusive()?;
        let dir = self.repo_dir(repo);
        self.check_name(repo)?;
        if let Some(commit) = first {
            self.check_content(commit)?;
        }
        if self.bucket.is_some() {
            if let Some(commit) = first {
                self.write_record(&held, &commit_file(&dir, commit.id), commit, Condition::Any)?;
            }
            // from here on it is listed
            return match self.write_record(&held, &repo_file(&dir), file, Condition::Absent)? {
                true => Ok(()),
                false => Err(StoreError::RepoExists(repo.clone())),
            };
        }
        let building = disk::temporary_path(self);
        let built = (|| {
            disk::create_dir(&building)?;
            disk::create_dir(&building.join("commits"))?;
            if let Some(commit) = first {
                self.write_record(&held, &commit_file(&building, commit.id), commit, Condition::Any)?;
            }
            self.write_record(&held, &repo_file(&building), file, Condition::Any)?;
            dir.parent().map_or(Ok(()), disk::create_dir)?;
            disk::rename(&building, &dir)
        })();
        if built.is_err() {
            let _ = disk::remove_dir(&building);
        }
        built
    }

    /// Checks that no repository is called the same, and no owner, and no repository of this one, in other case.
    fn check_name(&self, repo: &Repo) -> Result<(), StoreError> {
        let is_same_but_case = |one: &str, other: &str| one != other && one.eq_ignore_ascii_case(other);
        for other in self.repos(repo.kind)? {
            if other == *repo {
                return Err(StoreError::RepoExists(other));
            }
            let (id, wanted) = (&other.id, &repo.id);
            let is_taken = is_same_but_case(id.owner(), wanted.owner())
                || (id.owner() == wanted.owner() && is_same_but_case(id.name(), wanted.name()));
            if is_taken {
                return Err(StoreError::Collision { wanted: wanted.clone(), existing: other.id.to_string() });
            }
        }
        Ok(())
    }

    /// What is known of a repository.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub fn info(&self, repo: &Repo) -> Result<RepoInfo, StoreError> {
        let RepoFile { private, created, modified, branches, tags, pinned, upstream } =
            self.read_repo(repo)?;
        let used = used_file(&self.repo_dir(repo)).metadata().and_then(|m| m.modified());
        let (repo, used) = (repo.clone(), used.ok().map(seconds));
        Ok(RepoInfo { repo, private, created, modified, used, branches, tags, pinned, upstream })
    }

    /// What a repository holds where nobody says a revision: the commit of `main`, or else the newest that has a name or was
    /// pulled by its id.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`], and [`StoreError::NoRevision`] when it has no commit.
    pub fn head(&self, repo: &Repo) -> Result<Commit, StoreError> {
        let file = self.read_repo(repo)?;
        match self.resolve_in(repo, &file, &Revision::main()) {
            Err(StoreError::NoRevision { .. }) => {}
            found => return found,
        }
        let mut commits = Vec::new();
        for id in file.heads() {
            commits.extend(self.read_commit(&commit_file(&self.repo_dir(repo), id))?);
        }
        let newest = commits.into_iter().max_by_key(|commit| commit.time);
        newest.ok_or_else(|| no_revision(repo, &Revision::main()))
    }

    /// All repositories of a kind, in the order of their names. Those that cannot be read are left out;
    /// [`verify`](Store::verify) names them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self, kind: RepoKind) -> Result<Vec<RepoInfo>, StoreError> {
        let repos = self.repos(kind)?;
        Ok(repos.iter().filter_map(|repo| self.info(repo).ok()).collect())
    }

    /// The names of all repositories of a kind.
    pub(super) fn repos(&self, kind: RepoKind) -> Result<Vec<Repo>, StoreError> {
        let root = self.root().join(kind.plural());
        let mut dirs = Vec::new();
        if self.bucket.is_some() {
            let records = self.records_in(&root)?.into_iter();
            let of_repo = |record: Record| {
                record.path.parent().filter(|dir| repo_file(dir) == record.path).map(Path::to_owned)
            };
            dirs.extend(records.filter_map(of_repo));
        } else {
            for owner in disk::entries(&root)? {
                dirs.extend(disk::entries(&owner)?);
            }
        }
        let repo = |dir: &PathBuf| {
            let owner = disk::name_of(dir.parent()?);
            Some(Repo { kind, id: RepoId::new(owner, disk::name_of(dir)).ok()? })
        };
        Ok(dirs.iter().filter_map(repo).collect())
    }

    pub(super) fn read_repo(&self, repo: &Repo) -> Result<RepoFile, StoreError> {
        self.read_version(repo).map(|(file, _)| file)
    }

    fn read_version(&self, repo: &Repo) -> Result<(RepoFile, Option<Version>), StoreError> {
        let path = repo_file(&self.repo_dir(repo));
        self.read_record(&path, MAX_REPO_JSON_BYTES)?.ok_or_else(|| StoreError::NoRepo(repo.clone()))
    }

    /// Opens a repository to change it.
    pub(super) fn open_repo(&self, repo: &Repo) -> Result<OpenRepo, StoreError> {
        let shared = self.lock_shared()?;
        let dir = self.repo_dir(repo);
        if self.bucket.is_some() {
            // of it, the lock alone is here
            self.read_repo(repo)?;
            std::fs::create_dir_all(&dir).map_err(StoreError::at(&dir))?;
        } else if !dir.is_dir() {
            return Err(StoreError::NoRepo(repo.clone()));
        }
        let own = Lock::exclusive(&dir.join("lock"))?;
        let (file, version) = self.read_version(repo)?;
        Ok(OpenRepo { file, repo: repo.clone(), path: repo_file(&dir), version, shared, _own: own })
    }

    /// Says who may see a repository.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub fn set_private(&self, repo: &Repo, private: bool) -> Result<(), StoreError> {
        let mut open = self.open_repo(repo)?;
        open.file.private = private;
        open.save(self)
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
        let mut open = self.open_repo(repo)?;
        let commit = self.resolve_in(repo, &open.file, at)?.id;
        open.file.check_new_ref(repo, name, force && open.file.tags.contains_key(name))?;
        open.file.tags.insert(name.clone(), commit);
        open.save(self)?;
        Ok(commit)
    }

    /// Makes a branch that begins at a revision, or sets one with `force`. `at` may be a branch without commits.
    ///
    /// # Errors
    /// [`StoreError::NoRevision`], [`StoreError::RefExists`].
    pub fn branch(&self, repo: &Repo, name: &RefName, at: &Revision, force: bool) -> Result<(), StoreError> {
        let mut open = self.open_repo(repo)?;
        let commit = match open.file.find(at) {
            Some(None) => None,
            _ => Some(self.resolve_in(repo, &open.file, at)?.id),
        };
        open.file.check_new_ref(repo, name, force && open.file.branches.contains_key(name))?;
        open.file.branches.insert(name.clone(), commit);
        open.save(self)
    }

    /// Deletes a tag.
    ///
    /// # Errors
    /// [`StoreError::NoRevision`].
    pub fn delete_tag(&self, repo: &Repo, name: &RefName) -> Result<(), StoreError> {
        let mut open = self.open_repo(repo)?;
        match open.file.tags.remove(name) {
            Some(_) => open.save(self),
            None => Err(no_revision(repo, &Revision::Ref(name.clone()))),
        }
    }

    /// Deletes a branch, other than `main`.
    ///
    /// # Errors
    /// [`StoreError::NoRevision`], [`StoreError::MainBranch`].
    pub fn delete_branch(&self, repo: &Repo, name: &RefName) -> Result<(), StoreError> {
        if *name == RefName::main() {
            return Err(StoreError::MainBranch(repo.clone()));
        }
        let mut open = self.open_repo(repo)?;
        match open.file.branches.remove(name) {
            Some(_) => open.save(self),
            None => Err(no_revision(repo, &Revision::Ref(name.clone()))),
        }
    }

    /// No longer keeps a commit that was pulled by its id.
    ///
    /// # Errors
    /// [`StoreError::NoRevision`] when it isn't one: a commit with a branch or tag is kept by that.
    pub fn unpin(&self, repo: &Repo, commit: CommitId) -> Result<(), StoreError> {
        let mut open = self.open_repo(repo)?;
        let before = open.file.pinned.len();
        open.file.pinned.retain(|pinned| *pinned != commit);
        match open.file.pinned.len() == before {
            true => Err(no_revision(repo, &Revision::Commit(commit))),
            false => open.save(self),
        }
    }

    /// Removes a repository with its history. Content that no other has goes with the next [`collect`](Store::collect).
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub fn remove(&self, repo: &Repo) -> Result<(), StoreError> {
        let _exclusive = self.lock_exclusive()?;
        let dir = self.repo_dir(repo);
        if self.bucket.is_some() {
            self.read_repo(repo)?;
            self.remove_record(&repo_file(&dir))?;
            // From here on it is gone. Its content goes when it is old enough: objects cannot be made to look old.
            for record in self.records_in(&dir)? {
                self.remove_record(&record.path)?;
            }
            return disk::remove_dir(&dir);
        }
        if !dir.is_dir() {
            return Err(StoreError::NoRepo(repo.clone()));
        }
        let removed = disk::temporary_path(self);
        disk::rename(&dir, &removed)?;
        // From here on it is gone; what isn't done now, `collect` does later.
        if let Some(owner) = dir.parent() {
            // it may have other repositories
            let _ = std::fs::remove_dir(owner);
        }
        self.release(&removed);
        let _ = disk::remove_dir(&removed);
        Ok(())
    }

    /// Lets `collect` remove the content of a removed repository whatever its age, except for what somebody has put since
    /// it was committed: that may be about to be committed elsewhere.
    fn release(&self, removed: &Path) {
        for path in disk::entries(&removed.join("commits")).unwrap_or_default() {
            let Ok(Some(commit)) = disk::read_json::<Commit>(&path, MAX_COMMIT_JSON_BYTES) else { continue };
            let Ok(committed) = path.metadata().and_then(|m| m.modified()) else { continue };
            for file in commit.files.values() {
                let blob = self.blob_file(&file.sha256);
                let put = blob.metadata().and_then(|m| m.modified());
                if put.is_ok_and(|put| put <= committed) {
                    // at worst it stays until it is old enough
                    let _ = disk::set_modified(&blob, SystemTime::UNIX_EPOCH);
                }
            }
        }
    }
}

pub(super) fn no_revision(repo: &Repo, revision: &Revision) -> StoreError {
    StoreError::NoRevision { repo: repo.clone(), revision: revision.clone() }
}
