//! Every bound that a caller can meet, with its reason. Those on sampling, stop strings and choices are in
//! `engine::limits`; times and the number of connections are the operator's ([`crate::Timeouts`], [`crate::Limits`]).

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
