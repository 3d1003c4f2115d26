//! From a hub into the store.
