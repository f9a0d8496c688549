//! Pingora's hooks, the same for both listeners: requests on their way to the other side and its
//! answers back, unchanged. What differs stands behind [`Side`].

use std::{
    marker::PhantomData,
    net::IpAddr,
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use as2hook_as2::Headers;
use as2hook_webhooks::{Direction, SendError};
use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use http::{Version, header};
use pingora::{
    Error, ErrorSource, Result,
    http::{RequestHeader, ResponseHeader},
    protocols::Digest,
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::{HttpPeer, Peer as _},
};

use super::{
    admission::{admit, expects_continue, judge_answer},
    answer::{Far, Rejection},
    connection::Connection,
    ending::Ending,
    in_flight::{InFlight, Place},
    upstream,
};
use crate::{
    memory::Share,
    snapshot::{Live, Snapshot},
    tap::{AnswerHead, Exchange, RequestHead, Tap},
};

/// Memory of an exchange that is not decoded: Pingora's buffers on both sides. Where both are slow these
/// are 64 KiB of body, 64 KiB for a second try, and four pieces of 64 KiB each way, with their heads.
const PASSING: u64 = 1024 * 1024;

/// How long the rest of a request is read away behind an answer of our own, so that the partner gets
/// to read it.
const DRAIN: Duration = Duration::from_secs(5);

/// What the two listeners do not have in common.
#[async_trait]
pub(super) trait Side: Send + Sync + 'static {
    /// Where one exchange goes, decided at its head.
    type Way: Send + Sync + 'static;

    /// Which way exchanges go.
    const DIRECTION: Direction;

    /// The partner's address, as far as the request tells.
    fn partner(session: &Session, snapshot: &Snapshot) -> Option<IpAddr>;

    /// Where this request goes.
    fn way(request: &RequestHeader, snapshot: &Snapshot) -> Result<Self::Way, Rejection>;

    /// The place to try at the `tries`th attempt, from 0.
    async fn place(
        way: &mut Self::Way,
        snapshot: &Snapshot,
        tries: usize,
    ) -> Result<Box<HttpPeer>, Rejection>;

    /// How many places there are to try.
    fn places(way: &Self::Way, snapshot: &Snapshot) -> usize;

    /// Judges a connection before a byte is sent on it.
    fn connected(way: &Self::Way, digest: Option<&Digest>) -> Result<()>;

    /// Makes the request that goes on out of the one that came.
    fn rewrite(
        way: &Self::Way,
        snapshot: &Snapshot,
        session: &Session,
        request: &mut RequestHeader,
    ) -> Result<()>;

    /// What an error makes of the exchange. `None`: nothing that anybody is told.
    fn failure(
        error: &Error,
        rejection: Option<&Rejection>,
        status: Option<u16>,
    ) -> Option<SendError>;
}

/// Pingora's hooks for one listener.
pub(super) struct Proxy<S> {
    live: Arc<Live>,
    tap: Tap,
    in_flight: InFlight,
    ending: Ending,
    side: PhantomData<S>,
}

/// One exchange.
pub(super) struct Passage<W> {
    snapshot: Arc<Snapshot>,
    way: Option<W>,
    began: Instant,
    peer: Option<IpAddr>,
    place: Option<Place>,
    share: Option<Share>,
    exchange: Option<Exchange>,
    tries: usize,
    received: u64,
    status: Option<u16>,
    /// An answer has begun, were it an interim one.
    answered: bool,
    rejection: Option<Rejection>,
    /// Bytes of the request that the tap has seen; a second connection is sent them again.
    tapped: u64,
}

// === impl Proxy ===

impl<S: Side> Proxy<S> {
    pub(super) fn new(live: Arc<Live>, tap: Tap, in_flight: InFlight, ending: Ending) -> Self {
        Self { live, tap, in_flight, ending, side: PhantomData }
    }
}

#[async_trait]
impl<S: Side> ProxyHttp for Proxy<S> {
    type CTX = Passage<S::Way>;

    fn new_ctx(&self) -> Passage<S::Way> {
        Passage {
            snapshot: self.live.load(),
            way: None,
            began: Instant::now(),
            peer: None,
            place: None,
            share: None,
            exchange: None,
            tries: 0,
            received: 0,
            status: None,
            answered: false,
            rejection: None,
            tapped: 0,
        }
    }

    async fn early_request_filter(
        &self,
        session: &mut Session,
        passage: &mut Passage<S::Way>,
    ) -> Result<()> {
        let pace = passage.snapshot.config.limits.pace;
        if let Some(connection) = Connection::of(session) {
            connection.begin(pace);
        }
        // An interim answer comes before the end of the body: that is no reason to close.
        let close_early = !expects_continue(&session.req_header().headers);
        let downstream = session.as_downstream_mut();
        downstream.set_read_timeout(Some(pace.piece));
        downstream.set_write_timeout(Some(pace.piece));
        downstream.set_total_drain_timeout(Some(DRAIN));
        // Some AS2 senders close their half after the request and wait for the answer.
        downstream.set_abort_on_close(false);
        downstream.set_close_on_response_before_downstream_finish(close_early);
        Ok(())
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        passage: &mut Passage<S::Way>,
    ) -> Result<bool> {
        let config = &passage.snapshot.config;
        let raw = session.as_downstream().as_http1().map(|http1| http1.get_headers_raw_bytes());
        let raw = raw.unwrap_or_default();
        admit(session.req_header(), &raw, config.limits.decode.body)
            .map_err(Rejection::into_error)?;
        passage.place = Some(
            self.in_flight
                .enter(config.limits.in_flight)
                .ok_or_else(|| Rejection::Busy.into_error())?,
        );
        let memory = config.limits.memory;
        let share = self.tap.memory().take(PASSING, memory);
        let mut share = share.ok_or_else(|| Rejection::Memory.into_error())?;
        passage.peer = S::partner(session, &passage.snapshot);
        let request = session.req_header();
        // What is not AS2 costs no more than this look.
        passage.exchange = request.headers.contains_key("as2-from").then(|| {
            self.tap.begin(RequestHead {
                direction: S::DIRECTION,
                method: request.method.as_str().to_owned(),
                peer: passage.peer,
                headers: request_headers(request),
            })
        });
        let decoding = passage.exchange.as_ref().map_or(0, Exchange::memory);
        if !share.grow(decoding, memory) {
            return Err(Rejection::Memory.into_error());
        }
        passage.share = Some(share);
        let way = S::way(request, &passage.snapshot).map_err(Rejection::into_error)?;
        passage.way = Some(way);
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        passage: &mut Passage<S::Way>,
    ) -> Result<Box<HttpPeer>> {
        let Passage { snapshot, way, tries, .. } = passage;
        let place = match way {
            Some(way) => S::place(way, snapshot, *tries).await,
            None => Err(Rejection::Internal),
        };
        let mut place = place.map_err(|rejection| {
            let mut error = rejection.into_error();
            error.as_up();
            error
        })?;
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

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        passage: &mut Passage<S::Way>,
        mut error: Box<Error>,
    ) -> Box<Error> {
        passage.tries += 1;
        let places = passage.way.as_ref().map_or(0, |way| S::places(way, &passage.snapshot));
        error.set_retry(passage.tries < places);
        error
    }

    /// A kept connection that the other side had closed costs nobody a 502: what it did not answer is
    /// sent once more on another, while Pingora still has it. Whoever is slow, or gives an answer that is
    /// refused, has the message: it is not sent again.
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        passage: &mut Passage<S::Way>,
        reused: bool,
    ) -> Box<Error> {
        let upstream = *error.esource() == ErrorSource::Upstream;
        let whole = !session.as_ref().retry_buffer_truncated();
        let again = reused && upstream && whole && !passage.answered && upstream::is_stale(&error);
        error.set_retry(again);
        if again {
            passage.received = 0;
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        peer: &HttpPeer,
        _: RawFd,
        digest: Option<&Digest>,
        passage: &mut Passage<S::Way>,
    ) -> Result<()> {
        upstream::check_address(peer, digest)?;
        passage.way.as_ref().map_or(Ok(()), |way| S::connected(way, digest))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        passage: &mut Passage<S::Way>,
    ) -> Result<()> {
        let Some(way) = &passage.way else { return Err(Rejection::Internal.into_error()) };
        // Some servers take this word in small letters alone.
        if request.headers.contains_key(header::TRANSFER_ENCODING) {
            request.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        S::rewrite(way, &passage.snapshot, session, request)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        passage: &mut Passage<S::Way>,
    ) -> Result<()> {
        let mut bytes = body.clone().unwrap_or_default();
        let again = passage.tapped.saturating_sub(passage.received).min(bytes.len() as u64);
        bytes.advance(usize::try_from(again).unwrap_or(bytes.len()));
        passage.received += again + bytes.len() as u64;
        passage.tapped = passage.tapped.max(passage.received);
        let limit = passage.snapshot.config.limits.decode.body;
        if passage.received > limit {
            return Err(Rejection::BodyTooLarge { limit }.into_error());
        }
        if let Some(exchange) = &mut passage.exchange
            && let Err(refused) = exchange.request(bytes, end).await
        {
            // Said once as an error where it begins; `logging` tells of each exchange.
            tracing::debug!(error = %refused.0, "A message was refused: it cannot be recorded.");
            return Err(Rejection::NotStored.into_error());
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

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        passage: &mut Passage<S::Way>,
    ) -> Result<()> {
        passage.answered = true;
        judge_answer(answer, Far::of(S::DIRECTION)).map_err(|rejection| {
            let mut error = rejection.into_error();
            error.as_up();
            error
        })?;
        if answer.status.is_informational() {
            return Ok(());
        }
        passage.status = Some(answer.status.as_u16());
        if let Some(connection) = Connection::of(session) {
            connection.keep_dates(dates(answer));
        }
        if let Some(exchange) = &mut passage.exchange {
            let headers = answer_headers(answer);
            exchange.answer_head(AnswerHead { status: answer.status.as_u16(), headers });
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        _: &mut Passage<S::Way>,
    ) -> Result<()> {
        let chunked = answer.headers.contains_key(header::TRANSFER_ENCODING);
        if session.req_header().version == Version::HTTP_10 && chunked {
            return Err(Rejection::NeedsHttp11.into_error());
        }
        if self.ending.is_last_answer() {
            session.set_keepalive(None);
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        passage: &mut Passage<S::Way>,
    ) -> Result<Option<Duration>> {
        if let (Some(bytes), Some(exchange)) = (body, &mut passage.exchange) {
            exchange.answer(bytes);
        }
        Ok(None)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        passage: &mut Passage<S::Way>,
    ) -> FailToProxy {
        let rejection = Rejection::of(error, S::DIRECTION);
        let unanswered =
            session.response_written().is_none_or(|head| head.status.is_informational());
        if let Some(rejection) = &rejection {
            self.live.observer().refused(listener(S::DIRECTION), rejection.reason());
        }
        if let Some(rejection) = &rejection
            && unanswered
        {
            if let Err(error) = rejection.send(session).await {
                tracing::debug!(%error, "An answer of our own could not be sent.");
            } else if !expects_continue(&session.req_header().headers) {
                // A close with unread bytes would take the answer away from the partner.
                let _ = session.as_downstream_mut().drain_request_body().await;
            }
        }
        let error_code = rejection.as_ref().map_or(0, Rejection::status);
        passage.rejection = rejection;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _: &Session, _: &Passage<S::Way>, _: &Error) -> bool {
        // `logging` writes one line for each exchange.
        true
    }

    async fn logging(
        &self,
        session: &mut Session,
        error: Option<&Error>,
        passage: &mut Passage<S::Way>,
    ) {
        if let Some(connection) = Connection::of(session) {
            connection.release();
        }
        let id = passage.exchange.as_ref().and_then(Exchange::id);
        report::<S>(session, error, passage, id);
        let status = session.response_written().map(|head| head.status.as_u16());
        self.live.observer().exchange(listener(S::DIRECTION), status, error.is_some());
        if let Some(mut exchange) = passage.exchange.take() {
            let rejection = passage.rejection.as_ref();
            if let Some(share) = passage.share.take() {
                exchange.hold(share);
            }
            match error.and_then(|error| S::failure(error, rejection, passage.status)) {
                Some(failure) => exchange.fail(failure),
                None => exchange.end(),
            }
        }
    }
}

/// What metrics call the listener of this direction.
pub(super) fn listener(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

fn report<S: Side>(
    session: &Session,
    error: Option<&Error>,
    passage: &Passage<S::Way>,
    id: Option<uuid::Uuid>,
) {
    let request = session.req_header();
    let as2 = |name: &str| {
        request.headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
    };
    let side = match S::DIRECTION {
        Direction::Inbound => "Inbound",
        Direction::Outbound => "Outbound",
    };
    macro_rules! tell {
        ($level:ident) => {
            tracing::$level!(
                exchange = id.map(|id| id.to_string()),
                peer = passage.peer.map(|peer| peer.to_string()),
                method = request.method.as_str(),
                path = request.uri.path(),
                as2_from = as2("as2-from"),
                as2_to = as2("as2-to"),
                message_id = as2("message-id"),
                bytes = passage.received,
                status = session.response_written().map(|head| head.status.as_u16()),
                ms = u64::try_from(passage.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                error = error.map(ToString::to_string),
                "{side} exchange.",
            )
        };
    }
    if passage.exchange.is_some() || error.is_some() {
        tell!(info);
    } else {
        tell!(debug);
    }
}

fn request_headers(request: &RequestHeader) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in request.case_header_iter() {
        headers.push(String::from_utf8_lossy(name.as_slice()), value.as_bytes());
    }
    headers
}

/// The answer's own `Date` fields, names in their case.
fn dates(answer: &ResponseHeader) -> Vec<(Vec<u8>, Vec<u8>)> {
    if !answer.headers.contains_key(header::DATE) {
        return Vec::new();
    }
    let fields = answer.case_header_iter();
    let dates = fields.filter(|(name, _)| name.as_slice().eq_ignore_ascii_case(b"date"));
    dates.map(|(name, value)| (name.as_slice().to_vec(), value.as_bytes().to_vec())).collect()
}

fn answer_headers(answer: &ResponseHeader) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in answer.case_header_iter() {
        headers.push(String::from_utf8_lossy(name.as_slice()), value.as_bytes());
    }
    headers
}
