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

//!
//! # Example
//! ```
//! use as2hook_webhooks::{
//!     Endpoint, EventKind, PartnerType, Query, Route, Rule, RuleSet,
//! };
//!
//! let orders = Rule {
//!     name: "acme-orders".into(),
//!     events: Some(vec![EventKind::MessageReceived]),
//!     partner: Some("ACME".into()),
//!     station: None,
//!     partner_type: None,
//!     site: "main".into(),
//!     route: Route::MostSpecific,
//!     enabled: true,
//!     endpoint: Endpoint::new("https://erp.example/hooks/as2".parse()?),
//! };
//! let rules = RuleSet::compile(vec![orders]).expect("one rule cannot conflict");
//! let matches = rules.matches(&Query {
//!     event: EventKind::MessageReceived,
//!     site: "main",
//!     partner: Some("ACME"),
//!     station: Some("MY-OWN-ORG"),
//!     partner_type: PartnerType::Production,
//! });
//! assert_eq!(matches.winner.map(|rule| rule.name.as_str()), Some("acme-orders"));
//! # Ok::<(), http::uri::InvalidUri>(())
//! ```

pub mod event;
pub mod render;
pub mod rule;
pub mod rules;
pub mod sign;

pub use event::{Direction, Event, EventKind, PartnerType, SendError, Stage, Verdict};
pub use render::{Body, Fields, Payload, Rendered, Rendering, Request, Unsigned, render};
pub use rule::{
    BadRate, Endpoint, Order, PassHeaders, PayloadMode, Rate, Route, Rule, Secret, Tls,
};
pub use rules::{Conflict, Explanation, Matches, Outcome, Query, RuleConflict, RuleSet};
pub use sign::WrongLength;
