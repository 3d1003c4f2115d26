//! Cutting a normalized text into the pieces within which symbols are merged.

use super::TokenizerError;
use super::limits::{MAX_BACKTRACKING, MAX_PATTERN_BYTES};
use fancy_regex::Regex;
use std::borrow::Cow;

/// The mark that SentencePiece writes for a space.
pub(super) const META_SPACE: char = '\u{2581}';

/// The pattern of GPT-2, which `ByteLevel` splits by when it is told to.
pub(super) const GPT2_PATTERN: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// What is put before a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    /// Nothing.
    None,
    /// A space, where none is.
    Always,
    /// A space where none is, at the very beginning only.
    First,
}

/// How a text is made ready for [`Splitter`]s.
pub(super) struct Prepare {
    /// The space in front.
    pub prefix: Prefix,
    /// Spaces are written as [`META_SPACE`].
    pub meta_space: bool,
}

/// A step that cuts pieces into smaller ones.
pub(super) enum Splitter {
    /// At matches of a pattern.
    Pattern {
        /// The pattern.
        regex: Box<Regex>,
        /// Which parts stay.
        keep: Keep,
    },
    /// Before each [`META_SPACE`].
    Words,
    /// Around digits: each alone, or runs of them.
    Digits {
        /// Each alone.
        single: bool,
    },
}

/// What a pattern's matches and the text between them become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Both become pieces.
    Both,
    /// Only matches.
    Matches,
    /// Only the text between.
    Gaps,
}

impl Prepare {
    /// The text to split. `first`: it begins the whole text.
    pub(super) fn apply<'a>(&self, text: Cow<'a, str>, first: bool) -> Cow<'a, str> {
        let space = if self.meta_space { META_SPACE } else { ' ' };
        let text = match self.meta_space && text.contains(' ') {
            true => Cow::Owned(text.replace(' ', "\u{2581}")),
            false => text,
        };
        let wanted = self.prefix == Prefix::Always || (self.prefix == Prefix::First && first);
        if wanted && !text.is_empty() && !text.starts_with(space) {
            format!("{space}{text}").into()
        } else {
            text
        }
    }
}

impl Splitter {
    /// A splitter at matches of `pattern`.
    pub(super) fn pattern(pattern: &str, keep: Keep) -> Result<Splitter, TokenizerError> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(TokenizerError::TooLarge {
                what: "bytes of a splitting pattern",
                found: pattern.len(),
                limit: MAX_PATTERN_BYTES,
            });
        }
        let regex =
            fancy_regex::RegexBuilder::new(pattern).backtrack_limit(MAX_BACKTRACKING).build().map_err(
                |error| TokenizerError::Malformed { part: "splitting pattern", message: error.to_string() },
            )?;
        Ok(Splitter::Pattern { regex: Box::new(regex), keep })
    }

    /// Calls `piece` with each part of `text` that all of `splitters` leave.
    pub(super) fn split_all(splitters: &[Splitter], text: &str, piece: &mut dyn FnMut(&str)) {
        match splitters.split_first() {
            _ if text.is_empty() => {}
            None => piece(text),
            Some((first, rest)) => first.split(text, &mut |part| Splitter::split_all(rest, part, piece)),
        }
    }

    fn split(&self, text: &str, piece: &mut dyn FnMut(&str)) {
        match self {
            Splitter::Pattern { regex, keep } => {
                let mut done = 0;
                // a match that cannot be found within the bounds leaves the rest in one piece
                for found in regex.find_iter(text).map_while(Result::ok) {
                    if done < found.start() && *keep != Keep::Matches {
                        piece(&text[done..found.start()]);
                    }
                    if *keep != Keep::Gaps {
                        piece(found.as_str());
                    }
                    done = found.end();
                }
                if *keep != Keep::Matches {
                    piece(&text[done..]);
                }
            }
            Splitter::Words => {
                let starts = text.match_indices(META_SPACE).map(|(at, _)| at);
                cut_at(text, starts, piece);
            }
            Splitter::Digits { single } => {
                let mut was_digit = false;
                let starts = text.char_indices().filter(|&(_, c)| {
                    let is_digit = c.is_numeric();
                    let cut = is_digit != was_digit || (is_digit && *single);
                    was_digit = is_digit;
                    cut
                });
                cut_at(text, starts.map(|(at, _)| at), piece);
            }
        }
    }
}

/// Cuts `text` before each of the ascending offsets `starts`.
fn cut_at(text: &str, starts: impl Iterator<Item = usize>, piece: &mut dyn FnMut(&str)) {
    let mut done = 0;
    for start in starts {
        piece(&text[done..start]);
        done = start;
    }
    piece(&text[done..]);
}
