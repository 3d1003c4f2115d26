//! Every bound that a caller can meet, with its reason. Those on sampling, stop strings and choices are in
//! `engine::limits`, those on names and stored files in `hub::limits`; times and the number of connections are the operator's ([`crate::Timeouts`], [`crate::Limits`]).

/// Bytes of a request body: a prompt of a million tokens fits several times.
pub const MAX_BODY_BYTES: usize = 32 << 20;
/// Bytes that a connection may buffer in one direction; request lines and headers must fit.
pub const MAX_CONNECTION_BUFFER_BYTES: usize = 256 << 10;
/// Header fields of a request.
pub const MAX_HEADERS: usize = 64;
/// Bytes of all header fields of an HTTP/2 request.
pub const MAX_HEADER_LIST_BYTES: u32 = 32 << 10;
/// Requests at once on one HTTP/2 connection.
pub const MAX_CONCURRENT_STREAMS: u32 = 64;
/// Connections over the cap that are told so at once; further ones are just closed.
pub const MAX_REFUSALS: usize = 64;

/// Messages of a conversation.
pub const MAX_MESSAGES: usize = 4096;
/// Text parts of one message.
pub const MAX_CONTENT_PARTS: usize = 1024;
/// Tools of a request.
pub const MAX_TOOLS: usize = 128;
/// Calls in one assistant message of the history.
pub const MAX_TOOL_CALLS: usize = 128;
/// Characters of a function's or schema's name.
pub const MAX_NAME_CHARS: usize = 64;
/// Stop tokens of a request.
pub const MAX_STOP_TOKENS: usize = 64;
/// Entries of `metadata`, as in OpenAI's contract.
pub const MAX_METADATA: usize = 16;
/// Prompts of one completions request.
pub const MAX_PROMPTS: usize = 1024;
/// Texts of one embeddings request, as in OpenAI's contract.
pub const MAX_EMBEDDING_INPUTS: usize = 2048;
/// Documents of one rerank request.
pub const MAX_DOCUMENTS: usize = 1024;
/// Prompts of one request that the engine has at a time; the rest follow as these end.
pub const MAX_IN_FLIGHT_PROMPTS: usize = 32;

/// Bytes of all small files of a commit in the hub, as it is sent: large ones are uploaded apart from it.
pub const MAX_COMMIT_BYTES: u64 = 2 << 30;
/// Bytes of a line of such a commit: one small file in Base64, and its path.
pub const MAX_COMMIT_LINE_BYTES: usize =
    (hub::limits::MAX_REGULAR_BYTES as usize).div_ceil(3) * 4 + (64 << 10);
/// Files whose kind of upload is asked for at once. Hugging Face's clients ask for 256.
pub const MAX_PREUPLOAD_FILES: usize = 4096;
/// Large files that one LFS batch announces. Hugging Face's clients announce 256, git-lfs 100.
pub const MAX_LFS_OBJECTS: usize = 1024;
/// Paths that are looked up at once. Hugging Face's clients look up 500.
pub const MAX_PATHS: usize = 10_000;
/// Repositories that one list holds.
pub const MAX_LISTED_REPOS: usize = 10_000;
/// Tags that a list may be asked for at once.
pub const MAX_FILTERS: usize = 32;
/// Tags that a card gives its repository at most.
pub const MAX_TAGS: usize = 256;
/// Commits that one history holds.
pub const MAX_LISTED_COMMITS: usize = 1_000;
/// Fields of a form.
pub const MAX_FORM_FIELDS: usize = 64;
/// Uploads that run at once; each takes a thread.
pub const MAX_UPLOADS: usize = 64;
/// Seconds for which the address of an upload is good: a day, in which 500 GB fit through 50 Mbit/s.
pub const UPLOAD_SECONDS: u64 = 24 * 60 * 60;
/// Bytes from which a file is uploaded in parts.
pub const MULTIPART_BYTES: u64 = 1 << 30;
/// Bytes of a part of an upload, at least.
pub const MIN_UPLOAD_PART_BYTES: u64 = 64 << 20;
/// Parts of an upload; those of larger files are larger.
pub const MAX_UPLOAD_PARTS: u64 = 1024;
/// Uploads by Xet that are known at once.
pub const MAX_XET_UPLOADS: usize = 4096;
/// Seconds after which an upload by Xet of which nothing was heard is given up.
pub const XET_IDLE_SECONDS: u64 = 60 * 60;
/// Bytes of a xorb: 64 MiB by the specification, and what follows its chunks.
pub const MAX_XORB_BYTES: u64 = 80 << 20;
/// Bytes of a chunk, of which clients make 128 KiB.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;
/// Bytes of a shard, as by the specification.
pub const MAX_SHARD_BYTES: u64 = 64 << 20;
/// Parts that a shard puts a file together of: as many as fit into one.
pub const MAX_SHARD_TERMS: usize = (MAX_SHARD_BYTES / 48) as usize;
/// Bytes of a stored file that are read at a time. A client that takes less than this in the time of a stalled write is
/// given up, which is 9 kB/s.
pub const BLOB_PIECE_BYTES: u64 = 256 << 10;

/// Unknown fields of a request that are reported.
pub const MAX_UNKNOWN_FIELDS: usize = 16;
/// Bytes of one unknown field's name in the report.
pub const MAX_UNKNOWN_FIELD_BYTES: usize = 64;
/// Names of models that an error message lists; it counts the rest.
pub const MAX_NAMES_IN_MESSAGE: usize = 32;
/// Bytes of a caller's text that an error message repeats.
pub const MAX_QUOTED_BYTES: usize = 96;
/// Seconds in `Retry-After`, at most.
pub const MAX_RETRY_AFTER_SECONDS: u64 = 60;
