//! The notification of one attempt, exactly as in `docs/webhooks.md`.
//!
//! [`render`] is a pure function of an event, one attempt, the endpoint in force and the time. A
//! payload in a file is not read here.

use as2hook_event::{Endpoint, Event};
use jiff::Timestamp;

use crate::{
    fields::Fields,
    format::{Body, Rendering},
    headers,
};

#[cfg(test)]
mod tests;

/// A notification.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Every header, `Content-Length` included.
    pub headers: Fields,
    /// The body.
    pub body: Body,
    /// Names of headers that were left out, because they are not legal HTTP or a rule set one that
    /// is as2hook's own: to be counted and logged. Printable, and at most 64 characters each; the
    /// first 16 of them, followed by `...`.
    pub dropped: Vec<String>,
}

/// Renders one attempt.
pub fn render(
    event: &Event,
    rendering: &Rendering<'_>,
    endpoint: &Endpoint,
    now: Timestamp,
) -> Rendered {
    let content = rendering.format.content(event, rendering);
    let (headers, dropped) = headers::select(event, rendering, endpoint, now, &content);
    Rendered { headers, body: content.body, dropped }
}
