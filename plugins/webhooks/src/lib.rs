//! What we tell: events, the rules that pick webhooks for them, and the HTTP request that a webhook gets.
//!
//! Plain data and pure functions: nothing here waits, and nothing here knows the network.
//!
//! # Layout
//! - [`event`]: what happened
//! - [`rule`]: what an operator wants told, and where
//! - [`rules`]: all rules together, and which of them an event fires
//! - [`mod@render`]: the request of one attempt
//! - [`sign`]: its two signatures

pub mod event;
pub mod render;
pub mod rule;
pub mod rules;
pub mod sign;

pub use event::{Direction, Event, EventKind, PartnerType, SendError, Stage, Verdict};
pub use render::{Body, Payload, Rendered, Rendering, Request, Unsigned, render};
pub use rule::{Endpoint, Order, PassHeaders, PayloadMode, Route, Rule, Secret, Tls};
pub use rules::{Matches, Query, RuleConflict, RuleSet};
