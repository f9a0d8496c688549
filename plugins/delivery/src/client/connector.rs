//! From a URL to a connection: resolve, vet, connect, TLS.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper_util::rt::TokioIo;
use openssl::ssl::SslConnector;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use super::{
    resolve::Names,
    stream::{Stream, Transport},
    tls,
};
use crate::guard::Guard;

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Not http or https, or no host.
    #[error("the URL must begin with http:// or https:// and name a host")]
    Url,
    /// The name has no address.
    #[error("{host} could not be resolved: {reason}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        reason: String,
    },
    /// Every address is one that this webhook may not point at. Which ones they are is not told: whoever
    /// sets webhooks over the API must not learn of the private network this way.
    #[error("{host} is not on the public internet, nor in a network that api.allow_networks names")]
    Refused {
        /// The host.
        host: String,
    },
    /// No address took the connection; the last one's reason.
    #[error("could not connect to {host} port {port}: {source}")]
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// No TLS session.
    #[error("no TLS session with {host}: {reason}")]
    Tls {
        /// The host.
        host: String,
        /// Why.
        reason: String,
    },
}

/// Makes connections for one TLS profile and guard.
#[derive(Clone)]
pub(super) struct Connector {
    shared: Arc<Shared>,
}

struct Shared {
    names: Names,
    guard: Guard,
    tls: SslConnector,
}

// === impl Connector ===

impl Connector {
    /// One address is tried no longer, so that a dead one leaves time for the next.
    const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
    /// A handshake takes no longer, even where nobody waits for it any more.
    const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
    /// Addresses tried of one name.
    const ADDRESSES: usize = 8;

    pub(super) fn new(names: Names, guard: Guard, tls: SslConnector) -> Self {
        Self { shared: Arc::new(Shared { names, guard, tls }) }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move { shared.connect(&url).await })
    }
}

// === impl Shared ===

impl Shared {
    async fn connect(&self, url: &Uri) -> Result<Stream, ConnectError> {
        let secure = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(ConnectError::Url),
        };
        let host = url.host().filter(|host| !host.is_empty()).ok_or(ConnectError::Url)?;
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });

        let addresses = self.addresses(host).await?;
        let tcp = connect_any(&addresses, port).await.map_err(|source| ConnectError::Tcp {
            host: host.to_owned(),
            port,
            source: Arc::new(source),
        })?;
        // A notification is one small packet: waiting for more to send would only delay it.
        let _ = tcp.set_nodelay(true);
        if !secure {
            return Ok(Stream::new(Transport::Plain(TokioIo::new(tcp))));
        }
        let shaken = timeout(Connector::HANDSHAKE_TIMEOUT, tls::handshake(&self.tls, host, tcp));
        match shaken.await.unwrap_or_else(|_| Err("the handshake took too long".to_owned())) {
            Ok(stream) => Ok(Stream::new(Transport::Tls(Box::new(stream)))),
            Err(reason) => Err(ConnectError::Tls { host: host.to_owned(), reason }),
        }
    }

    /// The addresses that may be connected to.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let found = self.names.addresses(host).await.map_err(|error| ConnectError::Resolve {
            host: host.to_owned(),
            reason: error.to_string(),
        })?;
        let (mut admitted, refused): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|address| self.guard.admits(*address));
        if !refused.is_empty() {
            tracing::warn!(host, ?refused, "A webhook may not point at an address of its host.");
        }
        if admitted.is_empty() {
            return Err(ConnectError::Refused { host: host.to_owned() });
        }
        admitted.truncate(Connector::ADDRESSES);
        Ok(admitted)
    }
}

/// Connects to the first address that takes it.
async fn connect_any(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        let connect = TcpStream::connect(SocketAddr::new(*address, port));
        match timeout(Connector::ADDRESS_TIMEOUT, connect).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => {
                let text = format!("no answer within {} s", Connector::ADDRESS_TIMEOUT.as_secs());
                last = io::Error::new(io::ErrorKind::TimedOut, text);
            }
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests;
