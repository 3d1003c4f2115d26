//! A stored file as a response: whole, in part, or not again.

use super::HubError;
use crate::limits::BLOB_PIECE_BYTES;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A stored file that a client may have.
pub struct Download {
    /// Its content.
    pub file: File,
    /// Bytes.
    pub size: u64,
    /// What it is known by, without quotes.
    pub etag: String,
    /// The last part of its path, which browsers save it as.
    pub name: String,
}

impl Download {
    /// The answer to a request with these headers: 200, 206, 304 or 416.
    pub fn respond(self, request: &HeaderMap) -> Result<Response, HubError> {
        let etag = format!("\"{}\"", self.etag);
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, value(&etag)?);
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        // it is somebody's file: a browser shall neither show it nor run what is in it
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CONTENT_DISPOSITION, value(&disposition(&self.name))?);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers
            .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
        if names(request, header::IF_NONE_MATCH, &etag) {
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        // a range of what the client has seen before is of no use once that has changed
        let same = !request.contains_key(header::IF_RANGE) || names(request, header::IF_RANGE, &etag);
        let asked = request.get(header::RANGE).filter(|_| same).and_then(|range| range.to_str().ok());
        let (status, range) = match asked.map_or(Asked::All, |range| parse_range(range, self.size)) {
            Asked::All => (StatusCode::OK, 0..self.size),
            Asked::Part(range) => {
                let text = format!("bytes {}-{}/{}", range.start, range.end - 1, self.size);
                headers.insert(header::CONTENT_RANGE, value(&text)?);
                (StatusCode::PARTIAL_CONTENT, range)
            }
            Asked::Beyond => {
                headers.insert(header::CONTENT_RANGE, value(&format!("bytes */{}", self.size))?);
                (StatusCode::RANGE_NOT_SATISFIABLE, 0..0)
            }
        };
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        Ok((status, headers, pieces(self.file, range)).into_response())
    }
}

fn value(text: &str) -> Result<HeaderValue, HubError> {
    HeaderValue::from_str(text).map_err(HubError::internal)
}

/// `attachment` with the name in UTF-8 (RFC 8187), and in ASCII for those who don't know that.
fn disposition(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_. ".contains(c) { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    let encoded: String = name
        .bytes()
        .map(|byte| match byte {
            b'-' | b'_' | b'.' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    format!("attachment; filename*=UTF-8''{encoded}; filename=\"{ascii}\"")
}

/// Whether a header that lists entity tags has this one.
fn names(request: &HeaderMap, name: header::HeaderName, etag: &str) -> bool {
    let values = request.get_all(name);
    let mut tags = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    tags.any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag)
}

/// What a `Range` header asks of a file.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// Everything: what is not understood may be ignored (RFC 9110, 14.2), and so are several ranges at once.
    All,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// None that the file has.
    Beyond,
}

fn parse_range(text: &str, size: u64) -> Asked {
    let Some((unit, spec)) = text.split_once('=') else { return Asked::All };
    let Some((first, last)) = spec.trim().split_once('-') else { return Asked::All };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Asked::All;
    }
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        // a number that is too large to be one is beyond every file
        true => Some(text.parse::<u64>().unwrap_or(u64::MAX)),
        false => None,
    };
    match (first.is_empty(), last.is_empty(), number(first), number(last)) {
        (false, true, Some(start), _) if start < size => Asked::Part(start..size),
        (false, false, Some(start), Some(end)) if start <= end && start < size => {
            Asked::Part(start..end.saturating_add(1).min(size))
        }
        (false, false, Some(start), Some(end)) if start > end => Asked::All,
        (true, false, _, Some(count)) if count > 0 && size > 0 => Asked::Part(size - count.min(size)..size),
        (true, true, ..) | (_, _, None, _) | (_, _, _, None) => Asked::All,
        _ => Asked::Beyond,
    }
}

/// The bytes of a file as they are taken, a piece at a time.
fn pieces(file: File, range: Range<u64>) -> Body {
    let file = Arc::new(file);
    Body::from_stream(futures::stream::try_unfold(range, move |range| {
        let file = file.clone();
        async move {
            if range.is_empty() {
                return Ok::<_, io::Error>(None);
            }
            let bytes = (range.end - range.start).min(BLOB_PIECE_BYTES);
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; bytes as usize];
                file.read_exact_at(&mut piece, range.start)?;
                Ok::<_, io::Error>(Bytes::from(piece))
            });
            let piece = read.await.map_err(io::Error::other)?;
            if let Err(error) = &piece {
                tracing::error!(%error, "a stored file cannot be read");
            }
            Ok(Some((piece?, range.start + bytes..range.end)))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_as_the_standard_says() {
        for (text, size, expected) in [
            ("bytes=0-0", 10, Asked::Part(0..1)),
            ("bytes=2-", 10, Asked::Part(2..10)),
            ("bytes=2-99", 10, Asked::Part(2..10)),
            ("Bytes=9-18446744073709551615", 10, Asked::Part(9..10)),
            ("bytes=-3", 10, Asked::Part(7..10)),
            ("bytes=-30", 10, Asked::Part(0..10)),
            ("bytes=10-", 10, Asked::Beyond),
            ("bytes=10-11", 10, Asked::Beyond),
            ("bytes=-0", 10, Asked::Beyond),
            ("bytes=0-", 0, Asked::Beyond),
            ("bytes=-1", 0, Asked::Beyond),
            ("bytes=99999999999999999999999-", 10, Asked::Beyond),
            ("bytes=5-2", 10, Asked::All),
            ("bytes=0-1,4-5", 10, Asked::All),
            ("bytes=-", 10, Asked::All),
            ("bytes=+1-2", 10, Asked::All),
            ("bytes=a-b", 10, Asked::All),
            ("bytes=1", 10, Asked::All),
            ("lines=1-2", 10, Asked::All),
            ("", 10, Asked::All),
        ] {
            assert_eq!(parse_range(text, size), expected, "{text} of {size}");
        }
    }

    #[test]
    fn a_name_cannot_leave_its_header() {
        for name in ["a\"; x=\"b", "a\r\nSet-Cookie: b", "模型.bin", "a b'c%.bin"] {
            let text = disposition(name);
            assert!(HeaderValue::from_str(&text).is_ok(), "{text}");
            assert_eq!(text.matches('"').count(), 2, "{text}");
            assert_eq!(text.matches(';').count(), 2, "{text}");
        }
        assert_eq!(disposition("a b.bin"), "attachment; filename*=UTF-8''a%20b.bin; filename=\"a b.bin\"");
    }
}
