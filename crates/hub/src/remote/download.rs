//! Parts of a hub's file, each checked as it comes.

use super::http::{Paced, Reply, shown};
use super::{Announced, Remote, RemoteError, RemoteFile};
use crate::Repo;
use crate::name::CommitId;
use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName};
use reqwest::{StatusCode, Url};
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

/// A hub's file that is downloaded, perhaps in parts at once.
#[derive(Debug)]
pub struct Download {
    repo: Repo,
    /// At the hub.
    url: Url,
    file: RemoteFile,
    commit: Option<CommitId>,
    /// Where the hub's redirect led: asked directly from then on, until it refuses.
    store: Mutex<Option<Url>>,
    /// What the first part was of; so must be the others.
    etag: OnceLock<String>,
}

/// What comes of a file: exactly the bytes that were asked for, or an error.
pub struct Body {
    paced: Paced,
    expected: u64,
    left: u64,
}

impl Download {
    pub(super) fn new(repo: Repo, url: Url, file: RemoteFile, commit: Option<CommitId>) -> Download {
        Download { repo, url, file, commit, store: Mutex::new(None), etag: OnceLock::new() }
    }

    /// What is downloaded.
    pub fn file(&self) -> &RemoteFile {
        &self.file
    }

    /// Where it lies at the hub, for messages.
    pub fn shown_url(&self) -> String {
        shown(&self.url)
    }

    fn store(&self) -> Option<Url> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_store(&self, url: Option<Url>) {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }

    /// Checks that the hub means the file that was listed.
    fn check_listed(&self, reply: &Reply) -> Result<(), RemoteError> {
        let changed = |what: String| Err(RemoteError::Changed { url: shown(&reply.url), what });
        let linked = &reply.linked;
        if let (Some(found), Some(listed)) = (&linked.commit, self.commit)
            && found.len() == 40
            && !found.eq_ignore_ascii_case(&listed.to_string())
        {
            return changed(format!("commit {found}, not {listed}"));
        }
        if let Some(found) = &linked.etag {
            let other = match self.file.digest {
                Announced::Sha256(digest) => {
                    found.parse().is_ok_and(|found: crate::Sha256Digest| found != digest)
                }
                Announced::Git(digest) => found.parse().is_ok_and(|found: crate::GitDigest| found != digest),
            };
            if other {
                return changed(format!("digest {found}, not {}", self.file.digest));
            }
        }
        match linked.size {
            Some(found) if found != self.file.size => self.wrong_length(&reply.url, self.file.size, found),
            _ => Ok(()),
        }
    }

    fn wrong_length<T>(&self, url: &Url, expected: u64, found: impl ToString) -> Result<T, RemoteError> {
        Err(RemoteError::Length { url: shown(url), expected, found: found.to_string() })
    }

    /// Checks that the answer is of the version that the first part was of.
    fn check_version(&self, url: &Url, headers: &HeaderMap) -> Result<(), RemoteError> {
        let Some(etag) = text(headers, ETAG).filter(|etag| !etag.starts_with("W/")) else { return Ok(()) };
        let first = self.etag.get_or_init(|| etag.to_owned());
        match first == etag {
            true => Ok(()),
            false => Err(RemoteError::Changed { url: shown(url), what: format!("ETag {etag}, not {first}") }),
        }
    }

    /// Checks that the answer holds `range`, as far as its head says.
    fn check_head(
        &self,
        url: &Url,
        status: StatusCode,
        headers: &HeaderMap,
        range: &Range<u64>,
    ) -> Result<(), RemoteError> {
        let (size, length) = (self.file.size, range.end - range.start);
        match status {
            StatusCode::PARTIAL_CONTENT => {
                let expected = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
                let found = text(headers, CONTENT_RANGE).unwrap_or("no range");
                // some do not say how long the whole is
                let open = format!("bytes {}-{}/*", range.start, range.end.saturating_sub(1));
                if found != expected && found != open {
                    return self.wrong_length(
                        url,
                        length,
                        format!("`{found}`, which is not `{expected}`: other"),
                    );
                }
            }
            _ if *range == (0..size) => {}
            _ => return Err(RemoteError::NoRanges(shown(url))),
        }
        match text(headers, CONTENT_LENGTH) {
            Some(found) if found.parse() != Ok(length) => self.wrong_length(url, length, found),
            _ => Ok(()),
        }
    }
}

impl Remote {
    /// Asks for `range` of a file, which lies within it and is not empty. Tries once.
    ///
    /// # Errors
    /// When the hub does not answer with these bytes of this file.
    pub async fn open(&self, download: &Download, range: Range<u64>) -> Result<Body, RemoteError> {
        let whole = range == (0..download.file.size);
        let asked = (!whole).then_some(&range);
        let reply = match download.store() {
            Some(store) => {
                let reply = self.http.get(&store, asked).await?;
                match reply.response.status().is_success() {
                    true => reply,
                    // its signature may have expired: the hub makes another
                    false => self.http.get(&download.url, asked).await?,
                }
            }
            None => self.http.get(&download.url, asked).await?,
        };
        let Reply { response, url, .. } = &reply;
        if !response.status().is_success() {
            download.set_store(None);
            let at_hub = url.origin() == self.http.endpoint().origin();
            let denied = matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            let refusal = self.http.refusal(reply.response, &reply.url).await;
            return Err(match at_hub && denied {
                // whose list anybody may see, and whose files not
                true => self.explain_refusal(refusal, &download.repo, None),
                false => refusal.error(),
            });
        }
        download.check_listed(&reply)?;
        download.check_head(url, response.status(), response.headers(), &range)?;
        download.check_version(url, response.headers())?;
        if url.origin() != self.http.endpoint().origin() {
            download.set_store(Some(url.clone()));
        }
        let expected = range.end - range.start;
        Ok(Body { paced: self.http.body(reply.response, &reply.url), expected, left: expected })
    }

    /// Waits before another try, after `tries` of them, if another may do better and is left.
    ///
    /// # Errors
    /// The error itself when it is final.
    pub async fn wait_for_another(&self, error: RemoteError, tries: u32) -> Result<(), RemoteError> {
        match error.again() {
            Some(wait) if tries < crate::limits::MAX_TRIES => {
                self.http.wait(tries, wait).await;
                Ok(())
            }
            _ => Err(error),
        }
    }
}

impl Body {
    /// The next bytes; `None` when all are there.
    ///
    /// # Errors
    /// When there are too few, too many, or none for too long.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RemoteError> {
        let Some(bytes) = self.paced.chunk().await? else {
            return match self.left {
                0 => Ok(None),
                left => Err(RemoteError::Truncated { url: self.paced.url().to_owned(), left }),
            };
        };
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => {
                self.left = left;
                Ok(Some(bytes))
            }
            None => Err(RemoteError::TooLong { url: self.paced.url().to_owned(), expected: self.expected }),
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
