//! TLS handshakes under way: how many, and from where. A connection has its seat once it can be told in
//! words that there is none, so what comes before that is counted by itself, against the same limits.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use as2hook_webhooks::Direction;
use async_trait::async_trait;
use pingora::{
    ErrorType,
    http::ResponseHeader,
    listeners::{ConnectionFilter, PreTlsProcess},
    protocols::{GetProxyDigest as _, GetSocketDigest as _, Stream, l4, raw_connect::ProxyDigest},
};

use super::{
    flood::{Flood, rejection},
    seats::{Full, Seat, Seats},
};
use crate::snapshot::Live;

/// Those of one listener.
pub(super) struct Handshakes {
    live: Arc<Live>,
    direction: Direction,
    seats: Seats,
    flood: Flood,
}

/// A handshake's seat, which goes with its stream until it is over.
struct Begun(Mutex<Option<Seat>>);

// === impl Handshakes ===

impl Handshakes {
    pub(super) fn new(live: Arc<Live>, direction: Direction) -> Self {
        Self { live, direction, seats: Seats::default(), flood: Flood::default() }
    }

    fn seat(&self, peer: Option<IpAddr>) -> Result<Seat, Full> {
        self.seats.enter_by(&self.live.load().config, self.direction, peer)
    }
}

impl std::fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshakes").field("seats", &self.seats.taken()).finish_non_exhaustive()
    }
}

#[async_trait]
impl ConnectionFilter for Handshakes {
    /// Looks whether there is a seat. It is taken where it can be given back: in the connection's task.
    async fn should_accept(&self, peer: Option<&SocketAddr>) -> bool {
        let peer = peer.map(SocketAddr::ip);
        let Err(full) = self.seat(peer) else { return true };
        self.flood.tell(&self.live, self.direction, peer, &rejection(full));
        false
    }
}

#[async_trait]
impl PreTlsProcess for Handshakes {
    async fn process(&self, stream: &mut l4::stream::Stream) -> pingora::Result<()> {
        let digest = stream.get_socket_digest();
        let peer = digest.and_then(|digest| digest.peer_addr()?.as_inet().map(SocketAddr::ip));
        // Others of the same moment may have taken the seat that there was.
        let seat = match self.seat(peer) {
            Ok(seat) => seat,
            Err(full) => {
                self.flood.tell(&self.live, self.direction, peer, &rejection(full));
                return pingora::Error::e_explain(
                    ErrorType::AcceptError,
                    "too many TLS handshakes",
                );
            }
        };
        // The one thing that Pingora keeps with a stream and gives back; a listener has no other use for it.
        let begun = Begun(Mutex::new(Some(seat)));
        let answer = ResponseHeader::build_no_case(200, Some(0))?;
        stream.set_proxy_digest(ProxyDigest::new(Box::new(answer), Some(Box::new(begun))));
        Ok(())
    }
}

/// The connection's handshake is over, if it had one.
pub(super) fn done(stream: &Stream) {
    let digest = stream.get_proxy_digest();
    let begun =
        digest.as_ref().and_then(|digest| digest.user_data.as_ref()?.downcast_ref::<Begun>());
    if let Some(Begun(seat)) = begun {
        *seat.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
