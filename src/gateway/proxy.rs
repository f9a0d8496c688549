//! Pingora's hooks, the same for both listeners: requests on their way to the other side and its
//! answers back, unchanged. What differs stands behind [`Side`].
//!
//! # Layout
//! - `side`: what the two listeners do not have in common
//! - `entry`: what is let in
//! - `onward`: a request on its way to the other side
//! - `back`: its answer on its way back
//! - `end`: how an exchange ends
//! - `headers`: header fields as they came

mod back;
mod end;
mod entry;
mod headers;
mod onward;
mod side;

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

use self::back::Flow;
pub(super) use self::side::{Side, listener};
use super::{
    answer::Rejection,
    ending::Ending,
    in_flight::{InFlight, Place},
    upstream,
};
use crate::{
    memory::Share,
    snapshot::{Live, Snapshot},
    tap::{Exchange, Tap},
};

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
    flow: Option<Flow>,
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
            flow: None,
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
        Self::prepare(session, passage);
        Ok(())
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        passage: &mut Passage<S::Way>,
    ) -> Result<bool> {
        self.let_in(session, passage).map_err(Rejection::into_error)?;
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        passage: &mut Passage<S::Way>,
    ) -> Result<Box<HttpPeer>> {
        let place = Self::place(passage).await;
        place.map_err(|rejection| rejection.into_error().into_up())
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

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        passage: &mut Passage<S::Way>,
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
        Self::rewrite(session, request, passage)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        passage: &mut Passage<S::Way>,
    ) -> Result<()> {
        passage.pass(session, body, end).await.map_err(Rejection::into_error)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        passage: &mut Passage<S::Way>,
    ) -> Result<()> {
        let taken = Self::take_answer(session, answer, passage);
        taken.map_err(|rejection| rejection.into_error().into_up())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        _: &mut Passage<S::Way>,
    ) -> Result<()> {
        self.give_answer(session, answer).map_err(Rejection::into_error)
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        passage: &mut Passage<S::Way>,
    ) -> Result<Option<Duration>> {
        passage.pass_back(session, body.as_ref())?;
        Ok(None)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        passage: &mut Passage<S::Way>,
    ) -> FailToProxy {
        self.answer_error(session, error, passage).await
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
        self.conclude(session, error, passage);
    }
}
