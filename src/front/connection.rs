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
//! A request's head is read before Pingora asks for it (see `read_head`), and handed on from memory.
//!
//! # Layout
//! - `reading`: what the partner sends
//! - `writing`: what it gets
//! - `passed_on`: what else Pingora asks of a stream

mod passed_on;
mod reading;
mod writing;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pingora::{protocols::Stream, proxy::Session};
use tokio::time::Instant;

pub(crate) use self::reading::More;
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
    /// What was read before Pingora asked for it, from `at` on.
    ahead: Vec<u8>,
    at: usize,
    /// Bytes of it that are a head.
    of_head: usize,
    chunks: Option<Chunks>,
    /// What ended it.
    flaw: Option<ChunkFlaw>,
    head: Vec<u8>,
    wishes: Mutex<Wishes>,
    limit: Deadline,
    phase: Phase,
    /// For the partner to take the next byte.
    taking: Deadline,
    /// That time was over: what was being written is torn.
    torn: bool,
}

/// What is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// What is not limited here.
    #[default]
    Rest,
    Body,
    /// Whether the partner is still there.
    Response,
}

/// The other side did not give its response's head in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there was no response in time")]
pub(crate) struct NoResponse;

/// What the hooks of an exchange ask of its connection.
#[derive(Debug, Default)]
struct Wishes {
    dates: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    phase: Phase,
    pace: Pace,
    following: bool,
    gone: bool,
    /// When the response's head has to be there.
    response: Option<Instant>,
    /// How a body that is waited for gives way to others.
    gives_way: Option<GiveWay>,
}

// === impl Connection ===

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        let (wishes, phase) = (Mutex::default(), Phase::default());
        let (ahead, head) = (Vec::new(), Vec::new());
        Self {
            stream,
            ahead,
            at: 0,
            of_head: 0,
            chunks: None,
            flaw: None,
            head,
            wishes,
            limit: Deadline::default(),
            phase,
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
        *self.wishes() = Wishes { phase: Phase::Body, pace, ..Wishes::default() };
    }

    /// While its body is waited for, it gives way to others.
    pub(crate) fn gives_way(&self, gives_way: Option<GiveWay>) {
        self.wishes().gives_way = gives_way;
    }

    /// The request is complete: from now on the exchange goes on without the partner.
    pub(crate) fn follow(&self) {
        let mut wishes = self.wishes();
        wishes.following = true;
        wishes.phase = Phase::Response;
    }

    /// The response's head has to be there by then, however many interim ones come before it. `None`: it
    /// is, or Pingora's own limit is enough.
    pub(crate) fn response_by(&self, at: Option<Instant>) {
        self.wishes().response = at;
    }

    /// The exchange is over: whether the partner is still there matters again.
    pub(crate) fn release(&self) {
        let mut wishes = self.wishes();
        wishes.following = false;
        wishes.phase = Phase::Rest;
        wishes.gives_way = None;
        wishes.response = None;
    }

    /// The next final response has these `Date` fields (names in their case) and no other.
    pub(crate) fn keep_dates(&self, dates: Vec<(Vec<u8>, Vec<u8>)>) {
        self.wishes().dates = Some(dates);
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an error of this connection is to be passed over; then it is given up.
    fn passes_over(&self) -> bool {
        let mut wishes = self.wishes();
        wishes.gone |= wishes.following;
        wishes.following
    }

    /// The partner hung up while its exchange was followed.
    pub(crate) fn is_gone(&self) -> bool {
        let wishes = self.wishes();
        wishes.gone && wishes.following
    }
}

#[cfg(test)]
mod tests;
