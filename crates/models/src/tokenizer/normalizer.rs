//! What happens to a text before it is split.

use std::borrow::Cow;
use unicode_normalization_alignments::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfkc_quick};

/// A step of normalization.
pub(super) enum Normalizer {
    /// Unicode normalization form C.
    Nfc,
    /// Form D.
    Nfd,
    /// Form KC.
    Nfkc,
    /// Form KD.
    Nfkd,
    /// Puts a text in front of any that is not empty.
    Prepend(String),
    /// Replaces every occurrence of one text by another.
    Replace(String, String),
}

impl Normalizer {
    /// The normalized text.
    pub(super) fn apply<'a>(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        let changed = match self {
            Normalizer::Nfc if is_nfc_quick(text.chars()) == IsNormalized::Yes => return text,
            Normalizer::Nfkc if is_nfkc_quick(text.chars()) == IsNormalized::Yes => return text,
            Normalizer::Nfc => text.nfc().map(|(c, _)| c).collect(),
            Normalizer::Nfd => text.nfd().map(|(c, _)| c).collect(),
            Normalizer::Nfkc => text.nfkc().map(|(c, _)| c).collect(),
            Normalizer::Nfkd => text.nfkd().map(|(c, _)| c).collect(),
            Normalizer::Prepend(_) if text.is_empty() => return text,
            Normalizer::Prepend(prefix) => format!("{prefix}{text}"),
            Normalizer::Replace(from, _) if !text.contains(from.as_str()) => return text,
            Normalizer::Replace(from, to) => text.replace(from.as_str(), to),
        };
        Cow::Owned(changed)
    }
}
