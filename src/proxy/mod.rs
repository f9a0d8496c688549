//! Requests on their way to the other side and its responses back, unchanged: the only room with Pingora's
//! hooks.
//!
//! # Layout
//! - [`server`]: sets the two listeners up
//! - `hooks`: Pingora's hooks, and what each calls
//! - `request`: whether a request is let in, and its way to the other side
//! - `response`: its response on its way back
//! - `end`: how an exchange ends
//! - `exchange_line`: its line in the log
//! - `inbound`, `outbound`: where each listener's requests go, and what is rewritten of them
//! - [`receivers`]: the AS2 server's addresses
//! - `failover`: in which order an exchange tries addresses
//! - `lookups`: names to addresses
//! - `upstream`: connections to the other side, their time-outs and trust

pub mod receivers;
pub mod server;

mod end;
mod exchange_line;
mod failover;
mod hooks;
mod inbound;
mod lookups;
mod outbound;
mod request;
mod response;
mod upstream;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use as2hook_event::Direction;

use self::{
    failover::{Candidates, FailedAddresses},
    lookups::Lookups,
    outbound::PartnerRoute,
    receivers::PathRoute,
};
use crate::{
    front::{GracefulShutdown, InFlight, in_flight::Permit, rejection::Rejection},
    log::RejectionLog,
    snapshot::{Live, Snapshot},
    tap::{Exchange, Tap},
};

/// Pingora's hooks for one listener.
struct Proxy {
    direction: Direction,
    live: Arc<Live>,
    tap: Tap,
    in_flight: InFlight,
    ending: GracefulShutdown,
    log: RejectionLog,
    lookups: Lookups,
    failed_addresses: Arc<FailedAddresses>,
}

/// One exchange.
struct ProxyContext {
    snapshot: Arc<Snapshot>,
    route: Option<ExchangeRoute>,
    direction: Direction,
    began: Instant,
    peer: Option<IpAddr>,
    permit: Option<Permit>,
    exchange: Option<Exchange>,
    /// Where it may still go, once that is known.
    candidates: Option<Candidates>,
    received: u64,
    /// Of a final response: that the other side got the message.
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

/// Where one exchange goes, decided at its head.
enum ExchangeRoute {
    /// To the AS2 server.
    Receiver(Arc<PathRoute>),
    /// To a partner of the config.
    Partner(Box<PartnerRoute>),
}

/// How a response's body comes.
#[derive(Debug)]
struct ResponseFlow {
    began: Instant,
    bytes: u64,
}

// === impl ProxyContext ===

impl ProxyContext {
    fn new(direction: Direction, snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            route: None,
            direction,
            began: Instant::now(),
            peer: None,
            permit: None,
            exchange: None,
            candidates: None,
            received: 0,
            flow: None,
            responded: false,
            rejection: None,
            tapped: 0,
            response_time: None,
            complete: None,
            interim: (0, 0),
        }
    }
}
