//! What we tell: events, the rules that pick webhooks for them, and the HTTP request that a webhook gets.
//!
//! Plain data and pure functions: nothing here waits, and nothing here knows the network.
//!
//! # Layout
//! - [`event`]: what happened
//! - [`rule`]: what an operator wants told, and where

pub mod event;
pub mod rule;

pub use event::{Direction, Event, EventKind, PartnerType, SendError, Stage, Verdict};
pub use rule::{Endpoint, Order, PassHeaders, PayloadMode, Route, Rule, Secret, Tls};
