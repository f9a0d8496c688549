//! How we tell it: what happened is written down, and every webhook that wants it is called until it
//! has it.
//!
//! The [`Outbox`] takes events while the exchange is still under way and hands them to the store. The
//! [`Dispatcher`] takes due deliveries from the store and makes them with the [`Client`], each webhook
//! in a lane of its own, so that none waits for another.
//!
//! # Layout
//! - [`outbox`]: record first, settle later; what is held in memory while the store is away
//! - [`dispatcher`]: lanes, retries, breaker, health
//! - [`client`]: one HTTP request within one deadline, over connections that are kept
//! - [`guard`]: which addresses a webhook may point at
//! - [`directory`]: what the gateway tells us of the rules in force

pub mod client;
pub mod directory;
pub mod dispatcher;
pub mod guard;
pub mod outbox;
mod time;

pub use client::{Answer, Client, ConnectError, DeliveryError, KeptPayload, Request, RequestBody};
pub use directory::{Attempted, Directory, Disabled, Notices};
pub use dispatcher::{Bells, DISABLE_AFTER, Dispatcher, DispatcherOptions, Health, Standing};
pub use guard::{Guard, Network};
pub use outbox::{
    Further, OnStoreFailure, Outbox, OutboxError, OutboxOptions, Recorded, StoreHealth, Target,
};
