//! The room as a whole, with real sockets on loopback and a store in memory.
//!
//! One binary, so that the network stack is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "helpers of tests stand outside test functions"
)]

mod client;
mod dispatcher;
mod isolation;
mod outbox;
mod support;
mod tls;
