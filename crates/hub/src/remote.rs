//! Clients of other hubs.
