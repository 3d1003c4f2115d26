//! Why the store could not do something.

use crate::digest::DigestError;
use crate::limits;
use crate::name::{CommitId, FilePath, NameError, RefName, Repo, Revision};
use crate::{RepoId, Sha256Digest};
use std::io;
use std::path::{Path, PathBuf};

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory of the store that cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The disk is full.
    #[error(
        "the disk of {} is full; `wen models rm` and `wen models gc` free what isn't needed, or let WEN_HUB name a \
         directory on a larger disk", .0.display()
    )]
    Full(PathBuf),
    /// A request to the bucket that failed.
    #[error(
        "{place}: {reason}; see that the bucket can be reached, and AWS_ENDPOINT, AWS_REGION and the keys"
    )]
    Bucket {
        /// Which object.
        place: String,
        /// What the service says.
        reason: String,
    },
    /// A repository that another machine changed in between.
    #[error("{0} was changed by another machine meanwhile; do it again")]
    Conflict(Repo),
    /// The disk has no room for what is to be downloaded.
    #[error(
        "{needed} bytes are needed, and the disk of {} has {free} free; `wen models rm` and `wen models gc` free what \
         isn't needed, or let WEN_HUB name a directory on a larger disk", .path.display()
    )]
    NoRoom {
        /// The store's directory.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// What was to be stored could not be read.
    #[error("what was to be stored broke off: {0}")]
    Content(#[source] io::Error),
    /// No directory for the store.
    #[error("there is no home directory to keep models in; set WEN_HUB to a directory")]
    NoHome,
    /// A file of the store that is not what the store writes.
    #[error("{} is broken: {reason}; `wen models verify` lists what else is", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that breaks a rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Text that is not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Content whose digest is not the announced one. Nothing was stored.
    #[error(
        "the content has the SHA-256 {found}, not {announced} as announced; nothing was stored, send it again"
    )]
    OtherDigest {
        /// As announced.
        announced: Sha256Digest,
        /// As computed.
        found: Sha256Digest,
    },
    /// Content that is shorter or longer than announced. Nothing was stored.
    #[error(
        "the content has {found} bytes or more, not {announced} as announced; nothing was stored, send it again"
    )]
    OtherSize {
        /// As announced, in bytes.
        announced: u64,
        /// Bytes that came; there may have been more.
        found: u64,
    },
    /// A blob above the bound.
    #[error("the file has more than {} bytes, the most that is stored", limits::MAX_BLOB_BYTES)]
    TooLarge,
    /// A blob that the store doesn't have.
    #[error(
        "the store has no content with the SHA-256 {0}; upload it before the commit that names it, or pull it again"
    )]
    NoBlob(Sha256Digest),
    /// A repository that isn't there.
    #[error("there is no {} {} in the store", .0.kind, .0.id)]
    NoRepo(Repo),
    /// A repository that is there already.
    #[error("the {} {} is in the store already", .0.kind, .0.id)]
    RepoExists(Repo),
    /// A name that differs from another's only in case.
    #[error("`{wanted}` differs from `{existing}`, which is in the store, only in upper and lower case")]
    Collision {
        /// The name that was asked for.
        wanted: RepoId,
        /// The name that is there, or its owner.
        existing: String,
    },
    /// A branch, tag or commit that isn't there.
    #[error("the {} {} has no revision `{revision}`", .repo.kind, .repo.id)]
    NoRevision {
        /// Where it was looked for.
        repo: Repo,
        /// What was looked for.
        revision: Revision,
    },
    /// A branch or tag that is there already.
    #[error("the {} {} has a branch or tag `{name}` already", .repo.kind, .repo.id)]
    RefExists {
        /// Where.
        repo: Repo,
        /// Which.
        name: RefName,
    },
    /// A branch that a repository cannot be without.
    #[error("the branch `main` of {0} cannot be deleted; delete the repository")]
    MainBranch(Repo),
    /// A file that the commit doesn't have.
    #[error("`{path}` is not a file of {repo} at {commit}")]
    NoFile {
        /// Where it was looked for.
        repo: Repo,
        /// At which commit.
        commit: CommitId,
        /// What was looked for.
        path: FilePath,
    },
    /// Somebody else committed first.
    #[error(
        "the branch `{branch}` is at {}, not at the expected parent; look at what changed, then commit again",
        .found.map_or_else(|| "its beginning".to_owned(), |id| id.to_string())
    )]
    Moved {
        /// The branch.
        branch: RefName,
        /// Where it is.
        found: Option<CommitId>,
    },
    /// A path that is a file and a folder at once.
    #[error("`{0}` would be a file and a folder at once")]
    FileAndFolder(FilePath),
    /// More of something than the bound.
    #[error("{found} {what} are more than the limit of {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A file above the bound of those that are kept without LFS.
    #[error(
        "`{path}` has {size} bytes, and files above {} bytes must be uploaded with LFS",
        limits::MAX_REGULAR_BYTES
    )]
    NeedsLfs {
        /// The file.
        path: FilePath,
        /// Its size in bytes.
        size: u64,
    },
    /// A download that another process, or another task of this one, is at.
    #[error(
        "the content with the SHA-256 {0} is being downloaded by another pull; wait until that has ended, or stop it"
    )]
    Downloading(Sha256Digest),
    /// A repository that came from another hub than the one it is to be updated from.
    #[error(
        "{repo} in the store came from {stored}, not from {wanted}; `wen models rm {repo}` before pulling it from there"
    )]
    OtherUpstream {
        /// The repository.
        repo: Repo,
        /// Where it came from.
        stored: String,
        /// Where it is wanted from.
        wanted: String,
    },
    /// A hub that sends something else for a commit than it did before.
    #[error(
        "the hub sends another `{path}` for the commit {commit} of {repo} than before; if you trust it now, \
         `wen models rm {repo}` and pull again"
    )]
    Changed {
        /// The repository.
        repo: Repo,
        /// The commit.
        commit: CommitId,
        /// The file.
        path: FilePath,
    },
    /// A link to a file elsewhere where files are imported from.
    #[error("{} is a link to a file outside the folder that is stored; put the file itself there", .0.display())]
    LinkOutside(PathBuf),
    /// Something other than a file or a folder where files are imported from.
    #[error("{} is neither a file nor a folder, and is not stored", .0.display())]
    NotAFile(PathBuf),
}

impl StoreError {
    /// Names the file that an operation failed on.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(path),
            _ => StoreError::Io { path, source },
        }
    }
}
