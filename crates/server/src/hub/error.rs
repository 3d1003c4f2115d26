//! What can go wrong with a request to the hub. Each dialect writes these in its own words:
//! [`hugging_face::fault`](super::hugging_face::fault), [`model_scope::fault`](super::model_scope::fault).

use crate::error::ApiError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hub::limits::MAX_OPERATIONS;
use hub::{CommitId, NameError, Repo, StoreError};

/// Why a request to the hub is not answered. As a response it is only a note for the dialect, which writes the real one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HubError {
    /// Something that every caller needs a key for.
    #[error(
        "this needs an API key: send the header `Authorization: Bearer KEY`, which clients do after a login"
    )]
    NeedsKey,
    /// The key is not one of ours.
    #[error("the API key is not valid")]
    WrongKey,
    /// A web page of somebody else.
    #[error("web pages of other sites may not change anything here")]
    ForeignOrigin,
    /// There is no such repository, or none that the caller may see: nobody is told which.
    #[error("there is no repository `{repo}` here that you may see; check its name, its kind and your key")]
    NoRepo {
        /// As asked for.
        repo: String,
        /// Whether the caller came without a key.
        guest: bool,
    },
    /// The repository has no such branch, tag or commit.
    #[error("`{repo}` has no branch, tag or commit `{revision}`")]
    NoRevision {
        /// Which repository.
        repo: String,
        /// As asked for.
        revision: String,
    },
    /// The commit has no such file or folder.
    #[error("`{path}` is not in the repository at the commit {commit}")]
    NoEntry {
        /// As asked for.
        path: String,
        /// The commit that was looked at.
        commit: CommitId,
    },
    /// Something of that name is there already.
    #[error("{message}")]
    Exists {
        /// What, and what to do.
        message: String,
        /// Where it is, when it is a repository.
        url: Option<String>,
    },
    /// Somebody else was first.
    #[error("{0}")]
    Moved(String),
    /// A value that is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Something of the real hubs that this one does not do.
    #[error("this hub does not do that: {0}")]
    Unsupported(&'static str),
    /// An upload's address that is not, or no longer, good.
    #[error("the address of this upload is not valid or has expired; ask for a new one")]
    NoGrant,
    /// Too much at once.
    #[error("{0}; try again in a moment")]
    Busy(&'static str),
    /// The disk is full.
    #[error("the hub's disk is full; its operator has to make room")]
    Full,
    /// What can go wrong with any request.
    #[error(transparent)]
    Request(#[from] ApiError),
}

impl HubError {
    /// A fault of ours: `reason` goes to the log only.
    pub fn internal(reason: impl std::fmt::Display) -> HubError {
        HubError::Request(ApiError::internal(reason))
    }

    /// The same repository as ever, for a caller with a key.
    pub fn no_repo(repo: &Repo) -> HubError {
        HubError::NoRepo { repo: repo.to_string(), guest: false }
    }

    /// A commit of more than [`MAX_OPERATIONS`] changes.
    pub fn too_many_changes() -> HubError {
        HubError::Invalid(format!("the commit has more than {MAX_OPERATIONS} changes; make several of it"))
    }

    /// The answer with this JSON body, as both dialects have it; each adds its own headers.
    pub fn answer(&self, status: StatusCode, body: &serde_json::Value) -> Response {
        let mut response = match self {
            // some say that the connection ends
            HubError::Request(error) => error.clone().into_response(),
            _ => status.into_response(),
        };
        *response.body_mut() = body.to_string().into();
        let draining = matches!(self, HubError::Request(ApiError::Draining));
        let again = response.status() == StatusCode::SERVICE_UNAVAILABLE && !draining;
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if again {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
        }
        response
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            // as the real hub does: without a key, what is absent and what is private look the same
            HubError::NeedsKey | HubError::WrongKey | HubError::NoRepo { guest: true, .. } => {
                StatusCode::UNAUTHORIZED
            }
            HubError::ForeignOrigin | HubError::NoGrant => StatusCode::FORBIDDEN,
            HubError::NoRepo { .. } | HubError::NoRevision { .. } | HubError::NoEntry { .. } => {
                StatusCode::NOT_FOUND
            }
            HubError::Exists { .. } => StatusCode::CONFLICT,
            HubError::Moved(_) => StatusCode::PRECONDITION_FAILED,
            HubError::Invalid(_) => StatusCode::BAD_REQUEST,
            HubError::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            HubError::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            HubError::Full => StatusCode::INSUFFICIENT_STORAGE,
            HubError::Request(error) => error.status(),
        }
    }
}

impl From<NameError> for HubError {
    fn from(error: NameError) -> HubError {
        HubError::Invalid(error.to_string())
    }
}

impl From<StoreError> for HubError {
    fn from(error: StoreError) -> HubError {
        match error {
            StoreError::NoRepo(repo) => HubError::no_repo(&repo),
            StoreError::NoRevision { repo, revision } => {
                HubError::NoRevision { repo: repo.to_string(), revision: revision.to_string() }
            }
            StoreError::NoFile { path, commit, .. } => {
                HubError::NoEntry { path: path.as_str().to_owned(), commit }
            }
            StoreError::RepoExists(_) | StoreError::Collision { .. } | StoreError::RefExists { .. } => {
                HubError::Exists { message: error.to_string(), url: None }
            }
            StoreError::Moved { .. } | StoreError::Conflict(_) => HubError::Moved(error.to_string()),
            StoreError::Name(_)
            | StoreError::Digest(_)
            | StoreError::OtherDigest { .. }
            | StoreError::OtherSize { .. }
            | StoreError::TooLarge
            | StoreError::NoBlob(_)
            | StoreError::MainBranch(_)
            | StoreError::FileAndFolder(_)
            | StoreError::TooMany { .. }
            | StoreError::NeedsLfs { .. } => HubError::Invalid(error.to_string()),
            StoreError::Downloading(_) => HubError::Busy("the same content is on its way here already"),
            StoreError::Full(_) => {
                tracing::error!(%error, "the hub's disk is full");
                HubError::Full
            }
            // what these say is about the operator's disk
            _ => HubError::internal(error),
        }
    }
}

impl IntoResponse for HubError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
