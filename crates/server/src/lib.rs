//! The HTTP service: OpenAI's wire contract over the engine.
//!
//! [`Server::bind`] takes the socket, [`Server::run`] serves until it is told to stop and then drains.

pub mod limits;
pub mod options;
pub mod server;

pub use options::{Limits, ServedModel, ServerOptions, Timeouts};
pub use server::{Server, ServerError};
