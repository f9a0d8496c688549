//! The formats that rules may name: `headers`, `json`, `raw`, and those of plugins.
//!
//! # Layout
//! - `headers`, `json`, `raw`: one format each
//! - `disposition`: `Content-Disposition` with any file name

mod disposition;
mod headers;
mod json;
mod raw;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use as2hook_event::{Event, PayloadMode};
use bytes::Bytes;

use crate::render::Rendering;

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
        /// Its length in bytes, as [`RawPayload::Stream`](crate::render::RawPayload::Stream) has it.
        size: u64,
    },
}

/// The formats that rules may name. Clones share them.
#[derive(Clone)]
pub struct Formats(BTreeMap<&'static str, Arc<dyn Format>>);

// === impl Formats ===

impl Formats {
    /// Adds a format, or replaces the one of this name.
    pub fn insert(&mut self, name: &'static str, format: impl Format) {
        self.0.insert(name, Arc::new(format));
    }

    /// Returns the format of this name.
    pub fn get(&self, name: &str) -> Option<&dyn Format> {
        self.0.get(name).map(|format| &**format)
    }

    /// Returns all formats as rules have them, sorted by name.
    pub fn modes(&self) -> impl Iterator<Item = PayloadMode> {
        self.0
            .iter()
            .map(|(name, format)| PayloadMode { name, needs_payload: format.needs_payload() })
    }
}

impl Default for Formats {
    fn default() -> Self {
        let mut formats = Self(BTreeMap::new());
        formats.insert(PayloadMode::HEADERS.name, headers::HeadersFormat);
        formats.insert(PayloadMode::JSON.name, json::JsonFormat);
        formats.insert(PayloadMode::RAW.name, raw::RawFormat);
        formats
    }
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
