//! What an engine promises, over real checkpoints.

mod adapters;
mod capacity;
mod client;
mod constraints;
mod draft;
mod endings;
mod fixture;
mod independence;
mod prefix;
mod reference;
mod sampling;
