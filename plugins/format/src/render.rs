//! The notification of one attempt, exactly as in `docs/webhooks.md`.
//!
//! [`render`] is a pure function of an event, one attempt, the endpoint in force and the time. A
//! payload in a file is not read here.

use as2hook_event::{Endpoint, Event};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    fields::Fields,
    formats::{Body, Format},
    headers,
};

#[cfg(test)]
mod tests;

/// One attempt to deliver an event to a webhook.
#[derive(Clone)]
pub struct Rendering<'a> {
    /// Fixed when the delivery was planned, so not the endpoint's.
    pub format: &'a dyn Format,
    /// See [`Event::webhook_id`]: the same on every attempt.
    pub webhook_id: &'a str,
    /// Counts from 1.
    pub attempt: u32,
    /// Whether the delivery is a replay.
    pub replay: bool,
    /// The payload, for a [`Format`] that needs it.
    pub payload: RawPayload,
    /// Keys at the beginning of a JSON body, in this order, before all others. One that the body
    /// has anyway moves here, with this value.
    pub leading: &'a [(&'a str, Value)],
}

/// The payload of an event: the first attachment's, or the MDN's MIME entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RawPayload {
    /// None: the event has none, it could not be decoded, or it exceeded a limit.
    #[default]
    None,
    /// In memory.
    Bytes(Bytes),
    /// In a file; the caller streams it.
    Stream {
        /// Its length in bytes.
        size: u64,
    },
}

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
    headers::rendered(event, rendering, endpoint, now, content)
}
