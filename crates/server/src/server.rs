//! A server from its socket to its end.

use crate::options::ServerOptions;
use std::future::Future;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// A server that has its socket and waits for [`Server::run`].
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why a server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody else has the port.
    #[error("{address} is in use by another program; stop it, or choose another port")]
    AddressInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The socket cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
}

impl Server {
    /// Checks the options and takes the socket; nothing is answered before [`Self::run`].
    pub async fn bind(options: ServerOptions) -> Result<Server, ServerError> {
        let address = options.listen;
        let listen = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => ServerError::AddressInUse { address },
            _ => ServerError::Listen { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Server { listener, address })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` resolves. Then `/readyz` and new requests answer 503, running ones go on for at most
    /// [`crate::Timeouts::drain`], and streams that are cut get an error event.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let _ = self.listener;
        shutdown.await;
        todo!()
    }
}
