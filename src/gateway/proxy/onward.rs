//! A request on its way to the other side.

use as2hook_webhooks::Direction;
use bytes::{Buf as _, Bytes};
use http::header;
use pingora::{
    Error, ErrorSource, Result,
    http::RequestHeader,
    proxy::Session,
    upstreams::peer::{HttpPeer, Peer as _},
};

use super::{
    super::{answer::Rejection, connection::Connection, upstream},
    Passage, Proxy, Side,
};

impl<S: Side> Proxy<S> {
    /// Where this attempt goes.
    pub(super) async fn place(passage: &mut Passage<S::Way>) -> Result<Box<HttpPeer>, Rejection> {
        let Passage { snapshot, way, tries, .. } = passage;
        let Some(way) = way else { return Err(Rejection::Internal) };
        let mut place = S::place(way, snapshot, *tries).await?;
        if let Some(options) = place.get_mut_peer_options() {
            options.write_timeout = Some(snapshot.config.limits.pace.piece);
        }
        if S::DIRECTION == Direction::Outbound {
            passage.peer = upstream::address(&place);
            if let (Some(exchange), Some(peer)) = (&mut passage.exchange, passage.peer) {
                exchange.reaches(peer);
            }
        }
        Ok(place)
    }

    /// The head that goes on.
    pub(super) fn rewrite(
        session: &Session,
        request: &mut RequestHeader,
        passage: &Passage<S::Way>,
    ) -> Result<()> {
        let Some(way) = &passage.way else { return Err(Rejection::Internal.into_error()) };
        // Some servers take this word in small letters alone.
        if request.headers.contains_key(header::TRANSFER_ENCODING) {
            request.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        S::rewrite(way, &passage.snapshot, session, request)
    }
}

impl<W> Passage<W> {
    /// A kept connection that the other side had closed costs nobody a 502: what it did not answer is
    /// sent once more on another, while Pingora still has it. Whoever is slow, or gives an answer that is
    /// refused, has the message: it is not sent again.
    pub(super) fn goes_again(&mut self, session: &Session, error: &Error, reused: bool) -> bool {
        let upstream = *error.esource() == ErrorSource::Upstream;
        let whole = !session.as_ref().retry_buffer_truncated();
        let again = reused && upstream && whole && !self.answered && upstream::is_stale(error);
        if again {
            self.received = 0;
        }
        again
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
        let limit = self.snapshot.config.limits.decode.body;
        if self.received > limit {
            return Err(Rejection::BodyTooLarge { limit });
        }
        if let Some(exchange) = &mut self.exchange
            && let Err(refused) = exchange.request(bytes, end).await
        {
            // Said once as an error where it begins; `logging` tells of each exchange.
            tracing::debug!(error = %refused.0, "A message was refused: it cannot be recorded.");
            return Err(Rejection::NotStored);
        }
        if end && let Some(connection) = Connection::of(session) {
            connection.follow();
        }
        // An empty last piece of a chunked request would be sent as a second end (pingora#935).
        if end && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        Ok(())
    }
}
