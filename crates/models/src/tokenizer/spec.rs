//! A tokenizer as files describe it, and how it is built from that.

use super::added::{AddedToken, AddedTokens};
use super::bpe::{Bpe, Merge, Symbols};
use super::detokenizer::Decoding;
use super::normalizer::Normalizer;
use super::split::{META_SPACE, Prepare, Splitter};
use super::vocabulary::VocabularyBuilder;
use super::{Tokenizer, TokenizerError, shorten};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Everything that `tokenizer.json` or a GGUF file says about a tokenizer.
pub(super) struct Spec<'a> {
    /// Tokens as the file writes them, with ids.
    pub tokens: Vec<(Cow<'a, str>, u32)>,
    /// Merge rules in order of rank.
    pub merges: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Added tokens.
    pub added: Vec<AddedToken>,
    /// Applied to text in this order.
    pub normalizers: Vec<Normalizer>,
    /// Applied to normalized text.
    pub prepare: Prepare,
    /// Applied to prepared text in this order.
    pub splitters: Vec<Splitter>,
    /// Tokens are written in the alphabet of GPT-2, a character for each byte.
    pub byte_level: bool,
    /// Characters without a token become tokens `<0x00>` to `<0xFF>`.
    pub byte_fallback: bool,
    /// The token for what has none.
    pub unknown: Option<String>,
    /// A run of unknown characters gives one unknown token.
    pub fuse_unknown: bool,
    /// A piece that is a token is taken whole, whatever the merge rules would make of it.
    pub whole_pieces: bool,
    /// How tokens make text.
    pub decoding: Decoding,
    /// Ids before a wrapped text.
    pub prefix: Vec<u32>,
    /// Ids after a wrapped text.
    pub suffix: Vec<u32>,
}

impl Spec<'_> {
    pub(super) fn build(self) -> Result<Tokenizer, TokenizerError> {
        if self.byte_level != (self.decoding == Decoding::ByteLevel) {
            return Err(TokenizerError::Unsupported {
                part: "decoder",
                found: "one that does not fit the pre_tokenizer".into(),
                known: "ByteLevel in both or in neither",
            });
        }
        if self.whole_pieces && !self.byte_level {
            return Err(TokenizerError::Unsupported {
                part: "model",
                found: "ignore_merges without ByteLevel".into(),
                known: "ignore_merges with ByteLevel",
            });
        }
        let ids: HashMap<&str, u32> = self.tokens.iter().map(|(token, id)| (token.as_ref(), *id)).collect();
        let mut merges = merge_rules(&self.merges, &ids)?;
        // no text may become a control token, whatever the file says
        let special: HashSet<u32> =
            self.added.iter().filter(|token| token.special).map(|token| token.id).collect();
        merges.retain(|merge| !special.contains(&merge.joined));
        let symbols = if self.byte_level { byte_symbols(&ids)? } else { self.char_symbols(&ids)? };
        drop(ids);

        let mut vocabulary = VocabularyBuilder::default();
        let mut bytes = Vec::new();
        for (token, id) in &self.tokens {
            bytes.clear();
            match byte_token(token).filter(|_| self.byte_fallback) {
                Some(byte) => bytes.push(byte),
                None if self.byte_level => alphabet_bytes(token, &mut bytes),
                None => bytes.extend_from_slice(token.replace(META_SPACE, " ").as_bytes()),
            }
            vocabulary.insert(*id, &bytes)?;
            if self.byte_fallback && byte_token(token).is_some() {
                vocabulary.mark_byte(*id);
            }
        }
        for token in self.added.iter().filter(|token| !token.content.is_empty()) {
            vocabulary.insert(token.id, token.content.as_bytes())?;
            vocabulary.mark_added(token.id, token.special);
        }
        let vocabulary = vocabulary.build();
        if let Some(id) = self.prefix.iter().chain(&self.suffix).find(|&&id| vocabulary.bytes(id).is_none()) {
            let message = format!("it adds the token {id}, which the vocabulary lacks");
            return Err(TokenizerError::Malformed { part: "post_processor", message });
        }

        let (normalized, raw): (Vec<_>, Vec<_>) = self.added.into_iter().partition(|token| token.normalized);
        let literal = |token: AddedToken| {
            let pattern = token.content.clone();
            (token, pattern)
        };
        let everything = AddedTokens::new(normalized.iter().chain(&raw).cloned().map(literal))?;
        let normalize = |token: AddedToken| {
            let text = Cow::Owned(token.content.clone());
            let pattern = self.normalizers.iter().fold(text, |text, step| step.apply(text)).into_owned();
            (token, pattern)
        };
        Ok(Tokenizer {
            bpe: Bpe::new(symbols, &merges),
            vocabulary,
            added: everything,
            added_raw: AddedTokens::new(raw.into_iter().map(literal))?,
            added_normalized: AddedTokens::new(normalized.into_iter().map(normalize))?,
            normalizers: self.normalizers,
            prepare: self.prepare,
            splitters: self.splitters,
            whole_pieces: self.whole_pieces,
            decoding: self.decoding,
            prefix: self.prefix,
            suffix: self.suffix,
        })
    }

    /// Tokens of single characters, and what becomes of the others.
    fn char_symbols(&self, ids: &HashMap<&str, u32>) -> Result<Symbols, TokenizerError> {
        let mut chars = HashMap::new();
        for (token, id) in &self.tokens {
            let mut text = token.chars();
            if let (Some(c), None) = (text.next(), text.next()) {
                chars.insert(c, *id);
            }
        }
        let mut bytes = None;
        if self.byte_fallback {
            let mut table = Box::new([u32::MAX; 256]);
            for byte in 0..=255u8 {
                let token = format!("<0x{byte:02X}>");
                let id = ids.get(token.as_str()).ok_or(TokenizerError::MissingByte { byte })?;
                table[byte as usize] = *id;
            }
            bytes = Some(table);
        }
        let unknown =
            match &self.unknown {
                Some(token) => Some(*ids.get(token.as_str()).ok_or_else(|| {
                    TokenizerError::UnknownToken { part: "unk_token", token: shorten(token) }
                })?),
                None if bytes.is_none() => {
                    return Err(TokenizerError::Unsupported {
                        part: "model",
                        found: "neither byte_fallback nor unk_token".into(),
                        known: "ByteLevel, byte_fallback or unk_token, so that no text is lost",
                    });
                }
                None => None,
            };
        Ok(Symbols::Chars { ids: chars, bytes, unknown, fuse_unknown: self.fuse_unknown })
    }
}

fn merge_rules(
    rules: &[(Cow<str>, Cow<str>)],
    ids: &HashMap<&str, u32>,
) -> Result<Vec<Merge>, TokenizerError> {
    let find = |token: &str| {
        ids.get(token)
            .copied()
            .ok_or_else(|| TokenizerError::UnknownToken { part: "merge rule", token: shorten(token) })
    };
    let mut joined = String::new();
    let merge = |(left, right): &(Cow<str>, Cow<str>)| {
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        Ok(Merge { left: find(left)?, right: find(right)?, joined: find(&joined)? })
    };
    rules.iter().map(merge).collect()
}

/// The token of each byte. All bytes that UTF-8 uses must have one, or text would be lost.
fn byte_symbols(ids: &HashMap<&str, u32>) -> Result<Symbols, TokenizerError> {
    let mut table = Box::new([u32::MAX; 256]);
    for byte in 0..=255u8 {
        let character = byte_character(byte);
        match ids.get(&*character.encode_utf8(&mut [0; 4])) {
            Some(&id) => table[byte as usize] = id,
            None if matches!(byte, 0xC0 | 0xC1 | 0xF5..) => {}
            None => return Err(TokenizerError::MissingByte { byte }),
        }
    }
    Ok(Symbols::Bytes(table))
}

/// The byte of a token such as `<0x0A>`.
pub(super) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_hex { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// GPT-2's alphabet: printable bytes stand for themselves in Latin-1, the others follow from U+0100 on.
fn byte_character(byte: u8) -> char {
    let code = match byte {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u32::from(byte),
        0x00..=0x20 => 0x100 + u32::from(byte),
        0x7F..=0xA0 => 0x121 + u32::from(byte) - 0x7F,
        0xAD => 0x143,
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Appends the bytes of a token in GPT-2's alphabet, or its own if it is not in it.
fn alphabet_bytes(token: &str, bytes: &mut Vec<u8>) {
    let byte = |c: char| match u32::from(c) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    };
    let start = bytes.len();
    for c in token.chars() {
        match byte(c) {
            Some(byte) => bytes.push(byte),
            None => {
                bytes.truncate(start);
                bytes.extend_from_slice(token.as_bytes());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_the_one_of_gpt2() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=255u8 {
            let c = byte_character(byte);
            assert!(seen.insert(c), "{byte:#x}");
            let mut back = Vec::new();
            alphabet_bytes(c.encode_utf8(&mut [0; 4]), &mut back);
            assert_eq!(back, [byte]);
        }
        assert_eq!([b' ', b'\n', 0xAD, 0x7F, 0xA0].map(byte_character), ['Ġ', 'Ċ', 'Ń', 'ġ', 'ł']);
    }

    #[test]
    fn only_two_hex_digits_make_a_byte_token() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        assert_eq!(byte_token("<0xff>"), Some(255));
        for not in ["<0x-1>", "<0x+1>", "<0x1>", "<0x001>", "0x0A", "<0xGG>", ""] {
            assert_eq!(byte_token(not), None, "{not}");
        }
    }
}
