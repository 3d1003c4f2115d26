//! Clients of other hubs: those that speak Hugging Face's protocol, Wen's own among them, and those that speak
//! ModelScope's.
//!
//! A hub is believed nothing: names become paths only as [`FilePath`]s, lengths are compared with what was listed, content
//! with its digest, and what it leads to must not be nearer than itself (`reach`). The token that the person has for it
//! goes to it alone.

mod download;
mod error;
mod http;
mod hugging_face;
mod model_scope;
mod reach;
mod upload;

pub use download::{Body, Download};
pub use error::RemoteError;
pub use upload::{Content, LocalFile, NewRemoteCommit, UploadMode};

use crate::limits::{FIRST_WAIT, STALL_TIMEOUT};
use crate::name::{CommitId, FilePath, NameError, Revision};
use crate::store::Upstream;
use crate::{GitDigest, Hub, Repo, Sha256Digest};
use http::{Failure, Http, Refusal};
use reqwest::{StatusCode, Url};
use std::fmt;
use std::time::Duration;

/// How to ask a hub.
#[derive(Clone)]
pub struct RemoteOptions {
    /// Shows who asks; sent to the hub alone.
    pub token: Option<String>,
    /// How long the hub may be silent.
    pub stall_timeout: Duration,
    /// Before the second try; each later one waits twice as long.
    pub first_wait: Duration,
    /// Whether nothing may be asked at all.
    pub offline: bool,
}

impl Default for RemoteOptions {
    fn default() -> RemoteOptions {
        RemoteOptions { token: None, stall_timeout: STALL_TIMEOUT, first_wait: FIRST_WAIT, offline: false }
    }
}

/// A hub that can be asked.
pub struct Remote {
    http: Http,
    hub: Hub,
}

/// What a repository holds at a revision.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The commit; `None` where the hub does not say.
    pub commit: Option<CommitId>,
    /// When it was made, in seconds since 1970, if the hub says so.
    pub time: Option<u64>,
    /// Its files, in the order of their paths.
    pub files: Vec<RemoteFile>,
    /// Files whose names cannot be, and which are left there.
    pub refused: Vec<NameError>,
    /// What files are asked for by: the commit, or where the hub knows none, the revision.
    at: String,
}

/// A file of a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Where it lies.
    pub path: FilePath,
    /// Bytes.
    pub size: u64,
    /// What its content has to be.
    pub digest: Announced,
    /// Whether the hub lists it as an LFS file.
    pub lfs: bool,
}

/// The digest by which a hub lists a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Announced {
    /// Of LFS files; ModelScope's of all.
    Sha256(Sha256Digest),
    /// Of files that are kept in git.
    Git(GitDigest),
}

impl Announced {
    /// The SHA-256, if that is what it is.
    pub fn sha256(&self) -> Option<Sha256Digest> {
        match self {
            Announced::Sha256(digest) => Some(*digest),
            Announced::Git(_) => None,
        }
    }
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Announced::Sha256(digest) => digest.fmt(f),
            Announced::Git(digest) => digest.fmt(f),
        }
    }
}

impl Remote {
    /// The hub, as the person and the environment say where it is.
    ///
    /// # Errors
    /// When its address is none, when the token is none, and when nothing may be asked.
    pub fn new(hub: &Hub, options: RemoteOptions) -> Result<Remote, RemoteError> {
        Remote::at(hub, &endpoint(hub), options)
    }

    /// The hub at another address than the environment says: a mirror of it.
    ///
    /// # Errors
    /// As [`new`](Remote::new).
    pub fn at(hub: &Hub, url: &str, options: RemoteOptions) -> Result<Remote, RemoteError> {
        let endpoint = parse_endpoint(url)?;
        if options.offline {
            return Err(RemoteError::Offline(name(&endpoint)));
        }
        let http = Http::new(endpoint, options, *hub == Hub::ModelScope)?;
        Ok(Remote { http, hub: hub.clone() })
    }

    /// Its address, for messages.
    pub fn name(&self) -> String {
        name(self.http.endpoint())
    }

    /// What a repository that is pulled from it remembers.
    pub fn upstream(&self, repo: &Repo) -> Upstream {
        Upstream { hub: self.hub.to_string(), repo: repo.id.clone() }
    }

    /// The files of a revision; without one, of the hub's own main branch.
    ///
    /// # Errors
    /// When the hub does not have or give it, cannot be reached, or answers what no hub should.
    pub async fn list(&self, repo: &Repo, revision: Option<&Revision>) -> Result<Listing, RemoteError> {
        let revision = self.revision(revision);
        let mut listing = match self.hub {
            Hub::ModelScope => model_scope::list(self, repo, &revision).await?,
            Hub::HuggingFace | Hub::Url(_) => hugging_face::list(self, repo, &revision).await?,
        };
        listing.files.sort_by(|a, b| a.path.cmp(&b.path));
        match listing.files.windows(2).find(|pair| pair[0].path == pair[1].path) {
            Some(pair) => Err(RemoteError::Malformed {
                url: self.name(),
                why: format!("`{}` is listed twice", pair[0].path),
            }),
            None => Ok(listing),
        }
    }

    /// What downloads a file of a listing.
    pub fn download(&self, repo: &Repo, listing: &Listing, file: &RemoteFile) -> Download {
        let url = match self.hub {
            Hub::ModelScope => model_scope::file_url(&self.http, repo, &listing.at, &file.path),
            Hub::HuggingFace | Hub::Url(_) => {
                hugging_face::file_url(&self.http, repo, &listing.at, &file.path)
            }
        };
        Download::new(repo.clone(), url, file.clone(), listing.commit)
    }

    /// The revision to ask for.
    fn revision(&self, revision: Option<&Revision>) -> Revision {
        let main = match self.hub {
            Hub::ModelScope => "master",
            Hub::HuggingFace | Hub::Url(_) => "main",
        };
        match revision {
            Some(revision) => revision.clone(),
            None => main.parse().unwrap_or_else(|_| Revision::main()),
        }
    }

    /// What it means that a request about a repository failed.
    fn explain(&self, failure: Failure, repo: &Repo, revision: Option<&Revision>) -> RemoteError {
        match failure {
            Failure::Other(error) => error,
            Failure::Refused(refusal) => self.explain_refusal(refusal, repo, revision),
        }
    }

    fn explain_refusal(&self, refusal: Refusal, repo: &Repo, revision: Option<&Revision>) -> RemoteError {
        let (hub, repo) = (self.name(), repo.clone());
        let denied = match refusal.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => true,
            _ => refusal.code.as_deref() == Some("GatedRepo"),
        };
        match (refusal.code.as_deref(), revision) {
            (Some("RevisionNotFound"), Some(revision)) => {
                RemoteError::NoRevision { hub, repo, revision: revision.clone() }
            }
            _ if denied && self.http.has_token() => RemoteError::Denied { hub, repo, said: refusal.said },
            _ if denied => {
                let variable = self
                    .hub
                    .token_variable()
                    .unwrap_or("a variable that [tokens] in settings.toml names")
                    .to_owned();
                RemoteError::NeedsToken { hub, repo, variable, said: refusal.said }
            }
            _ if refusal.status == StatusCode::NOT_FOUND => RemoteError::NoRepo { hub, repo },
            _ => refusal.error(),
        }
    }
}

/// Where a hub is, as the environment says.
fn endpoint(hub: &Hub) -> String {
    let set = |variable| std::env::var(variable).ok().filter(|value: &String| !value.is_empty());
    match hub {
        Hub::HuggingFace => set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
        Hub::ModelScope => match set("MODELSCOPE_ENDPOINT") {
            // its own client takes hosts too
            Some(host) if !host.contains("://") => format!("https://{host}"),
            Some(url) => url,
            None => "https://www.modelscope.cn".to_owned(),
        },
        Hub::Url(url) => url.clone(),
    }
}

fn parse_endpoint(text: &str) -> Result<Url, RemoteError> {
    let wrong = |why| RemoteError::Address { url: text.to_owned(), why };
    let mut url = Url::parse(text).map_err(|_| wrong("write https://HOST"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("only http and https are spoken"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RemoteError::Address {
            url: "...".to_owned(),
            why: "it has a user or a password in it; put a token into the environment instead",
        });
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

fn name(endpoint: &Url) -> String {
    endpoint.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
impl Listing {
    /// One that has these files.
    pub(crate) fn of_files(files: Vec<RemoteFile>) -> Listing {
        Listing { commit: None, time: None, files, refused: Vec::new(), at: String::new() }
    }
}
