//! Sending files to a hub that speaks Hugging Face's protocol: small ones within the commit, large ones before it, by
//! LFS's batch protocol with its basic transfer or in parts. As huggingface_hub 1.33 and 2.4 do it.

use super::http::{Asked, Failure, shown};
use super::{Remote, RemoteError};
use crate::limits::{FILES_PER_REQUEST, MAX_TRIES, MAX_UPLOAD_PARTS};
use crate::name::{CommitId, FilePath, RefName, Repo, RepoKind};
use crate::{Hub, Sha256Digest};
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::StreamBody;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// Bytes that are read from a file and sent at a time.
const CHUNK_BYTES: u64 = 256 << 10;
/// Bytes of a file that a hub looks at to see whether it is text.
const SAMPLE_BYTES: u64 = 512;
/// How long a hub may look at a file that it has got whole: it digests it.
const DIGEST_TIMEOUT: Duration = Duration::from_secs(600);
/// Large files, or parts of them, that are sent at once.
const UPLOADS: usize = 4;

/// A file that is sent.
#[derive(Clone, Debug)]
pub struct LocalFile {
    /// What it is called in the repository.
    pub path: FilePath,
    /// Bytes.
    pub size: u64,
    /// What is in it.
    pub content: Content,
}

/// What is in a file that is sent.
#[derive(Clone, Debug)]
pub enum Content {
    /// What a file on this machine has.
    File(PathBuf),
    /// This.
    Bytes(Arc<[u8]>),
}

/// How a hub wants a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadMode {
    /// Within the commit.
    Regular,
    /// Before the commit, by its SHA-256.
    Lfs,
    /// Not at all: the repository's `.gitignore` names it.
    Ignored,
}

/// A commit to be made at a hub.
#[derive(Clone, Debug)]
pub struct NewRemoteCommit {
    /// The branch.
    pub branch: RefName,
    /// The first line says what changes.
    pub message: String,
    /// Small files, with all that is in them.
    pub regular: Vec<(FilePath, Vec<u8>)>,
    /// Large files, which the hub has.
    pub large: Vec<(FilePath, Sha256Digest, u64)>,
}

#[derive(Deserialize)]
struct Preupload {
    files: Vec<PreuploadFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PreuploadFile {
    path: String,
    upload_mode: String,
    #[serde(default)]
    should_ignore: bool,
}

#[derive(Deserialize)]
struct Batch {
    objects: Vec<BatchObject>,
}

#[derive(Deserialize)]
struct BatchObject {
    oid: Sha256Digest,
    actions: Option<Actions>,
    error: Option<BatchError>,
}

#[derive(Deserialize)]
struct BatchError {
    code: u16,
    message: String,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Committed {
    commit_oid: CommitId,
    commit_url: Option<String>,
}

/// A large file on its way.
struct Sending<'a> {
    file: &'a LocalFile,
    sha256: Sha256Digest,
    /// Bytes that went out, told to whoever watches.
    sent: &'a (dyn Fn(u64) + Sync),
}

impl Content {
    /// `range` of it. Blocks on the disk.
    pub(crate) fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        match self {
            Content::File(path) => {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                File::open(path)?.read_exact_at(&mut bytes, range.start)?;
                Ok(bytes.into())
            }
            Content::Bytes(all) => {
                let part = all.get(range.start as usize..range.end as usize);
                Ok(Bytes::copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?))
            }
        }
    }
}

impl Remote {
    /// Makes a repository if it isn't there.
    ///
    /// # Errors
    /// When the hub refuses.
    pub async fn create(&self, repo: &Repo, private: bool) -> Result<(), RemoteError> {
        self.check_upload()?;
        let url = self.http.at(["api", "repos", "create"]);
        let body = json!({
            "type": repo.kind.to_string(), "organization": repo.id.owner(), "name": repo.id.name(), "private": private,
        });
        match self.http.json::<Value>(Asked::post(&url, &body)).await {
            Ok(_) => Ok(()),
            Err(Failure::Refused(refusal)) if refusal.status == StatusCode::CONFLICT => Ok(()),
            // who may not make repositories may write into one
            Err(Failure::Refused(refusal)) if [401, 402, 403].contains(&refusal.status.as_u16()) => {
                let url = self.http.at(["api", repo.kind.plural(), repo.id.owner(), repo.id.name()]);
                let there = self.http.json::<Value>(Asked::get(&url)).await;
                there.map(drop).map_err(|_| self.explain_refusal(refusal, repo, None))
            }
            Err(failure) => Err(self.explain(failure, repo, None)),
        }
    }

    /// Asks how files are wanted, in their order.
    ///
    /// # Errors
    /// When the hub refuses, or does not answer for a file.
    pub async fn upload_modes(
        &self,
        repo: &Repo,
        branch: &RefName,
        files: &[LocalFile],
    ) -> Result<Vec<UploadMode>, RemoteError> {
        let (kind, owner, name) = (repo.kind.plural(), repo.id.owner(), repo.id.name());
        let url = self.http.at(["api", kind, owner, name, "preupload", branch.as_str()]);
        let mut modes = Vec::with_capacity(files.len());
        for files in files.chunks(FILES_PER_REQUEST) {
            let described = files.iter().map(|file| {
                let sample = file.content.read(0..file.size.min(SAMPLE_BYTES)).map_err(unreadable)?;
                Ok(json!({"path": file.path, "size": file.size, "sample": BASE64_STANDARD.encode(sample)}))
            });
            let described = described.collect::<Result<Vec<_>, RemoteError>>()?;
            let answer = self.http.json(Asked::post(&url, &json!({"files": described}))).await;
            let answer: Preupload = answer.map_err(|failure| self.explain(failure, repo, None))?;
            let said: HashMap<&str, &PreuploadFile> =
                answer.files.iter().map(|file| (file.path.as_str(), file)).collect();
            for file in files {
                let mode = said.get(file.path.as_str()).and_then(|said| match said.upload_mode.as_str() {
                    _ if said.should_ignore => Some(UploadMode::Ignored),
                    // what is empty no store of large files takes
                    "lfs" if file.size > 0 => Some(UploadMode::Lfs),
                    "lfs" | "regular" => Some(UploadMode::Regular),
                    _ => None,
                });
                modes.push(mode.ok_or_else(|| {
                    self.malformed(&url, format!("it does not say how to send `{}`", file.path))
                })?);
            }
        }
        Ok(modes)
    }

    /// Sends large files that the hub doesn't have. `sent` is told of bytes as they go out, and of those that need not.
    ///
    /// # Errors
    /// When the hub refuses, or a file cannot be read.
    pub async fn upload(
        &self,
        repo: &Repo,
        branch: &RefName,
        files: &[(&LocalFile, Sha256Digest)],
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<(), RemoteError> {
        let name = format!("{}.git", repo.id.name());
        let folder = (repo.kind == RepoKind::Dataset).then_some("datasets");
        let parts = [repo.id.owner(), &name, "info", "lfs", "objects", "batch"];
        let url = self.http.at(folder.into_iter().chain(parts));
        for files in files.chunks(FILES_PER_REQUEST) {
            let objects: Vec<Value> =
                files.iter().map(|(file, oid)| json!({"oid": oid, "size": file.size})).collect();
            let body = json!({
                "operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256",
                "ref": {"name": branch}, "objects": objects,
            });
            let asked = Asked {
                method: Method::POST,
                url: &url,
                body: Some(("application/vnd.git-lfs+json", body.to_string().into())),
                repeat: true,
            };
            let answer = self.http.json(asked).await;
            let batch: Batch = answer.map_err(|failure| self.explain(failure, repo, None))?;
            let mut objects: HashMap<Sha256Digest, BatchObject> =
                batch.objects.into_iter().map(|object| (object.oid, object)).collect();
            let uploads = files.iter().map(|(file, sha256)| {
                let object = objects.remove(sha256);
                (Sending { file, sha256: *sha256, sent }, object)
            });
            // a file that is there twice is sent once
            let uploads: Vec<_> = uploads.collect();
            stream::iter(uploads.into_iter().map(Ok))
                .try_for_each_concurrent(UPLOADS, |(sending, object)| self.send_object(&url, sending, object))
                .await?;
        }
        Ok(())
    }

    async fn send_object(
        &self,
        batch: &Url,
        sending: Sending<'_>,
        object: Option<BatchObject>,
    ) -> Result<(), RemoteError> {
        let Some(object) = object else {
            (sending.sent)(sending.file.size);
            return Ok(());
        };
        if let Some(error) = object.error {
            let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::BAD_REQUEST);
            return Err(RemoteError::Refused { url: shown(batch), status, said: error.message });
        }
        let actions = object.actions.unwrap_or(Actions { upload: None, verify: None });
        match actions.upload {
            Some(action) => self.send_file(&sending, &action).await?,
            None => (sending.sent)(sending.file.size),
        }
        if let Some(verify) = actions.verify {
            let url = self.leads_to(batch, &verify.href)?;
            let body = json!({"oid": sending.sha256, "size": sending.file.size});
            let answer = self.http.json::<Value>(Asked::post(&url, &body)).await;
            answer.map_err(|failure| self.unexplained(failure))?;
        }
        Ok(())
    }

    async fn send_file(&self, sending: &Sending<'_>, action: &Action) -> Result<(), RemoteError> {
        let url = self.leads_to(self.http.endpoint(), &action.href)?;
        let size = sending.file.size;
        let Some(chunk) = action.header.get("chunk_size") else {
            let mut headers = HeaderMap::new();
            for (name, value) in &action.header {
                if let (Ok(name), Some(Ok(value))) =
                    (name.parse::<reqwest::header::HeaderName>(), value.as_str().map(str::parse))
                {
                    headers.insert(name, value);
                }
            }
            return self.put(sending, &url, &headers, 0..size).await.map(drop);
        };
        let chunk = chunk.as_u64().or_else(|| chunk.as_str()?.parse().ok()).filter(|&chunk| chunk > 0);
        let chunk =
            chunk.ok_or_else(|| self.malformed(&url, "chunk_size is no number of bytes".to_owned()))?;
        let count = size.div_ceil(chunk);
        if count > MAX_UPLOAD_PARTS {
            return Err(self.malformed(&url, format!("it wants {count} parts")));
        }
        let parts = (1..=count).map(|number| {
            let href = action.header.get(&number.to_string()).and_then(Value::as_str);
            let missing = || self.malformed(&url, format!("it does not say where part {number} goes"));
            let url = self.leads_to(self.http.endpoint(), href.ok_or_else(missing)?)?;
            let start = (number - 1) * chunk;
            Ok((number, url, start..start.saturating_add(chunk).min(size)))
        });
        let parts = parts.collect::<Result<Vec<_>, RemoteError>>()?;
        let sent = stream::iter(parts).map(|(number, url, range)| async move {
            let headers = self.put(sending, &url, &HeaderMap::new(), range).await?;
            let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok()).filter(|etag| !etag.is_empty());
            let etag =
                etag.ok_or_else(|| self.malformed(&url, "it took a part without an ETag".to_owned()))?;
            Ok::<_, RemoteError>(json!({"partNumber": number, "etag": etag}))
        });
        let parts: Vec<Value> = sent.buffered(UPLOADS).try_collect().await?;
        let asked = Asked {
            method: Method::POST,
            url: &url,
            body: Some((
                "application/vnd.git-lfs+json",
                json!({"oid": sending.sha256, "parts": parts}).to_string().into(),
            )),
            repeat: true,
        };
        self.http.json::<Value>(asked).await.map(drop).map_err(|failure| self.unexplained(failure))
    }

    /// Sends a part of a file, as often as it takes, and returns the head of the answer.
    async fn put(
        &self,
        sending: &Sending<'_>,
        url: &Url,
        headers: &HeaderMap,
        range: Range<u64>,
    ) -> Result<HeaderMap, RemoteError> {
        let mut tries = 1;
        loop {
            match self.put_once(sending, url, headers, range.clone()).await {
                Ok(headers) => {
                    (sending.sent)(range.end - range.start);
                    return Ok(headers);
                }
                Err(error) if tries < MAX_TRIES => self.wait_for_another(error, tries).await?,
                Err(error) => return Err(error),
            }
            tries += 1;
        }
    }

    async fn put_once(
        &self,
        sending: &Sending<'_>,
        url: &Url,
        headers: &HeaderMap,
        range: Range<u64>,
    ) -> Result<HeaderMap, RemoteError> {
        let (length, sent) = (range.end - range.start, Arc::new(AtomicU64::new(0)));
        let request = self
            .http
            .request(Method::PUT, url)
            .headers(headers.clone())
            .header(CONTENT_LENGTH, length)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(body(sending.file.content.clone(), range, sent.clone()));
        let mut answer = std::pin::pin!(request.send());
        let mut before = 0;
        let response = loop {
            let now = sent.load(Ordering::Relaxed);
            let patience = if now == length { DIGEST_TIMEOUT } else { self.http.stall_timeout() };
            match timeout(patience, answer.as_mut()).await {
                Ok(Ok(response)) => break response,
                Ok(Err(source)) => {
                    return Err(RemoteError::Unreachable { url: shown(url), source: source.without_url() });
                }
                Err(_) if sent.load(Ordering::Relaxed) == before => {
                    return Err(RemoteError::Stalled { url: shown(url), after: patience });
                }
                Err(_) => before = sent.load(Ordering::Relaxed),
            }
        };
        match response.status().is_success() {
            true => Ok(response.headers().clone()),
            false => Err(self.http.refusal(response, url).await.error()),
        }
    }

    /// Makes a commit of files that are small, or that the hub has. Returns its id, and where a person sees it.
    ///
    /// # Errors
    /// When the hub refuses.
    pub async fn commit(
        &self,
        repo: &Repo,
        commit: &NewRemoteCommit,
    ) -> Result<(CommitId, Option<String>), RemoteError> {
        let (summary, description) = commit.message.split_once('\n').unwrap_or((&commit.message, ""));
        let header =
            json!({"key": "header", "value": {"summary": summary, "description": description.trim()}});
        let regular = commit.regular.iter().map(|(path, content)| {
            let content = BASE64_STANDARD.encode(content);
            json!({"key": "file", "value": {"path": path, "encoding": "base64", "content": content}})
        });
        let large = commit.large.iter().map(|(path, oid, size)| {
            json!({"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, "size": size}})
        });
        let lines = std::iter::once(header).chain(regular).chain(large);
        let body: String = lines.map(|line| format!("{line}\n")).collect();
        let (kind, owner, name) = (repo.kind.plural(), repo.id.owner(), repo.id.name());
        let url = self.http.at(["api", kind, owner, name, "commit", commit.branch.as_str()]);
        let asked = Asked {
            method: Method::POST,
            url: &url,
            body: Some(("application/x-ndjson", body.into())),
            // a commit that was made and whose answer was lost would be made twice
            repeat: false,
        };
        let answer = self.http.json(asked).await;
        let made: Committed = answer.map_err(|failure| self.explain(failure, repo, None))?;
        Ok((made.commit_oid, made.commit_url))
    }

    fn check_upload(&self) -> Result<(), RemoteError> {
        match self.hub {
            Hub::ModelScope => Err(RemoteError::Unsupported {
                hub: self.name(),
                what: "be pushed to by wen; ModelScope's own client can",
            }),
            Hub::HuggingFace | Hub::Url(_) => Ok(()),
        }
    }

    /// Where the hub says to send something, if it may. Mirrors of Hugging Face's hub pass its own addresses on.
    fn leads_to(&self, from: &Url, href: &str) -> Result<Url, RemoteError> {
        let refused = |to: &str, why| RemoteError::Redirect { from: shown(from), to: to.to_owned(), why };
        let mut url = from.join(href).map_err(|_| refused("what is no address", "that is none"))?;
        if url.origin().ascii_serialization() == "https://huggingface.co" {
            let mirrored = href.replacen("https://huggingface.co", &self.name(), 1);
            url = Url::parse(&mirrored).unwrap_or(url);
        }
        match self.http.refuses(&url) {
            Some(why) => Err(refused(&shown(&url), why)),
            None => Ok(url),
        }
    }

    fn malformed(&self, url: &Url, why: String) -> RemoteError {
        RemoteError::Malformed { url: shown(url), why }
    }

    fn unexplained(&self, failure: Failure) -> RemoteError {
        match failure {
            Failure::Other(error) => error,
            Failure::Refused(refusal) => refusal.error(),
        }
    }
}

/// What is sent of a file: read as it goes out, and counted.
fn body(content: Content, range: Range<u64>, sent: Arc<AtomicU64>) -> reqwest::Body {
    let chunks = stream::try_unfold(range.start, move |at| {
        let (content, end, sent) = (content.clone(), range.end, sent.clone());
        async move {
            if at >= end {
                return Ok(None);
            }
            let next = end.min(at + CHUNK_BYTES);
            let read = tokio::task::spawn_blocking(move || content.read(at..next)).await;
            let bytes = read.map_err(io::Error::other)??;
            sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            Ok::<_, io::Error>(Some((http_body::Frame::data(bytes), next)))
        }
    });
    reqwest::Body::wrap(StreamBody::new(chunks))
}

/// A file that cannot be read any more.
fn unreadable(error: io::Error) -> RemoteError {
    RemoteError::Store(crate::StoreError::Content(error))
}
