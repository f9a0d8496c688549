//! The formats that rules may name: `headers`, `json`, `raw`, and those of plugins.
//!
//! # Layout
//! - `headers`, `json`, `raw`: one format each
//! - `disposition`: `Content-Disposition` with any file name

mod disposition;
mod headers;
mod json;
mod raw;

use std::{collections::BTreeMap, sync::Arc};

use as2hook_event::PayloadMode;

use crate::format::Format;

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
