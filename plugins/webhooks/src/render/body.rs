//! What the three payload modes send, and the headers that speak of it.

use std::borrow::Cow;

use super::{Rendering, disposition::attachment, json, request::Body};
use crate::{
    event::{Event, EventKind},
    render::Payload,
    rule::PayloadMode,
};

/// A body and the headers that describe it.
pub(super) struct Content<'a> {
    pub(super) body: Body,
    /// Whether the original `Content-*` headers speak of this body, so that they may go along.
    pub(super) original: bool,
    pub(super) content_type: Option<Cow<'a, [u8]>>,
    pub(super) disposition: Option<String>,
    /// The number of attachments, of which the body is the first.
    pub(super) truncated: Option<usize>,
}

pub(super) fn content<'a>(event: &'a Event, rendering: &Rendering<'_>) -> Content<'a> {
    match rendering.mode {
        PayloadMode::Headers => Content { original: true, ..Content::of(Body::Empty) },
        PayloadMode::Raw if event.kind.sends_payload() => raw(event, &rendering.payload),
        PayloadMode::Json | PayloadMode::Raw => Content {
            content_type: Some(Cow::Borrowed(b"application/json")),
            ..Content::of(Body::Bytes(json::document(event, rendering).into()))
        },
    }
}

fn raw<'a>(event: &'a Event, payload: &Payload) -> Content<'a> {
    let body = match payload {
        // Nothing describes bytes that are not there: the errors in the headers say why.
        Payload::None => return Content::of(Body::Empty),
        Payload::Bytes(bytes) => Body::Bytes(bytes.clone()),
        Payload::Stream { size } => Body::Payload { size: *size },
    };
    if event.kind != EventKind::MessageReceived {
        let content_type = event.headers.get("Content-Type").map(Cow::Borrowed);
        return Content { content_type, ..Content::of(body) };
    }
    let attachments = event.decoded.as_ref().map_or([].as_slice(), |d| &d.attachments);
    let first = attachments.first();
    let content_type = first.and_then(|one| one.content_type.as_deref());
    Content {
        content_type: Some(Cow::Borrowed(
            content_type.map_or(b"application/octet-stream".as_slice(), str::as_bytes),
        )),
        disposition: Some(attachment(first.and_then(|one| one.name.as_deref()))),
        truncated: Some(attachments.len()).filter(|&count| count > 1),
        ..Content::of(body)
    }
}

// === impl Content ===

impl Content<'_> {
    fn of(body: Body) -> Self {
        Self { body, original: false, content_type: None, disposition: None, truncated: None }
    }
}
