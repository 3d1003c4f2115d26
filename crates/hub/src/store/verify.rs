//! Checking that everything is as it was stored.

use super::commit::commit_file;
use super::records::Record;
use super::repo::RepoFile;
use super::{BLOBS, Store, disk};
use crate::digest::Sha256Digester;
use crate::name::{CommitId, FilePath, Repo, RepoKind};
use crate::{Sha256Digest, StoreError};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Of each content, a file that has it, as `owner/name: path`.
type Owners = HashMap<Sha256Digest, String>;

/// Something that is not as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A blob whose content has another digest, or that cannot be read.
    Blob {
        /// Its name.
        sha256: Sha256Digest,
        /// A file that has it, as `owner/name: path`; `None` where no commit is known that does.
        file: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// A file of a commit whose content is missing, or has another size.
    File {
        /// Where.
        repo: Repo,
        /// At which commit.
        commit: CommitId,
        /// The file.
        path: FilePath,
        /// What is wrong.
        reason: String,
    },
    /// A file of the store's own that is broken.
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Store {
    /// Reads everything and compares it with its digests. `progress` is told how many bytes were read by now, and how many
    /// there are.
    ///
    /// # Errors
    /// When the store's directories cannot be read.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<Fault>, StoreError> {
        let (mut faults, mut owners) = (Vec::new(), Owners::new());
        for kind in RepoKind::ALL {
            for repo in self.repos(kind)? {
                // nobody removes content meanwhile; one repository at a time, so that nobody waits long
                let _shared = self.lock_shared()?;
                self.verify_repo(&repo, &mut faults, &mut owners)?;
            }
        }
        let mut blobs = Vec::new();
        for folder in disk::entries(&self.blobs())? {
            blobs.extend(disk::entries(&folder)?);
        }
        let size = |path: &PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
        let objects = self.bucket.as_ref().map_or(Ok(Vec::new()), |bucket| bucket.list(BLOBS))?;
        let in_bucket: u64 = objects.iter().map(|object| object.bytes).sum();
        let (mut done, total) = (0, blobs.iter().map(size).sum::<u64>() + in_bucket);
        for path in &blobs {
            faults.extend(verify_blob(path));
            done += size(path);
            progress(done, total);
        }
        for object in &objects {
            faults.extend(self.verify_object(&object.name, object.bytes));
            done += object.bytes;
            progress(done, total);
        }
        for fault in &mut faults {
            // a digest may be broken here and in the bucket
            if let Fault::Blob { sha256, file, .. } = fault {
                *file = owners.get(sha256).cloned();
            }
        }
        Ok(faults)
    }

    /// What is wrong with content in the bucket.
    fn verify_object(&self, name: &str, bytes: u64) -> Option<Fault> {
        let bucket = self.bucket.as_ref()?;
        let sha256 = name.rsplit('/').next()?.parse::<Sha256Digest>().ok()?;
        let mut hash = Sha256Digester::default();
        let mut take = |bytes: &[u8]| {
            hash.update(bytes);
            Ok(())
        };
        let reason = match bucket.download(name, bytes, &mut take) {
            Ok(()) => match hash.finish() {
                found if found == sha256 => return None,
                found => format!("its content in the bucket has the digest {found}"),
            },
            Err(error) => error.to_string(),
        };
        Some(Fault::Blob { sha256, file: None, reason })
    }

    fn verify_repo(
        &self,
        repo: &Repo,
        faults: &mut Vec<Fault>,
        owners: &mut Owners,
    ) -> Result<(), StoreError> {
        let dir = self.repo_dir(repo);
        let mut record =
            |path: &Path, reason: String| faults.push(Fault::Record { path: path.to_owned(), reason });
        let file = match self.read_repo(repo) {
            Ok(file) => Some(file),
            // removed since it was listed
            Err(StoreError::NoRepo(_)) if self.bucket.is_some() || !dir.exists() => return Ok(()),
            Err(error) => {
                record(&dir, error.to_string());
                None
            }
        };
        let mut there = HashSet::new();
        let mut commits = Vec::new();
        for Record { path, .. } in self.records_in(&dir.join("commits"))? {
            match self.read_commit(&path) {
                Ok(Some(commit)) => {
                    if commit.upstream.is_none() && commit.id != commit.content_id() {
                        record(&path, "it was changed since it was written".to_owned());
                    }
                    there.insert(commit.id);
                    commits.push(commit);
                }
                Ok(None) => {}
                Err(error) => record(&path, error.to_string()),
            }
        }
        for id in file.iter().flat_map(RepoFile::heads).filter(|id| !there.contains(id)) {
            record(&commit_file(&dir, id), "a branch or tag leads to it, and it is missing".to_owned());
        }
        for commit in &commits {
            for (path, file) in &commit.files {
                owners.entry(file.sha256).or_insert_with(|| format!("{repo}: {path}"));
                let reason = match self.stored(&file.sha256)? {
                    Some(blob) if blob.size == file.size => continue,
                    Some(blob) => format!("its content has {} bytes, not {}", blob.size, file.size),
                    None => format!("its content, {}, is missing", file.sha256),
                };
                let (repo, path) = (repo.clone(), path.clone());
                faults.push(Fault::File { repo, commit: commit.id, path, reason });
            }
        }
        Ok(())
    }

    /// Removes a blob whose content is not what its name says, so that it is downloaded anew. A sound one stays.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn discard_broken(&self, sha256: &Sha256Digest) -> Result<bool, StoreError> {
        let path = self.blob_file(sha256);
        let is_broken = verify_blob(&path).is_some();
        if is_broken {
            disk::remove_file(&path)?;
        }
        let Some(bucket) = &self.bucket else { return Ok(is_broken) };
        let name = self.object_name(&path);
        match bucket.size(&name)? {
            Some(bytes) if self.verify_object(&name, bytes).is_some() => bucket.remove(&name).map(|()| true),
            _ => Ok(is_broken),
        }
    }
}

/// What is wrong with a file in `blobs/`.
fn verify_blob(path: &Path) -> Option<Fault> {
    let Ok(sha256) = disk::name_of(path).parse::<Sha256Digest>() else {
        let reason = "its name is not a digest; the store did not write it".to_owned();
        return Some(Fault::Record { path: path.to_owned(), reason });
    };
    let reason = match File::open(path).and_then(|mut file| Sha256Digest::of_reader(&mut file)) {
        Ok((found, _)) if found == sha256 => return None,
        Ok((found, _)) => format!("its content has the digest {found}"),
        // collected since it was listed
        Err(error) if disk::is_absent(&error) => return None,
        Err(error) => error.to_string(),
    };
    Some(Fault::Blob { sha256, file: None, reason })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Blob { sha256, file: Some(file), reason } => {
                write!(f, "{file} is broken: the content {sha256}: {reason}")
            }
            Fault::Blob { sha256, file: None, reason } => {
                write!(f, "the content {sha256} is broken, of which no file is known: {reason}")
            }
            Fault::File { repo, commit, path, reason } => write!(f, "{repo}@{commit}: {path}: {reason}"),
            Fault::Record { path, reason } => write!(f, "{}: {reason}", path.display()),
        }
    }
}
