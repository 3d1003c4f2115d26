//! The model hub: names, a content-addressed store, pull and push.
//!
//! A [`Source`] is what a person writes for a model; a [`Repo`] is where its files are kept: `owner/name` in a [`Store`],
//! with branches, tags and commits. Files are blobs named by their SHA-256, so that what two repositories share is stored
//! once. [`pull`] fills the store from hubs that speak Hugging Face's or ModelScope's protocol ([`remote`]), [`push`] goes
//! the other way. Loaders read a [`snapshot`](Store::snapshot): a directory of links into the blobs.
//!
//! **Invariants.** Nothing is listed before all of it is on disk. No name from outside becomes a path before it is a
//! [`RepoId`], [`RefName`], [`CommitId`] or [`FilePath`], none of which can climb out. Only `remote`, `pull` and `push` meet
//! the network; the store is blocking `std::fs`, called from async code through `spawn_blocking`. Nothing here reads a
//! tensor, unpacks an archive or runs what it stores.

// what is missing of a file is a list of ranges, and often of one
#![allow(clippy::single_range_in_vec_init)]

pub mod digest;
pub mod error;
pub mod limits;
pub mod lineage;
pub mod name;
pub mod pull;
pub mod push;
pub mod remote;
pub mod source;
pub mod store;

pub use digest::{GitDigest, Sha256Digest};
pub use error::StoreError;
pub use name::{CommitId, FilePath, NameError, RefName, Repo, RepoId, RepoKind, Revision};
pub use source::{Hub, Settings, Source};
pub use store::Store;
