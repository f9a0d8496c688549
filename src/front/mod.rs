//! What stands in front of Pingora: listeners, request heads and limits.
//!
//! # Layout
//! - `serve`: one connection from its first byte to its last
//! - `connection_limiter`: how many connections there are, and from where
//! - `handshakes`: how many TLS handshakes there are, from where, and for how long
//! - `read_head`: waits for a request's head
//! - `head`: which heads every reader reads alike
//! - `rewrite`: what is rewritten of a head before Pingora reads it
//! - `chunks`: which chunked bodies every reader reads alike
//! - `rejection`: the responses that the gateway gives itself
//! - `connection`: a partner's connection, with some of Pingora's habits mended
//! - `deadline`: a time limit that costs nothing where it is kept
//! - `in_flight`: how many exchanges are under way, and which gives way to others
//! - `fair_share`: which address holds most of what is scarce
//! - `tls`: the certificates of a listener
//! - [`shutdown`]: how connections come to an end
//! - `listening`: a listening socket that another process opened

pub mod shutdown;

pub(crate) mod chunks;
pub(crate) mod connection;
pub(crate) mod connection_limiter;
mod deadline;
mod fair_share;
pub(crate) mod handshakes;
mod head;
pub(crate) mod in_flight;
pub(crate) mod listening;
mod read_head;
pub(crate) mod rejection;
mod rewrite;
pub(crate) mod serve;
pub(crate) mod tls;

pub use self::{in_flight::InFlight, shutdown::GracefulShutdown};
