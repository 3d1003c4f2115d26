//! Who may ask: API keys, and the host names of clients that have none.

use crate::error::ApiError;
use axum::http::{HeaderMap, Uri, header};
use engine::Scope;
use sha2::{Digest, Sha256};
use std::net::IpAddr;

/// The keys that open the server, as digests, and the hosts that need none.
pub struct Access {
    keys: Vec<[u8; 32]>,
    allowed_hosts: Vec<String>,
}

impl Access {
    /// With no keys everybody is let in who addresses the server by one of `allowed_hosts`, `localhost` or an IP
    /// address.
    pub fn new(keys: &[String], allowed_hosts: &[String]) -> Access {
        Access {
            keys: keys.iter().map(digest).collect(),
            allowed_hosts: allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        }
    }

    /// Whether a request with these headers may go on, and as whom: each key is a workspace, as is having none.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<Scope, ApiError> {
        self.caller(uri, headers, None)?.ok_or(ApiError::MissingKey)
    }

    /// Who makes a request with these headers, or with the key `cookie` where the headers have none. `None` is somebody
    /// without a key where keys are set.
    pub fn caller(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        cookie: Option<&[u8]>,
    ) -> Result<Option<Scope>, ApiError> {
        if self.keys.is_empty() {
            return self.check_host(uri, headers).map(|()| Some(Scope::default()));
        }
        let header = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let Some(key) = header.or(cookie) else { return Ok(None) };
        let offered = digest(key);
        if self.has(&offered) { Ok(Some(Scope(workspace(&offered)))) } else { Err(ApiError::WrongKey) }
    }

    /// Whether this key opens the server; any does where none are set.
    pub fn knows(&self, key: &[u8]) -> bool {
        self.keys.is_empty() || self.has(&digest(key))
    }

    /// Every key is compared in full, over digests: the time says nothing about how much of a key was right.
    fn has(&self, offered: &[u8; 32]) -> bool {
        self.keys.iter().fold(false, |found, known| found | equal(known, offered))
    }

    /// A web page can point a name of its own at this machine and then talk to us from the victim's browser. It
    /// cannot do that with an IP address, so without a key only addresses and known names are answered.
    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(host) = host(uri, headers) else { return Err(ApiError::ForeignHost) };
        let name = host.strip_suffix('.').unwrap_or(&host);
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let known = address.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.allowed_hosts.iter().any(|allowed| allowed == name);
        if known { Ok(()) } else { Err(ApiError::ForeignHost) }
    }
}

/// The host that a request names, in lower case and without the port: HTTP/2 has it in the URI, HTTP/1 in a header.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    if let Some(host) = uri.host() {
        return Some(host.to_ascii_lowercase());
    }
    let authority = headers.get(header::HOST)?.to_str().ok()?.parse::<axum::http::uri::Authority>().ok()?;
    Some(authority.host().to_ascii_lowercase())
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    (scheme.eq_ignore_ascii_case(b"bearer ") && !key.is_empty()).then(|| key.trim_ascii())
}

/// A key's workspace: half of its digest, which nobody can aim at another's.
fn workspace(digest: &[u8; 32]) -> u128 {
    digest.first_chunk().map_or(0, |half| u128::from_le_bytes(*half))
}

fn digest(key: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(key.as_ref()).into()
}

fn equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("header"));
        headers
    }

    #[test]
    fn only_a_known_key_opens() {
        let access = Access::new(&["one".into(), "two".into()], &[]);
        let uri = Uri::from_static("/v1/models");
        for (value, expected) in [
            ("Bearer one", Ok(())),
            ("bearer two", Ok(())),
            ("Bearer three", Err(ApiError::WrongKey)),
            ("Bearer on", Err(ApiError::WrongKey)),
            ("Bearer onee", Err(ApiError::WrongKey)),
            ("Bearer ", Err(ApiError::MissingKey)),
            ("Basic one", Err(ApiError::MissingKey)),
            ("one", Err(ApiError::MissingKey)),
        ] {
            let found = access.check(&uri, &headers(header::AUTHORIZATION, value));
            assert_eq!(found.map(|_| ()), expected, "{value}");
        }
        assert_eq!(access.check(&uri, &HeaderMap::new()), Err(ApiError::MissingKey));
        let as_whom = |key: &str| access.check(&uri, &headers(header::AUTHORIZATION, key));
        assert_ne!(as_whom("Bearer one"), as_whom("Bearer two"), "each key is a workspace");
    }

    #[test]
    fn without_a_key_a_foreign_name_is_refused() {
        let access = Access::new(&[], &["Wen.internal".into()]);
        let uri = Uri::from_static("/v1/models");
        for (host, open) in [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("localhost", true),
            ("LOCALHOST.:80", true),
            ("wen.internal:8080", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            assert_eq!(access.check(&uri, &headers(header::HOST, host)).is_ok(), open, "{host}");
        }
        assert_eq!(access.check(&uri, &HeaderMap::new()), Err(ApiError::ForeignHost));
    }
}
