//! Uploads by Xet, Hugging Face's own way: clients that have `hf_xet` installed know no other.
//!
//! A client cuts files into chunks, sends chunks that it believes to be new in *xorbs*, and then *shards* that say of which
//! chunks of which xorbs each file is put together (<https://huggingface.co/docs/xet>, version 1.1). This hub keeps files whole,
//! by their SHA-256, which shards name. So xorbs are unpacked into a scratch file of the upload, files are put together from
//! it and checked as every other upload is, and it is gone with the upload. Downloads need none of it: a hub that does not
//! offer Xet for a file is asked for its bytes.
//!
//! Clients remember by the address of a service what it has, and would not send that again. As nothing is kept here, each
//! upload gets an address of its own.

mod shard;
mod xorb;

use super::access::Caller;
use super::body::read;
use super::request::{Origin, Target};
use super::{Hub, HubError};
use crate::limits::{MAX_SHARD_BYTES, MAX_XET_UPLOADS, MAX_XORB_BYTES, UPLOAD_SECONDS, XET_IDLE_SECONDS};
use crate::state::unix_seconds;
use axum::Json;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use hub::Store;
use hub::store::{Blob, Scratch};
use serde_json::{Value, json};
use shard::File;
use std::collections::HashMap;
use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use uuid::Uuid;

/// The path of the service; what tells uploads apart follows.
const SERVICE: &str = "/hub/xet";

/// A hash of Xet, by which this hub only tells xorbs of an upload apart.
type XetHash = [u8; 32];

/// Uploads under way, by the token that lets their clients in.
#[derive(Default)]
pub struct Uploads(Mutex<HashMap<Uuid, Arc<Upload>>>);

/// What a client has sent for files to come.
struct Upload {
    /// When it was last heard of, in seconds since 1970.
    used: AtomicU64,
    /// All chunks; none before the first one.
    scratch: OnceLock<Scratch>,
    /// Where the chunks of each xorb are.
    xorbs: Mutex<HashMap<XetHash, Arc<[Chunk]>>>,
}

/// A chunk in the scratch file.
#[derive(Clone, Copy)]
struct Chunk {
    at: u64,
    bytes: u32,
}

/// The service's routes.
pub fn routes() -> Router<Arc<Hub>> {
    Router::new()
        .route(&format!("{SERVICE}/{{upload}}/v1/chunks/{{prefix}}/{{hash}}"), get(unknown_chunk))
        .route(&format!("{SERVICE}/{{upload}}/v1/xorbs/{{prefix}}/{{hash}}"), post(take_xorb))
        .route(&format!("{SERVICE}/{{upload}}/v1/shards"), post(take_shard))
}

/// Begins an upload: says where the service is and what lets the client in.
pub async fn begin(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Origin(origin): Origin,
    target: Target,
) -> Result<impl IntoResponse, HubError> {
    caller.must_be_member()?;
    hub.blocking(move |hub| {
        hub.view(caller, &target.repo)?;
        let token = hub.xet.begin()?.to_string();
        let service = format!("{origin}{SERVICE}/{}", Uuid::new_v4());
        let expires = unix_seconds() + UPLOAD_SECONDS;
        let headers = [
            ("x-xet-cas-url", service.clone()),
            ("x-xet-access-token", token.clone()),
            ("x-xet-token-expiration", expires.to_string()),
        ];
        Ok((headers, Json(json!({"casUrl": service, "accessToken": token, "exp": expires}))))
    })
    .await
}

/// Whether the hub has a chunk: nobody is told.
async fn unknown_chunk() -> StatusCode {
    StatusCode::NOT_FOUND
}

async fn take_xorb(
    State(hub): State<Arc<Hub>>,
    Path((_, _, hash)): Path<(String, String, String)>,
    headers: HeaderMap,
    request: Request,
) -> Result<Json<Value>, HubError> {
    let upload = hub.xet.of(&headers)?;
    let hash = parse_hash(&hash).ok_or_else(|| HubError::Invalid("the xorb's hash is none".to_owned()))?;
    let _slot = hub.upload_slot()?;
    let store = hub.store.clone();
    let body = request.into_body();
    let is_new =
        read(body, MAX_XORB_BYTES, hub.timeouts.body_read, move |body| upload.take(&store, hash, body));
    Ok(Json(json!({"was_inserted": is_new.await?})))
}

async fn take_shard(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Json<Value>, HubError> {
    let upload = hub.xet.of(&headers)?;
    let _slot = hub.upload_slot()?;
    let store = hub.store.clone();
    read(request.into_body(), MAX_SHARD_BYTES, hub.timeouts.body_read, move |body| {
        shard::read(body, |file| upload.put_together(&store, &file))
    })
    .await?;
    Ok(Json(json!({"result": 1})))
}

impl Uploads {
    /// A new upload's token. Uploads of which nothing was heard are given up.
    fn begin(&self) -> Result<Uuid, HubError> {
        let now = unix_seconds();
        let mut uploads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.retain(|_, upload| now < upload.used.load(Ordering::Relaxed) + XET_IDLE_SECONDS);
        if uploads.len() >= MAX_XET_UPLOADS {
            return Err(HubError::Busy("as many uploads run as may at once"));
        }
        let (token, used) = (Uuid::new_v4(), AtomicU64::new(now));
        let upload = Upload { used, scratch: OnceLock::new(), xorbs: Mutex::default() };
        uploads.insert(token, Arc::new(upload));
        Ok(token)
    }

    /// The upload that a request belongs to.
    fn of(&self, headers: &HeaderMap) -> Result<Arc<Upload>, HubError> {
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer ")?.parse().ok());
        let uploads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let upload = token.and_then(|token: Uuid| uploads.get(&token)).ok_or(HubError::NoGrant)?;
        upload.used.store(unix_seconds(), Ordering::Relaxed);
        Ok(upload.clone())
    }
}

impl Upload {
    /// Unpacks a xorb; false when it was there.
    fn take(&self, store: &Store, hash: XetHash, body: &mut dyn BufRead) -> Result<bool, HubError> {
        if self.xorbs().contains_key(&hash) {
            return xorb::unpack(body, |_| Ok(())).map(|()| false);
        }
        let scratch = match self.scratch.get() {
            Some(scratch) => scratch,
            None => {
                let made = store.scratch()?;
                self.scratch.get_or_init(|| made)
            }
        };
        let mut chunks = Vec::new();
        xorb::unpack(body, |bytes| {
            chunks.push(Chunk { at: scratch.append(bytes)?, bytes: bytes.len() as u32 });
            Ok(())
        })?;
        self.xorbs().insert(hash, chunks.into());
        Ok(true)
    }

    fn xorbs(&self) -> MutexGuard<'_, HashMap<XetHash, Arc<[Chunk]>>> {
        self.xorbs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a file out of what was sent.
    fn put_together(&self, store: &Store, file: &File) -> Result<(), HubError> {
        if store.has(&file.sha256)?.is_some() {
            return Ok(());
        }
        let size = file.terms.iter().map(|term| u64::from(term.bytes)).sum();
        let mut writer = store.writer(Some(Blob { sha256: file.sha256, size }))?;
        let mut bytes = Vec::new();
        for term in &file.terms {
            let not_sent =
                || HubError::Invalid("the shard names chunks that were not sent in this upload".to_owned());
            let xorb = self.xorbs().get(&term.xorb).cloned().ok_or_else(not_sent)?;
            let chunks = xorb.get(term.chunks.clone()).ok_or_else(not_sent)?;
            let scratch = self.scratch.get().ok_or_else(not_sent)?;
            for chunk in chunks {
                bytes.resize(chunk.bytes as usize, 0);
                scratch.read(&mut bytes, chunk.at)?;
                writer.push(&bytes)?;
            }
        }
        writer.finish()?;
        Ok(())
    }
}

/// A hash as addresses have it: four numbers of 64 bits, of which the bytes are the little-endian ones.
fn parse_hash(text: &str) -> Option<XetHash> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (bytes, digits) in hash.chunks_exact_mut(8).zip(text.as_bytes().chunks_exact(16)) {
        let number = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_as_four_numbers() {
        // the example of the specification, "Converting Hashes to Strings"
        let bytes: [u8; 32] = std::array::from_fn(|at| at as u8);
        let text = "07060504030201000f0e0d0c0b0a0908171615141312111f1e1d1c1b1a1918";
        assert_eq!(parse_hash(text), None, "too short");
        let text = "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918";
        assert_eq!(parse_hash(text), Some(bytes));
        assert_eq!(parse_hash(&text.replace('0', "+")), None);
        assert_eq!(parse_hash(&text.replace('0', "ä")), None);
    }

    #[test]
    fn files_are_put_together_from_chunks_that_were_sent() {
        use hub::Sha256Digest;
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("a store");
        let uploads = Uploads::default();
        let token = uploads.begin().expect("room");
        let bearer = |token: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"));
            headers
        };
        assert!(matches!(uploads.of(&bearer(&Uuid::new_v4().to_string())), Err(HubError::NoGrant)));
        assert!(matches!(uploads.of(&HeaderMap::new()), Err(HubError::NoGrant)));
        let upload = uploads.of(&bearer(&token.to_string())).expect("begun above");
        for (hash, chunks) in [([1; 32], &["ab", "cd", "ef"][..]), ([2; 32], &["gh"])] {
            let body = xorb::tests::plain(chunks);
            assert_eq!(upload.take(&store, hash, &mut body.as_slice()), Ok(true));
            assert_eq!(upload.take(&store, hash, &mut body.as_slice()), Ok(false));
        }
        let term = |xorb, chunks: std::ops::Range<usize>| shard::Term {
            xorb: [xorb; 32],
            bytes: 2 * chunks.len() as u32,
            chunks,
        };
        let file = |text: &str, terms| File { sha256: Sha256Digest::of(text.as_bytes()), terms };
        let made = file("cdefghab", vec![term(1, 1..3), term(2, 0..1), term(1, 0..1)]);
        assert_eq!(upload.put_together(&store, &made), Ok(()));
        assert_eq!(
            std::fs::read(store.blob_path(&made.sha256).expect("stored")).expect("a file"),
            b"cdefghab"
        );
        for wrong in [
            file("cd", vec![term(1, 0..1)]),
            file("abcdefgh", vec![term(1, 0..4)]),
            file("x", vec![term(3, 0..1)]),
            File { sha256: Sha256Digest::of(b"ab"), terms: vec![shard::Term { bytes: 1, ..term(1, 0..1) }] },
        ] {
            assert!(upload.put_together(&store, &wrong).is_err());
            assert_eq!(store.has(&wrong.sha256).expect("a store"), None);
        }
    }
}
