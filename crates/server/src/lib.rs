//! The HTTP service: OpenAI's wire contract over the engine, and the wire contracts of model hubs over a store.
//!
//! [`Server::bind`] takes the socket, [`Server::run`] serves until it is told to stop and then drains.
//!
//! A request's way: [`accept`] (connections and their timeouts) → [`router`] (id, key, route) → [`json`] (bounded
//! body to a type) → a module of [`openai`] (checks, prompt, engine, answer) → [`sse`] or JSON. Whatever goes wrong
//! is an [`error::ApiError`]. The routes of [`hub`](mod@hub) stand beside these, with their own admission and errors.

pub mod accept;
pub mod activity;
pub mod auth;
pub mod error;
pub mod generation;
pub mod health;
pub mod hub;
pub mod json;
pub mod lifecycle;
pub mod limits;
pub mod metrics;
pub mod openai;
pub mod openapi;
pub mod options;
pub mod router;
pub mod server;
pub mod sse;
pub mod state;

pub use options::{HubOptions, Limits, ServedModel, ServerOptions, Timeouts};
pub use server::{Server, ServerError};
