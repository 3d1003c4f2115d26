//! Adapters beside the model, which requests may ask for: loaded and unloaded while the engine runs.
//!
//! A request holds its adapter from [`crate::Engine::submit`] to its end. Unloading takes the name away at once, so that no
//! further request finds it, and the memory when the last request that holds it is done.

use crate::limits::{MAX_ADAPTER_NAME_BYTES, MAX_ADAPTER_RANK, MAX_ADAPTERS};
use models::adapter::AdapterError;
use models::causal_lm::ServedAdapter;
use models::{Adapter, Model};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The name of an adapter: letters, digits, `-`, `_`, `.` and `/`. It has no `:`, which divides it from the model's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AdapterName(String);

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name for an adapter: take 1 to {MAX_ADAPTER_NAME_BYTES} bytes of letters, digits, -, _, . and /"
)]
pub struct AdapterNameError(String);

impl FromStr for AdapterName {
    type Err = AdapterNameError;

    fn from_str(name: &str) -> Result<AdapterName, AdapterNameError> {
        let allowed = |c: char| c.is_alphanumeric() || "-_./".contains(c);
        if name.is_empty() || name.len() > MAX_ADAPTER_NAME_BYTES || !name.chars().all(allowed) {
            let end = name.floor_char_boundary(MAX_ADAPTER_NAME_BYTES);
            return Err(AdapterNameError(name[..end].escape_debug().to_string()));
        }
        Ok(AdapterName(name.to_owned()))
    }
}

impl AdapterName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for AdapterName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AdapterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which loading of an adapter: what was computed with one is never taken for another's, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AdapterId(NonZeroU64);

/// An adapter that can be computed with as long as somebody holds it. Cloning shares it.
#[derive(Clone)]
pub struct LoadedAdapter(Arc<Loaded>);

struct Loaded {
    name: AdapterName,
    id: AdapterId,
    served: ServedAdapter,
    model: Arc<Model>,
    _memory: Reserved,
}

impl LoadedAdapter {
    /// Its name.
    pub fn name(&self) -> &AdapterName {
        &self.0.name
    }

    /// Rows of its first matrices.
    pub fn rank(&self) -> usize {
        self.0.served.rank()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.0.served.bytes()
    }

    pub(crate) fn id(&self) -> AdapterId {
        self.0.id
    }

    pub(crate) fn served(&self) -> &ServedAdapter {
        &self.0.served
    }

    /// Whether it was made for this very model.
    pub(crate) fn is_beside(&self, model: &Arc<Model>) -> bool {
        Arc::ptr_eq(&self.0.model, model)
    }
}

impl fmt::Debug for LoadedAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadedAdapter").field(&self.0.name).field(&self.0.id).finish()
    }
}

/// Why an adapter is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadAdapterError {
    /// It is broken or another model's.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The name is taken.
    #[error("an adapter `{0}` is loaded already; unload it first, or take another name")]
    Exists(AdapterName),
    /// There are as many as there may be.
    #[error("{MAX_ADAPTERS} adapters are loaded already; unload one first")]
    TooMany,
    /// A rank over the bound.
    #[error(
        "the adapter has rank {0}; at most {MAX_ADAPTER_RANK} is served, so merge it into the model instead"
    )]
    Rank(usize),
    /// No room.
    #[error(
        "the adapter takes {bytes} bytes, but of {limit} bytes for adapters {used} are in use; unload others first, and let \
         their requests end"
    )]
    Memory {
        /// Bytes that it takes.
        bytes: usize,
        /// Bytes that others take, those unloaded but still in use included.
        used: usize,
        /// Bytes that all may take.
        limit: usize,
    },
}

/// The adapters of an engine.
#[derive(Default)]
pub(crate) struct Adapters {
    loaded: Mutex<BTreeMap<AdapterName, LoadedAdapter>>,
    memory: Arc<AtomicUsize>,
    last_id: AtomicU64,
}

/// Bytes of an adapter, given back when it is dropped.
struct Reserved {
    memory: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.memory.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Adapters {
    fn table(&self) -> MutexGuard<'_, BTreeMap<AdapterName, LoadedAdapter>> {
        self.loaded.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn get(&self, name: &str) -> Option<LoadedAdapter> {
        self.table().get(name).cloned()
    }

    /// By their names.
    pub fn list(&self) -> Vec<LoadedAdapter> {
        self.table().values().cloned().collect()
    }

    /// Bytes of all that are loaded or still in use.
    pub fn bytes(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Makes `adapter` ready and gives it its name; `replace` takes the name from another. At most `limit` bytes are used
    /// by all.
    pub fn load(
        &self,
        model: &Arc<Model>,
        name: AdapterName,
        adapter: &Adapter,
        replace: bool,
        limit: usize,
    ) -> Result<LoadedAdapter, LoadAdapterError> {
        if adapter.config.r > MAX_ADAPTER_RANK {
            return Err(LoadAdapterError::Rank(adapter.config.r));
        }
        self.check_room(&self.table(), &name, replace)?;
        let memory = self.reserve(ServedAdapter::bytes_of(adapter, model.lm.adapter_dtype()), limit)?;
        model.check_base(adapter)?;
        let served = model.lm.adapted_by(adapter)?;
        let id = self.last_id.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let id = AdapterId(NonZeroU64::new(id).expect("they count from 1"));
        let loaded = Loaded { name: name.clone(), id, served, model: Arc::clone(model), _memory: memory };
        let loaded = LoadedAdapter(Arc::new(loaded));
        let mut table = self.table();
        // another may have come meanwhile
        self.check_room(&table, &name, replace)?;
        table.insert(name, loaded.clone());
        Ok(loaded)
    }

    fn check_room(
        &self,
        table: &BTreeMap<AdapterName, LoadedAdapter>,
        name: &AdapterName,
        replace: bool,
    ) -> Result<(), LoadAdapterError> {
        match table.contains_key(name) {
            true if !replace => Err(LoadAdapterError::Exists(name.clone())),
            false if table.len() >= MAX_ADAPTERS => Err(LoadAdapterError::TooMany),
            _ => Ok(()),
        }
    }

    fn reserve(&self, bytes: usize, limit: usize) -> Result<Reserved, LoadAdapterError> {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
        match self.memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(Reserved { memory: Arc::clone(&self.memory), bytes }),
            Err(used) => Err(LoadAdapterError::Memory { bytes, used, limit }),
        }
    }

    /// Takes the name away; `false` when there is none of it.
    pub fn unload(&self, name: &str) -> bool {
        self.table().remove(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_stand_behind_a_models_and_in_a_message() {
        for name in ["a", "sql-v2", "team/sql_2.1", "法务"] {
            assert_eq!(name.parse::<AdapterName>().unwrap().as_str(), name);
        }
        for name in ["", "a:b", "a b", "a=b", "a\n", "\"", &"x".repeat(MAX_ADAPTER_NAME_BYTES + 1)] {
            assert!(name.parse::<AdapterName>().is_err(), "{name:?}");
        }
    }
}
