//! A partner's connection as Pingora sees it, with five things mended on the way.
//!
//! - Pingora 0.9.1 puts its own `Date` into every response; the receiver's belongs there.
//! - Pingora ends an exchange when the partner hangs up; it is to be followed to its response, or no event
//!   would say that the receiver took the message. From [`Connection::follow`] on, what cannot be
//!   sent to the partner any more is dropped in silence, and its going away is not noticed.
//! - Pingora's time limits count for each read, so a sender of a byte a minute is served for ever. A
//!   body has [`Pace::body`] and a second for each [`Pace::rate`] bytes.
//! - Pingora gives an exchange up at the first byte behind its request. That is the next request's, or
//!   the empty line of an old client (RFC 9112 section 2.2): it is kept until its turn comes.
//! - Pingora limits the writing of bodies alone. A partner that takes no byte for [`Pace::piece`] is
//!   given up, whatever is being written.
//!
//! It goes from phase to phase ([`Phase`]): a request's head is read before Pingora asks for it, and handed on
//! from memory; then its body, read along by the letter; then the response is waited for, with the partner or
//! without.
//!
//! # Layout
//! - `read_head`: waits for a request's head
//! - `reading`: what Pingora reads: heads from memory, bodies by their limit and by the letter
//! - `writing`: what the partner gets

mod read_head;
mod reading;
mod writing;

use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;
use pingora::{
    protocols::{
        GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, SocketDigest, Ssl, Stream,
        TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest,
    },
    proxy::Session,
};
use tokio::time::Instant;

use super::{
    chunks::{ChunkFlaw, Chunks},
    deadline::Deadline,
    in_flight::GiveWay,
};
use as2hook_config::Pace;

/// Wraps the stream that Pingora reads requests from and writes responses to.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// What was read and not yet handed on.
    ahead: BytesMut,
    /// Bytes of it that are a head.
    of_head: usize,
    chunks: Option<Chunks>,
    /// What ended it.
    flaw: Option<ChunkFlaw>,
    /// What is left to write of a response's head, in place of Pingora's.
    head: Vec<u8>,
    /// The hooks of an exchange have no more than a shared reference.
    exchange: Mutex<ExchangeState>,
    /// For the partner to take the next byte.
    taking: Deadline,
    /// That time was over: what was being written is torn.
    torn: bool,
}

/// How far the exchange is, and what its hooks ask of its connection.
#[derive(Debug, Default)]
struct ExchangeState {
    phase: Phase,
    /// When what is waited for has to be there.
    limit: Deadline,
    pace: Pace,
    /// `Date` fields of the next final response.
    dates: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    /// How a body that is waited for gives way to others.
    gives_way: Option<GiveWay>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Between two requests, and while a head is read.
    #[default]
    Head,
    Body,
    /// The request is complete: the exchange goes on without the partner.
    Response,
    /// So it does: the partner hung up.
    Gone,
}

/// The other side did not give its response's head in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there was no response in time")]
pub(crate) struct NoResponse;

// === impl Connection ===

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            ahead: BytesMut::new(),
            of_head: 0,
            chunks: None,
            flaw: None,
            head: Vec::new(),
            exchange: Mutex::default(),
            taking: Deadline::default(),
            torn: false,
        }
    }

    /// The connection behind a session, when it is one of ours (HTTP/1).
    pub(crate) fn of(session: &Session) -> Option<&Self> {
        session.as_downstream().as_http1()?.stream().as_any().downcast_ref()
    }

    /// A new request's head is complete.
    pub(crate) fn begin(&self, pace: Pace) {
        let mut exchange = self.exchange.lock();
        // The time for the body begins with the first look at it, when a receiver is connected.
        let mut limit = std::mem::take(&mut exchange.limit);
        limit.at = None;
        *exchange = ExchangeState { phase: Phase::Body, limit, pace, ..ExchangeState::default() };
    }

    /// While its body is waited for, it gives way to others.
    pub(crate) fn gives_way(&self, gives_way: Option<GiveWay>) {
        self.exchange.lock().gives_way = gives_way;
    }

    /// The request is complete: from now on the exchange goes on without the partner.
    pub(crate) fn follow(&self) {
        let mut exchange = self.exchange.lock();
        exchange.limit.at = None;
        if exchange.phase != Phase::Gone {
            exchange.phase = Phase::Response;
        }
    }

    /// The response's head has to be there by then, however many interim ones come before it. `None`: it
    /// is, or Pingora's own limit is enough.
    pub(crate) fn response_by(&self, at: Option<Instant>) {
        let mut exchange = self.exchange.lock();
        if matches!(exchange.phase, Phase::Response | Phase::Gone) {
            exchange.limit.at = at;
        }
    }

    /// The exchange is over: whether the partner is still there matters again.
    pub(crate) fn release(&self) {
        let mut exchange = self.exchange.lock();
        exchange.phase = Phase::Head;
        exchange.limit.at = None;
        exchange.gives_way = None;
    }

    /// The next final response has these `Date` fields (names in their case) and no other.
    pub(crate) fn keep_dates(&self, dates: Vec<(Vec<u8>, Vec<u8>)>) {
        self.exchange.lock().dates = Some(dates);
    }

    /// The partner hung up while its exchange was followed.
    pub(crate) fn is_gone(&self) -> bool {
        self.exchange.lock().phase == Phase::Gone
    }

    /// Whether an error of this connection is to be passed over; then it is given up.
    fn passes_over(&mut self) -> bool {
        let phase = &mut self.exchange.get_mut().phase;
        if *phase == Phase::Response {
            *phase = Phase::Gone;
        }
        *phase == Phase::Gone
    }
}

// Pingora uses of a listener's stream no more than where it is from: its own loop over requests, which asks
// for TLS and looks ahead, is not in use (see `listener`).

impl Ssl for Connection {}

impl Peek for Connection {}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

#[cfg(test)]
mod tests;
