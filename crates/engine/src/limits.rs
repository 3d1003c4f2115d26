//! Every bound that a caller can meet, with its reason.

/// Choices of one request (`n`): each costs a sequence of its own.
pub const MAX_CHOICES: usize = 8;
/// Alternatives a token in `logprobs`.
pub const MAX_LOGPROBS: usize = 20;
/// Stop strings of a request.
pub const MAX_STOP_STRINGS: usize = 16;
/// Bytes of one stop string; an answer's text is held back by at most this much.
pub const MAX_STOP_BYTES: usize = 128;
/// Entries of `logit_bias`.
pub const MAX_LOGIT_BIAS: usize = 1024;
