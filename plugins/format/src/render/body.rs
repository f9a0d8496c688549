//! The bodies of the three payload modes, and the headers that describe them.

use std::borrow::Cow;

use super::{Rendering, disposition::attachment, json, request::Body};
use as2hook_event::{Event, EventKind, PayloadMode};

use crate::render::RawPayload;

/// A body and the headers that describe it.
pub(super) struct BodyContent<'a> {
    pub(super) body: Body,
    /// Whether the original `Content-*` headers describe this body, so that they may be passed on.
    pub(super) original: bool,
    pub(super) content_type: Option<Cow<'a, [u8]>>,
    pub(super) disposition: Option<String>,
    /// The number of attachments, of which the body is the first.
    pub(super) truncated: Option<usize>,
}

pub(super) fn content<'a>(event: &'a Event, rendering: &Rendering<'_>) -> BodyContent<'a> {
    match rendering.mode {
        PayloadMode::Headers => BodyContent { original: true, ..BodyContent::of(Body::Empty) },
        PayloadMode::Raw if event.kind.sends_payload() => raw(event, &rendering.payload),
        PayloadMode::Json | PayloadMode::Raw => BodyContent {
            content_type: Some(Cow::Borrowed(b"application/json")),
            ..BodyContent::of(Body::Bytes(json::document(event, rendering).into()))
        },
    }
}

fn raw<'a>(event: &'a Event, payload: &RawPayload) -> BodyContent<'a> {
    let body = match payload {
        // No headers describe absent bytes: the errors in the headers say why they are absent.
        RawPayload::None => return BodyContent::of(Body::Empty),
        RawPayload::Bytes(bytes) => Body::Bytes(bytes.clone()),
        RawPayload::Stream { size } => Body::Payload { size: *size },
    };
    if event.kind != EventKind::MessageReceived {
        let content_type = event.headers.get("Content-Type").map(Cow::Borrowed);
        return BodyContent { content_type, ..BodyContent::of(body) };
    }
    let attachments = event.decoded.as_ref().map_or([].as_slice(), |d| &d.attachments);
    let first = attachments.first();
    let content_type = first.and_then(|one| one.content_type.as_deref());
    BodyContent {
        content_type: Some(Cow::Borrowed(
            content_type.map_or(b"application/octet-stream".as_slice(), str::as_bytes),
        )),
        disposition: Some(attachment(first.and_then(|one| one.name.as_deref()))),
        truncated: Some(attachments.len()).filter(|&count| count > 1),
        ..BodyContent::of(body)
    }
}

// === impl BodyContent ===

impl BodyContent<'_> {
    fn of(body: Body) -> Self {
        Self { body, original: false, content_type: None, disposition: None, truncated: None }
    }
}
