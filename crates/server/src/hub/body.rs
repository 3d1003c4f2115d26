//! A request's body as something that blocking code reads while it arrives.

use super::HubError;
use crate::error::ApiError;
use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use std::io::{self, BufRead, Read};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

/// Pieces of a body that wait to be read; one is what the connection buffers, at most.
const WAITING_PIECES: usize = 4;

enum Piece {
    Data(Bytes),
    /// All of it was there. Without it, the body broke off.
    End,
}

/// A body that is still arriving.
pub struct BodyReader {
    pieces: Receiver<Piece>,
    rest: Bytes,
    ended: bool,
}

/// Lets `work` read `body` on a thread where it may block. A body of more than `limit` bytes, or one of which nothing
/// comes for `patience`, is an error to `work` and the answer to the caller.
pub async fn read<T: Send + 'static>(
    body: Body,
    limit: u64,
    patience: Duration,
    work: impl FnOnce(&mut BodyReader) -> Result<T, HubError> + Send + 'static,
) -> Result<T, HubError> {
    let (sender, pieces) = channel(WAITING_PIECES);
    let mut reader = BodyReader { pieces, rest: Bytes::new(), ended: false };
    let work = tokio::task::spawn_blocking(move || work(&mut reader));
    let sent = send(body, limit, patience, sender).await;
    let done = work.await.map_err(HubError::internal)?;
    // why the body broke off is the reason of whatever `work` made of it
    sent.and(done)
}

async fn send(mut body: Body, limit: u64, patience: Duration, pieces: Sender<Piece>) -> Result<(), HubError> {
    let mut came = 0_u64;
    loop {
        let frame = timeout(patience, body.frame()).await.map_err(|_| ApiError::BodyTimeout)?;
        let piece = match frame {
            None => Piece::End,
            Some(frame) => match frame.map_err(|_| ApiError::BodyBroken)?.into_data() {
                Ok(data) => Piece::Data(data),
                Err(_) => continue,
            },
        };
        let ended = matches!(piece, Piece::End);
        if let Piece::Data(data) = &piece {
            came += data.len() as u64;
            if came > limit {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                return Err(ApiError::BodyTooLarge { limit }.into());
            }
        }
        // a reader that is gone has found a reason of its own
        if pieces.send(piece).await.is_err() || ended {
            return Ok(());
        }
    }
}

impl BufRead for BodyReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.rest.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(data)) => self.rest = data,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(&self.rest)
    }

    fn consume(&mut self, bytes: usize) {
        self.rest.advance(bytes);
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(pieces: &'static [&'static str], broken: bool) -> Body {
        let pieces = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        let end = broken.then(|| Err(io::Error::other("reset")));
        Body::from_stream(futures::stream::iter(pieces.chain(end)))
    }

    fn all(reader: &mut BodyReader) -> Result<String, HubError> {
        let mut text = String::new();
        reader.read_to_string(&mut text).map_err(|error| HubError::Invalid(error.to_string()))?;
        Ok(text)
    }

    #[tokio::test]
    async fn a_body_is_read_whole_or_not_at_all() {
        let patience = Duration::from_secs(30);
        let whole = read(body(&["ab", "", "c"], false), 3, patience, all).await;
        assert_eq!(whole.as_deref(), Ok("abc"));
        let long = read(body(&["ab", "cd"], false), 3, patience, all).await;
        assert_eq!(long, Err(ApiError::BodyTooLarge { limit: 3 }.into()));
        let broken = read(body(&["ab"], true), 3, patience, all).await;
        assert_eq!(broken, Err(ApiError::BodyBroken.into()));
    }

    #[tokio::test]
    async fn a_silent_client_is_not_waited_for() {
        let silent = Body::from_stream(futures::stream::pending::<io::Result<Bytes>>());
        let found = read(silent, 3, Duration::from_millis(1), all).await;
        assert_eq!(found, Err(ApiError::BodyTimeout.into()));
    }

    #[tokio::test]
    async fn work_that_has_seen_enough_ends_the_request() {
        let endless =
            Body::from_stream(futures::stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(b"x"))));
        let refused = |_: &mut BodyReader| Err::<(), _>(HubError::Full);
        let found = read(endless, u64::MAX, Duration::from_secs(30), refused).await;
        assert_eq!(found, Err(HubError::Full));
    }

    #[tokio::test]
    async fn a_client_that_leaves_leaves_nothing_whole() {
        let (sender, pieces) = channel(WAITING_PIECES);
        sender.send(Piece::Data(Bytes::from_static(b"half"))).await.expect("room");
        drop(sender);
        let mut reader = BodyReader { pieces, rest: Bytes::new(), ended: false };
        let found =
            tokio::task::spawn_blocking(move || reader.read_to_end(&mut Vec::new())).await.expect("thread");
        assert_eq!(found.map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
    }
}
