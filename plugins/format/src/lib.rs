//! What a notification looks like: headers and body, rendered by the format that a rule names, and
//! their signatures. Pure functions.
//!
//! # Layout
//! - [`mod@render`]: the notification of one attempt
//! - `format`: [`Format`], what it is given, and what it makes
//! - `formats`: the three built-in ones, and [`Formats`], which finds them by name
//! - [`headers`]: which headers are passed on, and which never are
//! - `fields`: the headers of a notification
//! - [`sign`]: the two signatures of a webhook's request

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod fields;
mod format;
mod formats;
pub mod headers;
pub mod render;
pub mod sign;

pub use fields::{Field, Fields};
pub use format::{Body, Content, Format, RawPayload, Rendering};
pub use formats::Formats;
pub use render::{Rendered, render};
pub use sign::WrongLength;
