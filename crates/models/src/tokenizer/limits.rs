//! Bounds on tokenizer files, checked before anything is built from them.

/// Bytes of a `tokenizer.json`. The largest in use (256k tokens, pretty-printed) has 33 MB.
pub const MAX_FILE_BYTES: usize = 64 << 20;
/// One past the largest token id; also the most entries of a vocabulary. The largest in use has 262,144.
pub const MAX_TOKENS: usize = 1 << 20;
/// Merge rules. SentencePiece vocabularies are written as up to four rules a token.
pub const MAX_MERGES: usize = 1 << 22;
/// Bytes of one token. The longest in use (runs of spaces) have a few hundred.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
/// Bytes of all added tokens together: each may take a node of the matcher.
pub const MAX_ADDED_BYTES: usize = 1 << 20;
/// Bytes of the description of one step (normalizer, pre-tokenizer, post-processor, decoder).
pub const MAX_STEP_BYTES: usize = 64 << 10;
/// Bytes of a splitting pattern: it is compiled.
pub const MAX_PATTERN_BYTES: usize = 4 << 10;
/// Backtracking steps of a splitting pattern at one place of the text. The known patterns need as many as a run of
/// white space is long; what a pattern cannot split within the bound stays in one piece.
pub const MAX_BACKTRACKING: usize = 1 << 26;
