//! Every bound that a caller can meet, with its reason.

/// Choices of one request (`n`): each costs a sequence of its own.
pub const MAX_CHOICES: usize = 8;
/// Alternatives a token in `logprobs`.
pub const MAX_LOGPROBS: usize = 20;
/// Stop strings of a request: every new piece of text is searched for each.
pub const MAX_STOP_STRINGS: usize = 16;
/// Bytes of one stop string: an answer's text is held back by at most this much.
pub const MAX_STOP_BYTES: usize = 128;
/// Stop tokens of a request.
pub const MAX_STOP_TOKENS: usize = 64;
/// Entries of `logit_bias`.
pub const MAX_LOGIT_BIAS: usize = 1024;
/// Bytes of a JSON schema, as text.
pub const MAX_SCHEMA_BYTES: usize = 256 * 1024;
/// Nesting of a JSON schema: compiling recurses.
pub const MAX_SCHEMA_DEPTH: usize = 32;
/// Values in a JSON schema.
pub const MAX_SCHEMA_NODES: usize = 10_000;
/// Bytes of a `pattern` in a schema: a pattern's automaton can be much larger than its text.
pub const MAX_PATTERN_BYTES: usize = 4096;
/// Adapters loaded at once.
pub const MAX_ADAPTERS: usize = 256;
/// Rank of an adapter. Those in use have 4 to 256; beyond, a merged model computes less.
pub const MAX_ADAPTER_RANK: usize = 512;
/// Bytes of an adapter's name.
pub const MAX_ADAPTER_NAME_BYTES: usize = 128;
/// Rows whose logits exist at once: 64 rows of 152,000 values are 39 MB.
pub const LOGIT_ROWS: usize = 64;
