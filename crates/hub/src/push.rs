//! From the store to a hub.
