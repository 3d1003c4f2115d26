//! A bucket as the home of what is stored: S3's, or one that speaks its protocol.
//!
//! Objects are called as the files of a store in a directory are. Credentials, region and endpoint come from the usual
//! variables (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`, ...).

use crate::StoreError;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{
    ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, UpdateVersion, WriteMultipart,
};
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

/// How a bucket's URL begins.
pub(super) const SCHEME: &str = "s3://";

/// Bytes that one request carries of large content. S3 asks for 5 MiB at least; with [`REQUESTS`] under way at once, an
/// upload or a download takes four times as much memory.
const PART_BYTES: u64 = 16 << 20;
/// Requests that one upload or download has under way.
const REQUESTS: usize = 4;
/// Parts of an object, of which S3 takes 10,000: larger content has larger parts.
const MAX_PARTS: u64 = 9_000;
/// How long one request may take: a part at some 60 kB/s.
const TIMEOUT: Duration = Duration::from_secs(300);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What an object was when it was read.
pub(super) type Version = UpdateVersion;

/// When an object may be written.
pub(super) enum Condition {
    /// Whatever is there.
    Any,
    /// When nothing is there.
    Absent,
    /// When it is still what was read.
    Unchanged(Version),
}

/// An object of a listing.
pub(super) struct Object {
    /// Its name in the store.
    pub name: String,
    pub bytes: u64,
    pub modified: SystemTime,
}

/// A bucket, or a folder in one.
pub(super) struct Bucket {
    objects: Arc<dyn ObjectStore>,
    prefix: Key,
    url: String,
    /// Where requests run: callers block, and may be in a runtime of their own.
    runtime: Option<Runtime>,
}

impl Bucket {
    /// The bucket at `s3://bucket/prefix`. Nothing is asked yet.
    pub fn open(url: &str) -> Result<Bucket, StoreError> {
        let refused = |error: object_store::Error| failed(url, error);
        let place = url.strip_prefix(SCHEME).unwrap_or_default().trim_end_matches('/');
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        // somebody else may have chosen one
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = ClientOptions::new().with_timeout(TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
        let plain = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value == "true" || value == "1");
        let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        let objects = builder.with_client_options(options.with_allow_http(plain)).build().map_err(refused)?;
        Bucket::of(Arc::new(objects), prefix, url)
    }

    /// A folder of any store of objects.
    pub fn of(objects: Arc<dyn ObjectStore>, prefix: &str, url: &str) -> Result<Bucket, StoreError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).thread_name("bucket").enable_all().build();
        let runtime = Some(runtime.map_err(StoreError::at(Path::new(url)))?);
        Ok(Bucket { objects, prefix: Key::from(prefix), url: url.to_owned(), runtime })
    }

    fn key(&self, name: &str) -> Key {
        name.split('/').filter(|part| !part.is_empty()).fold(self.prefix.clone(), |key, part| key.join(part))
    }

    /// Runs a request to its end.
    fn wait<T: Send + 'static>(
        &self,
        name: &str,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, result) = mpsc::sync_channel(1);
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                // who asked may be gone
                let _ = done.send(request.await);
            });
        }
        let place = format!("{}/{name}", self.url);
        match result.recv() {
            Ok(result) => result.map_err(|error| failed(&place, error)),
            Err(_) => Err(StoreError::Bucket { place, reason: "the request was given up".to_owned() }),
        }
    }

    /// The content of a small object of at most `max` bytes, and what it was; `None` when it isn't there.
    pub fn read(&self, name: &str, max: u64) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        let (objects, key) = (self.objects.clone(), self.key(name));
        self.wait(name, async move {
            let found = match objects.get(&key).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                found => found?,
            };
            let ObjectMeta { e_tag, version, .. } = found.meta.clone();
            let (mut stream, mut bytes) = (found.into_stream(), Vec::new());
            while let Some(part) = stream.try_next().await?
                // more is a file that the store did not write, and is refused as broken JSON
                && bytes.len() as u64 <= max
            {
                bytes.extend_from_slice(&part);
            }
            Ok(Some((bytes, UpdateVersion { e_tag, version })))
        })
    }

    /// Writes a small object. Returns whether the condition held.
    pub fn write(&self, name: &str, bytes: Vec<u8>, condition: Condition) -> Result<bool, StoreError> {
        let (objects, key) = (self.objects.clone(), self.key(name));
        let mode = match condition {
            Condition::Any => PutMode::Overwrite,
            Condition::Absent => PutMode::Create,
            Condition::Unchanged(version) => PutMode::Update(version),
        };
        self.wait(name, async move {
            match objects.put_opts(&key, bytes.clone().into(), mode.into()).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    Ok(false)
                }
                // some services know no conditions, and AWS_CONDITIONAL_PUT=disabled says so: one machine writes then
                Err(object_store::Error::NotImplemented { .. }) => {
                    objects.put_opts(&key, bytes.into(), PutMode::Overwrite.into()).await.map(|_| true)
                }
                Err(error) => Err(error),
            }
        })
    }

    /// Makes a file an object. It is there as a whole or not at all.
    pub fn upload(&self, name: &str, file: &Path) -> Result<(), StoreError> {
        let (objects, key, file) = (self.objects.clone(), self.key(name), file.to_owned());
        self.wait(name, async move {
            let io = |source: std::io::Error| object_store::Error::Generic {
                store: "file",
                source: source.into(),
            };
            let mut content = File::open(&file).map_err(io)?;
            let bytes = content.metadata().map_err(io)?.len();
            let part_bytes = PART_BYTES.max(bytes.div_ceil(MAX_PARTS)) as usize;
            if bytes <= part_bytes as u64 {
                let mut all = Vec::new();
                content.read_to_end(&mut all).map_err(io)?;
                return objects.put(&key, all.into()).await.map(|_| ());
            }
            let mut upload =
                WriteMultipart::new_with_chunk_size(objects.put_multipart(&key).await?, part_bytes);
            let mut buffer = vec![0; part_bytes.min(1 << 20)];
            loop {
                match content.read(&mut buffer).map_err(io) {
                    Ok(0) => return upload.finish().await.map(|_| ()),
                    Ok(read) => upload.write(&buffer[..read]),
                    Err(error) => {
                        let _ = upload.abort().await;
                        return Err(error);
                    }
                }
                upload.wait_for_capacity(REQUESTS).await?;
            }
        })
    }

    /// Reads an object of `bytes` bytes from its beginning to its end.
    pub fn download(
        &self,
        name: &str,
        bytes: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (objects, key) = (self.objects.clone(), self.key(name));
        let (sender, parts) = mpsc::sync_channel(1);
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                let starts = (0..bytes).step_by(PART_BYTES as usize);
                let ranges = starts.map(move |start| start..bytes.min(start + PART_BYTES));
                let request = move |range: Range<u64>| {
                    let (objects, key) = (objects.clone(), key.clone());
                    async move { objects.get_range(&key, range).await }
                };
                let mut requests = futures::stream::iter(ranges).map(request).buffered(REQUESTS);
                while let Some(part) = requests.next().await {
                    // who asked may be gone
                    if sender.send(part).is_err() {
                        return;
                    }
                }
            });
        }
        for part in parts {
            take(&part.map_err(|error| failed(&format!("{}/{name}", self.url), error))?)?;
        }
        Ok(())
    }

    /// Bytes of an object; `None` when it isn't there.
    pub fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let (objects, key) = (self.objects.clone(), self.key(name));
        self.wait(name, async move {
            match objects.head(&key).await {
                Ok(found) => Ok(Some(found.size)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// All objects in a folder and the folders inside it, in the order of their names.
    pub fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        let (objects, key) = (self.objects.clone(), self.key(folder));
        let found =
            self.wait(folder, async move { objects.list(Some(&key)).try_collect::<Vec<_>>().await })?;
        let prefix = match self.prefix.as_ref() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let mut list: Vec<Object> = found
            .into_iter()
            .filter_map(|ObjectMeta { location, size: bytes, last_modified, .. }| {
                let name = location.as_ref().strip_prefix(&prefix)?.to_owned();
                Some(Object { name, bytes, modified: last_modified.into() })
            })
            .collect();
        list.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// Removes an object; one that isn't there is no error.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let (objects, key) = (self.objects.clone(), self.key(name));
        self.wait(name, async move {
            match objects.delete(&key).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                other => other,
            }
        })
    }
}

fn failed(place: &str, error: object_store::Error) -> StoreError {
    StoreError::Bucket { place: place.to_owned(), reason: error.to_string() }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // one that is dropped in another runtime must not be waited for
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
