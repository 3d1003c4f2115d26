//! How long an answer can be after a prompt.

use crate::error::ApiError;
use crate::state::Served;
use engine::SubmitError;

/// Tokens that an answer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// To the end of the context.
    pub at_most: usize,
    /// When the request doesn't say: also within the cache, which may be smaller.
    pub by_default: usize,
}

/// The room after a prompt of `prompt` tokens, which came in the field `param`, for each of `n` answers; at least one
/// token, or it is an error.
pub fn room(prompt: usize, n: usize, param: &str, served: &Served) -> Result<Room, ApiError> {
    let options = served.engine.options();
    let context = options.context_length;
    match context.checked_sub(prompt).filter(|room| *room > 0) {
        Some(at_most) => {
            let cache = (options.cache_tokens / n.max(1)).saturating_sub(prompt);
            Ok(Room { at_most, by_default: at_most.min(cache).max(1) })
        }
        None => {
            let error = SubmitError::TooLong { prompt, answer: 1, context };
            Err(ApiError::submit(error, param))
        }
    }
}
