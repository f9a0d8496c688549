//! `raw`: the first attachment of a message, or an MDN as it came. Of other events, their `json`.

use std::borrow::Cow;

use as2hook_event::{Event, EventKind};

use super::{disposition::attachment, json::JsonFormat};
use crate::format::{Body, Content, Format, RawPayload, Rendering};

pub(super) struct RawFormat;

impl Format for RawFormat {
    fn needs_payload(&self) -> bool {
        true
    }

    fn content<'a>(&self, event: &'a Event, rendering: &Rendering<'_>) -> Content<'a> {
        if !event.kind.sends_payload() {
            return JsonFormat.content(event, rendering);
        }
        let body = match &rendering.payload {
            // No headers describe absent bytes: the errors in the headers say why they are absent.
            RawPayload::None => return Content::default(),
            RawPayload::Bytes(bytes) => Body::Bytes(bytes.clone()),
            RawPayload::Stream { size } => Body::Payload { size: *size },
        };
        if event.kind != EventKind::MessageReceived {
            let content_type = event.headers.get("Content-Type").map(Cow::Borrowed);
            return Content { body, content_type, ..Content::default() };
        }
        let attachments = event.decoded.as_ref().map_or([].as_slice(), |d| &d.attachments);
        let first = attachments.first();
        let content_type = first.and_then(|one| one.content_type.as_deref());
        Content {
            body,
            content_type: Some(Cow::Borrowed(
                content_type.map_or(b"application/octet-stream".as_slice(), str::as_bytes),
            )),
            disposition: Some(attachment(first.and_then(|one| one.name.as_deref()))),
            attachments: Some(attachments.len()).filter(|&count| count > 1),
            ..Content::default()
        }
    }
}
