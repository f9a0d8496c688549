//! Tests of the whole crate, with real sockets on loopback and a store in memory.
//!
//! One binary, so that the network stack is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    reason = "helpers of tests stand outside test functions, and figures are printed"
)]

mod adoption;
mod client;
mod dispatcher;
mod isolation;
mod outbox;
mod rates;
mod support;
mod tls;
mod together;
