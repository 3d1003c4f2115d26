//! Who may see and change what.
//!
//! A key opens everything. Without a key, where the server has some, nothing is told: a private repository looks as if
//! it did not exist. If the operator lets anonymous clients read, they read what is marked public. A server without
//! keys takes everybody for its owner, as it does for its models.

use super::{Hub, HubError};
use crate::error::ApiError;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use hub::store::RepoInfo;
use hub::{Repo, RepoKind, StoreError};
use std::convert::Infallible;

/// The cookie that ModelScope's clients carry their key in.
pub const SESSION_COOKIE: &str = "m_session_id";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody with a key, or anybody where no keys are set.
    Member,
    /// Somebody without a key.
    Guest,
}

impl Caller {
    /// Lets members on.
    pub fn must_be_member(self) -> Result<(), HubError> {
        match self {
            Caller::Member => Ok(()),
            Caller::Guest => Err(HubError::NeedsKey),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Infallible> {
        // a route that nobody let the caller into knows nobody
        Ok(parts.extensions.get::<Caller>().copied().unwrap_or(Caller::Guest))
    }
}

impl Hub {
    /// Who makes this request.
    pub fn caller(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Caller, HubError> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            check_origin(uri, headers)?;
        }
        let caller = self.access.caller(uri, headers, cookie(headers)).map_err(|error| match error {
            ApiError::WrongKey => HubError::WrongKey,
            error => error.into(),
        })?;
        Ok(if caller.is_some() { Caller::Member } else { Caller::Guest })
    }

    /// What is known of a repository, if the caller may see it.
    pub fn view(&self, caller: Caller, repo: &Repo) -> Result<RepoInfo, HubError> {
        let hidden = || HubError::NoRepo { repo: repo.to_string(), guest: caller == Caller::Guest };
        match self.store.info(repo) {
            Ok(info) if self.shows(caller, &info) => Ok(info),
            Ok(_) | Err(StoreError::NoRepo(_)) => Err(hidden()),
            Err(error) => Err(error.into()),
        }
    }

    /// The repositories of a kind that the caller may see, whose name has `search` in it and which are `owner`'s, both in any
    /// capitals.
    pub fn visible(
        &self,
        caller: Caller,
        kind: RepoKind,
        search: Option<&str>,
        owner: Option<&str>,
    ) -> Result<Vec<RepoInfo>, HubError> {
        if !self.anonymous {
            caller.must_be_member()?;
        }
        let search = search.map(str::to_ascii_lowercase);
        let wanted = |info: &RepoInfo| {
            let id = &info.repo.id;
            self.shows(caller, info)
                && search.as_ref().is_none_or(|text| id.as_str().to_ascii_lowercase().contains(text))
                && owner.is_none_or(|owner| id.owner().eq_ignore_ascii_case(owner))
        };
        Ok(self.store.list(kind)?.into_iter().filter(wanted).collect())
    }

    /// Whether the caller may see a repository.
    pub fn shows(&self, caller: Caller, info: &RepoInfo) -> bool {
        caller == Caller::Member || (self.anonymous && !info.private)
    }
}

/// Browsers say where a page that changes something comes from; that has to be here. Command-line clients say nothing.
fn check_origin(uri: &Uri, headers: &HeaderMap) -> Result<(), HubError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host.to_owned());
    match host.is_some() && host == super::request::authority(uri, headers) {
        true => Ok(()),
        false => Err(HubError::ForeignOrigin),
    }
}

fn cookie(headers: &HeaderMap) -> Option<&[u8]> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let value = pairs.find(|(name, _)| *name == SESSION_COOKIE).map(|(_, value)| value.trim_matches('"'))?;
    (!value.is_empty()).then_some(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().expect("header"))).collect()
    }

    #[test]
    fn the_session_is_found_among_cookies() {
        for (value, expected) in [
            ("m_session_id=key", Some("key")),
            ("a=b; m_session_id=\"key\"; c=d", Some("key")),
            ("m_session_id=", None),
            ("xm_session_id=key", None),
            ("m_session_id", None),
        ] {
            let headers = headers(&[(header::COOKIE, value)]);
            assert_eq!(cookie(&headers), expected.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn only_pages_of_this_server_change_things() {
        for (host, origin, allowed) in [
            ("hub:8000", "http://hub:8000", true),
            ("hub", "https://hub", true),
            ("hub:8000", "http://hub:9000", false),
            ("hub:8000", "http://evil.example", false),
            ("hub:8000", "null", false),
        ] {
            let headers = headers(&[(header::HOST, host), (header::ORIGIN, origin)]);
            assert_eq!(check_origin(&Uri::from_static("/"), &headers).is_ok(), allowed, "{origin} at {host}");
        }
        assert_eq!(check_origin(&Uri::from_static("/"), &HeaderMap::new()), Ok(()));
    }
}
