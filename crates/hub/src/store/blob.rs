//! Content by its SHA-256.

use super::disk::{self, Temporary};
use super::{BLOBS, Store};
use crate::digest::{READ_BYTES, Sha256Digester};
use crate::limits::MAX_BLOB_BYTES;
use crate::{Sha256Digest, StoreError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

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
    store: Store,
    file: Temporary,
    announced: Option<Blob>,
    hash: Sha256Digester,
    size: u64,
}

impl Store {
    /// Stores what `content` reads, of whatever size it is up to [`MAX_BLOB_BYTES`].
    ///
    /// # Errors
    /// When reading or writing fails; nothing is stored then.
    pub fn put(&self, content: &mut dyn Read) -> Result<Blob, StoreError> {
        self.writer(None)?.write_from(content)
    }

    /// Stores what `content` reads if it is what was announced.
    ///
    /// # Errors
    /// As [`put`](Store::put), and when digest or size are others.
    pub fn put_announced(&self, announced: Blob, content: &mut dyn Read) -> Result<Blob, StoreError> {
        self.writer(Some(announced))?.write_from(content)
    }

    /// Takes content as it arrives. With `announced`, more bytes than that are refused at once, and another digest at the
    /// end.
    ///
    /// # Errors
    /// When the store cannot be written, or when more than the bound is announced.
    pub fn writer(&self, announced: Option<Blob>) -> Result<BlobWriter, StoreError> {
        if announced.is_some_and(|blob| blob.size > MAX_BLOB_BYTES) {
            return Err(StoreError::TooLarge);
        }
        let file = Temporary::create(self, &self.lock_shared()?)?;
        let hash = Sha256Digester::default();
        Ok(BlobWriter { store: self.clone(), file, announced, hash, size: 0 })
    }

    /// The blob, if the store has it. Who is told that it needn't be uploaded can rely on it for as long as after having
    /// uploaded it: the blob counts as new for [`collect`](Store::collect).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn has(&self, sha256: &Sha256Digest) -> Result<Option<Blob>, StoreError> {
        let _shared = self.lock_shared()?;
        let blob = self.stored(sha256)?;
        if blob.is_some() {
            // at worst it is collected, and the commit that names it says so
            let _ = disk::set_modified(&self.blob_file(sha256), SystemTime::now());
        }
        Ok(blob)
    }

    /// The file with the blob's content, for reading only.
    ///
    /// # Errors
    /// When the store doesn't have it.
    pub fn blob_path(&self, sha256: &Sha256Digest) -> Result<PathBuf, StoreError> {
        let blob = self.stored(sha256)?.ok_or(StoreError::NoBlob(*sha256))?;
        let path = self.blob_file(sha256);
        if let Some(bucket) = &self.bucket
            && !path.exists()
        {
            let mut here = self.writer(Some(blob))?;
            bucket.download(&self.object_name(&path), blob.size, &mut |bytes| here.push(bytes))?;
            let (_, file, _) = here.check()?;
            self.place_blob(file, sha256)?;
        }
        Ok(path)
    }

    /// The blob, if the store has it.
    pub(super) fn stored(&self, sha256: &Sha256Digest) -> Result<Option<Blob>, StoreError> {
        let path = self.blob_file(sha256);
        match path.metadata() {
            Ok(metadata) => Ok(Some(Blob { sha256: *sha256, size: metadata.len() })),
            Err(error) if disk::is_absent(&error) => match &self.bucket {
                Some(bucket) => {
                    let size = bucket.size(&self.object_name(&path))?;
                    Ok(size.map(|size| Blob { sha256: *sha256, size }))
                }
                None => Ok(None),
            },
            Err(error) => Err(StoreError::at(&path)(error)),
        }
    }

    /// Where a blob is, whether or not the store has it.
    pub(super) fn blob_file(&self, sha256: &Sha256Digest) -> PathBuf {
        self.root().join(blob_name(sha256))
    }

    /// Brings content that was checked to the bucket, if there is one: what is there is stored.
    pub(super) fn upload_blob(&self, sha256: &Sha256Digest, file: &Path) -> Result<(), StoreError> {
        match &self.bucket {
            Some(bucket) => bucket.upload(&self.object_name(&self.blob_file(sha256)), file),
            None => Ok(()),
        }
    }

    /// Gives content that was checked its place, also over one that is there: it then counts as new, and is sound if it
    /// wasn't.
    fn place_blob(&self, file: Temporary, sha256: &Sha256Digest) -> Result<(), StoreError> {
        let _shared = self.lock_shared()?;
        self.create_blob_folder(sha256)?;
        file.place(&self.blob_file(sha256), true)
    }

    /// Makes the folder that a blob lies in.
    pub(super) fn create_blob_folder(&self, sha256: &Sha256Digest) -> Result<(), StoreError> {
        self.blob_file(sha256).parent().map_or(Ok(()), disk::create_dir)
    }
}

/// A blob's path below the store's root.
pub(super) fn blob_name(sha256: &Sha256Digest) -> PathBuf {
    let digits = sha256.to_string();
    Path::new(BLOBS).join(&digits[..2]).join(digits)
}

impl BlobWriter {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When there are more than announced, or than the bound, and when the disk fails.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.size = self.size.saturating_add(bytes.len() as u64);
        match self.announced {
            Some(Blob { size: announced, .. }) if self.size > announced => {
                return Err(StoreError::OtherSize { announced, found: self.size });
            }
            _ if self.size > MAX_BLOB_BYTES => return Err(StoreError::TooLarge),
            _ => {}
        }
        self.hash.update(bytes);
        self.file.write(bytes)
    }

    /// Checks what was written and makes it a blob.
    ///
    /// # Errors
    /// When digest or size are not as announced, or when the disk fails. Nothing is stored then.
    pub fn finish(self) -> Result<Blob, StoreError> {
        let (store, file, blob) = self.check()?;
        store.upload_blob(&blob.sha256, file.path())?;
        store.place_blob(file, &blob.sha256)?;
        Ok(blob)
    }

    /// Checks what was written.
    fn check(self) -> Result<(Store, Temporary, Blob), StoreError> {
        let blob = Blob { sha256: self.hash.finish(), size: self.size };
        if let Some(announced) = self.announced {
            if announced.size != blob.size {
                return Err(StoreError::OtherSize { announced: announced.size, found: blob.size });
            }
            if announced.sha256 != blob.sha256 {
                return Err(StoreError::OtherDigest { announced: announced.sha256, found: blob.sha256 });
            }
        }
        Ok((self.store, self.file, blob))
    }

    fn write_from(mut self, content: &mut dyn Read) -> Result<Blob, StoreError> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return self.finish(),
                Ok(read) => self.push(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::Content(error)),
            }
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map(|()| bytes.len()).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
