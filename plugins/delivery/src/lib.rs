//! Delivers events: an event is stored, and each webhook that subscribes to it is called until it
//! accepts the event.
//!
//! The [`Outbox`] takes events during the exchange and passes them to the store. The [`Dispatcher`]
//! claims due deliveries from the store and makes them with the [`Client`]. Each webhook has a
//! worker of its own, so that webhooks do not wait for each other.
//!
//! # Layout
//! - [`outbox`]: records events first and settles them later; holds events in memory while the
//!   store fails
//! - [`dispatcher`]: workers, retries, circuit breaker, health
//! - [`client`]: one HTTP request within one deadline, over kept connections
//! - [`guard`]: which addresses a webhook may point at
//! - [`happy_eyeballs`]: a connection to one of several addresses
//! - [`directory`]: the interface to the gateway's rules in force

pub mod client;
pub mod directory;
pub mod dispatcher;
pub mod guard;
pub mod happy_eyeballs;
pub mod outbox;
mod time;

pub use client::{
    Client, ConnectError, DeliveryError, EndpointResponse, KeptPayload, Request, RequestBody,
};
pub use directory::{Attempted, Directory, Disabled, Notices};
pub use dispatcher::{Bells, DISABLE_AFTER, Dispatcher, DispatcherOptions, Health, Standing};
pub use guard::{Guard, IpNetwork};
pub use outbox::{
    Adoption, Further, OnStoreFailure, Outbox, OutboxError, OutboxOptions, Recorded, StoreHealth,
    StoreWait, Target,
};
