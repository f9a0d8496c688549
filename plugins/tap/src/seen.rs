//! Messages that came already: a partner that lost our MDN sends its message again.

use std::time::Duration;

use as2hook_as2::SignatureStatus;
use as2hook_delivery::{Outbox, OutboxError};
use as2hook_event::{Event, clock};
use as2hook_store::{Before, Record, RecordChange};
use uuid::Uuid;

use super::{
    records::{Group, SEEN, digest, message_id},
    routes::Routes,
};

/// Stands before an event's id: its message was refused by an asynchronous MDN.
const REFUSED: &str = "refused ";

/// Where a message is found that is the same as this one: same parties, same Message-ID, same content,
/// and the same signature status. Any client can send a copy without the signature, before or after.
/// `None`: its content is not known for certain, so nothing can be the same.
pub(super) fn key(event: &Event, group: &Group) -> Option<String> {
    let decoded = event.decoded.as_ref()?;
    if event.processing_errors().next().is_some() || decoded.attachments.is_empty() {
        return None;
    }
    let status = serde_json::to_string(&decoded.signature_status).ok()?;
    let id = message_id(event)?;
    let parties = [event.partner.as_deref()?, event.station.as_deref()?, &id, &status];
    let contents = decoded.attachments.iter().map(|attachment| attachment.sha256.as_str());
    Some(format!("{SEEN}{group}:{}", digest(parties.into_iter().chain(contents))))
}

/// The event that is remembered. `None`: its message was refused later.
pub(super) fn first(record: &Record) -> Option<Uuid> {
    Uuid::try_parse_ascii(&record.body).ok()
}

/// The event that is remembered of the same message from when the config had its partner otherwise, or not
/// at all. Its signature status was the same, so a verified message has none: to be verified, its partner had
/// its certificates then too.
pub(super) async fn first_elsewhere(
    event: &Event,
    routes: &Routes,
    outbox: &Outbox,
) -> Result<Option<Uuid>, OutboxError> {
    let here = Group::of(routes, event);
    let status = event.decoded.as_ref().and_then(|decoded| decoded.signature_status);
    if status == Some(SignatureStatus::Valid) {
        return Ok(None);
    }
    for group in Group::all(routes).iter().filter(|&group| *group != here) {
        let Some(key) = key(event, group) else { return Ok(None) };
        let record = outbox.record(&key).await?;
        if let Some(first) = record.as_ref().and_then(first) {
            return Ok(Some(first));
        }
    }
    Ok(None)
}

/// Remembers it for as long as it counts. `found`: what is there already, a message that was refused.
/// `None`: it is this one, whose refusal was faster than its response.
pub(super) fn remember(
    key: String,
    event: &Event,
    window: Duration,
    found: Option<Record>,
) -> Option<RecordChange> {
    if found.as_ref().is_some_and(|found| found.body == refused(event.id)) {
        return None;
    }
    // The one that came first stays first.
    let before = found.map_or(Before::Absent, |found| Before::Body(found.body));
    Some(change(key, event.id.to_string().into_bytes(), window, before))
}

/// Takes back that a message was taken. `found`: what is there already. Whatever is written meanwhile
/// is of the same exchange, whose end is not written down yet. `None`: another message stands there.
pub(super) fn refuse(
    key: String,
    event: Uuid,
    window: Duration,
    found: Option<&Record>,
) -> Option<RecordChange> {
    let is_other = found.and_then(first).is_some_and(|first| first != event);
    (!is_other).then(|| change(key, refused(event), window, Before::Any))
}

fn refused(event: Uuid) -> Vec<u8> {
    format!("{REFUSED}{event}").into_bytes()
}

fn change(key: String, body: Vec<u8>, window: Duration, before: Before) -> RecordChange {
    RecordChange {
        record: Record { key, body, due: None, expires: clock::after(clock::now(), window) },
        before,
    }
}
