//! `headers`: the original headers, and an empty body.

use as2hook_event::Event;

use crate::format::{Content, Format, Rendering};

pub(super) struct HeadersFormat;

impl Format for HeadersFormat {
    fn content<'a>(&self, _event: &'a Event, _rendering: &Rendering<'_>) -> Content<'a> {
        Content { original: true, ..Content::default() }
    }
}
