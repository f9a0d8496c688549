//! What a notification looks like: headers and body, rendered by the format that a rule names, and
//! their signatures. Pure functions.
//!
//! # Layout
//! - [`mod@render`]: the notification of one attempt
//! - `formats`: [`Format`], the three built-in ones, and [`Formats`], which finds them by name
//! - [`headers`]: which headers are passed on, and which never are
//! - `fields`: the headers of a notification
//! - [`sign`]: the two signatures of a webhook's request

mod fields;
mod formats;
pub mod headers;
pub mod render;
pub mod sign;

pub use fields::{Field, Fields};
pub use formats::{Body, Content, Format, Formats};
pub use render::{RawPayload, Rendered, Rendering, render};
pub use sign::WrongLength;
