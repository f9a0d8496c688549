//! The HTTP request that a webhook receives for an event, with its signatures. Pure functions.
//!
//! # Layout
//! - [`mod@render`]: the request of one attempt
//! - [`sign`]: its two signatures

pub mod render;
pub mod sign;

pub use render::{Body, Fields, RawPayload, Rendered, Rendering, Unsigned, WebhookRequest, render};
pub use sign::WrongLength;
