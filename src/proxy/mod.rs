//! Pingora's hooks, the same for both listeners: requests on their way to the other side and its
//! responses back, unchanged. What differs stands behind [`Side`].
//!
//! # Layout
//! - `server`: sets the two listeners up
//! - `side`: what the two listeners do not have in common
//! - `inbound`, `outbound`: where each of the two sends requests, and what it rewrites
//! - `entry`: what is let in
//! - `admission`: which requests and responses are let in
//! - `onward`: a request on its way to the other side
//! - `back`: its response on its way back
//! - `end`: how an exchange ends
//! - `headers`: header fields as they came
//! - `forwarded`: `X-Forwarded-For`
//! - `failover`: in which order an exchange tries addresses
//! - `lookups`: names to addresses
//! - [`receivers`]: where inbound exchanges go
//! - `upstream`: connections to the other side, their time-outs and trust

pub mod receivers;

mod admission;
mod back;
mod end;
mod entry;
mod failover;
mod forwarded;
mod headers;
mod inbound;
mod lookups;
mod onward;
mod outbound;
mod server;
mod side;
pub(crate) mod upstream;

use std::{
    marker::PhantomData,
    net::IpAddr,
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::{
    Error, Result,
    http::{RequestHeader, ResponseHeader},
    protocols::Digest,
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};

pub use self::server::{BoundListeners, Gateway, SetupError};
use self::side::Side;
use self::{
    back::ResponseFlow,
    failover::{Candidates, FailedAddresses},
    lookups::Lookups,
};
use crate::{
    front::{
        in_flight::{InFlight, Permit},
        rejection::{OtherSide, Rejection},
        shutdown::GracefulShutdown,
    },
    log::RejectionLog,
    snapshot::{Live, Snapshot},
    tap::{Exchange, Tap},
};

/// Pingora's hooks for one listener.
struct Proxy<S> {
    live: Arc<Live>,
    tap: Tap,
    in_flight: InFlight,
    ending: GracefulShutdown,
    log: RejectionLog,
    lookups: Lookups,
    failed_addresses: Arc<FailedAddresses>,
    side: PhantomData<S>,
}

/// One exchange.
struct ProxyContext<W> {
    snapshot: Arc<Snapshot>,
    way: Option<W>,
    far: OtherSide,
    began: Instant,
    peer: Option<IpAddr>,
    permit: Option<Permit>,
    exchange: Option<Exchange>,
    /// Where it may still go, once that is known.
    candidates: Option<Candidates>,
    received: u64,
    status: Option<u16>,
    flow: Option<ResponseFlow>,
    /// A response has begun, were it an interim one.
    responded: bool,
    rejection: Option<Rejection>,
    /// Bytes of the request that the tap has seen; a second connection is sent them again.
    tapped: u64,
    /// How long the other side may take for its response, and since when.
    response_time: Option<Duration>,
    complete: Option<tokio::time::Instant>,
    /// Interim responses, and their bytes.
    interim: (usize, usize),
}

// === impl Proxy ===

impl<S: Side> Proxy<S> {
    fn new(live: Arc<Live>, tap: Tap, in_flight: InFlight, ending: GracefulShutdown) -> Self {
        Self {
            live,
            tap,
            in_flight,
            ending,
            log: RejectionLog::default(),
            lookups: Lookups::default(),
            failed_addresses: Arc::default(),
            side: PhantomData,
        }
    }
}

#[async_trait]
impl<S: Side> ProxyHttp for Proxy<S> {
    type CTX = ProxyContext<S::Way>;

    fn new_ctx(&self) -> ProxyContext<S::Way> {
        ProxyContext {
            snapshot: self.live.load(),
            way: None,
            far: OtherSide::of(S::DIRECTION),
            began: Instant::now(),
            peer: None,
            permit: None,
            exchange: None,
            candidates: None,
            received: 0,
            status: None,
            flow: None,
            responded: false,
            rejection: None,
            tapped: 0,
            response_time: None,
            complete: None,
            interim: (0, 0),
        }
    }

    async fn early_request_filter(
        &self,
        session: &mut Session,
        passage: &mut ProxyContext<S::Way>,
    ) -> Result<()> {
        Self::prepare(session, passage);
        Ok(())
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        passage: &mut ProxyContext<S::Way>,
    ) -> Result<bool> {
        self.let_in(session, passage).map_err(Rejection::into_error)?;
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        passage: &mut ProxyContext<S::Way>,
    ) -> Result<Box<HttpPeer>> {
        let place = self.place(passage).await;
        place.map_err(|rejection| rejection.into_error().into_up())
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        passage: &mut ProxyContext<S::Way>,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(candidates) = &mut passage.candidates {
            if let Some(place) = candidates.fail()
                && let Some(way) = &passage.way
            {
                S::look_up_again(way, &passage.snapshot, place);
            }
            error.set_retry(!candidates.is_empty());
        }
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        passage: &mut ProxyContext<S::Way>,
        reused: bool,
    ) -> Box<Error> {
        error.set_retry(passage.goes_again(session, &error, reused));
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        peer: &HttpPeer,
        _: RawFd,
        digest: Option<&Digest>,
        passage: &mut ProxyContext<S::Way>,
    ) -> Result<()> {
        upstream::check_address(peer, digest)?;
        if let Some(address) = passage.candidates.as_ref().and_then(Candidates::reached) {
            self.failed_addresses.remove(address);
            passage.reaches(S::DIRECTION, address);
        }
        passage.way.as_ref().map_or(Ok(()), |way| S::connected(way, digest))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        passage: &mut ProxyContext<S::Way>,
    ) -> Result<()> {
        Self::rewrite(session, request, passage)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        passage: &mut ProxyContext<S::Way>,
    ) -> Result<()> {
        passage.pass(session, body, end).await.map_err(Rejection::into_error)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        passage: &mut ProxyContext<S::Way>,
    ) -> Result<()> {
        let taken = Self::take_response(session, response, passage).await;
        taken.map_err(|rejection| rejection.into_error().into_up())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut ProxyContext<S::Way>,
    ) -> Result<()> {
        self.give_response(session, response);
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        passage: &mut ProxyContext<S::Way>,
    ) -> Result<Option<Duration>> {
        passage.pass_back(session, body.as_ref())?;
        Ok(None)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        passage: &mut ProxyContext<S::Way>,
    ) -> FailToProxy {
        self.respond_to_error(session, error, passage).await
    }

    fn suppress_error_log(&self, _: &Session, _: &ProxyContext<S::Way>, _: &Error) -> bool {
        // `logging` writes one line for each exchange.
        true
    }

    async fn logging(
        &self,
        session: &mut Session,
        error: Option<&Error>,
        passage: &mut ProxyContext<S::Way>,
    ) {
        self.conclude(session, error, passage);
    }
}
