//! wen-nano, the model inside the program, for when none is named.

use anyhow::Context;
use models::checkpoint::writer::write_file;
use models::packing::cache_dir;
use std::path::PathBuf;

/// Its name.
pub const NAME: &str = "wen-nano";
/// Its file, as `cargo run --release -p nano -- build` wrote it.
const GGUF: &[u8] = include_bytes!("../../../models/wen-nano/wen-nano.gguf");

/// Where it is. Weights are mapped from files, and packed copies lie beside them, so that it is written into the user's cache
/// once, and again when something else is found there.
///
/// # Errors
/// When the file can't be written.
pub fn file() -> anyhow::Result<PathBuf> {
    const REMEDY: &str = "set XDG_CACHE_HOME to a directory that can be written";
    let dir = cache_dir().with_context(|| format!("there is no place for the built-in model; {REMEDY}"))?;
    let path = dir.join("wen-nano.gguf");
    let is_there = std::fs::metadata(&path).is_ok_and(|found| found.len() == GGUF.len() as u64)
        && std::fs::read(&path).is_ok_and(|bytes| bytes == GGUF);
    if !is_there {
        std::fs::create_dir_all(&dir)
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(write_file(&path, |out| out.write_all(GGUF))?))
            .with_context(|| format!("cannot write the built-in model to {}; {REMEDY}", path.display()))?;
    }
    Ok(path)
}
