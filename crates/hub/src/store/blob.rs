//! Content by its SHA-256.

use super::Store;
use crate::{Sha256Digest, StoreError};
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// Content: what it is known by and how much it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blob {
    /// Of the content.
    pub sha256: Sha256Digest,
    /// Bytes.
    pub size: u64,
}

/// Content on its way into the store. Dropped before [`finish`](BlobWriter::finish), it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    announced: Option<Blob>,
}

impl Store {
    /// Stores what `content` reads, of whatever size it is up to [`MAX_BLOB_BYTES`](crate::limits::MAX_BLOB_BYTES).
    ///
    /// # Errors
    /// When reading or writing fails; nothing is stored then.
    pub fn put(&self, content: &mut dyn Read) -> Result<Blob, StoreError> {
        let _ = content;
        todo!()
    }

    /// Stores what `content` reads if it is what was announced.
    ///
    /// # Errors
    /// As [`put`](Store::put), and when digest or size are others.
    pub fn put_announced(&self, announced: Blob, content: &mut dyn Read) -> Result<Blob, StoreError> {
        let _ = (announced, content);
        todo!()
    }

    /// Takes content as it arrives. With `announced`, more bytes than that are refused at once, and another digest at the
    /// end.
    ///
    /// # Errors
    /// When the store cannot be written, or when more than the bound is announced.
    pub fn writer(&self, announced: Option<Blob>) -> Result<BlobWriter, StoreError> {
        let _ = announced;
        todo!()
    }

    /// The blob, if the store has it. Who is told that it needn't be uploaded can rely on it for as long as after having
    /// uploaded it: the blob counts as new for [`collect`](Store::collect).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn has(&self, sha256: &Sha256Digest) -> Result<Option<Blob>, StoreError> {
        let _ = sha256;
        todo!()
    }

    /// The file with the blob's content, for reading only.
    ///
    /// # Errors
    /// When the store doesn't have it.
    pub fn blob_path(&self, sha256: &Sha256Digest) -> Result<PathBuf, StoreError> {
        let _ = sha256;
        todo!()
    }
}

impl BlobWriter {
    /// Checks what was written and makes it a blob.
    ///
    /// # Errors
    /// When digest or size are not as announced, or when the disk fails. Nothing is stored then.
    pub fn finish(self) -> Result<Blob, StoreError> {
        let _ = self.announced;
        todo!()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = bytes;
        todo!()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
