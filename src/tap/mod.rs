//! The tap: follows one HTTP exchange, decodes it while it passes, and writes down what happened.
//!
//! It knows no Pingora and no socket, so it can be called from the hooks of any proxy:
//! [`Tap::begin`] with the request's head, [`Exchange::request`] with each piece of its body,
//! [`Exchange::answer_head`] and [`Exchange::answer`] with what comes back, and [`Exchange::end`].
//! An exchange that is dropped before its end counts as "outcome unknown".
//!
//! # Layout
//! - [`exchange`]: one exchange from its head to its end
//! - [`head`]: what an exchange begins with
//! - `decoding`: the decoder's own threads, and the bounded queue of each message
//! - `keeping`: which decoded bytes are kept for `raw` deliveries
//! - `routes`: who is told of what, decided at the head
//! - `verdict`: what an answer makes of a recorded exchange
//! - `conclusion`: all that comes of an exchange when it is over, in one commit
//! - `receipt`: what receipt a message asks for, and what an MDN makes of it
//! - `sent`: what was sent, remembered until its receipt has come
//! - `seen`: what came already, to tell that it came again
//! - `turns`: the order in which a partner's exchanges are written down

pub mod exchange;
pub mod head;

mod conclusion;
mod decoding;
mod keeping;
mod receipt;
mod routes;
mod seen;
pub(crate) mod sent;
mod turns;
mod verdict;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::available_parallelism,
};

use as2hook_delivery::Outbox;
use as2hook_store::Payloads;

pub use self::{
    exchange::{Exchange, Refused},
    head::{AnswerHead, RequestHead},
};
use crate::{memory::Memory, snapshot::Live};

/// Makes an [`Exchange`] of every request; shared by all listeners.
#[derive(Clone)]
pub struct Tap {
    shared: Arc<Shared>,
}

/// What every exchange needs.
struct Shared {
    live: Arc<Live>,
    outbox: Outbox,
    payloads: Payloads,
    decoding: decoding::Decoding,
    turns: turns::Turns,
    runtime: tokio::runtime::Handle,
    concluding: AtomicUsize,
    memory: Memory,
}

// === impl Tap ===

impl Tap {
    /// A tap that matches by the snapshot in force and writes to this outbox. Its follow-up work (the
    /// verdict after an answer has passed) runs on `runtime`.
    ///
    /// # Errors
    /// When the decoder's threads cannot be started.
    pub fn new(
        live: Arc<Live>,
        outbox: Outbox,
        payloads: Payloads,
        runtime: tokio::runtime::Handle,
    ) -> std::io::Result<Self> {
        let threads = available_parallelism().map_or(2, usize::from);
        let decoding = decoding::Decoding::start(threads)?;
        let concluding = AtomicUsize::new(0);
        let memory = Memory::default();
        let turns = turns::Turns::default();
        let shared =
            Shared { live, outbox, payloads, decoding, turns, runtime, concluding, memory };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Begins an exchange. What is not AS2, or what no rule asks for, is followed at no cost.
    pub fn begin(&self, head: RequestHead) -> Exchange {
        Exchange::begin(&self.shared, head)
    }

    /// The memory of what is under way. The tap counts the pieces that wait for a decoder; whoever
    /// lets exchanges in counts [`Exchange::memory`] too, and refuses what does not fit.
    pub fn memory(&self) -> Memory {
        self.shared.memory.clone()
    }

    /// How many exchanges are over whose verdict is not written down yet.
    pub fn concluding(&self) -> usize {
        self.shared.concluding.load(Ordering::Acquire)
    }
}
