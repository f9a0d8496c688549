//! A request on its way to the other side.

use std::net::SocketAddr;

use as2hook_event::Direction;
use bytes::{Buf as _, Bytes};
use http::header;
use pingora::{
    Error, ErrorSource, Result,
    http::RequestHeader,
    proxy::Session,
    upstreams::peer::{HttpPeer, Peer as _},
};
use tokio::time::Instant;

use super::{
    super::{
        connection::Connection,
        failover::Candidates,
        rejection::{OtherSide, Rejection},
        upstream,
    },
    Proxy, ProxyContext, Side,
};
use crate::tap::Refused;

impl<S: Side> Proxy<S> {
    /// Where this attempt goes.
    pub(super) async fn place(
        &self,
        passage: &mut ProxyContext<S::Way>,
    ) -> Result<Box<HttpPeer>, Rejection> {
        let ProxyContext { snapshot, way, candidates, .. } = passage;
        let Some(way) = way else { return Err(Rejection::Internal) };
        let candidates = match candidates {
            Some(candidates) => candidates,
            None => {
                let addresses = S::addresses(way, snapshot, &self.lookups).await?;
                candidates.insert(Candidates::new(addresses, &self.failed_addresses))
            }
        };
        let next = candidates.next().ok_or(Rejection::Unreachable(passage.far))?;
        let mut peer = S::peer(way, snapshot, next.0, next.1);
        candidates.race(&mut peer, &self.failed_addresses);
        if let Some(options) = peer.get_mut_peer_options() {
            passage.response_time = options.read_timeout;
            options.write_timeout = Some(snapshot.config.limits.pace().piece);
        }
        passage.reaches(S::DIRECTION, next.1);
        Ok(Box::new(peer))
    }

    /// The head that goes on.
    pub(super) fn rewrite(
        session: &Session,
        request: &mut RequestHeader,
        passage: &ProxyContext<S::Way>,
    ) -> Result<()> {
        let Some(way) = &passage.way else { return Err(Rejection::Internal.into_error()) };
        // Some servers take this word in small letters alone.
        if request.headers.contains_key(header::TRANSFER_ENCODING) {
            request.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        if passage.candidates.as_ref().is_some_and(Candidates::reached_another) {
            request.insert_header(header::CONNECTION, "close")?;
        }
        S::rewrite(way, &passage.snapshot, session, request)
    }
}

impl<W> ProxyContext<W> {
    /// An outbound exchange is on its way to this address of its partner.
    pub(super) fn reaches(&mut self, direction: Direction, address: SocketAddr) {
        if direction == Direction::Outbound {
            self.peer = Some(address.ip());
            if let Some(exchange) = &mut self.exchange {
                exchange.reaches(address.ip());
            }
        }
    }

    /// Whether a request that failed on a kept connection is sent on another: only while the other side
    /// provably did not get it. A request may stand for an order, and an order must not come twice.
    pub(super) fn goes_again(&mut self, session: &Session, error: &Error, reused: bool) -> bool {
        let upstream = *error.esource() == ErrorSource::Upstream;
        let whole = !session.as_ref().retry_buffer_truncated();
        let again = reused && upstream && whole && !self.responded && upstream::is_unsent(error);
        if again {
            self.received = 0;
        }
        again
    }

    /// When the response's head has to be there, once the request is complete.
    pub(super) fn response_by(&self) -> Option<Instant> {
        Some(self.complete? + self.response_time?)
    }

    /// From now on it does not give way to others.
    pub(super) fn is_complete(&self, session: &Session) -> Result<(), Rejection> {
        if let Some(connection) = Connection::of(session) {
            connection.gives_way(None);
        }
        self.permit.as_ref().map_or(Ok(()), |permit| Ok(permit.complete()?))
    }

    /// The next piece of the body. With `end` it returns when the tap has written the exchange down:
    /// only then does the other side get the last bytes.
    pub(super) async fn pass(
        &mut self,
        session: &Session,
        body: &mut Option<Bytes>,
        end: bool,
    ) -> Result<(), Rejection> {
        let mut bytes = body.clone().unwrap_or_default();
        let again = self.tapped.saturating_sub(self.received).min(bytes.len() as u64);
        bytes.advance(usize::try_from(again).unwrap_or(bytes.len()));
        self.received += again + bytes.len() as u64;
        self.tapped = self.tapped.max(self.received);
        let limit = self.snapshot.config.limits.body;
        if self.received > limit {
            return Err(Rejection::BodyTooLarge { limit });
        }
        if end {
            self.is_complete(session)?;
        }
        if let Some(exchange) = &mut self.exchange {
            exchange.request(bytes, end).await.map_err(not_stored)?;
        }
        if end && let Some(connection) = Connection::of(session) {
            connection.follow();
            self.complete = Some(Instant::now());
            // A timer for each request is not worth its cost where our own server is at the other end.
            if self.far == OtherSide::Partner {
                connection.response_by(self.response_by());
            }
        }
        // An empty last piece of a chunked request would be sent as a second end (pingora#935).
        if end && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        Ok(())
    }
}

/// What a partner gets whose message cannot be recorded.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn not_stored(refused: Refused) -> Rejection {
    // Said once as an error where it begins; `logging` has a line for each exchange.
    tracing::debug!(error = %refused.0, "A message was refused: it cannot be recorded.");
    Rejection::NotStored
}
