//! From this machine to a hub.
//!
//! What is pushed is a directory, a file, or a commit of the store. The hub says which files it wants within the commit and which
//! before it; it gets those that it doesn't have, then the commit that names them. Pickles stay here.

mod card;

pub use card::card;

use crate::limits::{MAX_COMMIT_BYTES, MAX_REGULAR_BYTES};
use crate::name::{CommitId, FilePath, RefName, Repo};
use crate::pull::{LeftOut, danger};
use crate::remote::{Content, LocalFile, NewRemoteCommit, Remote, RemoteError, UploadMode};
use crate::store::{Commit, NewCommit, Operation, files_in, is_large};
use crate::{Sha256Digest, Store, StoreError};
use std::fs::File;
use std::io;
use std::path::Path;

/// Why a model could not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The hub.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The store, or what is pushed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing to push.
    #[error("there is nothing in it to push")]
    Nothing,
    /// Too much within one commit.
    #[error(
        "the hub wants {found} bytes of small files within one commit, and {MAX_COMMIT_BYTES} are the most: name more \
         kinds of files in .gitattributes there as LFS files"
    )]
    TooMuch {
        /// Bytes of the small files.
        found: u64,
    },
    /// A file that the hub wants within the commit, and that is too large for it.
    #[error(
        "the hub wants `{path}` within the commit, but it has {size} bytes; add its ending to .gitattributes there"
    )]
    NotLarge {
        /// Which.
        path: FilePath,
        /// Bytes.
        size: u64,
    },
}

/// The files that are pushed.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Those that are.
    pub files: Vec<LocalFile>,
    /// Those that stay here.
    pub left_out: Vec<LeftOut>,
}

/// What became of a push.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The commit.
    pub commit: CommitId,
    /// Where a person sees it, if the hub says so.
    pub url: Option<String>,
}

/// How to push.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// Whether a repository that is made for it is for its owner alone.
    pub private: bool,
    /// The branch.
    pub branch: RefName,
    /// The commit's message.
    pub message: String,
}

impl Load {
    /// The files in a directory and in the folders inside it, hidden ones left out. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Store::import`].
    pub fn of_directory(dir: &Path) -> Result<Load, StoreError> {
        let mut load = Load::default();
        for (path, file) in files_in(dir)? {
            let metadata = file.metadata().map_err(|source| StoreError::Io { path: file.clone(), source })?;
            load.add(LocalFile { path, size: metadata.len(), content: Content::File(file) });
        }
        Ok(load)
    }

    /// One file.
    ///
    /// # Errors
    /// When it cannot be read, or is called as no file of a repository can be.
    pub fn of_file(file: &Path) -> Result<Load, StoreError> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let metadata = file.metadata().map_err(|source| StoreError::Io { path: file.to_owned(), source })?;
        let mut load = Load::default();
        load.add(LocalFile {
            path: name.parse()?,
            size: metadata.len(),
            content: Content::File(file.to_owned()),
        });
        Ok(load)
    }

    /// The files of a commit.
    ///
    /// # Errors
    /// When the store doesn't have one.
    pub fn of_commit(store: &Store, commit: &Commit) -> Result<Load, StoreError> {
        let mut load = Load::default();
        for (path, entry) in &commit.files {
            let content = Content::File(store.blob_path(&entry.sha256)?);
            load.add(LocalFile { path: path.clone(), size: entry.size, content });
        }
        Ok(load)
    }

    fn add(&mut self, file: LocalFile) {
        match danger(&file.path) {
            Some(why) => self.left_out.push(LeftOut { path: file.path.to_string(), size: file.size, why }),
            None => self.files.push(file),
        }
    }

    /// Puts `card` in the place of `README.md`.
    pub fn set_card(&mut self, path: FilePath, card: String) {
        self.files.retain(|file| file.path != path);
        let bytes = card.into_bytes();
        self.files.push(LocalFile { path, size: bytes.len() as u64, content: Content::Bytes(bytes.into()) });
    }

    /// Bytes of all.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Pushes to a hub. `progress` is told of the bytes that the hub has, and of how many it will have.
///
/// # Errors
/// When the hub refuses or fails for good, or a file cannot be read.
pub async fn push(
    remote: &Remote,
    repo: &Repo,
    load: &Load,
    options: &PushOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Pushed, PushError> {
    if load.files.is_empty() {
        return Err(PushError::Nothing);
    }
    remote.create(repo, options.private).await?;
    let modes = remote.upload_modes(repo, &options.branch, &load.files).await?;
    let (mut regular, mut large) = (Vec::new(), Vec::new());
    for (file, mode) in load.files.iter().zip(modes) {
        match mode {
            UploadMode::Regular => regular.push(file),
            UploadMode::Lfs => large.push(file),
            UploadMode::Ignored => {}
        }
    }
    let regular = read_all(regular).await?;
    let mut digests = Vec::with_capacity(large.len());
    for &file in &large {
        digests.push((file, digest_of(&file.content).await?));
    }
    let total = load.bytes();
    let done =
        std::sync::atomic::AtomicU64::new(total.saturating_sub(large.iter().map(|file| file.size).sum()));
    let sent = |bytes: u64| {
        let now = done.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed) + bytes;
        progress(now.min(total), total);
    };
    sent(0);
    remote.upload(repo, &options.branch, &digests, &sent).await?;
    let large = digests.into_iter().map(|(file, sha256)| (file.path.clone(), sha256, file.size)).collect();
    let (branch, message) = (options.branch.clone(), options.message.clone());
    let (commit, url) = remote.commit(repo, &NewRemoteCommit { branch, message, regular, large }).await?;
    Ok(Pushed { commit, url })
}

/// Pushes into the store itself. Blocks on the disk.
///
/// # Errors
/// When the store fails, or a file cannot be read.
pub fn push_local(
    store: &Store,
    repo: &Repo,
    load: &Load,
    options: &PushOptions,
) -> Result<Commit, PushError> {
    if load.files.is_empty() {
        return Err(PushError::Nothing);
    }
    let add = |file: &LocalFile| {
        let blob = match &file.content {
            Content::File(path) => {
                let at = |source| StoreError::Io { path: path.clone(), source };
                store.put(&mut File::open(path).map_err(at)?)?
            }
            Content::Bytes(bytes) => store.put(&mut &bytes[..])?,
        };
        Ok(Operation::Add {
            path: file.path.clone(),
            sha256: blob.sha256,
            lfs: is_large(&file.path, blob.size),
        })
    };
    let operations = load.files.iter().map(add).collect::<Result<Vec<_>, StoreError>>()?;
    match store.create(repo, options.private) {
        Ok(()) | Err(StoreError::RepoExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let author = std::env::var("USER").unwrap_or_default();
    let new = NewCommit { message: options.message.clone(), author, expected_parent: None, operations };
    Ok(store.commit(repo, &options.branch, new)?)
}

/// Small files with what is in them.
async fn read_all(files: Vec<&LocalFile>) -> Result<Vec<(FilePath, Vec<u8>)>, PushError> {
    let found = files.iter().map(|file| file.size).sum();
    if found > MAX_COMMIT_BYTES {
        return Err(PushError::TooMuch { found });
    }
    let mut read = Vec::with_capacity(files.len());
    for file in files {
        if file.size > MAX_REGULAR_BYTES {
            return Err(PushError::NotLarge { path: file.path.clone(), size: file.size });
        }
        let (content, size) = (file.content.clone(), file.size);
        let bytes = on_disk(move || content.read(0..size)).await?;
        read.push((file.path.clone(), bytes.to_vec()));
    }
    Ok(read)
}

/// The SHA-256 of what is pushed.
async fn digest_of(content: &Content) -> Result<Sha256Digest, PushError> {
    let content = content.clone();
    on_disk(move || match content {
        Content::File(path) => Sha256Digest::of_reader(&mut File::open(path)?).map(|(sha256, _)| sha256),
        Content::Bytes(bytes) => Ok(Sha256Digest::of(&bytes)),
    })
    .await
}

/// Does what blocks on the disk where it holds up nothing else.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, PushError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result.map_err(StoreError::Content)?),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
