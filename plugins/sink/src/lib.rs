//! Sends one HTTP request to a webhook's endpoint: within one deadline, to an address that it may
//! point at.
//!
//! # Layout
//! - [`client`]: one HTTP request within one deadline, over kept connections
//! - [`guard`]: which addresses a webhook may point at
//! - [`happy_eyeballs`]: a connection to one of several addresses

pub mod client;
pub mod guard;
pub mod happy_eyeballs;

pub use client::{
    BodySource, BodyStream, Client, ConnectError, DeliveryError, EndpointResponse, Request,
    RequestBody,
};
pub use guard::Guard;
