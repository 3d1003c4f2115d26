//! The file system, one call a function. What is written is complete or absent: into `writing/`, onto the disk, then to
//! its place.
//!
//! Every call that changes the disk is a step that the tests of the store can make fail.

use super::Store;
use crate::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// A file in `writing/` that is removed unless it is [`place`](Temporary::place)d. It is locked, by which
/// [`collect`](Store::collect) sees that it is in use.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    file: File,
    placed: bool,
}

/// Tells files of one process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Temporary {
    /// A new, empty file. The store's lock is held meanwhile, else `collect` could find it before it is locked itself.
    pub fn create(store: &Store, _held: &Lock) -> Result<Temporary, StoreError> {
        loop {
            let path = temporary_path(store);
            step().map_err(StoreError::at(&path))?;
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => {
                    file.lock().map_err(StoreError::at(&path))?;
                    return Ok(Temporary { path, file, placed: false });
                }
                // another process with this number, of another machine or before a restart
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::at(&path)(error)),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends to it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        step().and_then(|()| self.file.write_all(bytes)).map_err(StoreError::at(&self.path))
    }

    /// Writes at a place of it.
    pub fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), StoreError> {
        step().and_then(|()| self.file.write_all_at(bytes, at)).map_err(StoreError::at(&self.path))
    }

    /// Reads what is at a place of it.
    pub fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<(), StoreError> {
        self.file.read_exact_at(bytes, at).map_err(StoreError::at(&self.path))
    }

    /// Brings it to the disk and gives it its name, in place of what has it. `read_only` says whether it is not to be
    /// written again.
    pub fn place(mut self, to: &Path, read_only: bool) -> Result<(), StoreError> {
        place(&self.file, &self.path, to, read_only)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            // what stays, `collect` removes
            let _ = remove_file(&self.path);
        }
    }
}

/// A name in `writing/` that no other file of this process has.
pub(super) fn temporary_path(store: &Store) -> PathBuf {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    store.writing().join(format!("{}-{n}.tmp", std::process::id()))
}

/// Brings the open `file` at `from` to the disk and renames it.
pub(super) fn place(file: &File, from: &Path, to: &Path, read_only: bool) -> Result<(), StoreError> {
    sync(file).map_err(StoreError::at(from))?;
    rename(from, to)?;
    if read_only && let Ok(metadata) = file.metadata() {
        let mut permissions = metadata.permissions();
        permissions.set_readonly(true);
        // a guard against mistakes, that content can do without; only now, since a download that failed here goes on
        let _ = step().and_then(|()| file.set_permissions(permissions));
    }
    Ok(())
}

/// Renames and brings the new name to the disk.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    step().and_then(|()| fs::rename(from, to)).map_err(StoreError::at(to))?;
    sync_parent(to)
}

/// Writes the file `path`.
pub(super) fn write_file(store: &Store, held: &Lock, path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let mut temporary = Temporary::create(store, held)?;
    temporary.write(content)?;
    temporary.place(path, false)
}

/// A value as JSON that people can read.
pub(super) fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut json = serde_json::to_vec_pretty(value).map_err(|error| broken(path, error.to_string()))?;
    json.push(b'\n');
    Ok(json)
}

/// The value of JSON of at most `max` bytes.
pub(super) fn parse_json<T: DeserializeOwned>(path: &Path, json: &[u8], max: u64) -> Result<T, StoreError> {
    if json.len() as u64 > max {
        return Err(broken(path, format!("it has more than {max} bytes")));
    }
    serde_json::from_slice(json).map_err(|error| broken(path, error.to_string()))
}

/// Reads a file of at most `max` bytes that the store wrote; `None` when it isn't there.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path, max: u64) -> Result<Option<T>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(StoreError::at(path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(StoreError::at(path))?;
    parse_json(path, &bytes, max).map(Some)
}

pub(super) fn broken(path: &Path, reason: String) -> StoreError {
    StoreError::Broken { path: path.to_owned(), reason }
}

/// Whether an error says that there is no such file.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes a directory if it isn't there. Its parent is.
pub(super) fn create_dir(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    match step().and_then(|()| fs::create_dir(path)) {
        Ok(()) => sync_parent(path),
        // somebody else was faster
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::at(path)(error)),
    }
}

/// Removes a file; one that isn't there is no error.
pub(super) fn remove_file(path: &Path) -> Result<(), StoreError> {
    match step().and_then(|()| fs::remove_file(path)) {
        Err(error) if !is_absent(&error) => Err(StoreError::at(path)(error)),
        _ => Ok(()),
    }
}

/// Removes a directory and all in it; one that isn't there is no error.
pub(super) fn remove_dir(path: &Path) -> Result<(), StoreError> {
    match step().and_then(|()| fs::remove_dir_all(path)) {
        Err(error) if !is_absent(&error) => Err(StoreError::at(path)(error)),
        _ => Ok(()),
    }
}

/// Makes `path` a link to `target`, in place of what has that name.
pub(super) fn link(store: &Store, target: &Path, path: &Path) -> Result<(), StoreError> {
    let temporary = temporary_path(store);
    let linked = step().and_then(|()| std::os::unix::fs::symlink(target, &temporary));
    linked.map_err(StoreError::at(&temporary))?;
    let renamed = step().and_then(|()| fs::rename(&temporary, path)).map_err(StoreError::at(path));
    if renamed.is_err() {
        let _ = remove_file(&temporary);
    }
    renamed
}

/// Sets when a file was last changed.
pub(super) fn set_modified(path: &Path, time: SystemTime) -> io::Result<()> {
    step()?;
    File::open(path)?.set_modified(time)
}

/// Brings the names in a file's directory to the disk.
fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    File::open(parent).and_then(|parent| sync(&parent)).map_err(StoreError::at(parent))
}

fn sync(file: &File) -> io::Result<()> {
    step()?;
    // tests don't pull the plug, and write much
    if cfg!(test) { Ok(()) } else { file.sync_all() }
}

/// The entries of a directory as paths, in the order of their names; none when it isn't there.
pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::at(dir)(error)),
    };
    let paths: io::Result<Vec<PathBuf>> = listing.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(StoreError::at(dir))?;
    paths.sort_unstable();
    Ok(paths)
}

/// The last part of a path; empty when it isn't UTF-8, which no name of the store is.
pub(super) fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Held until it is dropped.
#[must_use]
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "closing the file unlocks it")] File);

impl Lock {
    /// Waits until nobody holds the file exclusively. It is made when it isn't there.
    pub fn shared(path: &Path) -> Result<Lock, StoreError> {
        let file = match open_lock(path) {
            // who may not write may still read
            Err(error) if is_forbidden(&error) => File::open(path),
            other => other,
        };
        let file = file.map_err(StoreError::at(path))?;
        file.lock_shared().map_err(StoreError::at(path))?;
        Ok(Lock(file))
    }

    /// Waits until nobody holds the file. It is made when it isn't there.
    pub fn exclusive(path: &Path) -> Result<Lock, StoreError> {
        let file = open_lock(path).map_err(StoreError::at(path))?;
        file.lock().map_err(StoreError::at(path))?;
        Ok(Lock(file))
    }
}

/// Opens a file to lock it: for writing, which NFS asks of who locks exclusively.
fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

pub(super) fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Whether somebody holds a lock on the file.
pub(super) fn is_locked(path: &Path) -> bool {
    match OpenOptions::new().write(true).open(path) {
        Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// A call that changes the disk is about to be made.
#[cfg(not(test))]
pub(super) fn step() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use faults::step;

/// Faults that tests inject into what their own thread does.
#[cfg(test)]
pub(super) mod faults {
    use std::cell::Cell;
    use std::io;

    #[derive(Clone, Copy)]
    pub enum After {
        /// One step fails: a disk that is full for a moment.
        GoesOn,
        /// All that follow fail too: the process is killed, or the power goes.
        Dead,
    }

    thread_local! {
        static LEFT: Cell<Option<(u64, After)>> = const { Cell::new(None) };
    }

    /// Lets `steps` steps of this thread pass and fails the next. Returns whether it came to that.
    pub fn after<T>(steps: u64, then: After, work: impl FnOnce() -> T) -> (T, bool) {
        LEFT.set(Some((steps, then)));
        let made = work();
        let failed = !matches!(LEFT.take(), Some((left, _)) if left != u64::MAX);
        (made, failed)
    }

    pub fn step() -> io::Result<()> {
        let error = || io::Error::new(io::ErrorKind::StorageFull, "injected");
        match LEFT.get() {
            None => Ok(()),
            Some((0, After::GoesOn)) => {
                LEFT.set(None);
                Err(error())
            }
            Some((0 | u64::MAX, After::Dead)) => {
                LEFT.set(Some((u64::MAX, After::Dead)));
                Err(error())
            }
            Some((left, then)) => {
                LEFT.set(Some((left - 1, then)));
                Ok(())
            }
        }
    }
}
