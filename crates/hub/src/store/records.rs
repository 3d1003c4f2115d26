//! What the store notes of its repositories: small JSON files, in its directory or in its bucket.

use super::Store;
use super::bucket::{Condition, Version};
use super::disk::{self, Lock};
use crate::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A record of a listing.
pub(super) struct Record {
    pub path: PathBuf,
    pub modified: SystemTime,
}

impl Store {
    /// What an object is called that has the place of the file `path`.
    pub(super) fn object_name(&self, path: &Path) -> String {
        let inside = path.strip_prefix(self.root()).unwrap_or(path);
        let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
        parts.join("/")
    }

    /// Reads a record of at most `max` bytes, and what is needed to change it; `None` when it isn't there.
    pub(super) fn read_record<T: DeserializeOwned>(
        &self,
        path: &Path,
        max: u64,
    ) -> Result<Option<(T, Option<Version>)>, StoreError> {
        let Some(bucket) = &self.bucket else {
            return Ok(disk::read_json(path, max)?.map(|record| (record, None)));
        };
        match bucket.read(&self.object_name(path), max)? {
            Some((bytes, version)) => Ok(Some((disk::parse_json(path, &bytes, max)?, Some(version)))),
            None => Ok(None),
        }
    }

    /// Writes a record. Returns whether the condition held, which it always does in a directory: there, a lock is held.
    pub(super) fn write_record<T: Serialize>(
        &self,
        held: &Lock,
        path: &Path,
        record: &T,
        condition: Condition,
    ) -> Result<bool, StoreError> {
        let json = disk::to_json(path, record)?;
        match &self.bucket {
            Some(bucket) => bucket.write(&self.object_name(path), json, condition),
            None => disk::write_file(self, held, path, &json).map(|()| true),
        }
    }

    /// The records in a directory, in the order of their names.
    pub(super) fn records_in(&self, dir: &Path) -> Result<Vec<Record>, StoreError> {
        if let Some(bucket) = &self.bucket {
            let objects = bucket.list(&self.object_name(dir))?.into_iter();
            let record = |object: super::bucket::Object| Record {
                path: self.root().join(object.name),
                modified: object.modified,
            };
            return Ok(objects.map(record).collect());
        }
        let mut records = Vec::new();
        for path in disk::entries(dir)? {
            // one that goes meanwhile is none
            if let Ok(modified) = path.metadata().and_then(|metadata| metadata.modified()) {
                records.push(Record { path, modified });
            }
        }
        Ok(records)
    }

    /// Removes a record; one that isn't there is no error.
    pub(super) fn remove_record(&self, path: &Path) -> Result<(), StoreError> {
        match &self.bucket {
            Some(bucket) => bucket.remove(&self.object_name(path)),
            None => disk::remove_file(path),
        }
    }
}
