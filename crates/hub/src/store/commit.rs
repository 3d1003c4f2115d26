//! What a repository held at one time.

use super::bucket::Condition;
use super::repo::{OpenRepo, RepoFile, no_revision};
use super::{Blob, Store, Upstream, disk, now};
use crate::limits::{MAX_COMMIT_JSON_BYTES, MAX_FILES, MAX_MESSAGE_BYTES, MAX_OPERATIONS, MAX_REGULAR_BYTES};
use crate::name::{CommitId, FilePath, RefName, Repo, Revision};
use crate::{GitDigest, Sha256Digest, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// The first line of its message, and what follows.
    pub fn title_and_body(&self) -> (&str, &str) {
        let (title, body) = self.message.split_once('\n').unwrap_or((&self.message, ""));
        (title, body.trim_start())
    }

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

/// Whether a file is usually kept with LFS, by the rules that Hugging Face's hub gives a new repository: endings of
/// weights, archives and other binary files, and anything above 10 MiB.
pub fn is_large(path: &FilePath, size: u64) -> bool {
    const ENDINGS: [&str; 36] = [
        "7z",
        "arrow",
        "bin",
        "bz2",
        "ckpt",
        "ftz",
        "gguf",
        "gz",
        "h5",
        "joblib",
        "mlmodel",
        "model",
        "msgpack",
        "npy",
        "npz",
        "onnx",
        "ot",
        "parquet",
        "pb",
        "pickle",
        "pkl",
        "pt",
        "pth",
        "rar",
        "safetensors",
        "tar",
        "tflite",
        "tgz",
        "wasm",
        "xz",
        "zip",
        "zst",
        "mp4",
        "mp3",
        "wav",
        "flac",
    ];
    let name = path.file_name();
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    size > MAX_REGULAR_BYTES || ENDINGS.contains(&ending.as_str()) || name.contains("tfevents")
}

impl Store {
    /// Makes the next commit of a branch, which exists: `main` does from the beginning.
    ///
    /// # Errors
    /// [`StoreError::Moved`] when the branch is not at the expected parent, [`StoreError::NoBlob`] when content is
    /// missing, and when an operation cannot be done. The branch is as it was then.
    pub fn commit(&self, repo: &Repo, branch: &RefName, new: NewCommit) -> Result<Commit, StoreError> {
        new.check()?;
        for _ in 1..MAX_CONFLICTS {
            match self.commit_once(repo, branch, new.clone()) {
                Err(StoreError::Conflict(_)) => {}
                other => return other,
            }
        }
        self.commit_once(repo, branch, new)
    }

    fn commit_once(&self, repo: &Repo, branch: &RefName, new: NewCommit) -> Result<Commit, StoreError> {
        let mut open = self.open_repo(repo)?;
        let head = match open.file.branches.get(branch) {
            Some(head) => *head,
            None => return Err(no_revision(repo, &Revision::Ref(branch.clone()))),
        };
        if new.expected_parent.is_some_and(|expected| head != Some(expected)) {
            return Err(StoreError::Moved { branch: branch.clone(), found: head });
        }
        let mut files = match head {
            Some(id) => self.resolve_in(repo, &open.file, &Revision::Commit(id))?.files,
            None => BTreeMap::new(),
        };
        for operation in &new.operations {
            self.apply(repo, &open.file, operation, &mut files, head)?;
        }
        check_files(&files)?;
        let commit = Commit {
            id: CommitId(GitDigest::from_bytes([0; 20])),
            parent: head,
            message: new.message,
            author: new.author,
            time: now(),
            upstream: None,
            files,
        };
        let commit = Commit { id: commit.content_id(), ..commit };
        self.write_commit(repo, &open, &commit)?;
        open.file.branches.insert(branch.clone(), Some(commit.id));
        open.save(self)?;
        Ok(commit)
    }

    /// Does one operation to `files`, which are those of `parent` and what earlier operations made of them.
    fn apply(
        &self,
        repo: &Repo,
        refs: &RepoFile,
        operation: &Operation,
        files: &mut Files,
        parent: Option<CommitId>,
    ) -> Result<(), StoreError> {
        let no_file = |path: &FilePath, commit: Option<CommitId>| match commit {
            Some(commit) => StoreError::NoFile { repo: repo.clone(), commit, path: path.clone() },
            None => no_revision(repo, &Revision::main()),
        };
        match operation {
            Operation::Add { path, sha256, lfs } => {
                files.insert(path.clone(), self.file_entry(path, sha256, *lfs)?);
            }
            Operation::Delete { path } => {
                files.remove(path).ok_or_else(|| no_file(path, parent))?;
            }
            Operation::DeleteFolder { path } => {
                let before = files.len();
                files.retain(|file, _| !file.is_inside(path));
                if files.len() == before {
                    return Err(no_file(path, parent));
                }
            }
            Operation::Copy { from, revision: None, to } => {
                let entry = *files.get(from).ok_or_else(|| no_file(from, parent))?;
                files.insert(to.clone(), entry);
            }
            Operation::Copy { from, revision: Some(revision), to } => {
                let commit = self.resolve_in(repo, refs, revision)?;
                let entry = *commit.file(from).ok_or_else(|| no_file(from, Some(commit.id)))?;
                files.insert(to.clone(), entry);
            }
        }
        Ok(())
    }

    /// The entry of a file with content that is stored.
    fn file_entry(&self, path: &FilePath, sha256: &Sha256Digest, lfs: bool) -> Result<FileEntry, StoreError> {
        let Blob { sha256, size } = self.stored(sha256)?.ok_or(StoreError::NoBlob(*sha256))?;
        let oid = if lfs {
            GitDigest::of_lfs_pointer(&sha256, size)
        } else if size > MAX_REGULAR_BYTES {
            return Err(StoreError::NeedsLfs { path: path.clone(), size });
        } else {
            let content = self.blob_path(&sha256)?;
            GitDigest::of(&std::fs::read(&content).map_err(StoreError::at(&content))?)
        };
        Ok(FileEntry { size, sha256, oid, lfs })
    }

    /// Keeps files of another hub's commit. The repository is made when it isn't there. Files that were pulled of the
    /// same commit before stay.
    ///
    /// # Errors
    /// [`StoreError::OtherUpstream`] when the repository is not from there, [`StoreError::NoBlob`] when content is
    /// missing, [`StoreError::Changed`] when a file of this very commit was another when it was pulled before.
    pub fn mirror(&self, repo: &Repo, mirrored: Mirrored) -> Result<Commit, StoreError> {
        let (branch, upstream) = (mirrored.branch.clone(), mirrored.upstream.clone());
        let mut commit = self.mirrored_commit(mirrored)?;
        let mut open = match self.open_repo(repo) {
            Err(StoreError::NoRepo(_)) => {
                // whether strangers may read it is for its own hub to say
                let mut file = RepoFile::new(true, Some(upstream.clone()));
                file.set_mirrored(branch.clone(), commit.id);
                match self.create_with(repo, &file, Some(&commit)) {
                    Err(StoreError::RepoExists(_)) => self.open_repo(repo)?,
                    created => return created.map(|()| commit),
                }
            }
            other => other?,
        };
        same_upstream(repo, &open.file, &upstream)?;
        if let Some(before) = self.read_commit(&commit_file(&self.repo_dir(repo), commit.id))? {
            commit = merge(repo, before, commit)?;
        }
        self.check_content(&commit)?;
        self.write_commit(repo, &open, &commit)?;
        open.file.set_mirrored(branch, commit.id);
        open.save(self)?;
        Ok(commit)
    }

    /// Checks that a repository, if it is there, comes from `upstream`.
    ///
    /// # Errors
    /// [`StoreError::OtherUpstream`] when it does not.
    pub(crate) fn check_upstream(&self, repo: &Repo, upstream: &Upstream) -> Result<(), StoreError> {
        match self.read_repo(repo) {
            Ok(file) => same_upstream(repo, &file, upstream),
            Err(StoreError::NoRepo(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn mirrored_commit(&self, mirrored: Mirrored) -> Result<Commit, StoreError> {
        let mut files = BTreeMap::new();
        for (path, MirroredFile { sha256, lfs }) in mirrored.files {
            let size = self.stored(&sha256)?.ok_or(StoreError::NoBlob(sha256))?.size;
            let entry = self.file_entry(&path, &sha256, lfs || size > MAX_REGULAR_BYTES)?;
            files.insert(path, entry);
        }
        check_files(&files)?;
        let Mirrored { id, upstream, message, author, time, .. } = mirrored;
        let unnamed = CommitId(GitDigest::from_bytes([0; 20]));
        let (time, upstream) = (time.unwrap_or_default(), Some(upstream));
        let commit = Commit { id: unnamed, parent: None, message, author, time, upstream, files };
        Ok(Commit { id: id.unwrap_or_else(|| commit.content_id()), ..commit })
    }

    /// Checks that the store has the content of all files.
    pub(super) fn check_content(&self, commit: &Commit) -> Result<(), StoreError> {
        for file in commit.files.values() {
            if self.stored(&file.sha256)? != Some(file.blob()) {
                return Err(StoreError::NoBlob(file.sha256));
            }
        }
        Ok(())
    }

    fn write_commit(&self, repo: &Repo, open: &OpenRepo, commit: &Commit) -> Result<(), StoreError> {
        let path = commit_file(&self.repo_dir(repo), commit.id);
        self.write_record(&open.shared, &path, commit, Condition::Any).map(|_| ())
    }

    /// Reads the record of a commit; `None` when it isn't there.
    pub(super) fn read_commit(&self, path: &Path) -> Result<Option<Commit>, StoreError> {
        let record = self.read_record(path, MAX_COMMIT_JSON_BYTES)?;
        record.map(|(commit, _)| check_commit(path, commit)).transpose()
    }

    /// The commit that a revision stands for.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`] and [`StoreError::NoRevision`]; the latter also for a branch without commits.
    pub fn resolve(&self, repo: &Repo, revision: &Revision) -> Result<Commit, StoreError> {
        self.resolve_in(repo, &self.read_repo(repo)?, revision)
    }

    /// As [`resolve`](Store::resolve), in a repository that was read.
    pub(super) fn resolve_in(
        &self,
        repo: &Repo,
        refs: &RepoFile,
        revision: &Revision,
    ) -> Result<Commit, StoreError> {
        let not_there = || no_revision(repo, revision);
        let id = refs.find(revision).flatten().ok_or_else(not_there)?;
        self.read_commit(&commit_file(&self.repo_dir(repo), id))?.ok_or_else(not_there)
    }

    /// The commits that lead to a revision, the newest first, at most `limit` of them.
    ///
    /// # Errors
    /// As [`resolve`](Store::resolve).
    pub fn history(&self, repo: &Repo, revision: &Revision, limit: usize) -> Result<Vec<Commit>, StoreError> {
        let mut next = Some(self.resolve(repo, revision)?);
        let mut commits = Vec::new();
        while let Some(commit) = next.take()
            && commits.len() < limit
        {
            if let Some(parent) = commit.parent {
                next = self.read_commit(&commit_file(&self.repo_dir(repo), parent))?;
            }
            commits.push(commit);
        }
        Ok(commits)
    }
}

fn same_upstream(repo: &Repo, file: &RepoFile, upstream: &Upstream) -> Result<(), StoreError> {
    if file.upstream.as_ref() == Some(upstream) {
        return Ok(());
    }
    let name = |upstream: &Upstream| format!("{}:{}", upstream.hub, upstream.repo);
    let stored = file.upstream.as_ref().map_or_else(|| "this machine".to_owned(), name);
    Err(StoreError::OtherUpstream { repo: repo.clone(), stored, wanted: name(upstream) })
}

/// Tries of a commit to a repository that other machines change too.
const MAX_CONFLICTS: usize = 8;

type Files = BTreeMap<FilePath, FileEntry>;

impl Commit {
    /// The id of a commit that was made here: what it holds, digested. SHA-256 cut to the length of git's ids, for which
    /// no two contents with one digest can be made, as they can for SHA-1.
    pub(super) fn content_id(&self) -> CommitId {
        let Commit { id: _, parent, message, author, time, upstream, files } = self;
        let rest = serde_json::json!([parent, message, author, time, upstream, files]);
        let digest = Sha256Digest::of(rest.to_string().as_bytes());
        CommitId(GitDigest::from_bytes(std::array::from_fn(|i| digest.bytes()[i])))
    }
}

impl NewCommit {
    fn check(&self) -> Result<(), StoreError> {
        let bounds = [
            ("operations in a commit", self.operations.len(), MAX_OPERATIONS),
            ("bytes of a commit's message", self.message.len(), MAX_MESSAGE_BYTES),
            ("bytes of an author's name", self.author.len(), MAX_MESSAGE_BYTES),
        ];
        bounds.into_iter().try_for_each(|(what, found, limit)| match found > limit {
            true => Err(StoreError::TooMany { what, found, limit }),
            false => Ok(()),
        })
    }
}

impl RepoFile {
    /// Sets the branch to a commit that was pulled, or keeps the commit beside the branches.
    fn set_mirrored(&mut self, branch: Option<RefName>, commit: CommitId) {
        match branch {
            Some(branch) => _ = self.branches.insert(branch, Some(commit)),
            None if !self.pinned.contains(&commit) => self.pinned.push(commit),
            None => {}
        }
    }
}

/// The files of both of what are parts of one commit.
fn merge(repo: &Repo, before: Commit, mut now: Commit) -> Result<Commit, StoreError> {
    for (path, entry) in before.files {
        if let Some(other) = now.files.insert(path.clone(), entry)
            && other.sha256 != entry.sha256
        {
            return Err(StoreError::Changed { repo: repo.clone(), commit: now.id, path });
        }
    }
    check_files(&now.files)?;
    Ok(now)
}

/// Checks that there are not too many, and that none is a folder of another.
fn check_files(files: &Files) -> Result<(), StoreError> {
    if files.len() > MAX_FILES {
        return Err(StoreError::TooMany { what: "files", found: files.len(), limit: MAX_FILES });
    }
    for path in files.keys() {
        if let Some(folder) = path.folders().find_map(|folder| files.get_key_value(folder)) {
            return Err(StoreError::FileAndFolder(folder.0.clone()));
        }
    }
    Ok(())
}

/// The file with a commit.
pub(super) fn commit_file(repo: &Path, id: CommitId) -> PathBuf {
    repo.join("commits").join(format!("{id}.json"))
}

/// Checks that a record is of the commit that it is called after, with files that a commit can have.
fn check_commit(path: &Path, commit: Commit) -> Result<Commit, StoreError> {
    let named = disk::name_of(path).strip_suffix(".json");
    if named != Some(commit.id.to_string().as_str()) {
        return Err(disk::broken(path, format!("it is the commit {}", commit.id)));
    }
    match check_files(&commit.files) {
        Ok(()) => Ok(commit),
        Err(error) => Err(disk::broken(path, error.to_string())),
    }
}
