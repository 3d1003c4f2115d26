//! Requests to a hub: its token for itself alone, redirects checked, silence and floods cut off, tries repeated.

use super::reach::{Guard, Resolver};
use super::{RemoteError, RemoteOptions};
use crate::limits::{
    CONNECT_TIMEOUT, MAX_ERROR_BYTES, MAX_REDIRECTS, MAX_REPLY_BYTES, MAX_TRIES, MAX_WAIT, MIN_WINDOW_BYTES,
};
use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, COOKIE, ETAG, HeaderMap, HeaderName, HeaderValue,
    LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// A hub to ask.
pub(super) struct Http {
    client: Client,
    endpoint: Url,
    guard: Arc<Guard>,
    /// What shows who asks: for the hub alone.
    credentials: HeaderMap,
    options: RemoteOptions,
}

/// What a hub says of a file, in its own answer or in the redirect that it sent.
#[derive(Debug, Default)]
pub(super) struct Linked {
    /// The commit that it answers for.
    pub(super) commit: Option<String>,
    /// The digest of the file, without quotes.
    pub(super) etag: Option<String>,
    /// Bytes of the file.
    pub(super) size: Option<u64>,
}

/// An answer, and what redirects on the way to it said.
pub(super) struct Reply {
    pub(super) response: Response,
    pub(super) url: Url,
    pub(super) linked: Linked,
}

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) url: String,
    pub(super) status: StatusCode,
    /// Hugging Face's word for it: `RepoNotFound`, `RevisionNotFound`, `EntryNotFound`, `GatedRepo`.
    pub(super) code: Option<String>,
    pub(super) said: String,
    wait: Option<Duration>,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The hub refused; what that means depends on what was asked.
    Refused(Refusal),
    /// Anything else.
    Other(RemoteError),
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Failure {
        Failure::Other(error)
    }
}

impl Refusal {
    /// The error where nothing more is known.
    pub(super) fn error(self) -> RemoteError {
        let Refusal { url, status, said, wait, .. } = self;
        let busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        match busy || status.is_server_error() {
            true => RemoteError::Busy { url, status, said, wait },
            false => RemoteError::Refused { url, status, said },
        }
    }

    /// Whether the error above is one that may pass.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            || self.status.is_server_error()
    }
}

impl Http {
    /// Asks the hub at `endpoint`.
    pub(super) fn new(endpoint: Url, options: RemoteOptions, with_cookie: bool) -> Result<Http, RemoteError> {
        let mut credentials = HeaderMap::new();
        if let Some(token) = &options.token {
            let mut add = |name: HeaderName, text: String| {
                let mut value = HeaderValue::from_str(&text).map_err(|_| RemoteError::Token)?;
                // so that it never shows in a log
                value.set_sensitive(true);
                credentials.insert(name, value);
                Ok::<_, RemoteError>(())
            };
            add(AUTHORIZATION, format!("Bearer {token}"))?;
            if with_cookie {
                // what older endpoints of ModelScope read
                add(COOKIE, format!("m_session_id={token}"))?;
            }
        }
        let guard = Guard::new(&endpoint);
        // an error means that one is installed already
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("wen/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT.min(options.stall_timeout))
            .dns_resolver(Resolver(guard.clone()))
            // followed here, where each is checked
            .redirect(Policy::none())
            .build()
            .map_err(RemoteError::Client)?;
        Ok(Http { client, endpoint, guard, credentials, options })
    }

    /// The hub's address.
    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Whether a token is sent.
    pub(super) fn has_token(&self) -> bool {
        !self.credentials.is_empty()
    }

    /// How long the hub may be silent.
    pub(super) fn stall_timeout(&self) -> std::time::Duration {
        self.options.stall_timeout
    }

    /// An address at the hub: parts of a path, escaped.
    pub(super) fn at<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// A request to `url`, which carries the token if that is the hub itself.
    pub(super) fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        // a file's length is that of the file, not of what it was squeezed into
        let request = self.client.request(method, url.clone()).header(ACCEPT_ENCODING, "identity");
        match url.origin() == self.endpoint.origin() {
            true => request.headers(self.credentials.clone()),
            false => request,
        }
    }

    /// Sends a request, once, and waits for the head of its answer.
    pub(super) async fn send(&self, request: RequestBuilder, url: &Url) -> Result<Response, RemoteError> {
        match timeout(self.options.stall_timeout, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) => {
                Err(RemoteError::Unreachable { url: shown(url), source: source.without_url() })
            }
            Err(_) => Err(RemoteError::Stalled { url: shown(url), after: self.options.stall_timeout }),
        }
    }

    /// Gets `url`, or `range` of it, over redirects. Tries once; the answer may be a refusal.
    pub(super) async fn get(&self, url: &Url, range: Option<&Range<u64>>) -> Result<Reply, RemoteError> {
        let mut url = url.clone();
        let mut linked = Linked::default();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.request(Method::GET, &url);
            if let Some(range) = range {
                request =
                    request.header(RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
            }
            let response = self.send(request, &url).await?;
            if url.origin() == self.endpoint.origin() {
                linked.note(response.headers(), response.status());
            }
            if !response.status().is_redirection() {
                return Ok(Reply { response, url, linked });
            }
            url = self.follow(&url, response.headers())?;
        }
        Err(RemoteError::Redirects(shown(&url)))
    }

    /// Where a redirect leads, if it may.
    fn follow(&self, from: &Url, headers: &HeaderMap) -> Result<Url, RemoteError> {
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let refused = |to: String, why| RemoteError::Redirect { from: shown(from), to, why };
        let to = from
            .join(location)
            .map_err(|_| refused(location.chars().take(200).collect(), "that is no address"))?;
        match self.refuses(&to) {
            Some(why) => Err(refused(shown(&to), why)),
            None => Ok(to),
        }
    }

    /// Why the hub must not lead to `to`.
    pub(super) fn refuses(&self, to: &Url) -> Option<&'static str> {
        if !matches!(to.scheme(), "http" | "https") || !to.has_host() {
            return Some("only http and https are spoken");
        }
        if self.endpoint.scheme() == "https" && to.scheme() != "https" {
            return Some("from https nothing leads to what is not");
        }
        if !to.username().is_empty() || to.password().is_some() {
            return Some("it has a password in it");
        }
        self.guard.refuses(to)
    }

    /// The body of an answer, within the hub's time.
    pub(super) fn body(&self, response: Response, url: &Url) -> Paced {
        Paced {
            response,
            url: shown(url),
            window: self.options.stall_timeout,
            until: Instant::now() + self.options.stall_timeout,
            needed: MIN_WINDOW_BYTES,
        }
    }

    /// What an answer that is no success says.
    pub(super) async fn refusal(&self, response: Response, url: &Url) -> Refusal {
        let text = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let (code, message) = (text("x-error-code"), text("x-error-message"));
        let seconds = text(RETRY_AFTER.as_str()).and_then(|value| value.trim().parse().ok());
        let status = response.status();
        // an error that cannot be read is one all the same
        let body = self.body(response, url).all(MAX_ERROR_BYTES).await.unwrap_or_default();
        Refusal {
            url: shown(url),
            status,
            code,
            said: message.unwrap_or_else(|| said(&body)),
            wait: seconds.map(Duration::from_secs),
        }
    }

    /// Sends what `request` makes and reads the JSON that answers it, at most [`MAX_TRIES`] times. Redirects are followed
    /// where the request has no body.
    pub(super) async fn json<T: DeserializeOwned>(&self, asked: Asked<'_>) -> Result<T, Failure> {
        let mut tries = 1;
        loop {
            let failure = match self.json_once(&asked).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let wait = match &failure {
                Failure::Refused(refusal) if refusal.may_pass() => refusal.wait,
                Failure::Other(error) => match error.again() {
                    Some(wait) => wait,
                    None => return Err(failure),
                },
                Failure::Refused(_) => return Err(failure),
            };
            if tries >= MAX_TRIES || !asked.repeat {
                return Err(failure);
            }
            self.wait(tries, wait).await;
            tries += 1;
        }
    }

    async fn json_once<T: DeserializeOwned>(&self, asked: &Asked<'_>) -> Result<T, Failure> {
        let Reply { response, url, .. } = match &asked.body {
            None if asked.method == Method::GET => self.get(asked.url, None).await?,
            body => {
                let mut request = self.request(asked.method.clone(), asked.url);
                if let Some((kind, bytes)) = body {
                    request = request.header(reqwest::header::CONTENT_TYPE, *kind).body(bytes.clone());
                }
                let response = self.send(request, asked.url).await?;
                Reply { response, url: asked.url.clone(), linked: Linked::default() }
            }
        };
        if !response.status().is_success() {
            return Err(Failure::Refused(self.refusal(response, &url).await));
        }
        let bytes = self.body(response, &url).all(MAX_REPLY_BYTES).await?;
        let bytes = if bytes.is_empty() { Bytes::from_static(b"null").into() } else { bytes };
        serde_json::from_slice(&bytes)
            .map_err(|error| RemoteError::Malformed { url: shown(&url), why: error.to_string() }.into())
    }

    /// Waits before the next try: as long as the hub asked, else twice as long each time, and never in step with others.
    pub(super) async fn wait(&self, tries: u32, asked: Option<Duration>) {
        let doubled =
            self.options.first_wait.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(MAX_WAIT);
        let random = RandomState::new().hash_one(tries) as u32;
        let jittered = doubled.mul_f64(0.75 + 0.5 * f64::from(random) / f64::from(u32::MAX));
        tokio::time::sleep(asked.map_or(jittered, |asked| asked.max(jittered)).min(MAX_WAIT)).await;
    }
}

/// A request whose answer is JSON.
pub(super) struct Asked<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    /// Its type and its bytes.
    pub(super) body: Option<(&'static str, Bytes)>,
    /// Whether it may be sent again when nobody knows whether it was heard.
    pub(super) repeat: bool,
}

impl<'a> Asked<'a> {
    /// For what lies at `url`.
    pub(super) fn get(url: &'a Url) -> Asked<'a> {
        Asked { method: Method::GET, url, body: None, repeat: true }
    }

    /// With a body in JSON.
    pub(super) fn post(url: &'a Url, body: &serde_json::Value) -> Asked<'a> {
        let body = Some(("application/json", body.to_string().into()));
        Asked { method: Method::POST, url, body, repeat: true }
    }
}

impl Linked {
    /// Takes what a hub's answer says of the file. The length of a redirect's own body says nothing.
    fn note(&mut self, headers: &HeaderMap, status: StatusCode) {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
        let own = |name: HeaderName| (!status.is_redirection()).then(|| text(name.as_str())).flatten();
        let number = |value: Option<String>| value?.parse().ok();
        self.commit = text("x-repo-commit").or(self.commit.take());
        let etag = text("x-linked-etag").or_else(|| own(ETAG)).map(|etag| etag.trim_matches('"').to_owned());
        self.etag = etag.or(self.etag.take());
        let whole = (status == StatusCode::OK).then(|| own(CONTENT_LENGTH)).flatten();
        self.size = number(text("x-linked-size")).or_else(|| number(whole)).or(self.size);
    }
}

/// A body that has to come in time.
pub(super) struct Paced {
    response: Response,
    url: String,
    window: Duration,
    /// By when the rest of [`MIN_WINDOW_BYTES`] has to be there.
    until: Instant,
    needed: u64,
}

impl Paced {
    /// Where it comes from.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What comes next; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, RemoteError> {
        let chunk = match timeout_at(self.until, self.response.chunk()).await {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(source)) => {
                return Err(RemoteError::Unreachable { url: self.url.clone(), source: source.without_url() });
            }
            Err(_) => return Err(RemoteError::Stalled { url: self.url.clone(), after: self.window }),
        };
        self.needed = self.needed.saturating_sub(chunk.as_ref().map_or(0, |bytes| bytes.len() as u64));
        if self.needed == 0 {
            self.needed = MIN_WINDOW_BYTES;
            self.until = Instant::now() + self.window;
        }
        Ok(chunk)
    }

    /// All of it, up to `limit` bytes.
    pub(super) async fn all(mut self, limit: usize) -> Result<Vec<u8>, RemoteError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > limit {
                return Err(RemoteError::TooLarge { url: self.url, limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// An address for messages: what signs it is a secret.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// What an error's body says: the message in JSON, else its text.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
        // a page for browsers says nothing in few words
        return if text.trim_start().starts_with('<') { String::new() } else { text.into_owned() };
    };
    let fields = ["error", "message", "Message", "detail"];
    let found = fields.iter().find_map(|field| value.get(field));
    match found {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => {
            other.get("message").and_then(|m| m.as_str()).map_or_else(|| other.to_string(), str::to_owned)
        }
        None => String::new(),
    }
}
