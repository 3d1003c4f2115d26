//! Room for what is not content yet.

use super::Store;
use super::disk::Temporary;
use crate::StoreError;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file on the store's disk that many may write to at once. It is gone when it is dropped.
#[derive(Debug)]
pub struct Scratch {
    file: Temporary,
    end: AtomicU64,
}

impl Store {
    /// An empty one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        let file = Temporary::create(self, &self.lock_shared()?)?;
        Ok(Scratch { file, end: AtomicU64::new(0) })
    }
}

impl Scratch {
    /// Keeps `bytes`, and says where.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn append(&self, bytes: &[u8]) -> Result<u64, StoreError> {
        let at = self.end.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_at(bytes, at)?;
        Ok(at)
    }

    /// Fills `bytes` with what was kept at `at`.
    ///
    /// # Errors
    /// When nothing of that length was, and when the disk fails.
    pub fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), StoreError> {
        self.file.read_at(bytes, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let scratch = store.scratch().unwrap();
        let places: Vec<u64> =
            ["one", "two", "three"].map(|text| scratch.append(text.as_bytes()).unwrap()).into();
        assert_eq!(places, [0, 3, 6]);
        let mut found = [0; 5];
        scratch.read(&mut found, places[2]).unwrap();
        assert_eq!(&found, b"three");
        assert!(scratch.read(&mut found, places[2] + 1).is_err());
        assert_eq!(std::fs::read_dir(store.writing()).unwrap().count(), 1);
        drop(scratch);
        assert_eq!(std::fs::read_dir(store.writing()).unwrap().count(), 0);
    }
}
