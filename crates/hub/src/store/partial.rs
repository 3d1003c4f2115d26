//! A download under way: a file that is filled in any order, and which of its ranges are there.
//!
//! `writing/<sha256>.part` has the bytes, `writing/<sha256>.ranges` a line for each range that is there: its first byte
//! and the one after its last. A line is written when its bytes were, so that a process that is killed loses only what
//! it had not finished. After a power cut lines may be on the disk whose bytes are not; the digest of the whole then says
//! so, and it is downloaded anew.

mod ranges;

use super::disk::{self, Lock};
use super::{Blob, Store};
use crate::digest::{READ_BYTES, Sha256Digester};
use crate::limits::{MAX_BLOB_BYTES, MAX_RANGES};
use crate::{Sha256Digest, StoreError};
use ranges::Ranges;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How the file ends that has the bytes.
pub(super) const PART: &str = "part";
/// How the file ends that says which.
pub(super) const RANGES: &str = "ranges";

/// A blob that is being downloaded. It survives the process; what was [`record`](Partial::record)ed is not needed again.
///
/// One at a time for a blob: another process, or another thread, gets [`StoreError::Downloading`]. Several threads may
/// write different ranges of one `Partial`.
#[derive(Debug)]
pub struct Partial {
    store: Store,
    wanted: Blob,
    path: PathBuf,
    /// Locked, which says that the download is under way.
    file: File,
    finished: Mutex<Finished>,
    prefix: Mutex<Prefix>,
}

/// The ranges that are there, and the file that says so.
#[derive(Debug)]
struct Finished {
    ranges: Ranges,
    log: File,
}

/// The digest of the bytes that are there from the beginning on.
#[derive(Debug, Default)]
struct Prefix {
    hash: Sha256Digester,
    bytes: u64,
}

impl Store {
    /// Begins to download the blob `wanted`, or goes on with it.
    ///
    /// # Errors
    /// When somebody else downloads it, or when the disk fails or has no room for it.
    pub fn partial(&self, wanted: Blob) -> Result<Partial, StoreError> {
        if wanted.size > MAX_BLOB_BYTES {
            return Err(StoreError::TooLarge);
        }
        let shared = self.lock_shared()?;
        let path = self.writing().join(format!("{}.{PART}", wanted.sha256));
        let at_path = || StoreError::at(&path);
        disk::step().map_err(at_path())?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(at_path())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Downloading(wanted.sha256)),
            Err(TryLockError::Error(error)) => return Err(at_path()(error)),
        }
        let log_path = path.with_extension(RANGES);
        // one of another size belongs to somebody who announced something else
        let there = match file.metadata().map_err(at_path())?.len() == wanted.size {
            true => read_log(&log_path, wanted.size)?,
            false => Ranges::default(),
        };
        self.check_room(wanted.size - there.bytes())?;
        let log = write_log(self, &shared, &log_path, &there)?;
        disk::step().and_then(|()| file.set_len(wanted.size)).map_err(at_path())?;
        let finished = Mutex::new(Finished { ranges: there, log });
        Ok(Partial { store: self.clone(), wanted, path, file, finished, prefix: Mutex::default() })
    }

    /// Checks that the disk has room for files of these sizes, of which those with a digest may have come in part already.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`].
    pub fn check_room_for(
        &self,
        files: impl Iterator<Item = (Option<Sha256Digest>, u64)>,
    ) -> Result<(), StoreError> {
        use std::os::unix::fs::MetadataExt;
        let missing = files.map(|(sha256, size)| {
            let path = sha256.map(|sha256| self.writing().join(format!("{sha256}.part")));
            let there =
                path.and_then(|path| path.metadata().ok()).map_or(0, |metadata| metadata.blocks() * 512);
            size.saturating_sub(there)
        });
        self.check_room(missing.fold(0, u64::saturating_add))
    }

    /// Checks that the disk has room for so many bytes more.
    fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        // where the system does not say, writing will
        let Ok(disk) = rustix::fs::statvfs(self.root()) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        match bytes > free {
            true => Err(StoreError::NoRoom { path: self.root().to_owned(), needed: bytes, free }),
            false => Ok(()),
        }
    }
}

/// The ranges that a log names, up to the first line that isn't whole.
fn read_log(path: &Path, size: u64) -> Result<Ranges, StoreError> {
    let mut ranges = Ranges::default();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(ranges),
        Err(error) => return Err(StoreError::at(path)(error)),
    };
    for line in BufReader::new(file.take(MAX_LINE_BYTES * MAX_RANGES as u64)).split(b'\n').take(MAX_RANGES) {
        let line = line.map_err(StoreError::at(path))?;
        let parsed = str::from_utf8(&line).ok().and_then(|line| {
            let (start, end) = line.strip_suffix(';')?.split_once(' ')?;
            Some(start.parse::<u64>().ok()?..end.parse::<u64>().ok()?)
        });
        match parsed {
            Some(range) if range.end <= size => ranges.insert(range),
            _ => break,
        }
    }
    Ok(ranges)
}

/// Bytes of a line of a log: two numbers of up to 20 digits.
const MAX_LINE_BYTES: u64 = 43;

/// Writes a log with these ranges and opens it to append more.
fn write_log(store: &Store, held: &Lock, path: &Path, ranges: &Ranges) -> Result<File, StoreError> {
    let mut lines = disk::Temporary::create(store, held)?;
    lines.write(ranges.iter().map(line).collect::<String>().as_bytes())?;
    lines.place(path, false)?;
    OpenOptions::new().append(true).open(path).map_err(StoreError::at(path))
}

/// A line of a log; the mark at its end says that it is whole.
fn line(range: Range<u64>) -> String {
    format!("{} {};\n", range.start, range.end)
}

impl Partial {
    /// What is downloaded.
    pub fn wanted(&self) -> Blob {
        self.wanted
    }

    /// The bytes that are still needed, in ascending order.
    pub fn missing(&self) -> Vec<Range<u64>> {
        self.finished().ranges.gaps(self.wanted.size)
    }

    /// Bytes that are there and recorded.
    pub fn finished_bytes(&self) -> u64 {
        self.finished().ranges.bytes()
    }

    /// Writes bytes at an offset. They count only once they are recorded.
    ///
    /// # Errors
    /// When they reach beyond the announced size, or when the disk fails.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.wanted.size {
            return Err(StoreError::OtherSize { announced: self.wanted.size, found: end });
        }
        disk::step().and_then(|()| self.file.write_all_at(bytes, offset)).map_err(StoreError::at(&self.path))
    }

    /// Brings what was written to the disk. What is recorded after it is there after a power cut too.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), StoreError> {
        disk::step().and_then(|()| self.file.sync_data()).map_err(StoreError::at(&self.path))
    }

    /// Notes that all bytes of `range` were written.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn record(&self, range: Range<u64>) -> Result<(), StoreError> {
        if range.end > self.wanted.size {
            return Err(StoreError::OtherSize { announced: self.wanted.size, found: range.end });
        }
        let mut finished = self.finished();
        let written = disk::step().and_then(|()| finished.log.write_all(line(range.clone()).as_bytes()));
        written.map_err(StoreError::at(&self.path))?;
        finished.ranges.insert(range);
        Ok(())
    }

    /// Takes what is recorded, from the beginning up to the first byte that isn't, into the digest that
    /// [`finish`](Partial::finish) needs. It is done earlier here, while the bytes are still in memory and others come.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn digest(&self) -> Result<(), StoreError> {
        let there = self.finished().ranges.prefix();
        self.digest_to(&mut self.prefix.lock().unwrap_or_else(PoisonError::into_inner), there)
    }

    /// Takes the bytes up to `end` into the digest.
    fn digest_to(&self, prefix: &mut Prefix, end: u64) -> Result<(), StoreError> {
        let mut buffer = vec![0; READ_BYTES];
        while prefix.bytes < end {
            let length = (end - prefix.bytes).min(READ_BYTES as u64) as usize;
            let read = self.file.read_exact_at(&mut buffer[..length], prefix.bytes);
            read.map_err(StoreError::at(&self.path))?;
            prefix.hash.update(&buffer[..length]);
            prefix.bytes += length as u64;
        }
        Ok(())
    }

    /// Checks the whole and makes it a blob.
    ///
    /// # Errors
    /// When its digest is another: what was downloaded is removed, so that the next try begins anew. When bytes are
    /// missing, or when the disk fails, it stays to go on with.
    pub fn finish(self) -> Result<Blob, StoreError> {
        let Blob { sha256: announced, size } = self.wanted;
        let there = self.finished_bytes();
        if there != size {
            return Err(StoreError::OtherSize { announced: size, found: there });
        }
        let mut prefix = std::mem::take(&mut *self.prefix.lock().unwrap_or_else(PoisonError::into_inner));
        self.digest_to(&mut prefix, size)?;
        let found = prefix.hash.finish();
        if found == announced {
            self.store.upload_blob(&announced, &self.path)?;
        }
        let _shared = self.store.lock_shared()?;
        let log = self.path.with_extension(RANGES);
        if found != announced {
            disk::remove_file(&log)?;
            disk::remove_file(&self.path)?;
            return Err(StoreError::OtherDigest { announced, found });
        }
        self.store.create_blob_folder(&announced)?;
        disk::place(&self.file, &self.path, &self.store.blob_file(&announced), true)?;
        // one that stays says nothing without its bytes
        let _ = disk::remove_file(&log);
        Ok(self.wanted)
    }

    fn finished(&self) -> MutexGuard<'_, Finished> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
