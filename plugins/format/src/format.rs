//! The trait of a format, what it is given, and what it makes.

use std::borrow::Cow;

use as2hook_event::Event;
use bytes::Bytes;
use serde_json::Value;

/// What a notification looks like: its body, and the headers that describe the body.
pub trait Format: Send + Sync + 'static {
    /// Whether [`Rendering::payload`] is used, so that payloads are kept for rules with this format.
    fn needs_payload(&self) -> bool {
        false
    }

    /// Returns the body of one attempt. The same event must give the same body, but for the number
    /// of the attempt.
    fn content<'a>(&self, event: &'a Event, rendering: &Rendering<'_>) -> Content<'a>;
}

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

/// A body and the headers that describe it.
#[derive(Debug, Default)]
pub struct Content<'a> {
    /// The body.
    pub body: Body,
    /// Its `Content-Type`.
    pub content_type: Option<Cow<'a, [u8]>>,
    /// Its `Content-Disposition`: ASCII.
    pub disposition: Option<String>,
    /// Whether the original `Content-*` headers describe this body, so that they may be passed on.
    pub original: bool,
    /// The number of attachments, of which the body is the first.
    pub attachments: Option<usize>,
}

/// The body of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// All bytes.
    Bytes(Bytes),
    /// The payload, which the caller has. Only for a format with [`Format::needs_payload`].
    Payload {
        /// Its length in bytes, as [`RawPayload::Stream`] has it.
        size: u64,
    },
}

// === impl Body ===

impl Body {
    /// Returns its length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => crate::sign::length(bytes),
            Self::Payload { size } => *size,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Bytes(Bytes::new())
    }
}
