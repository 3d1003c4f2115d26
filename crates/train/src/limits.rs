//! Bounds on what datasets and recipes may ask for.

/// Bytes of a line of a dataset. A conversation of 100,000 tokens has some 0.5 MB.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// Examples of all datasets together; they are held in memory as tokens.
pub const MAX_EXAMPLES: usize = 10_000_000;

/// Messages of a conversation.
pub const MAX_MESSAGES: usize = 4_096;

/// Faults of datasets that a message lists; it counts the rest.
pub const MAX_FAULTS_IN_MESSAGE: usize = 20;
