//! The tap: follows one HTTP exchange, decodes it while it passes, and writes down what happened.
//!
//! It knows no Pingora and no socket, so it can be called from the hooks of any proxy:
//! [`Tap::begin`] with the request's head, [`Exchange::request`] with each piece of its body,
//! [`Exchange::response_head`] and [`Exchange::response`] with what comes back, and [`Exchange::end`].
//! [`Tap::from_config`] starts one with all that belongs to it.
//! An exchange that is dropped before its end counts as "outcome unknown".
//!
//! # Layout
//! - [`exchange`]: one exchange from its head to its end
//! - `running`: a tap with all that belongs to it, made from a config
//! - [`files`]: the files of a config, loaded again whenever one has changed
//! - [`storage`]: the store and the place of payloads, opened
//! - [`retention`]: keeps the store within its limits
//! - [`host`]: what the tap takes from the process that it runs in
//! - `decoding`: the decoder's own threads, and the bounded queue of each message
//! - `keeping`: which decoded bytes are kept for `raw` deliveries
//! - `routes`: which webhooks get what, decided at the head
//! - `verdict`: what a response makes of a recorded exchange
//! - `conclusion`: all that comes of an exchange when it is over, in one commit
//! - `receipt`: what receipt a message asks for, and what an MDN makes of it
//! - `adoption`: what an exchange that a terminated process left open comes to
//! - `response`: a response, and the MDN in it
//! - `records`: the keys and groups of what is remembered of messages, and what came already
//! - `sent`: what was sent, remembered until its receipt has come
//! - [`memory`]: what exchanges under way take together
//! - [`system_events`]: events of as2hook itself
//! - [`timers`]: what happens by itself when time passes
//! - `waits`: exchanges that wait for one another

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub mod exchange;
pub mod files;
pub mod host;
pub mod memory;
pub mod timers;

mod adoption;
mod conclusion;
mod decoding;
mod keeping;
mod receipt;
mod records;
mod response;
pub mod retention;
mod routes;
mod running;
mod sent;
pub mod storage;
pub mod system_events;
mod verdict;
mod waits;

use std::{sync::Arc, thread::available_parallelism};

use as2hook_delivery::Outbox;
use as2hook_store::Payloads;

pub use self::{
    adoption::AdoptedExchanges,
    exchange::{Exchange, ExchangeOutcome, OutcomeReport, Refused, RequestHead},
    host::{TapHost, TapRules},
    response::ResponseHead,
    running::{ReloadedRules, RulesInForce, RunningTap, TapError},
};
use crate::memory::Memory;

/// Makes an [`Exchange`] of every request; shared by all listeners.
#[derive(Clone)]
pub struct Tap {
    shared: Arc<TapState>,
}

/// What every exchange needs.
struct TapState {
    host: Arc<dyn TapHost>,
    outbox: Outbox,
    payloads: Payloads,
    decoding: decoding::Decoding,
    turns: waits::PartnerOrder,
    runtime: tokio::runtime::Handle,
    /// Held by each exchange that is over until its verdict is written down.
    concluding: Arc<()>,
    message_waits: Arc<waits::MessageWaits>,
    memory: Memory,
}

// === impl Tap ===

impl Tap {
    /// A tap that matches by the rules in force and writes to this outbox. Its follow-up work (the
    /// verdict after a response has passed) runs on `runtime`.
    ///
    /// # Errors
    /// When the decoder's threads cannot be started.
    pub fn new(
        host: Arc<dyn TapHost>,
        outbox: Outbox,
        payloads: Payloads,
        runtime: tokio::runtime::Handle,
    ) -> std::io::Result<Self> {
        let threads = available_parallelism().map_or(2, usize::from);
        let decoding = decoding::Decoding::start(threads)?;
        let memory = Memory::default();
        let turns = waits::PartnerOrder::default();
        let shared = TapState {
            host,
            outbox,
            payloads,
            decoding,
            turns,
            runtime,
            concluding: Arc::default(),
            message_waits: Arc::default(),
            memory,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Begins an exchange. What is not AS2, or what no rule asks for, is followed at no cost.
    pub fn begin(&self, head: RequestHead) -> Exchange {
        Exchange::begin(&self.shared, head)
    }

    /// The memory of what is under way. The tap counts the pieces that wait for a decoder; code that
    /// lets exchanges in counts [`Exchange::memory`] too, and refuses what does not fit.
    pub fn memory(&self) -> Memory {
        self.shared.memory.clone()
    }

    /// How many exchanges are over whose verdict is not written down yet.
    pub fn concluding(&self) -> usize {
        Arc::strong_count(&self.shared.concluding) - 1
    }

    /// Whether nothing is left to conclude but MDNs that wait for the end of their message's exchange.
    pub fn only_mdns_wait(&self) -> bool {
        self.concluding() <= self.shared.message_waits.count()
    }

    /// From now on no MDN waits for the end of its message's exchange: this process is to terminate.
    pub fn end_message_waits(&self) {
        self.shared.message_waits.end();
    }
}
