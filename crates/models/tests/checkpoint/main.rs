//! Checkpoint files: what is read from sound ones, and that broken and hostile ones give errors, not harm.

mod allocation;
mod directory;
mod files;
mod gguf;
mod gguf_models;
mod gguf_tokenizer;
mod kind;
mod mutation;
mod safetensors;

use std::fmt::Display;

/// Checks that `result` is an error whose message has all of `parts`.
#[track_caller]
fn assert_refused<T, E: Display>(what: &str, result: Result<T, E>, parts: &[&str]) {
    let message = match result {
        Ok(_) => panic!("{what}: was accepted"),
        Err(error) => error.to_string(),
    };
    for part in parts {
        assert!(message.contains(part), "{what}: the message lacks `{part}`: {message}");
    }
}
