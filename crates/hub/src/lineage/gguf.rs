//! What a GGUF file says of where its model comes from: the keys of `general` for everybody, and the model card that `wen
//! convert` and `wen train` write into it.
//!
//! Layout after <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. These keys stand at the beginning of files, before
//! the vocabulary, so only the head is read.

use super::Lineage;
use crate::limits::MAX_CARD_BYTES;
use crate::name::RepoId;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The model card.
const CARD: &str = "wen.card";
/// Models that are read where a file says that it was made from several.
const MAX_BASES: u64 = 16;

impl Lineage {
    /// What the file says. What cannot be read says nothing.
    pub(super) fn of_gguf(path: &Path) -> Lineage {
        let head = Head::read(path);
        let card = head.text(CARD).map(Lineage::of_card).unwrap_or_default();
        let bases = (0..head.count("general.base_model.count")).filter_map(|number| head.base(number));
        let license = head.text("general.license.name").or(head.text("general.license"));
        card.or(Lineage {
            base_models: bases.collect(),
            license: license.map(str::to_owned),
            ..Lineage::default()
        })
    }
}

/// The model card inside a GGUF file, if it has one.
pub fn gguf_card(path: &Path) -> Option<String> {
    Head::read(path).texts.remove(CARD)
}

/// Whether a path ends as those of GGUF files do.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}

/// The first GGUF file in a directory, by name.
pub(super) fn first_in(dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    entries.map(|entry| entry.path()).filter(|path| is_gguf(path)).min()
}

/// The texts and the counts at the beginning of a file.
#[derive(Default)]
struct Head {
    texts: HashMap<String, String>,
    counts: HashMap<String, u64>,
}

impl Head {
    fn read(path: &Path) -> Head {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_CARD_BYTES).read_to_end(&mut bytes));
        read.map(|_| Head::parse(&bytes)).unwrap_or_default()
    }

    /// Reads until something is no text or number, or is cut off.
    fn parse(bytes: &[u8]) -> Head {
        let mut head = Head::default();
        let mut reader = Reader(bytes);
        if reader.start().is_some() {
            while head.take(&mut reader).is_some() {}
        }
        head
    }

    /// Reads the next key and its value.
    fn take(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let key = reader.text()?;
        match reader.u32()? {
            // numbers and bools of one, two, four and eight bytes
            0 | 1 | 7 => _ = reader.take(1)?,
            2 | 3 => _ = reader.take(2)?,
            4 => _ = self.counts.insert(key, reader.u32()?.into()),
            5 | 6 => _ = reader.take(4)?,
            8 => _ = self.texts.insert(key, reader.text()?),
            9 => reader.skip_list()?,
            10..=12 => _ = reader.take(8)?,
            _ => return None,
        }
        Some(())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.texts.get(key).map(String::as_str)
    }

    fn count(&self, key: &str) -> u64 {
        self.counts.get(key).copied().unwrap_or_default().min(MAX_BASES)
    }

    /// A model that this one was made from: by its address, whose end is its name, or as it is called.
    fn base(&self, number: u64) -> Option<String> {
        let text = |key: &str| self.text(&format!("general.base_model.{number}.{key}"));
        let name = text("name");
        let of_owner = || Some(format!("{}/{}", text("organization")?, name?));
        let ids = [text("repo_url").and_then(at_the_end), of_owner()];
        let id = ids.into_iter().flatten().find(|id| id.parse::<RepoId>().is_ok());
        id.or_else(|| name.map(str::to_owned))
    }
}

/// `owner/name` at the end of a URL.
fn at_the_end(url: &str) -> Option<String> {
    let mut parts = url.trim_end_matches('/').rsplit('/');
    let (name, owner) = (parts.next()?, parts.next()?);
    Some(format!("{owner}/{name}"))
}

/// Reads from the front and never past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(bytes).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let bytes = self.u64()?;
        Some(std::str::from_utf8(self.take(bytes)?).ok()?.to_owned())
    }

    /// Magic number, version, and how much there is.
    fn start(&mut self) -> Option<()> {
        let is_known = self.take(4)? == b"GGUF" && matches!(self.u32()?, 2 | 3);
        self.take(16)?;
        is_known.then_some(())
    }

    /// A list of texts or numbers.
    fn skip_list(&mut self) -> Option<()> {
        let (kind, count) = (self.u32()?, self.u64()?);
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 => {
                for _ in 0..count {
                    let bytes = self.u64()?;
                    self.take(bytes)?;
                }
                return Some(());
            }
            10..=12 => 8,
            _ => return None,
        };
        self.take(count.checked_mul(width)?).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    /// A file's head with these entries: key, type, value.
    fn head(entries: &[(&str, u32, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = [&b"GGUF"[..], &3u32.to_le_bytes(), &[0; 16]].concat();
        for (key, kind, value) in entries {
            bytes.extend([text(key), kind.to_le_bytes().to_vec(), value.clone()].concat());
        }
        bytes
    }

    fn lineage(bytes: &[u8]) -> Lineage {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.GGUF"), bytes).unwrap();
        let read = Lineage::read(dir.path());
        assert_eq!(Lineage::read(&dir.path().join("x.GGUF")), read);
        read
    }

    #[test]
    fn a_file_says_its_bases_as_others_write_them() {
        let mut entries = vec![
            ("general.architecture", 8, text("qwen3")),
            ("general.tags", 9, [&8u32.to_le_bytes()[..], &1u64.to_le_bytes(), &text("chat")].concat()),
            ("general.some_bytes", 9, [&0u32.to_le_bytes()[..], &3u64.to_le_bytes(), b"abc"].concat()),
            ("general.license", 8, text("apache-2.0")),
            ("general.base_model.count", 4, 3u32.to_le_bytes().to_vec()),
            ("general.base_model.0.name", 8, text("Qwen3 0.6B Base")),
            ("general.base_model.0.organization", 8, text("Qwen")),
            ("general.base_model.0.repo_url", 8, text("https://huggingface.co/Qwen/Qwen3-0.6B-Base")),
            ("general.base_model.1.name", 8, text("notes")),
            ("general.base_model.1.organization", 8, text("me")),
            ("general.base_model.2.name", 8, text("own words")),
        ];
        let bases = ["Qwen/Qwen3-0.6B-Base", "me/notes", "own words"].map(str::to_owned).to_vec();
        let license = Some("apache-2.0".to_owned());
        let expected = Lineage { base_models: bases, license, ..Lineage::default() };
        assert_eq!(lineage(&head(&entries)), expected);
        // the card in it counts more
        entries.push((CARD, 8, text("---\nbase_model: me/tuned\nbase_model_relation: quantized\n---\n")));
        let read = lineage(&head(&entries));
        assert_eq!(
            (read.base_models, read.relation),
            (vec!["me/tuned".to_owned()], Some("quantized".to_owned()))
        );
        assert_eq!(read.license.as_deref(), Some("apache-2.0"));
        // what comes before a place that is cut off is known
        let whole = head(&entries[..4]);
        assert_eq!(lineage(&whole[..whole.len() - 3]), Lineage::default());
        assert_eq!(lineage(b"safetensors"), Lineage::default());
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(entry in proptest::collection::vec(any::<u8>(), 0..60), kind in 0u32..14, key in "[a-z.]{0,9}") {
            let _ = Head::parse(&head(&[(&key, kind, entry.clone())]));
            let _ = Head::parse(&entry);
        }
    }
}
