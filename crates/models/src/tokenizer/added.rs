//! Added tokens: cut out of a text before anything else looks at it.

use super::TokenizerError;
use super::limits::MAX_ADDED_BYTES;

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
pub(super) struct AddedTokens {
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
        let mut node = 0;
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
        }
        self.nodes[node].token = Some(self.tokens.len() as u32);
        self.tokens.push(token);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// All tokens.
    pub(super) fn tokens(&self) -> &[AddedToken] {
        &self.tokens
    }

    /// The longest token at the start of `text`, and its length there.
    fn longest(&self, text: &[u8]) -> Option<(&AddedToken, usize)> {
        let mut node = &self.nodes[0];
        let mut longest = None;
        for (at, byte) in text.iter().enumerate() {
            let Ok(child) = node.children.binary_search_by_key(byte, |child| child.0) else { break };
            node = &self.nodes[node.children[child].1 as usize];
            if let Some(token) = node.token {
                longest = Some((&self.tokens[token as usize], at + 1));
            }
        }
        longest
    }

    /// The tokens in `text` that `wanted` accepts, as found from left to right without overlap: token, start, end.
    pub(super) fn find<'a>(
        &'a self,
        text: &'a str,
        wanted: impl Fn(&AddedToken) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a AddedToken, usize, usize)> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < text.len() {
                if let Some((token, length)) = self.longest(&text.as_bytes()[at..]) {
                    let start = at;
                    at += length;
                    if wanted(token) && !(token.single_word && touches_word(text, start, at)) {
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
        for (token, mut start, mut end) in self.find(text, |_| true) {
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

/// Whether a word goes on at either end of `text[start..end]`.
fn touches_word(text: &str, start: usize, end: usize) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text[..start].chars().next_back().is_some_and(is_word) || text[end..].chars().next().is_some_and(is_word)
}
