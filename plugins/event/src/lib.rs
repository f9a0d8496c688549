//! Events, and the rules that select webhooks for them.
//!
//! Plain data and pure functions, without waits and without network access, but for the clock.
//!
//! # Layout
//! - [`event`]: what happened
//! - [`bounds`]: how much of it is stored
//! - [`clock`]: the clock for due times, expiries and ages
//! - [`rule`]: one webhook: its events and its endpoint
//! - [`rules`]: all rules together, and which of them an event fires
//!
//! # Example
//! ```
//! use as2hook_event::{
//!     Endpoint, EventKind, Filters, Findings, PartnerType, Query, Route, Rule, RuleSet,
//! };
//!
//! let orders = Rule {
//!     name: "acme-orders".into(),
//!     events: Some(vec![EventKind::MessageReceived]),
//!     partner: Some("ACME".into()),
//!     station: None,
//!     partner_type: None,
//!     filters: Filters::default(),
//!     site: "main".into(),
//!     route: Route::MostSpecific,
//!     enabled: true,
//!     endpoint: Endpoint::new("https://erp.example/hooks/as2".parse()?),
//! };
//! let rules = RuleSet::compile(vec![orders]).expect("one rule cannot conflict");
//! let query = Query {
//!     event: EventKind::MessageReceived,
//!     site: "main",
//!     partner: Some("ACME"),
//!     station: Some("MY-OWN-ORG"),
//!     partner_type: PartnerType::Production,
//! };
//! let matches = rules.matches(&query, &Findings::default());
//! assert_eq!(matches.winner.map(|rule| rule.name.as_str()), Some("acme-orders"));
//! # Ok::<(), http::uri::InvalidUri>(())
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// Defines an enum whose variants are words: in JSON, in the config and in the store.
macro_rules! words {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident {
            $($(#[$of_variant:meta])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$of_variant])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Each of them.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$variant),*];

            /// Returns its word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

pub mod bounds;
pub mod clock;
pub mod event;
pub mod rule;
pub mod rules;

pub use event::{Direction, Event, EventKind, PartnerType, SendError, Stage, Verdict};
pub use rule::{
    BadRate, DocumentType, Endpoint, ErrorFilter, Filters, Findings, KeptAttachments, Order,
    PassHeaders, PayloadMode, Rate, Route, Rule, Secret, SecretString, SinkChoice, Tls,
};
pub use rules::{Conflict, Explanation, Matches, Outcome, Query, RuleConflict, RuleSet};
