//! The wen command: chat, serve, inspect and measure Qwen-family models.

fn main() {}
