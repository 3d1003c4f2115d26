//! A download under way: a file that is filled in any order, and which of its ranges are there.

use super::{Blob, Store};
use crate::StoreError;
use std::ops::Range;

/// A blob that is being downloaded. It survives the process; what was [`record`](Partial::record)ed is not needed again.
///
/// One at a time for a blob: another process, or another thread, gets [`StoreError::Downloading`]. Several threads may
/// write different ranges of one `Partial`.
#[derive(Debug)]
pub struct Partial {
    wanted: Blob,
}

impl Store {
    /// Begins to download the blob `wanted`, or goes on with it.
    ///
    /// # Errors
    /// When somebody else downloads it, or when the disk fails or has no room for it.
    pub fn partial(&self, wanted: Blob) -> Result<Partial, StoreError> {
        let _ = wanted;
        todo!()
    }
}

impl Partial {
    /// What is downloaded.
    pub fn wanted(&self) -> Blob {
        self.wanted
    }

    /// The bytes that are still needed, in ascending order.
    pub fn missing(&self) -> Vec<Range<u64>> {
        todo!()
    }

    /// Bytes that are there and recorded.
    pub fn finished_bytes(&self) -> u64 {
        todo!()
    }

    /// Writes bytes at an offset. They count only once they are recorded.
    ///
    /// # Errors
    /// When they reach beyond the announced size, or when the disk fails.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        let _ = (bytes, offset);
        todo!()
    }

    /// Notes that all bytes of `range` were written.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn record(&self, range: Range<u64>) -> Result<(), StoreError> {
        let _ = range;
        todo!()
    }

    /// Checks the whole and makes it a blob.
    ///
    /// # Errors
    /// When its digest is another: what was downloaded is removed, so that the next try begins anew. When bytes are
    /// missing, or when the disk fails, it stays to go on with.
    pub fn finish(self) -> Result<Blob, StoreError> {
        todo!()
    }
}
