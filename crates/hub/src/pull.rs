//! From a hub into the store.
//!
//! A pull is planned first: the hub lists a revision, and [`Plan`] says which files of it a model needs. What the store has
//! already is not asked for. The rest comes in parts over several connections (`transfer`), is written where it belongs,
//! recorded once it is on the disk, and made a blob only when its digest is the listed one. At the end the commit is kept in
//! the store under the hub's id for it. A process that is killed in between has downloaded nothing in vain: the same pull
//! goes on from what was recorded.

mod choose;
mod find;
mod transfer;

pub(crate) use choose::danger;
pub use choose::{Choice, LeftOut, Why};
pub use find::{Found, find};

use crate::limits::{CONNECTIONS, MAX_CONNECTIONS};
use crate::name::{RefName, Revision};
use crate::remote::{Announced, Listing, Remote, RemoteError, RemoteFile};
use crate::store::{Commit, Mirrored, MirroredFile};
use crate::{FilePath, GitDigest, Repo, Sha256Digest, Store, StoreError};
use glob::Pattern;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use transfer::{Fetched, Transfer};

/// Why a model could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The hub.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A pattern that is none.
    #[error("--include `{pattern}` is no pattern: {why}")]
    Pattern {
        /// As written.
        pattern: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nothing to pull.
    #[error(
        "no file matches --include{}",
        if *.pickles { ", but pickles (.bin, .pt, .ckpt), which run code when they are read and are never pulled" } else { "" }
    )]
    NoMatch {
        /// Whether there were pickles.
        pickles: bool,
    },
    /// A repository without a model that can be loaded.
    #[error(
        "the repository has no weights that can be loaded (.safetensors or .gguf){}; --include takes its files all the same",
        if *.pickles { ", only pickles, which run code when they are read: look for a conversion to safetensors" } else { "" }
    )]
    NoModel {
        /// Whether there were pickles.
        pickles: bool,
    },
    /// A file that isn't there.
    #[error(
        "the repository has no file `{asked}`, and no GGUF file with that in its name{}",
        if .found.is_empty() { String::new() } else { format!("; it has {}", .found) }
    )]
    NoFile {
        /// What was asked for.
        asked: String,
        /// What there is.
        found: String,
    },
    /// Several models in one repository.
    #[error("the repository has several models; choose one as NAME:PART, by a part of its file's name: {0}")]
    Ambiguous(String),
    /// Content that isn't what was listed.
    #[error(
        "{url} sent other content than was listed: the digest of `{path}` is {found}, not {listed}; it was thrown away. \
         Pull again; if it stays so, the hub, or something between, is broken"
    )]
    Content {
        /// Where from.
        url: String,
        /// Which file.
        path: FilePath,
        /// As listed.
        listed: Announced,
        /// As computed.
        found: String,
    },
}

/// What of a repository to pull, and how.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// Patterns of the files to pull instead of what a model needs.
    pub include: Vec<String>,
    /// The one file to pull, or a part of the name of a GGUF file.
    pub file: Option<String>,
    /// Downloads at once.
    pub connections: usize,
}

impl Default for PullOptions {
    fn default() -> PullOptions {
        PullOptions { include: Vec::new(), file: None, connections: CONNECTIONS }
    }
}

/// What will be pulled.
pub struct Plan {
    repo: Repo,
    revision: Option<Revision>,
    listing: Listing,
    choice: Choice,
    connections: usize,
}

/// The files of a plan beside what the store has.
#[derive(Default)]
struct Compared {
    /// Those that it has.
    there: BTreeMap<FilePath, Fetched>,
    /// Those that are downloaded.
    needed: Vec<RemoteFile>,
    /// Those with the same content as a file that is downloaded.
    same: Vec<(RemoteFile, FilePath)>,
}

/// What was pulled.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The commit as it is stored.
    pub commit: Commit,
    /// A directory with its files.
    pub snapshot: PathBuf,
    /// Bytes that were downloaded.
    pub downloaded: u64,
}

impl Plan {
    /// Asks the hub what there is, and chooses from it.
    ///
    /// # Errors
    /// When the hub doesn't have it, or nothing in it is to be pulled.
    pub async fn make(
        remote: &Remote,
        repo: &Repo,
        revision: Option<&Revision>,
        options: &PullOptions,
    ) -> Result<Plan, PullError> {
        let pattern = |text: &String| {
            Pattern::new(text).map_err(|error| PullError::Pattern { pattern: text.clone(), why: error.msg })
        };
        let include = options.include.iter().map(pattern).collect::<Result<Vec<_>, _>>()?;
        let listing = remote.list(repo, revision).await?;
        let choice = choose::choose(repo.kind, &listing, &include, options.file.as_deref())?;
        let connections = options.connections.clamp(1, MAX_CONNECTIONS);
        Ok(Plan { repo: repo.clone(), revision: revision.cloned(), listing, choice, connections })
    }

    /// The files that are pulled, and those that are not.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// Bytes of the files that are pulled, those that the store has among them.
    pub fn bytes(&self) -> u64 {
        self.choice.files.iter().map(|file| file.size).sum()
    }

    /// Does it. `progress` is told of the bytes that are there, and of how many there will be. Dropped before it has
    /// ended, it leaves what has come for the next time.
    ///
    /// # Errors
    /// When the hub or the disk fails for good. What has come stays for the next time, unless it was wrong.
    pub async fn run(
        &self,
        store: &Store,
        remote: &Remote,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Pulled, PullError> {
        let Compared { mut there, needed, same } = self.compare(store, remote).await?;
        let downloads = needed.iter().map(|file| remote.download(&self.repo, &self.listing, file)).collect();
        let done = there.values().map(|fetched| fetched.blob.size).sum::<u64>()
            + same.iter().map(|(file, _)| file.size).sum::<u64>();
        let transfer = Transfer::new(remote, store, self.connections, progress, (done, self.bytes()));
        let (fetched, downloaded) = transfer.run(downloads).await?;
        there.extend(fetched);
        for (file, as_this) in same {
            if let Some(Fetched { blob, .. }) = there.get(&as_this).copied() {
                there.insert(file.path, Fetched { blob, lfs: file.lfs });
            }
        }
        self.keep(store, remote, there, downloaded).await
    }

    /// What the store has of the files, and what it needs, for which the disk has room.
    async fn compare(&self, store: &Store, remote: &Remote) -> Result<Compared, PullError> {
        let (store, files) = (store.clone(), self.choice.files.clone());
        let (repo, branch) = (self.repo.clone(), self.branch().map_or_else(Revision::main, Revision::Ref));
        let upstream = remote.upstream(&self.repo);
        blocking(move || {
            // before anything is downloaded in vain
            store.check_upstream(&repo, &upstream)?;
            let known = known_by_git(&store, &repo, &branch);
            let mut compared = Compared::default();
            let mut coming: HashMap<(Announced, u64), FilePath> = HashMap::new();
            for file in files {
                let sha256 = match file.digest {
                    Announced::Sha256(digest) => Some(digest),
                    Announced::Git(digest) => known.get(&(digest, file.size)).copied(),
                };
                let blob = match sha256 {
                    Some(sha256) => store.has(&sha256)?.filter(|blob| blob.size == file.size),
                    None => None,
                };
                if let Some(blob) = blob {
                    compared.there.insert(file.path.clone(), Fetched { blob, lfs: file.lfs });
                } else if let Some(as_this) = coming.get(&(file.digest, file.size)) {
                    compared.same.push((file, as_this.clone()));
                } else {
                    coming.insert((file.digest, file.size), file.path.clone());
                    compared.needed.push(file);
                }
            }
            store.check_room_for(compared.needed.iter().map(|file| (file.digest.sha256(), file.size)))?;
            Ok(compared)
        })
        .await
    }

    /// Keeps the commit.
    async fn keep(
        &self,
        store: &Store,
        remote: &Remote,
        files: BTreeMap<FilePath, Fetched>,
        downloaded: u64,
    ) -> Result<Pulled, PullError> {
        let file = |(path, fetched): (FilePath, Fetched)| {
            (path, MirroredFile { sha256: fetched.blob.sha256, lfs: fetched.lfs })
        };
        let mirrored = Mirrored {
            id: self.listing.commit,
            branch: self.branch(),
            upstream: remote.upstream(&self.repo),
            message: format!("Pulled from {}", remote.name()),
            author: String::new(),
            time: self.listing.time,
            files: files.into_iter().map(file).collect(),
        };
        let (store, repo) = (store.clone(), self.repo.clone());
        blocking(move || {
            let commit = store.mirror(&repo, mirrored)?;
            let snapshot = store.snapshot(&repo, &commit)?;
            Ok(Pulled { commit, snapshot, downloaded })
        })
        .await
    }

    /// The branch of the store that is set to what is pulled: `main` for the hub's main branch, whatever it calls it.
    fn branch(&self) -> Option<RefName> {
        match &self.revision {
            None => Some(RefName::main()),
            Some(Revision::Ref(name)) => Some(name.clone()),
            Some(Revision::Commit(_)) => None,
        }
    }
}

/// The files of what the store has of the repository, by the digest that hubs list small files with: it does not say what
/// they are called in the store. A repository that cannot be read knows nothing.
fn known_by_git(store: &Store, repo: &Repo, revision: &Revision) -> HashMap<(GitDigest, u64), Sha256Digest> {
    let commit = store.resolve(repo, revision).ok();
    let files = commit.into_iter().flat_map(|commit| commit.files.into_values());
    files.filter(|file| !file.lfs).map(|file| ((file.oid, file.size), file.sha256)).collect()
}

/// Does what blocks on the disk where it holds up nothing else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, PullError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
