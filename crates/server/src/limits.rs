//! Every bound that a caller can meet, with its reason. Those of the engine are in `engine::limits`.

/// Bytes of a request body: a prompt of a million tokens fits several times.
pub const MAX_BODY_BYTES: usize = 32 << 20;
