//! Shards: which chunks files are put together of. What they say of xorbs, behind that, is for services that tell clients
//! what they have.

use super::XetHash;
use crate::hub::HubError;
use crate::limits::MAX_SHARD_TERMS;
use hub::{Sha256Digest, StoreError};
use std::io::{self, Read};
use std::ops::Range;

/// How a shard begins: `HFRepoMetaData` and a random number.
const TAG: &[u8] = b"HFRepoMetaData";
const VERSION: u64 = 2;
/// Each term has a hash that proves that the client knows its chunks; here it has just sent them.
const WITH_PROOFS: u32 = 1 << 31;
/// The SHA-256 follows the terms.
const WITH_SHA256: u32 = 1 << 30;

/// A file to put together.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Of its content.
    pub sha256: Sha256Digest,
    /// What it is made of, in order.
    pub terms: Vec<Term>,
}

/// Chunks of a xorb.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Which xorb.
    pub xorb: XetHash,
    /// Bytes of all of the chunks.
    pub bytes: u32,
    /// Which of its chunks.
    pub chunks: Range<usize>,
}

/// Reads a shard, and hands on each of its files.
///
/// # Errors
/// When it is none, or names a file without its SHA-256, and what `take` fails with.
pub fn read(body: &mut dyn Read, mut take: impl FnMut(File) -> Result<(), HubError>) -> Result<(), HubError> {
    let (tag, version) = entry(body)?;
    if !tag.starts_with(TAG) || version[..8] != VERSION.to_le_bytes() {
        return Err(wrong("is none of version 2"));
    }
    loop {
        let (hash, rest) = entry(body)?;
        if hash == [0xff; 32] {
            break;
        }
        let (flags, count) = (number(&rest, 0), number(&rest, 4) as usize);
        if count > MAX_SHARD_TERMS {
            return Err(wrong(&format!("has a file of more than {MAX_SHARD_TERMS} parts")));
        }
        let mut terms = Vec::new();
        for _ in 0..count {
            let (xorb, rest) = entry(body)?;
            let chunks = number(&rest, 8) as usize..number(&rest, 12) as usize;
            terms.push(Term { xorb, bytes: number(&rest, 4), chunks });
        }
        if flags & WITH_PROOFS != 0 {
            for _ in 0..count {
                entry(body)?;
            }
        }
        if flags & WITH_SHA256 == 0 {
            return Err(wrong("names a file without its SHA-256"));
        }
        let (mut sha256, _) = entry(body)?;
        // as all hashes of shards, four numbers of 64 bits
        sha256.chunks_exact_mut(8).for_each(<[u8]>::reverse);
        take(File { sha256: Sha256Digest::from_bytes(sha256), terms })?;
    }
    io::copy(body, &mut io::sink()).map_err(StoreError::Content)?;
    Ok(())
}

/// The next entry: a hash, and 16 bytes of which each kind makes something else.
fn entry(body: &mut dyn Read) -> Result<(XetHash, [u8; 16]), HubError> {
    let (mut hash, mut rest) = ([0; 32], [0; 16]);
    for part in [&mut hash[..], &mut rest[..]] {
        body.read_exact(part).map_err(StoreError::Content)?;
    }
    Ok((hash, rest))
}

fn number(rest: &[u8; 16], at: usize) -> u32 {
    u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]])
}

fn wrong(what: &str) -> HubError {
    HubError::Invalid(format!("the shard {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(hash: [u8; 32], numbers: [u32; 4]) -> Vec<u8> {
        [hash.to_vec(), numbers.map(u32::to_le_bytes).concat()].concat()
    }

    fn head(version: u32) -> Vec<u8> {
        let mut tag = [7; 32];
        tag[..TAG.len()].copy_from_slice(TAG);
        entry(tag, [version, 0, 0, 0])
    }

    fn files(mut shard: &[u8]) -> Result<Vec<File>, HubError> {
        let mut files = Vec::new();
        read(&mut shard, |file| {
            files.push(file);
            Ok(())
        })?;
        Ok(files)
    }

    #[test]
    fn files_are_read_with_and_without_proofs() {
        let sha256 = Sha256Digest::of(b"content");
        let mut written = *sha256.bytes();
        written.chunks_exact_mut(8).for_each(<[u8]>::reverse);
        let shard = [
            head(2),
            entry([1; 32], [WITH_PROOFS | WITH_SHA256, 2, 0, 0]),
            entry([2; 32], [0, 100, 0, 3]),
            entry([3; 32], [0, 50, 7, 8]),
            entry([4; 32], [0; 4]),
            entry([5; 32], [0; 4]),
            entry(written, [0; 4]),
            entry([6; 32], [WITH_SHA256, 0, 0, 0]),
            entry(written, [0; 4]),
            entry([0xff; 32], [0; 4]),
            b"what it says of xorbs".to_vec(),
        ];
        let terms = vec![
            Term { xorb: [2; 32], bytes: 100, chunks: 0..3 },
            Term { xorb: [3; 32], bytes: 50, chunks: 7..8 },
        ];
        let expected = vec![File { sha256, terms }, File { sha256, terms: Vec::new() }];
        assert_eq!(files(&shard.concat()), Ok(expected));
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        let end = entry([0xff; 32], [0; 4]);
        for (what, shard) in [
            ("another version", [head(3), end.clone()].concat()),
            ("no shard", entry([1; 32], [2, 0, 0, 0])),
            ("no end", head(2)),
            ("no SHA-256", [head(2), entry([1; 32], [0; 4]), end].concat()),
            ("too many parts", [head(2), entry([1; 32], [WITH_SHA256, u32::MAX, 0, 0])].concat()),
            ("cut", head(2)[..40].to_vec()),
        ] {
            assert!(files(&shard).is_err(), "{what}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(tail in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = files(&[head(2), tail].concat());
        }
    }
}
