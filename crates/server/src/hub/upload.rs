//! Large files on their way in: LFS's batch, and the addresses that its answers hold.
//!
//! Hugging Face's clients send files without their key, as to a bucket of a cloud: what lets them in is the address,
//! which is signed, names the digest and the size of what may be sent there, and expires. Very large files are sent in
//! parts, so that a broken connection costs one of them.

use super::body::read;
use super::request::Fields;
use super::{Hub, HubError};
use crate::error::quoted;
use crate::limits::{
    BLOB_PIECE_BYTES, MAX_LFS_OBJECTS, MAX_UPLOAD_PARTS, MIN_UPLOAD_PART_BYTES, MULTIPART_BYTES,
    UPLOAD_SECONDS,
};
use crate::state::unix_seconds;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use hub::limits::MAX_BLOB_BYTES;
use hub::store::Blob;
use hub::{Sha256Digest, StoreError};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::Sha256;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

/// The path of an upload's address; its digest follows.
pub const UPLOADS: &str = "/hub/uploads";

/// An object of LFS's batch.
#[derive(Clone, Debug, Deserialize)]
pub struct LfsObject {
    /// The SHA-256.
    pub oid: String,
    /// Bytes.
    pub size: u64,
}

/// LFS's batch: what somebody is about to send.
#[derive(Clone, Debug, Deserialize)]
pub struct LfsBatch {
    /// `upload`.
    pub operation: String,
    /// The ways of sending that the client knows; `basic` when absent.
    #[serde(default)]
    pub transfers: Vec<String>,
    /// What it is about.
    pub objects: Vec<LfsObject>,
    /// `sha256`, when it is said.
    pub hash_algo: Option<String>,
}

/// What may be sent to an address, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grant {
    blob: Blob,
    /// In seconds since 1970.
    expires: u64,
    /// Bytes of each part but the last; 0 when the file is sent at once.
    part_bytes: u64,
    /// Which part, from 1; 0 for the whole.
    part: u64,
}

/// Signs addresses, for as long as the server runs.
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// One with a key of its own.
    pub fn random() -> Signer {
        let random = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat();
        Signer(Hmac::new_from_slice(&random).unwrap_or_else(|_| unreachable!("keys may have any length")))
    }

    fn address(&self, origin: &str, grant: &Grant) -> String {
        let signature = hex(&self.mac(grant).finalize().into_bytes());
        let Grant { blob: Blob { sha256, size }, expires, part_bytes, part } = grant;
        format!(
            "{origin}{UPLOADS}/{sha256}?size={size}&expires={expires}&part_bytes={part_bytes}&part={part}\
             &signature={signature}"
        )
    }

    /// The grant of an address, if it was signed here and has not expired.
    fn check(&self, sha256: &str, fields: &Fields, now: u64) -> Result<Grant, HubError> {
        let number = |name| fields.get(name).and_then(|value| value.parse().ok()).ok_or(HubError::NoGrant);
        let grant = Grant {
            blob: Blob { sha256: sha256.parse().map_err(|_| HubError::NoGrant)?, size: number("size")? },
            expires: number("expires")?,
            part_bytes: number("part_bytes")?,
            part: number("part")?,
        };
        let signature = fields.get("signature").and_then(unhex).ok_or(HubError::NoGrant)?;
        // compared in a time that says nothing about how much of it was right
        self.mac(&grant).verify_slice(&signature).map_err(|_| HubError::NoGrant)?;
        if grant.expires < now { Err(HubError::NoGrant) } else { Ok(grant) }
    }

    fn mac(&self, grant: &Grant) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        let Grant { blob, expires, part_bytes, part } = grant;
        mac.update(format!("{} {} {expires} {part_bytes} {part}", blob.sha256, blob.size).as_bytes());
        mac
    }
}

impl Grant {
    /// The bytes of the file that may be sent.
    fn range(&self) -> Range<u64> {
        match self.part {
            0 => 0..self.blob.size,
            part => {
                let start = (part - 1).saturating_mul(self.part_bytes).min(self.blob.size);
                start..start.saturating_add(self.part_bytes).min(self.blob.size)
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect())
}

/// What a client has to do for one object: nothing, to send it to these addresses, or to give up.
pub enum Answer {
    /// The hub has it.
    Stored,
    /// LFS's `actions`.
    Send(Value),
    /// Why it cannot be.
    Refused(String),
}

impl Hub {
    /// Answers LFS's batch, each object for itself.
    pub fn batch(&self, origin: &str, batch: &LfsBatch) -> Result<Vec<(LfsObject, Answer)>, HubError> {
        if batch.operation != "upload" {
            return Err(HubError::Unsupported(
                "LFS's batch is for uploads; files are downloaded by their paths",
            ));
        }
        if batch.hash_algo.as_deref().is_some_and(|algorithm| algorithm != "sha256") {
            return Err(HubError::Unsupported("content is known by its SHA-256 only"));
        }
        if batch.objects.len() > MAX_LFS_OBJECTS {
            let found = batch.objects.len();
            return Err(HubError::Invalid(format!(
                "{found} objects are more than {MAX_LFS_OBJECTS} in one batch"
            )));
        }
        let in_parts = batch.transfers.iter().any(|transfer| transfer == "multipart");
        let answer = |object: &LfsObject| Ok((object.clone(), self.object(origin, object, in_parts)?));
        batch.objects.iter().map(answer).collect()
    }

    fn object(&self, origin: &str, object: &LfsObject, in_parts: bool) -> Result<Answer, HubError> {
        let sha256: Sha256Digest = match object.oid.parse() {
            Ok(sha256) => sha256,
            Err(_) => return Ok(Answer::Refused(format!("`{}` is not a SHA-256", quoted(&object.oid)))),
        };
        let blob = Blob { sha256, size: object.size };
        match self.store.has(&sha256)? {
            Some(stored) if stored == blob => return Ok(Answer::Stored),
            Some(stored) => {
                let Blob { size, .. } = stored;
                return Ok(Answer::Refused(format!(
                    "the content {sha256} has {size} bytes, not {}",
                    blob.size
                )));
            }
            None if blob.size > MAX_BLOB_BYTES => {
                return Ok(Answer::Refused(format!("files have at most {MAX_BLOB_BYTES} bytes")));
            }
            None => {}
        }
        let expires = unix_seconds() + UPLOAD_SECONDS;
        let mut upload = Map::new();
        let whole = if in_parts && blob.size >= MULTIPART_BYTES {
            let part_bytes = blob.size.div_ceil(MAX_UPLOAD_PARTS).max(MIN_UPLOAD_PART_BYTES);
            let address = |part| self.signer.address(origin, &Grant { blob, expires, part_bytes, part });
            let mut header = Map::new();
            header.insert("chunk_size".to_owned(), part_bytes.to_string().into());
            header.extend((1..=blob.size.div_ceil(part_bytes)).map(|n| (n.to_string(), address(n).into())));
            upload.insert("header".to_owned(), header.into());
            address(0)
        } else {
            self.signer.address(origin, &Grant { blob, expires, part_bytes: 0, part: 0 })
        };
        upload.insert("href".to_owned(), whole.into());
        Ok(Answer::Send(json!({"upload": upload})))
    }
}

/// What ModelScope's clients want to hear; Hugging Face's look at the status alone.
fn stored() -> Json<Value> {
    Json(json!({"Code": 200, "Success": true, "Message": "success", "Data": null}))
}

/// Takes a file, or a part of one.
pub async fn put(
    State(hub): State<Arc<Hub>>,
    Path(sha256): Path<String>,
    fields: Fields,
    request: Request,
) -> Result<Response, HubError> {
    let grant = hub.signer.check(&sha256, &fields, unix_seconds())?;
    let range = grant.range();
    let bytes = range.end - range.start;
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|declared: u64| declared != bytes) {
        return Err(HubError::Invalid(format!(
            "{} bytes are sent to an address for {bytes}",
            declared.unwrap_or(0)
        )));
    }
    let _slot = hub.upload_slot()?;
    let store = hub.store.clone();
    read(request.into_body(), bytes, hub.timeouts.body_read, move |body| match grant.part {
        0 => store.put_announced(grant.blob, body).map(|_| ()).map_err(HubError::from),
        _ => put_part(&store, &grant, body),
    })
    .await?;
    // the client sends it back when all parts are there
    let etag = format!("\"{}\"", grant.part);
    Ok(([(header::ETAG, etag)], stored()).into_response())
}

fn put_part(store: &hub::Store, grant: &Grant, body: &mut dyn Read) -> Result<(), HubError> {
    if store.has(&grant.blob.sha256)?.is_some() {
        return Ok(());
    }
    let partial = store.partial(grant.blob)?;
    let range = grant.range();
    let mut at = range.start;
    let mut piece = vec![0; BLOB_PIECE_BYTES as usize];
    loop {
        match body.read(&mut piece).map_err(StoreError::Content)? {
            0 => break,
            read => {
                partial.write_at(&piece[..read], at)?;
                at += read as u64;
            }
        }
    }
    if at != range.end {
        let (announced, found) = (range.end - range.start, at - range.start);
        return Err(StoreError::OtherSize { announced, found }.into());
    }
    Ok(partial.record(range)?)
}

/// Puts the parts of a file together.
pub async fn complete(
    State(hub): State<Arc<Hub>>,
    Path(sha256): Path<String>,
    fields: Fields,
) -> Result<Json<Value>, HubError> {
    let grant = hub.signer.check(&sha256, &fields, unix_seconds())?;
    if grant.part != 0 || grant.part_bytes == 0 {
        return Err(HubError::NoGrant);
    }
    hub.blocking(move |hub| {
        // a client that did not wait for the first answer asks again
        if hub.store.has(&grant.blob.sha256)?.is_none() {
            let partial = hub.store.partial(grant.blob)?;
            if !partial.missing().is_empty() {
                return Err(HubError::Invalid("some parts of the file have not been sent".to_owned()));
            }
            partial.finish()?;
        }
        Ok(stored())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            blob: Blob { sha256: Sha256Digest::of(b"x"), size: 10 },
            expires: 1000,
            part_bytes: 4,
            part: 3,
        }
    }

    fn parts(address: &str) -> (&str, &str) {
        address.rsplit('/').next().and_then(|tail| tail.split_once('?')).expect("an address")
    }

    #[test]
    fn an_address_is_good_as_it_was_given_and_for_its_time() {
        let signer = Signer::random();
        let address = signer.address("http://hub", &grant());
        let (sha256, query) = parts(&address);
        let check =
            |sha256: &str, query: &str, now| signer.check(sha256, &Fields::parse(query.as_bytes()), now);
        assert_eq!(check(sha256, query, 1000), Ok(grant()));
        assert_eq!(check(sha256, query, 1001), Err(HubError::NoGrant), "too late");
        let other = Sha256Digest::of(b"y").to_string();
        assert_eq!(check(&other, query, 0), Err(HubError::NoGrant), "another digest");
        for (from, to) in [
            ("size=10", "size=11"),
            ("expires=1000", "expires=9999"),
            ("part_bytes=4", "part_bytes=5"),
            ("part=3", "part=2"),
            ("signature=", "signature=00"),
            ("&signature=", "&x="),
        ] {
            let forged = query.replacen(from, to, 1);
            assert_eq!(check(sha256, &forged, 0), Err(HubError::NoGrant), "{forged}");
        }
        let stranger = Signer::random();
        assert_eq!(stranger.check(sha256, &Fields::parse(query.as_bytes()), 0), Err(HubError::NoGrant));
    }

    #[test]
    fn parts_cover_a_file_without_overlap() {
        let ranges: Vec<_> = (1..=3).map(|part| Grant { part, ..grant() }.range()).collect();
        assert_eq!(ranges, [0..4, 4..8, 8..10]);
        assert_eq!(Grant { part: 0, ..grant() }.range(), 0..10);
    }

    #[tokio::test]
    async fn a_file_comes_in_parts_in_any_order() {
        use crate::auth::Access;
        use crate::options::{HubOptions, Timeouts};
        use tower::ServiceExt;

        let root = tempfile::tempdir().expect("a directory");
        let options = HubOptions { store: hub::Store::open(root.path()).expect("a store"), anonymous: false };
        let hub = Arc::new(Hub::new(options, Arc::new(Access::new(&[], &[])), Timeouts::default(), 1000));
        let routes =
            axum::Router::new().route("/hub/uploads/{sha256}", axum::routing::put(put).post(complete));
        let routes = routes.with_state(hub.clone());
        let blob = Blob { sha256: Sha256Digest::of(b"0123456789"), size: 10 };
        let send = async |method: &str, part: u64, body: &'static str| {
            let grant = Grant { blob, expires: u64::MAX, part_bytes: 4, part };
            let address = hub.signer.address("", &grant);
            let request = Request::builder()
                .method(method)
                .uri(address)
                .body(axum::body::Body::from(body))
                .expect("a request");
            let response = routes.clone().oneshot(request).await.expect("an answer");
            (response.status().as_u16(), response.headers().get(header::ETAG).is_some())
        };
        assert_eq!(send("PUT", 3, "89").await, (200, true));
        assert_eq!(send("PUT", 1, "012").await.0, 400, "a part is sent whole");
        assert_eq!(send("PUT", 1, "01234").await.0, 413, "and no further");
        assert_eq!(send("PUT", 4, "x").await.0, 413, "there is nothing beyond the end");
        assert_eq!(send("PUT", 1, "wxyz").await.0, 200);
        assert_eq!(send("POST", 0, "").await.0, 400, "a part is missing");
        assert_eq!(send("PUT", 2, "4567").await.0, 200);
        assert_eq!(send("POST", 0, "").await.0, 400, "the digest is another");
        assert_eq!(hub.store.has(&blob.sha256).expect("a store"), None);
        for (part, body) in [(2, "4567"), (1, "0123"), (3, "89")] {
            assert_eq!(send("PUT", part, body).await.0, 200);
        }
        assert_eq!(send("POST", 0, "").await.0, 200);
        assert_eq!(send("POST", 0, "").await.0, 200, "who asks again hears the same");
        assert_eq!(hub.store.has(&blob.sha256).expect("a store"), Some(blob));
    }
}
