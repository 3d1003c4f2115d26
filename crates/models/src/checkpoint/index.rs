//! The index of a sharded checkpoint: which file holds which tensor.

use super::CheckpointError;
use super::mapped_file::{self, FileError};
use crate::limits;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// Reads `model.safetensors.index.json`: file names by tensor. Each file name is a plain one, so no shard lies
/// outside the index's directory.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, String>, CheckpointError> {
    let broken = |reason| CheckpointError::Index { path: path.to_owned(), reason };
    let bytes = mapped_file::read_bounded(path, limits::MAX_INDEX_BYTES)?.ok_or_else(|| {
        let source = std::io::ErrorKind::NotFound.into();
        FileError::Io { path: path.to_owned(), source }
    })?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|e| broken(e.to_string()))?;
    let shards: BTreeSet<&String> = index.weight_map.0.values().collect();
    if shards.is_empty() {
        return Err(broken("`weight_map` is empty".to_owned()));
    }
    if shards.len() > limits::MAX_SHARDS {
        return Err(broken(format!(
            "{} shards are more than the limit of {}",
            shards.len(),
            limits::MAX_SHARDS
        )));
    }
    if let Some(shard) = shards.into_iter().find(|shard| !is_plain_file_name(shard)) {
        return Err(broken(format!("shard `{shard}` is not the plain name of a .safetensors file")));
    }
    Ok(index.weight_map.0)
}

/// Whether `name` stays in its directory on every system.
fn is_plain_file_name(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0'])
}

#[derive(Deserialize)]
struct Index {
    weight_map: WeightMap,
}

struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WeightMap, D::Error> {
        struct MapVisitor;
        impl<'de> Visitor<'de> for MapVisitor {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of file names by tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut files = BTreeMap::new();
                while let Some((name, file)) = map.next_entry::<String, String>()? {
                    if files.len() == limits::MAX_TENSORS {
                        return Err(de::Error::custom(format_args!(
                            "there are more tensors than the limit of {}",
                            limits::MAX_TENSORS
                        )));
                    }
                    if files.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("tensor `{name}` is there twice")));
                    }
                    files.insert(name, file);
                }
                Ok(WeightMap(files))
            }
        }
        deserializer.deserialize_map(MapVisitor)
    }
}
