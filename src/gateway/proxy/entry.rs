//! What is let in, and how much of the gateway it takes: a place among the exchanges under way, a share
//! of the memory, and the tap's attention when it is AS2.

use std::time::Duration;

use http::Version;
use pingora::proxy::Session;

use super::{
    super::{
        admission::{admit, expects_continue},
        connection::Connection,
        connection_limiter::counted_peer,
        rejection::Rejection,
    },
    Proxy, ProxyContext, Side, headers,
};
use crate::tap::{Exchange, RequestHead};

/// Memory of an exchange that is not decoded: Pingora's buffers on both sides. Where both are slow these
/// are 64 KiB of body, 64 KiB for a second try, and four pieces of 64 KiB each way, with their heads.
const PASSING: u64 = 1024 * 1024;

/// How long the rest of a request is read away behind a response of our own, so that the partner gets
/// to read it.
const DRAIN: Duration = Duration::from_secs(5);

impl<S: Side> Proxy<S> {
    /// How the partner's connection is read and written from here on.
    pub(super) fn prepare(session: &mut Session, passage: &ProxyContext<S::Way>) {
        let pace = passage.snapshot.config.limits.pace();
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
        passage: &mut ProxyContext<S::Way>,
    ) -> Result<(), Rejection> {
        let config = &passage.snapshot.config;
        let raw = session.as_downstream().as_http1().map(|http1| http1.get_headers_raw_bytes());
        let raw = raw.unwrap_or_default();
        admit(session.req_header(), &raw, config.limits.body)?;
        passage.peer = S::partner(session, &passage.snapshot);
        // Behind a trusted proxy it is the partner's address that counts, not the proxy's.
        let counted = counted_peer(config, S::DIRECTION, passage.peer);
        let permit = self.in_flight.enter(config.limits.in_flight, counted);
        // A rejection drops it: the rest of a rejected body is read for seconds, and needs no place.
        let permit = permit.ok_or(Rejection::Busy)?;
        let memory = config.limits.memory;
        if !permit.take_memory(PASSING, memory) {
            return Err(Rejection::Memory);
        }
        let request = session.req_header();
        // What is not AS2 costs no more than this look.
        passage.exchange = request.headers.contains_key("as2-from").then(|| {
            self.tap.begin(RequestHead {
                direction: S::DIRECTION,
                method: request.method.as_str().to_owned(),
                peer: passage.peer,
                headers: headers::of_request(request),
            })
        });
        let decoding = passage.exchange.as_ref().map_or(0, Exchange::memory);
        if !permit.take_memory(decoding, memory) {
            return Err(Rejection::Memory);
        }
        if let Some(connection) = Connection::of(session) {
            connection.gives_way(permit.gives_way());
        }
        passage.way = Some(S::way(request, &passage.snapshot)?);
        passage.permit = Some(permit);
        Ok(())
    }
}
