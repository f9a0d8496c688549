//! One connection from its first byte to its last: a seat for it, and each request's head judged
//! before Pingora gets it. Takes the place of Pingora's own loop over the requests of an HTTP/1
//! connection; no other version is spoken here.

use std::{net::IpAddr, sync::Arc};

use as2hook_event::Direction;
use async_trait::async_trait;
use pingora::{
    apps::{HttpPersistentSettings, HttpServerApp as _, ServerApp},
    protocols::{Stream, http::ServerSession},
    proxy::HttpProxy,
    server::ShutdownWatch,
};
use tokio::sync::Semaphore;

use super::{
    connection::Connection,
    connection_limiter::{ConnectionLimiter, ConnectionPermit, LimitReached, counted_peer},
    handshakes,
    in_flight::InFlight,
    read_head::{HeadOutcome, read_head},
    rejection::Rejection,
    shutdown::GracefulShutdown,
};
use crate::{
    log::RejectionLog,
    proxy::{Proxy, Side, listener},
    snapshot::Live,
};
use as2hook_config::Limits;

/// Connections that are turned away in words at once. Beyond it they are closed without.
const GOODBYES: usize = 64;

/// What serves the connections of one listener.
pub(crate) struct Connections<S: Side> {
    proxy: Arc<HttpProxy<Proxy<S>>>,
    live: Arc<Live>,
    in_flight: InFlight,
    seats: ConnectionLimiter,
    ending: GracefulShutdown,
    goodbyes: Arc<Semaphore>,
    log: RejectionLog,
}

// === impl Connections ===

impl<S: Side> Connections<S> {
    pub(crate) fn new(
        proxy: HttpProxy<Proxy<S>>,
        live: Arc<Live>,
        in_flight: InFlight,
        seats: ConnectionLimiter,
        ending: GracefulShutdown,
    ) -> Self {
        let goodbyes = Arc::new(Semaphore::new(GOODBYES));
        ending.listens();
        Self {
            proxy: Arc::new(proxy),
            live,
            in_flight,
            seats,
            ending,
            goodbyes,
            log: RejectionLog::default(),
        }
    }

    fn seat(&self, peer: Option<IpAddr>) -> Result<ConnectionPermit, LimitReached> {
        let config = &self.live.load().config;
        let address = counted_peer(config, S::DIRECTION, peer);
        let Limits { connections, connections_per_address, .. } = config.limits;
        // Only bodies of the inbound listener give way, and only to its own connections.
        let make_room = || S::DIRECTION == Direction::Inbound && self.in_flight.make_room(address);
        self.seats.enter(connections, address, connections_per_address, make_room)
    }

    /// Says no in words while that costs little, and closes.
    async fn turn_away(&self, stream: Stream, peer: Option<IpAddr>, full: LimitReached) {
        let rejection = turned_away(&self.live, &self.log, S::DIRECTION, peer, full);
        if let Ok(_place) = self.goodbyes.try_acquire() {
            Connection::new(stream).refuse(&rejection).await;
        }
    }

    /// One request after another, as long as both sides wish.
    async fn serve(
        &self,
        stream: Stream,
        peer: Option<IpAddr>,
        seat: &ConnectionPermit,
        shutdown: &ShutdownWatch,
    ) -> Option<()> {
        let mut connection = Connection::new(stream);
        let mut close = self.ending.close();
        let mut kept = None;
        loop {
            let limits = self.live.load().config.limits;
            match read_head(&mut connection, &limits, &self.in_flight, seat, &mut close).await {
                HeadOutcome::Head => {}
                HeadOutcome::Nothing => return None,
                HeadOutcome::Refused(rejection) => {
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
        observer.refused(listener(S::DIRECTION), rejection.reason());
        observer.exchange(listener(S::DIRECTION), Some(rejection.status()), true);
        if let Some(suppressed) = self.log.due(rejection.reason()) {
            tracing::info!(
                listener = listener(S::DIRECTION),
                peer = peer.map(|peer| peer.to_string()),
                status = rejection.status(),
                suppressed,
                "A request was refused by its head. {rejection}",
            );
        }
        connection.refuse(rejection).await;
    }
}

#[async_trait]
impl<S: Side> ServerApp for Connections<S> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let _open = self.ending.enter();
        let digest = stream.get_socket_digest();
        let peer = digest.and_then(|digest| digest.peer_addr()?.as_inet().map(|a| a.ip()));
        let seat = self.seat(peer);
        // The seat is taken before the other is given up: at no time does a connection count for nothing.
        handshakes::done(&stream);
        let seat = match seat {
            Ok(seat) => seat,
            Err(full) => {
                self.turn_away(stream, peer, full).await;
                return None;
            }
        };
        let counted = self.live.observer().connection(listener(S::DIRECTION));
        self.serve(stream, peer, &seat, shutdown).await;
        // Who reads that it is gone finds its seat free.
        drop(seat);
        drop(counted);
        None
    }

    /// The listener has stopped. That is not passed on: Pingora would drop every connection that waits
    /// for a request, one on its way included. They end as [`GracefulShutdown`] says.
    async fn cleanup(&self) {
        self.ending.has_stopped();
    }
}

/// Counts and logs a connection for which there is no seat. Returns the response to it.
pub(crate) fn turned_away(
    live: &Live,
    log: &RejectionLog,
    direction: Direction,
    peer: Option<IpAddr>,
    full: LimitReached,
) -> Rejection {
    let rejection = Rejection::from(full);
    live.observer().refused(listener(direction), rejection.reason());
    if let Some(suppressed) = log.due(rejection.reason()) {
        tracing::warn!(
            listener = listener(direction),
            peer = peer.map(|peer| peer.to_string()),
            suppressed,
            "Connections are turned away. {rejection}",
        );
    }
    rejection
}
