//! What a server is started with.

use crate::limits::MAX_BODY_BYTES;
use engine::Engine;
use hub::Store;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How to serve which models.
#[derive(Clone)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes a free one ([`crate::Server::local_addr`] tells which).
    pub listen: SocketAddr,
    /// Keys of which every request must present one (`Authorization: Bearer ...`); empty: none is needed.
    pub api_keys: Vec<String>,
    /// Host names by which clients without a key may address the server, beside IP addresses and `localhost`
    /// (a web page that points its own name at this machine must not reach it).
    pub allowed_hosts: Vec<String>,
    /// The models, their ids and aliases all different; at least one where there is no hub.
    pub models: Vec<ServedModel>,
    /// The directory that adapters may be loaded from at run time; `None`: those that the models have stay.
    pub adapter_dir: Option<PathBuf>,
    /// The hub that it is, beside serving models; `None`: it is none.
    pub hub: Option<HubOptions>,
    /// How long anything may take.
    pub timeouts: Timeouts,
    /// How much there may be of anything.
    pub limits: Limits,
}

impl ServerOptions {
    /// Serves `models` on `listen` without a key, with the default timeouts and limits.
    pub fn new(listen: SocketAddr, models: Vec<ServedModel>) -> ServerOptions {
        ServerOptions {
            listen,
            api_keys: Vec::new(),
            allowed_hosts: Vec::new(),
            models,
            adapter_dir: None,
            hub: None,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
        }
    }
}

/// A hub of models and datasets.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Where they are.
    pub store: Store,
    /// Whether clients without a key may read what is public, where keys are set.
    pub anonymous: bool,
}

/// A model and the names that requests know it by.
#[derive(Clone)]
pub struct ServedModel {
    /// The name in `GET /v1/models` and in answers.
    pub id: String,
    /// What runs it.
    pub engine: Engine,
    /// Other names that requests may use.
    pub aliases: Vec<String>,
}

/// How long anything may take.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From the first byte of a request, or the start of a connection, to the end of its headers.
    pub header: Duration,
    /// Between two pieces of a request's body.
    pub body_read: Duration,
    /// A request's whole body.
    pub body: Duration,
    /// A connection without a request.
    pub idle: Duration,
    /// A client that takes nothing of what is written to it.
    pub write_stall: Duration,
    /// Between two comments that keep a silent stream alive.
    pub stream_keep_alive: Duration,
    /// Running requests once the server was told to stop.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            header: Duration::from_secs(10),
            body_read: Duration::from_secs(10),
            body: Duration::from_secs(60),
            idle: Duration::from_secs(75),
            write_stall: Duration::from_secs(30),
            stream_keep_alive: Duration::from_secs(15),
            drain: Duration::from_secs(30),
        }
    }
}

/// How much there may be of anything.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; one more is answered 503.
    pub connections: usize,
    /// Bytes of a request body; at most [`MAX_BODY_BYTES`].
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { connections: 1024, body_bytes: MAX_BODY_BYTES }
    }
}
