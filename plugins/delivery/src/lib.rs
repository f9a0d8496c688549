//! Delivers events: an event is stored, and each webhook that subscribes to it is called until it
//! accepts the event.
//!
//! The [`Outbox`] takes events during the exchange and passes them to the store. The [`Dispatcher`]
//! claims due deliveries from the store, renders each by its [`Format`](as2hook_format::Format), and
//! passes it to the [`Sink`](as2hook_sink::Sink) of its rule. Each webhook has a worker of its own,
//! so that webhooks do not wait for each other.
//!
//! # Layout
//! - [`outbox`]: records events first and settles them later; holds events in memory while the
//!   store fails
//! - [`dispatcher`]: workers, retries, circuit breaker, health
//! - [`directory`]: the interface to the gateway's rules in force

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub mod directory;
pub mod dispatcher;
pub mod outbox;

use as2hook_event::clock as time;

pub use directory::{Attempted, DeadDelivery, Directory, Notice, Notices, WebhookChange};
pub use dispatcher::{
    DISABLE_AFTER, Dispatcher, DispatcherOptions, Health, HealthState, KeptPayload, Wakeups,
};
pub use outbox::{
    Adoption, OnStoreFailure, Outbox, OutboxError, OutboxOptions, Recorded, StoreHealth, StoreWait,
    writes::{self, Target},
};
