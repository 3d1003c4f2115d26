//! Reference data: the subset in this repository, and the full set where it is at hand.
#![allow(dead_code)]

use serde_json::Value;
use std::path::{Path, PathBuf};

/// The file at `path` below the reference data, if this machine has it.
pub fn find(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let full =
        std::env::var_os("WEN_PARITY_DIR").map_or(root.join("../shared/parity/fixtures"), PathBuf::from);
    [root.join("tests/data/parity"), full]
        .iter()
        .map(|directory| directory.join(path))
        .find(|path| path.exists())
}

/// The content of a file that must be there.
pub fn read(path: &str) -> Vec<u8> {
    std::fs::read(find(path).unwrap_or_else(|| panic!("no {path} in the reference data"))).unwrap()
}

/// A JSON file, if this machine has it.
pub fn json(path: &str) -> Option<Value> {
    find(path).map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}
