//! Pingora's hooks, and what each calls.

use std::{os::fd::RawFd, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Version, header};
use pingora::{
    Error, Result,
    http::{RequestHeader, ResponseHeader},
    protocols::Digest,
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};

use super::{Proxy, ProxyContext, failover::Candidates, upstream};
use crate::front::rejection::Rejection;

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ProxyContext;

    fn new_ctx(&self) -> ProxyContext {
        ProxyContext::new(self.direction, self.live.load())
    }

    async fn early_request_filter(
        &self,
        session: &mut Session,
        context: &mut ProxyContext,
    ) -> Result<()> {
        Self::prepare(session, context);
        Ok(())
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        context: &mut ProxyContext,
    ) -> Result<bool> {
        self.let_in(session, context).map_err(Rejection::into_error)?;
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        context: &mut ProxyContext,
    ) -> Result<Box<HttpPeer>> {
        let place = self.place(context).await;
        place.map_err(|rejection| rejection.into_error().into_up())
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        context: &mut ProxyContext,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(candidates) = &mut context.candidates {
            if let Some(place) = candidates.fail()
                && let Some(route) = &context.route
            {
                route.look_up_again(place);
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
        context: &mut ProxyContext,
        reused: bool,
    ) -> Box<Error> {
        error.set_retry(context.goes_again(session, &error, reused));
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        peer: &HttpPeer,
        _: RawFd,
        digest: Option<&Digest>,
        context: &mut ProxyContext,
    ) -> Result<()> {
        upstream::check_address(peer, digest)?;
        if let Some(address) = context.candidates.as_ref().and_then(Candidates::reached) {
            self.failed_addresses.remove(address);
            context.reaches(address);
        }
        context.route.as_ref().map_or(Ok(()), |route| route.check_pin(digest))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut ProxyContext,
    ) -> Result<()> {
        context.rewrite(session, request)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        context: &mut ProxyContext,
    ) -> Result<()> {
        context.pass(session, body, end).await.map_err(Rejection::into_error)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut ProxyContext,
    ) -> Result<()> {
        let taken = context.take_response(session, response).await;
        taken.map_err(|rejection| rejection.into_error().into_up())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut ProxyContext,
    ) -> Result<()> {
        // Pingora 0.9.1 gives HTTP/1.0 clients chunks, which those cannot read (RFC 9112 section 7.1). Without
        // them, and without a length, the body ends with the connection.
        let ends_by_close = session.req_header().version == Version::HTTP_10
            && response.remove_header(&header::TRANSFER_ENCODING).is_some();
        if ends_by_close || self.ending.is_last_response() {
            session.set_keepalive(None);
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        context: &mut ProxyContext,
    ) -> Result<Option<Duration>> {
        context.pass_back(session, body.as_ref())?;
        Ok(None)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut ProxyContext,
    ) -> FailToProxy {
        self.respond_to_error(session, error, context).await
    }

    fn suppress_error_log(&self, _: &Session, _: &ProxyContext, _: &Error) -> bool {
        // `logging` writes one line for each exchange.
        true
    }

    async fn logging(
        &self,
        session: &mut Session,
        error: Option<&Error>,
        context: &mut ProxyContext,
    ) {
        self.conclude(session, error, context);
    }
}
