//! What files are known by: SHA-256 in the store, git's object id where hubs list small files.

use serde::{Deserialize, Serialize};
use sha2::Digest;
use std::fmt;
use std::io::{self, Read};
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

impl Sha256Digest {
    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Sha256Digest {
        Sha256Digest(sha2::Sha256::digest(content).into())
    }

    /// The digest of all that `content` reads, and how many bytes that is.
    ///
    /// # Errors
    /// When reading fails.
    pub fn of_reader(content: &mut dyn Read) -> io::Result<(Sha256Digest, u64)> {
        let (mut hash, mut size) = (Sha256Digester::default(), 0);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return Ok((hash.finish(), size)),
                Ok(read) => {
                    hash.update(&buffer[..read]);
                    size += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The digest whose bytes these are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Sha256Digest {
        Sha256Digest(bytes)
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
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

/// A SHA-256 in the making.
#[derive(Clone, Debug, Default)]
pub struct Sha256Digester(sha2::Sha256);

impl Sha256Digester {
    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest.
    pub fn finish(self) -> Sha256Digest {
        Sha256Digest(self.0.finalize().into())
    }
}

/// Bytes that are read before they are hashed: they stay in the second-level cache.
pub(crate) const READ_BYTES: usize = 256 << 10;

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

#[cfg(test)]
mod tests {
    use super::*;

    /// As `sha256sum` and `git hash-object` print them.
    #[test]
    fn digests_are_those_of_the_usual_tools() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256Digest::of(b"").to_string(), empty);
        assert_eq!(GitDigest::of(b"").to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(GitDigest::of(b"hello\n").to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
        let long = vec![7; 3 * READ_BYTES + 1];
        let read = Sha256Digest::of_reader(&mut &long[..]).unwrap();
        assert_eq!(read, (Sha256Digest::of(&long), long.len() as u64));
    }

    #[test]
    fn the_pointer_of_an_lfs_file_is_git_s() {
        // `git lfs pointer` of a file with `hello\n`, hashed by `git hash-object`
        let id = GitDigest::of_lfs_pointer(&Sha256Digest::of(b"hello\n"), 6);
        assert_eq!(id.to_string(), "fa61e1ef71c9908c0926776a4aa3504b3a27f159");
    }

    #[test]
    fn only_digits_of_the_right_number_are_a_digest() {
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(digits.parse::<Sha256Digest>().unwrap().to_string(), digits);
        assert_eq!(digits.to_uppercase().parse::<Sha256Digest>().unwrap().to_string(), digits);
        for bad in [
            "",
            &digits[1..],
            &format!("{digits}0"),
            &format!("g{}", &digits[1..]),
            &format!("+{}", &digits[1..]),
            &format!(" {}", &digits[1..]),
            &format!("é{}", &digits[2..]),
            "../../etc/passwd",
        ] {
            let error = bad.parse::<Sha256Digest>().unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
        }
        assert!("a".repeat(1_000_000).parse::<GitDigest>().unwrap_err().to_string().len() < 200);
    }
}
