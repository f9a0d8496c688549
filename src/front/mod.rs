//! What stands in front of Pingora: listeners, request heads and limits.
//!
//! # Layout
//! - `listener`: a listener and its connections, each from its first byte to its last
//! - `tls`: the TLS sessions of a listener
//! - `connection_limiter`: how many connections there are, and from where
//! - `head`: which heads every reader reads alike
//! - `rewrite`: what is rewritten of a head before Pingora reads it
//! - `chunks`: which chunked bodies every reader reads alike
//! - `rejection`: the responses that the gateway gives itself
//! - `connection`: a partner's connection, with some of Pingora's habits mended
//! - `deadline`: a time limit that costs nothing where it is kept
//! - `in_flight`: how many exchanges are under way, and which gives way to others
//! - `fair_share`: which address holds most of what is scarce
//! - [`shutdown`]: how connections come to an end

pub mod shutdown;

pub(crate) mod chunks;
pub(crate) mod connection;
pub(crate) mod connection_limiter;
mod deadline;
mod fair_share;
mod head;
pub(crate) mod in_flight;
pub(crate) mod listener;
pub(crate) mod rejection;
mod rewrite;
pub(crate) mod tls;

pub use self::{in_flight::InFlight, shutdown::GracefulShutdown};

use as2hook_event::Direction;

/// What metrics and the log call the listener of this direction.
pub(crate) fn listener_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}
