//! Messages that came already: a partner that lost our MDN sends its message again.

use std::time::Duration;

use as2hook_store::{Before, Note, NoteChange};
use as2hook_webhooks::Event;
use jiff::Timestamp;
use openssl::sha::Sha256;

use super::sent::message_id;
use crate::config::hex;

/// Where a message is found that is the same as this one: same parties, same Message-ID, same content.
/// `None`: its content is not known for certain, so nothing can be the same.
pub(super) fn key(event: &Event) -> Option<String> {
    let decoded = event.decoded.as_ref()?;
    if event.processing_errors().next().is_some() || decoded.attachments.is_empty() {
        return None;
    }
    let mut sum = Sha256::new();
    let mut add = |part: &str| {
        sum.update(&(part.len() as u64).to_be_bytes());
        sum.update(part.as_bytes());
    };
    add(event.partner.as_deref()?);
    add(event.station.as_deref()?);
    add(&message_id(event)?);
    for attachment in &decoded.attachments {
        add(&attachment.sha256);
    }
    Some(format!("seen:{}", hex(&sum.finish())))
}

/// Remembers it for as long as it counts.
pub(super) fn remember(key: String, event: &Event, window: Duration) -> NoteChange {
    let expires = Timestamp::now().checked_add(window).unwrap_or(Timestamp::MAX);
    let body = event.id.to_string().into_bytes();
    let note = Note { key, body, due: None, expires: expires.as_millisecond() };
    // Who was first stays first.
    NoteChange { note, before: Before::Absent }
}
