//! What a request to the hub names: a repository, a revision, a path, and what stands behind `?`.

use super::{Hub, HubError};
use crate::error::quoted;
use crate::json::read_body;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hub::{FilePath, Repo, RepoId, RepoKind, Revision};
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;

/// The repository in a request's path, and what of it. All of it is parsed; only what has no name cannot be found.
#[derive(Clone, Debug)]
pub struct Target {
    /// The repository.
    pub repo: Repo,
    /// The branch, tag or commit, as written.
    pub revision: Option<String>,
    /// The file or folder in it.
    pub path: Option<FilePath>,
}

impl Target {
    /// The revision that is named, which a route of this kind has.
    pub fn revision(&self) -> Result<Revision, HubError> {
        revision(&self.repo, self.revision.as_deref().unwrap_or_default())
    }
}

/// The revision of a repository that `text` names. What no revision can be called isn't there.
pub fn revision(repo: &Repo, text: &str) -> Result<Revision, HubError> {
    text.parse().map_err(|_| HubError::NoRevision { repo: repo.to_string(), revision: quoted(text) })
}

impl FromRequestParts<Arc<Hub>> for Target {
    type Rejection = HubError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Target, HubError> {
        let route =
            parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
        let params = RawPathParams::from_request_parts(parts, hub)
            .await
            .map_err(|_| HubError::Invalid("the address has bytes that are no UTF-8".to_owned()))?;
        let mut kind = match route.starts_with("/datasets/") {
            true => "datasets",
            false => "models",
        };
        let (mut owner, mut name, mut revision, mut path) = ("", "", None, None);
        for (key, value) in &params {
            match key {
                "kind" => kind = value,
                "owner" => owner = value,
                "name" => name = value.strip_suffix(".git").unwrap_or(value),
                "revision" => revision = Some(value.to_owned()),
                "path" if !value.is_empty() => path = Some(value.parse()?),
                _ => {}
            }
        }
        let Some(kind) = RepoKind::of_plural(kind) else {
            return Err(HubError::NoRepo { repo: quoted(&format!("{kind}/{owner}/{name}")), guest: false });
        };
        Ok(Target { repo: Repo { kind, id: RepoId::new(owner, name)? }, revision, path })
    }
}

/// The fields of a query, or of a form, which may come more than once.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// These names and values.
    pub fn new(pairs: Vec<(String, String)>) -> Fields {
        Fields(pairs)
    }

    /// Reads `a=b&c=d`.
    pub fn parse(text: &[u8]) -> Fields {
        Fields(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first value of a field that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a field that are not empty.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let values = self.0.iter().filter(move |(key, _)| key == name);
        values.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether a field says yes, as Python or JavaScript writes it.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value, "1" | "true" | "True"))
    }

    /// A field that is a number.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, HubError> {
        let parse = |value: &str| {
            value
                .parse()
                .map_err(|_| HubError::Invalid(format!("{name} is `{}`, not a number", quoted(value))))
        };
        self.get(name).map(parse).transpose()
    }
}

impl<S: Sync> FromRequestParts<S> for Fields {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Fields, Infallible> {
        Ok(Fields::parse(parts.uri.query().unwrap_or_default().as_bytes()))
    }
}

/// A JSON body as a `T`, whatever its content type says: the clients of hubs often say nothing.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Hub>> for Body<T> {
    type Rejection = HubError;

    async fn from_request(request: Request, hub: &Arc<Hub>) -> Result<Body<T>, HubError> {
        let bytes = read_body(request, &hub.timeouts, hub.body_bytes).await?;
        // hubs grow new fields all the time, and clients send them to all hubs
        let (value, _unknown) = crate::json::parse(&bytes)?;
        Ok(Body(value))
    }
}

/// The content of a file that stands in a request in Base64.
pub fn decode_base64(path: &str, content: &str) -> Result<Vec<u8>, HubError> {
    STANDARD
        .decode(content)
        .map_err(|error| HubError::Invalid(format!("{}: the content is no Base64: {error}", quoted(path))))
}

/// `http://host:port` as the caller knows this server, for the addresses that answers hold.
///
/// Who ends TLS in front of it says so in `X-Forwarded-Proto`. A caller who lies here misleads nobody else.
pub struct Origin(pub String);

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Origin, Infallible> {
        let secure =
            parts.headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https");
        let scheme = if secure { "https" } else { "http" };
        Ok(Origin(format!("{scheme}://{}", authority(&parts.uri, &parts.headers).unwrap_or_default())))
    }
}

/// Host and port that a request names: HTTP/2 has them in the URI, HTTP/1 in a header.
pub fn authority(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    match uri.authority() {
        Some(authority) => Some(authority.to_string()),
        None => headers.get(header::HOST)?.to_str().ok().map(str::to_owned),
    }
}
