//! A server from its socket to its end.

use crate::accept::serve;
use crate::limits::MAX_BODY_BYTES;
use crate::options::ServerOptions;
use crate::router::router;
use crate::state::App;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A server that has its socket and waits for [`Server::run`].
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
}

/// Why a server cannot start.
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
        if options.limits.body_bytes > MAX_BODY_BYTES {
            let message = format!("a body of {} bytes is over {MAX_BODY_BYTES}", options.limits.body_bytes);
            return Err(ServerError::Options(message));
        }
        let address = options.listen;
        let listen = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => ServerError::AddressInUse { address },
            _ => ServerError::Listen { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let app = Arc::new(App::new(options)?);
        Ok(Server { listener, address, app })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` resolves. Then `/readyz` and new requests answer 503, running ones go on for at most
    /// [`crate::Timeouts::drain`], and streams that are cut get an error event.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let router = router(self.app.clone());
        serve(self.listener, self.app, router, shutdown).await;
        Ok(())
    }
}
