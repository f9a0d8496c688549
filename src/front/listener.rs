//! One listener and its connections, each from its first byte to its last: a permit for it, and each
//! request's head judged before Pingora gets it. Takes the place of Pingora's own loop over the requests of an
//! HTTP/1 connection; no other version is spoken here.

use std::{
    net::{IpAddr, TcpListener},
    os::fd::IntoRawFd as _,
    sync::Arc,
};

use as2hook_event::Direction;
use async_trait::async_trait;
use pingora::{
    apps::{HttpPersistentSettings, HttpServerApp as _, ServerApp},
    listeners::{L4BufferSettings, ListenerConfig},
    protocols::{Stream, http::ServerSession},
    proxy::{HttpProxy, ProxyHttp},
    server::{ListenFds, ShutdownWatch},
    services::{self, listening::Service},
};
use tokio::sync::Semaphore;

use super::{
    connection::Connection,
    connection_limiter::{ConnectionLimiter, ConnectionPermit, LimitReached, counted_peer},
    in_flight::InFlight,
    listener_name,
    rejection::Rejection,
    shutdown::GracefulShutdown,
    tls::TlsHandshakes,
};
use crate::{log::RejectionLog, snapshot::Live};
use as2hook_config::Limits;

/// Connections of each listener that are refused in words at once. Beyond it they are closed without.
static GOODBYES: [Semaphore; 2] = [const { Semaphore::const_new(64) }; 2];

/// What serves the connections of one listener.
pub(crate) struct Connections<P> {
    pub(crate) proxy: Arc<HttpProxy<P>>,
    pub(crate) direction: Direction,
    pub(crate) live: Arc<Live>,
    pub(crate) in_flight: InFlight,
    pub(crate) limiter: ConnectionLimiter,
    pub(crate) tls: Option<TlsHandshakes>,
    pub(crate) ending: GracefulShutdown,
    pub(crate) log: RejectionLog,
}

/// Pingora's listening service on a socket that is bound already: by this process before it was sure to
/// start, or by the one that it takes over from.
pub(crate) struct ListeningService<A> {
    service: Service<A>,
    /// What the service calls its address.
    name: String,
    socket: Option<TcpListener>,
}

// === impl Connections ===

impl<P> Connections<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    fn name(&self) -> &'static str {
        listener_name(self.direction)
    }

    fn permit(&self, peer: Option<IpAddr>) -> Result<ConnectionPermit, LimitReached> {
        let config = &self.live.load().config;
        let address = counted_peer(config, self.direction, peer);
        let Limits { connections, connections_per_address, .. } = config.limits;
        // Only bodies of the inbound listener give way, and only to its own connections.
        let make_room =
            || self.direction == Direction::Inbound && self.in_flight.make_room(address);
        self.limiter.enter(connections, address, connections_per_address, make_room)
    }

    /// Makes the TLS session of a connection, where the listener has TLS, and takes its permit.
    async fn enter(
        &self,
        stream: Stream,
    ) -> Option<(Connection, ConnectionPermit, Option<IpAddr>)> {
        let digest = stream.get_socket_digest();
        let peer = digest.and_then(|digest| digest.peer_addr()?.as_inet().map(|a| a.ip()));
        let (stream, handshake) = match &self.tls {
            None => (stream, None),
            Some(tls) => {
                let handshake =
                    tls.begin(peer).map_err(|full| self.turned_away(peer, full)).ok()?;
                let session = tokio::select! {
                    session = tls.accept(stream, &handshake) => session,
                    () = self.ending.handshakes_end() => return None,
                };
                let session = session.map_err(|error| {
                    // A probe, a scanner, or a client that does not trust us: nothing is lost by it.
                    if let Some(suppressed) = self.log.due("handshake") {
                        let (listener, peer) = (self.name(), peer.map(|peer| peer.to_string()));
                        tracing::info!(%error, listener, peer, suppressed, "A TLS handshake failed.");
                    }
                });
                (session.ok()?, Some(handshake))
            }
        };
        let permit = self.permit(peer);
        // This permit is taken before the other is given up: at no time does a connection count for nothing.
        drop(handshake);
        let connection = Connection::new(stream);
        match permit {
            Ok(permit) => Some((connection, permit, peer)),
            Err(full) => {
                let rejection = self.turned_away(peer, full);
                // In words while that costs little.
                if let Ok(_place) = GOODBYES[self.direction as usize].try_acquire() {
                    connection.refuse(&rejection).await;
                }
                None
            }
        }
    }

    /// Counts and logs a connection for which there is no permit. Returns the response to it.
    fn turned_away(&self, peer: Option<IpAddr>, full: LimitReached) -> Rejection {
        let rejection = Rejection::from(full);
        self.live.observer().refused(self.name(), rejection.reason());
        if let Some(suppressed) = self.log.due(rejection.reason()) {
            let (listener, peer) = (self.name(), peer.map(|peer| peer.to_string()));
            tracing::warn!(listener, peer, suppressed, "Connections are refused. {rejection}");
        }
        rejection
    }

    /// One request after another, as long as both sides wish.
    async fn serve(
        &self,
        mut connection: Connection,
        peer: Option<IpAddr>,
        permit: &ConnectionPermit,
        shutdown: &ShutdownWatch,
    ) -> Option<()> {
        let mut close = self.ending.close();
        let mut kept = None;
        loop {
            let limits = self.live.load().config.limits;
            let head = connection.read_head(&limits, &self.in_flight, permit, &mut close).await;
            match head {
                Ok(true) => {}
                Ok(false) => return None,
                Err(rejection) => {
                    self.refuse(connection, peer, &rejection).await;
                    return None;
                }
            }
            let mut session = ServerSession::new_http1(Box::new(connection));
            // How long it is kept without a request is judged before its next head, not by Pingora.
            let stopping = *shutdown.borrow();
            session.set_keepalive((!stopping).then_some(60));
            if let Some(kept) = kept.take() {
                HttpPersistentSettings::apply_to_session(kept, &mut session);
            }
            let stream;
            (stream, kept) = self.proxy.process_new_http(session, shutdown).await?.consume();
            connection = *stream.into_any().downcast::<Connection>().ok()?;
        }
    }

    async fn refuse(&self, connection: Connection, peer: Option<IpAddr>, rejection: &Rejection) {
        let observer = self.live.observer();
        observer.refused(self.name(), rejection.reason());
        observer.exchange(self.name(), Some(rejection.status()), true);
        if let Some(suppressed) = self.log.due(rejection.reason()) {
            tracing::info!(
                listener = self.name(),
                peer = peer.map(|peer| peer.to_string()),
                status = rejection.status(),
                suppressed,
                "A request was refused because of its head. {rejection}",
            );
        }
        connection.refuse(rejection).await;
    }
}

#[async_trait]
impl<P> ServerApp for Connections<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let _open = self.ending.enter();
        let (connection, permit, peer) = self.enter(stream).await?;
        let counted = self.live.observer().connection(self.name());
        self.serve(connection, peer, &permit, shutdown).await;
        // A client that reads that it is gone finds its permit free.
        drop(permit);
        drop(counted);
        None
    }

    /// The listener has stopped. That is not passed on: Pingora would drop every connection that waits
    /// for a request, one on its way included. They end as [`GracefulShutdown`] says.
    async fn cleanup(&self) {
        self.ending.has_stopped();
    }
}

// === impl ListeningService ===

impl<A: ServerApp + Send + Sync + 'static> ListeningService<A> {
    /// `buffer`: how much is read ahead of what is asked for.
    pub(crate) fn new(name: &str, app: A, socket: TcpListener, buffer: L4BufferSettings) -> Self {
        let mut service = Service::new(name.to_owned(), app);
        service.add_listener(ListenerConfig::tcp(name).l4_buffer(buffer));
        Self { service, name: name.to_owned(), socket: Some(socket) }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> services::Service for ListeningService<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        // As if Pingora had got it from another process: what it finds in this table it owns.
        if let (Some(fds), Some(socket)) = (&fds, self.socket.take()) {
            fds.lock().add(self.name.clone(), socket.into_raw_fd());
        }
        services::Service::start_service(&mut self.service, fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        services::Service::name(&self.service)
    }

    fn threads(&self) -> Option<usize> {
        services::Service::threads(&self.service)
    }
}
