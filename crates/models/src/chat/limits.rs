//! Bounds on what a chat template may cost, and on what an answer's parser holds.

/// Bytes of a template's source. The longest in use has about 20 kB.
pub const MAX_TEMPLATE_BYTES: usize = 256 << 10;
/// Bytes of a rendered prompt, checked while it is written: more than any context holds.
pub const MAX_PROMPT_BYTES: usize = 8 << 20;
/// Budget of one rendering in the template engine's unit: an instruction, or 64 bytes that are created or looked at.
/// Qwen3's template takes 130 for a message and one for 14 bytes of text, so the largest prompt renders in a third of
/// this and 4,096 messages in another. An endless template ends in half a second and 128 MB.
pub const MAX_FUEL: u64 = 2_000_000;
/// Stack of the thread that a template renders on. A template can nest a list as deep as its fuel lasts, and the engine
/// drops and prints lists recursively: 32 MiB is not enough for that, 64 is. Only what is used takes memory.
pub const RENDER_STACK_BYTES: usize = 128 << 20;
/// Nesting of calls and blocks while a template runs.
pub const MAX_RECURSION: usize = 100;
/// Nesting of a value that a template builds or writes as JSON.
pub const MAX_VALUE_DEPTH: usize = 128;
/// Bytes of a tool call held back while its name is unknown. A longer one comes back as content.
pub const MAX_HELD_CALL_BYTES: usize = 256 << 10;
/// Nesting of a tool call's arguments. Deeper ones come back as content.
pub const MAX_ARGUMENT_DEPTH: usize = 128;
/// Bytes of white space held back because a tool call may follow.
pub const MAX_HELD_SPACE_BYTES: usize = 256;
