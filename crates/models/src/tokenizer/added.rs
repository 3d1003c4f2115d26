//! Added tokens: cut out of a text before anything else looks at it.

use super::TokenizerError;
use super::limits::MAX_ADDED_BYTES;

/// Which added tokens a search is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Control tokens (`special`).
    Control = 1,
    /// These and others that are written as tags (`<think>`). What is left are texts that some vocabularies add, such
    /// as runs of spaces, which mean the same whoever writes them.
    Markup = 2,
}

/// A token that is matched as a whole (`added_tokens` in `tokenizer.json`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AddedToken {
    /// Its id.
    pub id: u32,
    /// Its literal text.
    pub content: String,
    /// A control token: never shown in answers.
    pub special: bool,
    /// Matched in normalized text instead of raw text.
    pub normalized: bool,
    /// Matched only between word boundaries.
    pub single_word: bool,
    /// Takes the white space before it along.
    pub lstrip: bool,
    /// Takes the white space after it along.
    pub rstrip: bool,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Text between added tokens, with its offset.
    Text(&'a str, usize),
    /// An added token's id.
    Added(u32),
}

/// Finds added tokens in a text: the leftmost first, of several at one place the longest.
#[derive(Default)]
pub(crate) struct AddedTokens {
    tokens: Vec<AddedToken>,
    /// A trie over the tokens' bytes; node 0 is the root.
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    /// By byte, ascending.
    children: Vec<(u8, u32)>,
    /// Index of the token that ends here.
    token: Option<u32>,
    /// The [`Mark`]s of tokens that end here or further down.
    marks: u8,
}

impl AddedTokens {
    /// A matcher of `tokens`, each with the text to look for.
    pub(super) fn new(
        tokens: impl IntoIterator<Item = (AddedToken, String)>,
    ) -> Result<AddedTokens, TokenizerError> {
        let mut matcher = AddedTokens { tokens: Vec::new(), nodes: vec![Node::default()] };
        for (token, pattern) in tokens {
            if matcher.nodes.len() + pattern.len() > MAX_ADDED_BYTES {
                return Err(TokenizerError::TooLarge {
                    what: "added tokens in bytes",
                    found: matcher.nodes.len() + pattern.len(),
                    limit: MAX_ADDED_BYTES,
                });
            }
            if !pattern.is_empty() {
                matcher.insert(token, &pattern);
            }
        }
        Ok(matcher)
    }

    fn insert(&mut self, token: AddedToken, pattern: &str) {
        let marks = marks(&token);
        let mut node = 0;
        self.nodes[node].marks |= marks;
        for &byte in pattern.as_bytes() {
            node = match self.nodes[node].children.binary_search_by_key(&byte, |child| child.0) {
                Ok(at) => self.nodes[node].children[at].1 as usize,
                Err(at) => {
                    let new = self.nodes.len();
                    self.nodes.push(Node::default());
                    self.nodes[node].children.insert(at, (byte, new as u32));
                    new
                }
            };
            self.nodes[node].marks |= marks;
        }
        self.nodes[node].token = Some(self.tokens.len() as u32);
        self.tokens.push(token);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// How many bytes at the start of `text` begin a token with this mark.
    pub(crate) fn longest_prefix(&self, text: &[u8], mark: Mark) -> usize {
        let mut node = &self.nodes[0];
        for (at, byte) in text.iter().enumerate() {
            match self.child(node, *byte) {
                Some(child) if child.marks & mark as u8 != 0 => node = child,
                _ => return at,
            }
        }
        text.len()
    }

    /// Whether `text`, or the beginning of it, may be the end or the middle of a token with this mark.
    pub(crate) fn may_continue(&self, text: &str, mark: Mark) -> bool {
        let Some(first) = text.chars().next() else { return false };
        self.tokens.iter().filter(|token| marks(token) & mark as u8 != 0).any(|token| {
            token.content.match_indices(first).any(|(at, _)| {
                let end = &token.content[at..];
                at > 0 && (text.starts_with(end) || end.starts_with(text))
            })
        })
    }

    /// Whether `text` holds a token with this mark.
    pub(crate) fn holds_any(&self, text: &str, mark: Mark) -> bool {
        self.find(text).any(|(token, _, _)| marks(token) & mark as u8 != 0)
    }

    fn child(&self, node: &Node, byte: u8) -> Option<&Node> {
        let child = node.children.binary_search_by_key(&byte, |child| child.0).ok()?;
        self.nodes.get(node.children[child].1 as usize)
    }

    /// The longest token at the start of `text`, and its length there.
    fn longest(&self, text: &[u8]) -> Option<(&AddedToken, usize)> {
        let mut node = &self.nodes[0];
        let mut longest = None;
        for (at, byte) in text.iter().enumerate() {
            let Some(child) = self.child(node, *byte) else { break };
            node = child;
            if let Some(token) = node.token {
                longest = Some((&self.tokens[token as usize], at + 1));
            }
        }
        longest
    }

    /// The tokens in `text` as found from left to right without overlap: token, start, end.
    fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (&'a AddedToken, usize, usize)> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < text.len() {
                if let Some((token, length)) = self.longest(&text.as_bytes()[at..]) {
                    let start = at;
                    at += length;
                    if !(token.single_word && touches_word(text, start, at)) {
                        return Some((token, start, at));
                    }
                } else {
                    at += 1;
                }
            }
            None
        })
    }

    /// Cuts `text` at the added tokens in it. Empty texts are left out.
    pub(super) fn split<'a>(&'a self, text: &'a str) -> Vec<Piece<'a>> {
        let mut pieces = Vec::new();
        let mut done = 0;
        for (token, mut start, mut end) in self.find(text) {
            if start < done {
                continue;
            }
            if token.lstrip {
                start = done + text[done..start].trim_end().len();
            }
            if token.rstrip {
                end = text.len() - text[end..].trim_start().len();
            }
            if done < start {
                pieces.push(Piece::Text(&text[done..start], done));
            }
            pieces.push(Piece::Added(token.id));
            done = end;
        }
        if done < text.len() {
            pieces.push(Piece::Text(&text[done..], done));
        }
        pieces
    }
}

/// The [`Mark`]s of a token. One character cannot be broken up, and is no tag.
fn marks(token: &AddedToken) -> u8 {
    let is_tag = token.content.starts_with(['<', '[']) && token.content.chars().nth(1).is_some();
    match (token.special, is_tag) {
        (true, _) => Mark::Control as u8 | Mark::Markup as u8,
        (false, true) => Mark::Markup as u8,
        (false, false) => 0,
    }
}

/// Whether a word goes on at either end of `text[start..end]`.
fn touches_word(text: &str, start: usize, end: usize) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text[..start].chars().next_back().is_some_and(is_word) || text[end..].chars().next().is_some_and(is_word)
}
