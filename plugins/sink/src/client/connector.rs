//! From a URL to a connection: resolve, check the address, connect, TLS.

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
use hyper_openssl::client::legacy::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use openssl::ssl::SslConnector;
use tokio::time::{Instant, sleep_until, timeout};
use tower_service::Service;

use super::{resolve::NameResolver, stream::MeteredTcp, tls};
use crate::{guard::Guard, happy_eyeballs};

/// Why no connection was made.
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
        /// The reason.
        reason: String,
    },
    /// The webhook may not point there. A name that does not exist and one with only private
    /// addresses give the same error: a webhook set over the API must not reveal which names the
    /// private network has.
    #[error("{host} is not on the public internet, nor in a network that api.allow_networks names")]
    Refused {
        /// The host.
        host: String,
    },
    /// No address accepted the connection; `source` is of the last one.
    #[error("could not connect to {host} port {port}: {source}")]
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// The TLS handshake failed.
    #[error("no TLS session with {host}: {reason}")]
    Tls {
        /// The host.
        host: String,
        /// The reason.
        reason: String,
    },
}

/// Makes connections for one TLS profile and guard.
#[derive(Clone)]
pub(super) struct EndpointConnector {
    shared: Arc<ConnectorState>,
}

struct ConnectorState {
    names: NameResolver,
    guard: Guard,
    tls: SslConnector,
}

// === impl EndpointConnector ===

impl EndpointConnector {
    /// The limit for all addresses of a name together: with eight addresses the last one still has
    /// five seconds.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(7);
    /// The limit of a handshake, also when its request was cancelled.
    const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

    pub(super) fn new(names: NameResolver, guard: Guard, tls: SslConnector) -> Self {
        Self { shared: Arc::new(ConnectorState { names, guard, tls }) }
    }
}

impl Service<Uri> for EndpointConnector {
    type Response = MaybeHttpsStream<TokioIo<MeteredTcp>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move { shared.connect(&url).await })
    }
}

// === impl ConnectorState ===

impl ConnectorState {
    async fn connect(
        &self,
        url: &Uri,
    ) -> Result<MaybeHttpsStream<TokioIo<MeteredTcp>>, ConnectError> {
        let secure = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(ConnectError::Url),
        };
        let host = url.host().filter(|host| !host.is_empty()).ok_or(ConnectError::Url)?;
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });

        if !self.guard.admits_url(url) {
            return Err(ConnectError::Refused { host: host.to_owned() });
        }
        let addresses = self.addresses(host).await?;
        let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, port));
        let addresses = happy_eyeballs::in_order(addresses);
        let (_, tcp) = happy_eyeballs::connect(&addresses, EndpointConnector::CONNECT_TIMEOUT)
            .await
            .outcome
            .map_err(|source| {
                // The name may have other addresses by now.
                self.names.forget(host);
                ConnectError::Tcp { host: host.to_owned(), port, source: Arc::new(source) }
            })?;
        // A notification is one small packet: waiting for more data would only delay it.
        let _ = tcp.set_nodelay(true);
        let tcp = TokioIo::new(MeteredTcp::new(tcp));
        if !secure {
            return Ok(MaybeHttpsStream::Http(tcp));
        }
        let shaken =
            timeout(EndpointConnector::HANDSHAKE_TIMEOUT, tls::handshake(&self.tls, host, tcp));
        match shaken.await.unwrap_or_else(|_| Err("the handshake took too long".to_owned())) {
            Ok(stream) => Ok(MaybeHttpsStream::Https(stream)),
            Err(reason) => Err(ConnectError::Tls { host: host.to_owned(), reason }),
        }
    }

    /// Returns the addresses that may be connected to.
    ///
    /// Under a guard, a name that does not resolve and one without an admitted address give the
    /// same error after the same time, that of the slowest lookup.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let refusal = Instant::now() + NameResolver::BUDGET;
        let found = match self.names.addresses(host).await {
            Ok(found) => found,
            Err(error) if self.guard == Guard::Open => {
                let reason = error.to_string();
                return Err(ConnectError::Resolve { host: host.to_owned(), reason });
            }
            Err(error) => {
                tracing::warn!(host, %error, "A webhook's host could not be resolved.");
                Vec::new()
            }
        };
        let (admitted, refused): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|address| self.guard.admits(*address));
        if !refused.is_empty() {
            tracing::warn!(host, ?refused, "A webhook may not point at an address of its host.");
        }
        if admitted.is_empty() {
            sleep_until(refusal).await;
            return Err(ConnectError::Refused { host: host.to_owned() });
        }
        Ok(admitted)
    }
}

#[cfg(test)]
mod tests;
