//! Chunks as they are sent: each compressed by itself behind a head of eight bytes.

use crate::hub::HubError;
use crate::limits::MAX_CHUNK_BYTES;
use hub::StoreError;
use lz4_flex::frame::FrameDecoder;
use std::io::{self, BufRead, Read};

/// How a chunk is compressed.
#[derive(Clone, Copy)]
enum Compression {
    None,
    Lz4,
    /// LZ4 over all first bytes of groups of four, then all second ones, and so on.
    GroupedLz4,
}

/// Reads a xorb, and hands on each of its chunks.
///
/// # Errors
/// When it is none, and what `take` fails with.
pub fn unpack(
    body: &mut dyn BufRead,
    mut take: impl FnMut(&[u8]) -> Result<(), HubError>,
) -> Result<(), HubError> {
    let (mut packed, mut chunk) = (Vec::new(), Vec::new());
    // what follows the chunks begins with a letter, where they have version 0; the hub finds them without it
    while body.fill_buf().map_err(broken)?.first() == Some(&0) {
        let mut head = [0; 8];
        body.read_exact(&mut head).map_err(broken)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], 0]) as usize;
        let (packed_bytes, compression, bytes) = (number(1), head[4], number(5));
        if packed_bytes > MAX_CHUNK_BYTES || bytes > MAX_CHUNK_BYTES {
            return Err(wrong(&format!("has more than {MAX_CHUNK_BYTES} bytes")));
        }
        let compression = match compression {
            0 => Compression::None,
            1 => Compression::Lz4,
            2 => Compression::GroupedLz4,
            other => return Err(wrong(&format!("is compressed in a way that is not known, {other}"))),
        };
        packed.resize(packed_bytes, 0);
        body.read_exact(&mut packed).map_err(broken)?;
        decompress(&packed, compression, bytes, &mut chunk)?;
        take(&chunk)?;
    }
    io::copy(body, &mut io::sink()).map_err(broken)?;
    Ok(())
}

fn decompress(
    packed: &[u8],
    compression: Compression,
    bytes: usize,
    chunk: &mut Vec<u8>,
) -> Result<(), HubError> {
    chunk.clear();
    match compression {
        Compression::None => chunk.extend_from_slice(packed),
        Compression::Lz4 | Compression::GroupedLz4 => {
            let read = FrameDecoder::new(packed).take(bytes as u64 + 1).read_to_end(chunk);
            read.map_err(|error| wrong(&format!("cannot be decompressed: {error}")))?;
        }
    }
    if chunk.len() != bytes {
        return Err(wrong(&format!("has not the {bytes} bytes that it announces")));
    }
    if matches!(compression, Compression::GroupedLz4) {
        let mut grouped = std::mem::take(chunk).into_iter();
        chunk.resize(bytes, 0);
        for first in 0..4 {
            chunk.iter_mut().skip(first).step_by(4).zip(&mut grouped).for_each(|(to, byte)| *to = byte);
        }
    }
    Ok(())
}

fn wrong(what: &str) -> HubError {
    HubError::Invalid(format!("a chunk of the xorb {what}"))
}

fn broken(error: io::Error) -> HubError {
    StoreError::Content(error).into()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use lz4_flex::frame::FrameEncoder;
    use proptest::prelude::*;
    use std::io::Write;

    fn chunk(packed: &[u8], compression: u8, bytes: usize) -> Vec<u8> {
        let [packed_head, head] = [packed.len(), bytes].map(|n| (n as u32).to_le_bytes());
        [&[0][..], &packed_head[..3], &[compression], &head[..3], packed].concat()
    }

    /// A xorb of these chunks as they are.
    pub fn plain(chunks: &[&str]) -> Vec<u8> {
        chunks.iter().flat_map(|text| chunk(text.as_bytes(), 0, text.len())).collect()
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn unpacked(mut xorb: &[u8]) -> Result<Vec<Vec<u8>>, HubError> {
        let mut chunks = Vec::new();
        unpack(&mut xorb, |chunk| {
            chunks.push(chunk.to_vec());
            Ok(())
        })?;
        Ok(chunks)
    }

    #[test]
    fn chunks_come_out_as_they_went_in() {
        let text = b"abcdabcdabcdabcdabcdefg";
        let grouped: Vec<u8> = (0..4).flat_map(|first| text[first..].iter().step_by(4).copied()).collect();
        let xorb = [
            chunk(text, 0, text.len()),
            chunk(&lz4(text), 1, text.len()),
            chunk(&lz4(&grouped), 2, text.len()),
            b"XETBLOB and what follows".to_vec(),
        ];
        assert_eq!(unpacked(&xorb.concat()), Ok(vec![text.to_vec(); 3]));
        assert_eq!(unpacked(b""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let bomb = lz4(&vec![0; 4 << 20]);
        for (what, xorb) in [
            ("more than it announces", chunk(&lz4(b"abcd"), 1, 3)),
            ("less than it announces", chunk(&lz4(b"abcd"), 1, 5)),
            ("far more than it announces", chunk(&bomb, 1, 100)),
            ("too much", chunk(b"", 1, MAX_CHUNK_BYTES + 1)),
            ("unknown", chunk(b"abcd", 3, 4)),
            ("no LZ4", chunk(b"abcd", 1, 4)),
            ("cut", chunk(b"abcd", 0, 4)[..9].to_vec()),
            ("a cut head", vec![0; 7]),
        ] {
            assert!(unpacked(&xorb).is_err(), "{what}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(head in any::<[u8; 7]>(), tail in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = unpacked(&[&[0], &head[..], &tail].concat());
        }
    }
}
