//! A hub in a directory of its own, and what tests say to it.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use hub::{Sha256Digest, Store};
use serde_json::{Value, json};
use server::router::router;
use server::state::App;
use server::{HubOptions, ServerOptions};
use std::sync::Arc;
use tempfile::TempDir;
use tower::ServiceExt;

/// The key of a hub that asks for one.
pub const KEY: &str = "sk-right";

/// A hub, and somebody who asks it.
#[derive(Clone)]
pub struct Client {
    router: Router,
    /// Where its store is, for as long as somebody asks.
    pub root: Arc<TempDir>,
    key: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Client {
    /// Somebody with the key of a hub that has one.
    pub fn member() -> Client {
        Client::new(&[KEY], false).with_key(Some(KEY))
    }

    /// Somebody without a key, at a hub with these keys, which may let everybody read what is public.
    pub fn new(keys: &[&str], anonymous: bool) -> Client {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path()).expect("a store");
        let mut options = ServerOptions::new(([127, 0, 0, 1], 0).into(), Vec::new());
        options.api_keys = keys.iter().map(|key| (*key).to_owned()).collect();
        options.hub = Some(HubOptions { store, anonymous });
        let app = Arc::new(App::new(options).expect("options"));
        Client { router: router(app), root: Arc::new(root), key: None }
    }

    /// Somebody else at the same hub.
    pub fn with_key(&self, key: Option<&str>) -> Client {
        Client { key: key.map(str::to_owned), ..self.clone() }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if headers.iter().all(|(name, _)| *name != "host") {
            request = request.header(header::HOST, "localhost:8000");
        }
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], Body::empty()).await
    }

    pub async fn head(&self, path: &str) -> Reply {
        self.send("HEAD", path, &[], Body::empty()).await
    }

    pub async fn range(&self, path: &str, range: &str) -> Reply {
        self.send("GET", path, &[("range", range)], Body::empty()).await
    }

    pub async fn json(&self, method: &str, path: &str, body: Value) -> Reply {
        self.send(method, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.json(Method::POST.as_str(), path, body).await
    }

    /// Makes the model `wen/name` and commits small files to it.
    pub async fn model(&self, name: &str, private: bool, files: &[(&str, &[u8])]) {
        let made = self.post("/api/repos/create", json!({"name": name, "private": private})).await;
        assert_eq!(made.status, 200, "{}", made.text());
        let lines: Vec<Value> = files.iter().map(|(path, content)| file(path, content)).collect();
        let committed = self.commit(&format!("/api/models/wen/{name}/commit/main"), &lines).await;
        assert_eq!(committed.status, 200, "{}", committed.text());
    }

    /// Commits changes, after a line that heads them.
    pub async fn commit(&self, path: &str, lines: &[Value]) -> Reply {
        let head = json!({"key": "header", "value": {"summary": "change", "description": "why"}});
        let body: String = std::iter::once(&head).chain(lines).map(|line| format!("{line}\n")).collect();
        self.send("POST", path, &[("content-type", "application/x-ndjson")], body).await
    }

    /// Sends a large file as an LFS batch says.
    pub async fn upload(&self, batch: &str, content: &[u8]) -> Reply {
        let oid = Sha256Digest::of(content).to_string();
        let objects = json!([{"oid": oid, "size": content.len()}]);
        let answer = self.post(batch, json!({"operation": "upload", "objects": objects})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let objects = answer
            .value()
            .get("objects")
            .cloned()
            .unwrap_or_else(|| answer.value()["Data"]["objects"].clone());
        let address = objects[0]["actions"]["upload"]["href"].as_str().expect("an address").to_owned();
        let path = address.strip_prefix("http://localhost:8000").expect("an address here");
        // nobody's key is sent with it
        self.with_key(None).send("PUT", path, &[], content.to_vec()).await
    }
}

/// A line that adds a small file.
pub fn file(path: &str, content: &[u8]) -> Value {
    let content = STANDARD.encode(content);
    json!({"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}})
}

/// A line that adds a large file that was sent before.
pub fn large(path: &str, content: &[u8]) -> Value {
    let oid = Sha256Digest::of(content).to_string();
    json!({"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, "size": content.len()}})
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and the code by which Hugging Face's clients choose an exception.
    pub fn refusal(&self) -> (u16, Option<&str>) {
        (self.status, self.header("x-error-code"))
    }
}
