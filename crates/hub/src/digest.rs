//! What files are known by: SHA-256 in the store, git's object id where hubs list small files.

use serde::{Deserialize, Serialize};
use sha2::Digest;
use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

/// The SHA-256 of a blob. Written as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sha256Digest([u8; 32]);

/// A git object id: the SHA-1 of `blob SIZE\0` and the content, as `git hash-object` prints it. Written as 40
/// lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct GitDigest([u8; 20]);

/// Text that is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what} digest: that has {digits} hexadecimal digits")]
pub struct DigestError {
    /// What it should be.
    pub what: &'static str,
    /// How many digits that has.
    pub digits: usize,
    /// What was given, cut when it is long.
    pub text: String,
}

/// Size and SHA-256 of what went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digests {
    /// Bytes.
    pub size: u64,
    /// Of the content.
    pub sha256: Sha256Digest,
}

impl Sha256Digest {
    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Sha256Digest {
        Sha256Digest(sha2::Sha256::digest(content).into())
    }

    /// The digest whose bytes these are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Sha256Digest {
        Sha256Digest(bytes)
    }
}

impl GitDigest {
    /// The object id of a blob with this content.
    pub fn of(content: &[u8]) -> GitDigest {
        let mut hash = GitDigester::new(content.len() as u64);
        hash.update(content);
        hash.finish()
    }

    /// The object id of the pointer that git keeps in place of an LFS file: what hubs list as the `oid` beside
    /// `lfs.oid`.
    pub fn of_lfs_pointer(sha256: &Sha256Digest, size: u64) -> GitDigest {
        let pointer =
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n");
        GitDigest::of(pointer.as_bytes())
    }

    /// The digest whose bytes these are.
    pub const fn from_bytes(bytes: [u8; 20]) -> GitDigest {
        GitDigest(bytes)
    }
}

/// A git object id in the making. Its size has to be known first: it is part of what is hashed.
pub struct GitDigester(sha1::Sha1);

impl GitDigester {
    /// For a blob of `size` bytes.
    pub fn new(size: u64) -> GitDigester {
        let mut hash = sha1::Sha1::new();
        hash.update(format!("blob {size}\0"));
        GitDigester(hash)
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The id.
    pub fn finish(self) -> GitDigest {
        GitDigest(self.0.finalize().into())
    }
}

/// Copies `from` to `to` and digests what goes by.
///
/// # Errors
/// When reading or writing fails, or when `from` has more than `max` bytes (`FileTooLarge`); some may be written by then.
pub fn copy(from: &mut dyn Read, to: &mut dyn Write, max: u64) -> io::Result<Digests> {
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    let mut size = 0_u64;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        size = size.saturating_add(read as u64);
        if size > max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {max} bytes")));
        }
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
    }
    Ok(Digests { size, sha256: Sha256Digest(hash.finalize().into()) })
}

/// Bytes that are read before they are hashed and written: they stay in the second-level cache.
const COPY_BYTES: usize = 256 << 10;

/// The bytes that `text` writes in hexadecimal digits of either case.
fn parse_hex<const BYTES: usize>(text: &str, what: &'static str) -> Result<[u8; BYTES], DigestError> {
    let error = || DigestError { what, digits: 2 * BYTES, text: text.chars().take(2 * BYTES + 1).collect() };
    let digits = text.as_bytes();
    if digits.len() != 2 * BYTES {
        return Err(error());
    }
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let value = |digit: u8| (digit as char).to_digit(16);
        let (Some(high), Some(low)) = (value(pair[0]), value(pair[1])) else { return Err(error()) };
        *byte = (high << 4 | low) as u8;
    }
    Ok(bytes)
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! as_text {
    ($digest:ident, $what:literal) => {
        impl fmt::Display for $digest {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $digest {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl FromStr for $digest {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<$digest, DigestError> {
                parse_hex(text, $what).map($digest)
            }
        }

        impl TryFrom<String> for $digest {
            type Error = DigestError;

            fn try_from(text: String) -> Result<$digest, DigestError> {
                text.parse()
            }
        }

        impl From<$digest> for String {
            fn from(digest: $digest) -> String {
                digest.to_string()
            }
        }
    };
}

as_text!(Sha256Digest, "SHA-256");
as_text!(GitDigest, "git");
