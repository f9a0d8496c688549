//! A request: whether it is let in, and its way to the other side.

use std::{net::SocketAddr, time::Duration};

use as2hook_as2::Headers;
use as2hook_event::Direction;
use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Version, header};
use pingora::{
    Error, ErrorSource, Result,
    http::RequestHeader,
    protocols::Digest,
    proxy::Session,
    upstreams::peer::{HttpPeer, Peer as _},
};
use tokio::time::Instant;

use super::{
    ExchangeRoute, Proxy, ProxyContext, failover::Candidates, inbound, lookups::Lookups, outbound,
    upstream,
};
use crate::{
    front::{connection::Connection, connection_limiter::counted_peer, rejection::Rejection},
    tap::{Exchange, Refused, RequestHead},
};

/// Memory of an exchange that is not decoded: Pingora's buffers on both sides. Where both are slow these
/// are 64 KiB of body, 64 KiB for a second try, and four pieces of 64 KiB each way, with their heads.
const PASSING: u64 = 1024 * 1024;

/// How long the rest of a request is read away behind a response of our own, so that the partner gets
/// to read it.
const DRAIN: Duration = Duration::from_secs(5);

// === impl Proxy ===

impl Proxy {
    /// How the partner's connection is read and written from here on.
    pub(super) fn prepare(session: &mut Session, context: &ProxyContext) {
        let pace = context.snapshot.config.limits.pace();
        if let Some(connection) = Connection::of(session) {
            connection.begin(pace);
        }
        // An interim response comes before the end of the body: that is no reason to close.
        let request = session.req_header();
        let close_early = !expects_continue(&request.headers);
        // RFC 9110 section 15.2: such a client takes an interim response for the final one.
        let no_interim = request.version == Version::HTTP_10 && close_early;
        let downstream = session.as_downstream_mut();
        downstream.set_read_timeout(Some(pace.piece));
        downstream.set_write_timeout(Some(pace.piece));
        downstream.set_total_drain_timeout(Some(DRAIN));
        // Some AS2 senders close their half after the request and wait for the response.
        downstream.set_abort_on_close(false);
        downstream.set_close_on_response_before_downstream_finish(close_early);
        downstream.set_ignore_info_resp(no_interim);
    }

    /// Lets a request in by its head.
    pub(super) fn let_in(
        &self,
        session: &Session,
        context: &mut ProxyContext,
    ) -> Result<(), Rejection> {
        let config = &context.snapshot.config;
        let raw = session.as_downstream().as_http1().map(|http1| http1.get_headers_raw_bytes());
        let request = session.req_header();
        admit(request, &raw.unwrap_or_default(), config.limits.body)?;
        context.peer = match self.direction {
            Direction::Inbound => inbound::partner(session, &config.receiver.trusted_proxies),
            // Known when it is connected to.
            Direction::Outbound => None,
        };
        // Behind a trusted proxy it is the partner's address that counts, not the proxy's.
        let counted = counted_peer(config, self.direction, context.peer);
        let permit = self.in_flight.enter(config.limits.in_flight, counted);
        // A rejection drops it: the rest of a rejected body is read for seconds, and needs no place.
        let permit = permit.ok_or(Rejection::Busy)?;
        let memory = config.limits.memory;
        if !permit.take_memory(PASSING, memory) {
            return Err(Rejection::Memory);
        }
        // What is not AS2 costs no more than this look.
        context.exchange = request.headers.contains_key("as2-from").then(|| {
            let fields = request.case_header_iter();
            self.tap.begin(RequestHead {
                direction: self.direction,
                method: request.method.as_str().to_owned(),
                peer: context.peer,
                headers: recorded(fields.map(|(name, value)| (name.as_slice(), value.as_bytes()))),
            })
        });
        let decoding = context.exchange.as_ref().map_or(0, Exchange::memory);
        if !permit.take_memory(decoding, memory) {
            return Err(Rejection::Memory);
        }
        if let Some(connection) = Connection::of(session) {
            connection.gives_way(permit.gives_way());
        }
        context.route = Some(match self.direction {
            Direction::Inbound => {
                ExchangeRoute::Receiver(context.snapshot.receivers.route(request.uri.path()))
            }
            Direction::Outbound => {
                ExchangeRoute::Partner(Box::new(outbound::route(request, config)?))
            }
        });
        context.permit = Some(permit);
        Ok(())
    }

    /// Where this attempt goes.
    pub(super) async fn place(
        &self,
        context: &mut ProxyContext,
    ) -> Result<Box<HttpPeer>, Rejection> {
        let ProxyContext { snapshot, route, candidates, .. } = context;
        let Some(route) = route else { return Err(Rejection::Internal) };
        let candidates = match candidates {
            Some(candidates) => candidates,
            None => {
                let addresses = route.addresses(&self.lookups).await?;
                candidates.insert(Candidates::new(addresses, &self.failed_addresses))
            }
        };
        let (nth, address) = candidates.next().ok_or(Rejection::Unreachable(context.direction))?;
        let mut peer = match route {
            ExchangeRoute::Receiver(route) => route.peer(nth, address),
            ExchangeRoute::Partner(route) => route.peer(address),
        };
        candidates.race(&mut peer, &self.failed_addresses);
        if let Some(options) = peer.get_mut_peer_options() {
            context.response_time = options.read_timeout;
            options.write_timeout = Some(snapshot.config.limits.pace().piece);
        }
        context.reaches(address);
        Ok(Box::new(peer))
    }
}

// === impl ExchangeRoute ===

impl ExchangeRoute {
    /// The addresses of each place that this request may go to, in the order of the config.
    async fn addresses(&self, lookups: &Lookups) -> Result<Vec<Vec<SocketAddr>>, Rejection> {
        match self {
            Self::Receiver(route) => Ok(route.addresses()),
            Self::Partner(route) => Ok(vec![route.resolve(lookups).await?]),
        }
    }

    /// No address of this place took a connection: its name may lead elsewhere by now.
    pub(super) fn look_up_again(&self, nth: usize) {
        match self {
            Self::Receiver(route) => route.look_up_again(nth),
            // Each exchange looks its partner's name up.
            Self::Partner(_) => {}
        }
    }

    /// Judges a connection before a byte is sent on it.
    pub(super) fn check_pin(&self, digest: Option<&Digest>) -> Result<()> {
        match self {
            Self::Receiver(_) => Ok(()),
            Self::Partner(route) => route.check_pin(digest),
        }
    }
}

// === impl ProxyContext ===

impl ProxyContext {
    /// Makes the head that goes on out of the one that came.
    pub(super) fn rewrite(&self, session: &Session, request: &mut RequestHeader) -> Result<()> {
        // Some servers take this word in small letters alone.
        if request.headers.contains_key(header::TRANSFER_ENCODING) {
            request.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        if self.candidates.as_ref().is_some_and(Candidates::reached_another) {
            request.insert_header(header::CONNECTION, "close")?;
        }
        match &self.route {
            None => Err(Rejection::Internal.into_error()),
            Some(ExchangeRoute::Receiver(route)) => {
                inbound::rewrite(route, &self.snapshot.config.receiver, session, request)
            }
            Some(ExchangeRoute::Partner(route)) => route.rewrite(request),
        }
    }

    /// An outbound exchange is on its way to this address of its partner.
    pub(super) fn reaches(&mut self, address: SocketAddr) {
        if self.direction == Direction::Outbound {
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
            if self.direction == Direction::Outbound {
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

/// Judges a request by its head: what Pingora 0.9.1 would change, and what is over a limit, gets a clear
/// response here. What no reader of HTTP should take was refused before Pingora saw it. `raw` is the head as
/// it came off the wire.
///
/// # Errors
/// The response to give instead.
pub(super) fn admit(request: &RequestHeader, raw: &[u8], body_limit: u64) -> Result<(), Rejection> {
    // Pingora escapes or cuts what it does not like in a target: then two readers see two of them.
    if target(raw).is_some_and(|target| target != request.raw_path()) {
        return Err(Rejection::Target);
    }
    if content_length(&request.headers).is_some_and(|length| length > body_limit) {
        return Err(Rejection::BodyTooLarge { limit: body_limit });
    }
    Ok(())
}

/// Whether the request asks for an interim response before it sends its body.
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// The target as it stands in the request line.
fn target(raw: &[u8]) -> Option<&[u8]> {
    let line = raw.split(|&b| b == b'\n').next()?.trim_ascii_end();
    let target = line.splitn(2, |&b| b == b' ').nth(1)?;
    let end = target.iter().rposition(|&b| b == b' ')?;
    Some(target[..end].trim_ascii())
}

/// Header fields as they came: names in their case, values to the letter; without credentials of the other
/// side's HTTP, which are not written down.
pub(super) fn recorded<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Headers {
    const CREDENTIALS: [&[u8]; 4] =
        [b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"];
    let mut headers = Headers::new();
    for (name, value) in fields {
        if !CREDENTIALS.iter().any(|credential| name.eq_ignore_ascii_case(credential)) {
            headers.push(String::from_utf8_lossy(name), value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(raw: &str) -> Result<(), Rejection> {
        let mut lines = raw.split("\r\n");
        let mut start = lines.next().unwrap().split(' ');
        let method = start.next().unwrap();
        let mut request =
            RequestHeader::build(method, start.next().unwrap().as_bytes(), None).unwrap();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            request.append_header(name.trim_end().to_owned(), value).unwrap();
        }
        admit(&request, raw.as_bytes(), 100)
    }

    #[test]
    fn a_target_that_pingora_changes_is_refused() {
        let request = RequestHeader::build("POST", b"/a%20b", None).unwrap();
        let raw = b"POST /a b HTTP/1.1\r\n\r\n";
        assert_eq!(admit(&request, raw, 100), Err(Rejection::Target));
    }

    #[test]
    fn limits_are_inclusive() {
        judge("POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n").unwrap();
        let over = judge("POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n");
        assert!(matches!(over, Err(Rejection::BodyTooLarge { limit: 100 })));
    }
}
