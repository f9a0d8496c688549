//! Where notifications go: one attempt within one deadline.
//!
//! # Layout
//! - `sink`: [`Sink`], and [`Sinks`], which finds them by name
//! - `http`: the built-in sink
//! - [`client`]: one HTTP request within one deadline, over kept connections
//! - [`guard`]: which addresses a webhook may point at
//! - [`happy_eyeballs`]: a connection to one of several addresses

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub mod client;
pub mod guard;
pub mod happy_eyeballs;
mod http;
mod sink;

pub use client::{
    BodyError, BodySource, BodyStream, Client, ConnectError, DeliveryError, EndpointResponse,
    Request, RequestBody,
};
pub use guard::Guard;
pub use http::{is_refusal, signed};
pub use sink::{Delivered, Notification, Sink, SinkError, SinkErrorKind, Sinks};
