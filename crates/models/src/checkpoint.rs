//! Model files: tensors by name, mapped into memory.

/// An open checkpoint: a Hugging Face directory or a GGUF file.
pub struct Checkpoint {}
