//! Files: mapped whole, or read up to a bound.

use crate::limits;
use memmap2::{Advice, Mmap, UncheckedAdvice};
use nn::Bytes;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system says no.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The operating system takes no more: most often the disk is full.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A directory, device or pipe.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// A file over its bound.
    #[error("{} has more than the limit of {limit} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// A text file that is not UTF-8.
    #[error("{} is not valid UTF-8", .0.display())]
    Utf8(PathBuf),
    /// A JSON file of another form than expected.
    #[error("{}: {source}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
}

/// A file mapped into memory.
pub(super) struct MappedFile {
    path: PathBuf,
    map: Arc<Mmap>,
}

/// Bytes brought into memory between two reports of progress.
const WARM_UP_STEP: usize = 8 << 20;

/// No page is smaller.
const PAGE_BYTES: usize = 4096;

impl MappedFile {
    /// Maps the regular file at `path`.
    pub(super) fn open(path: &Path) -> Result<MappedFile, FileError> {
        let file = open_regular(path)?;
        // SAFETY: the mapping is read-only and private to this process's view; the bytes are only ever read as
        // plain numbers and text that are checked. Somebody who cuts the file while it is mapped ends the
        // process with a bus error, which `Checkpoint` documents.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) };
        let map = map.map_err(|source| FileError::Io { path: path.to_owned(), source })?;
        Ok(MappedFile { path: path.to_owned(), map: Arc::new(map) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The bytes for weights to point into.
    pub(super) fn shared(&self) -> Bytes {
        self.map.clone()
    }

    /// Gives the pages that were read back to the system; they are read again when they are needed.
    pub(super) fn forget_pages(&self) {
        // SAFETY: the mapping is of a file and read-only, so no page holds anything that the file does not.
        #[allow(unsafe_code)]
        let _ = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
    }

    /// Touches every page; `progress` hears the bytes of each step.
    pub(super) fn warm_up(&self, progress: impl FnMut(u64)) {
        // Advice only makes it faster, so a system that refuses it is no error.
        let _ = self.map.advise(Advice::WillNeed);
        touch_pages(&self.map, progress);
    }
}

/// Reads a byte of every page; `progress` hears the bytes of each step.
pub(crate) fn touch_pages(bytes: &[u8], mut progress: impl FnMut(u64)) {
    for step in bytes.chunks(WARM_UP_STEP) {
        for page in step.chunks(PAGE_BYTES) {
            std::hint::black_box(page[0]);
        }
        progress(step.len() as u64);
    }
}

/// Opens `path` unless it is a directory, device or pipe (opening a pipe could wait for ever).
fn open_regular(path: &Path) -> Result<File, FileError> {
    let failed = |source| FileError::Io { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(FileError::NotRegular(path.to_owned()));
    }
    File::open(path).map_err(failed)
}

/// Reads a file of at most `limit` bytes; `None` when there is none.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(FileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|source| FileError::Io { path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}

/// Reads a JSON configuration file of at most [`limits::MAX_CONFIG_BYTES`]; `None` when there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    read_limited_json(path, limits::MAX_CONFIG_BYTES)
}

/// Reads a JSON file of at most `limit` bytes; `None` when there is none.
pub(crate) fn read_limited_json<T: DeserializeOwned>(
    path: &Path,
    limit: u64,
) -> Result<Option<T>, FileError> {
    let Some(bytes) = read_bounded(path, limit)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|source| FileError::Json { path: path.to_owned(), source })
}
