//! Bounds on what datasets and recipes may ask for.

/// Bytes of a line of a dataset. A conversation of 100,000 tokens has some 0.5 MB.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// Lines that are rendered and tokenized together, on all processors.
pub const PREPARED_AT_ONCE: usize = 1_024;

/// Bytes of lines, rows and texts after which fewer are enough: they wait in memory.
pub const PREPARED_BYTES: usize = 16 << 20;

/// Bytes of a file that is read whole: `.txt` and `.json`. Larger ones can be `.jsonl` or `.parquet`.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Files that the patterns and directories of a recipe may stand for.
pub const MAX_FILES: usize = 100_000;

/// Directories within directories that are looked into: what goes deeper is a loop of links.
pub const MAX_DIRECTORY_DEPTH: usize = 16;

/// Examples of all datasets together; they are held in memory as tokens.
pub const MAX_EXAMPLES: usize = 10_000_000;

/// Messages of a conversation.
pub const MAX_MESSAGES: usize = 4_096;

/// Negatives of a query: each takes part in every step as a whole text.
pub const MAX_NEGATIVES: usize = 256;

/// Faults of datasets that a message lists; it counts the rest.
pub const MAX_FAULTS_IN_MESSAGE: usize = 20;
