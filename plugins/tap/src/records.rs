//! The keys of what is remembered of messages, the groups in which its number is limited, and how a message
//! that came already is recognised: a partner that lost our MDN sends it again.

use std::{fmt, time::Duration};

use as2hook_as2::{SignatureStatus, hex};
use as2hook_delivery::{Outbox, OutboxError};
use as2hook_event::{Event, bounds, clock};
use as2hook_store::{Before, Record, RecordChange};
use openssl::sha::Sha256;
use uuid::Uuid;

use super::{
    receipt::comparable_id,
    routes::{Parties, Routes},
};

/// What the keys of records about sent messages begin with.
pub(crate) const SENT: &str = "sent:";

/// What the keys of records about messages to us begin with: for our own receiver's asynchronous MDN.
pub(crate) const TAKEN: &str = "took:";

/// What the keys of records begin with that tell duplicates.
const SEEN: &str = "seen:";

/// So many records of one [`Group`] are kept, those that expire last.
pub(crate) const MOST: u64 = 100_000;

/// Digits of a [`Group`]: with the prefix of a key they are what the store counts by.
const GROUP_DIGITS: usize = Record::GROUP as usize - SENT.len();

// Keys of all kinds begin alike, or the store would count parts of groups, or of several together.
const _: () = assert!(TAKEN.len() == SENT.len() && SEEN.len() == SENT.len());

/// Records whose number is limited together: those of one partner and station. What is not proven to be
/// a partner's pushes nothing out that is, and names that the config does not know share one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group(String);

// === impl Group ===

impl Group {
    /// Where the record of an exchange is counted.
    pub(crate) fn of(routes: &Routes, event: &Event) -> Self {
        let [verified, unverified, unknown] = Self::all(routes);
        match (routes.is_known.0, routes.is_unverified(event)) {
            (false, _) => unknown,
            (true, true) => unverified,
            (true, false) => verified,
        }
    }

    /// Where a record of these parties may be, the likeliest first: the config may have been another.
    pub(crate) fn all(routes: &Routes) -> [Self; 3] {
        let Parties { partner, station } = &routes.parties;
        // A name of no station is the sender's choice: it must not make groups of its own.
        let station = if routes.is_known.1 { station.as_str() } else { "" };
        let group = |parts: [&str; 3]| Self(digest(parts.into_iter())[..GROUP_DIGITS].to_owned());
        [
            group(["verified", partner, station]),
            group(["unverified", partner, station]),
            group(["", "", ""]),
        ]
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a message of these parties is found.
pub(crate) fn key(
    kind: &str,
    group: &Group,
    station: &str,
    partner: &str,
    message_id: &str,
) -> String {
    let id = bounds::message_id(message_id.trim());
    format!("{kind}{group}:{}", digest([station, partner, &comparable_id(&id)].into_iter()))
}

/// SHA-256 over these texts, which keeps them apart whatever they hold; in hexadecimal.
fn digest<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update(&(part.len() as u64).to_be_bytes());
        sum.update(part.as_bytes());
    }
    hex::encode(&sum.finish())
}

/// The Message-ID of a message's event.
pub(crate) fn message_id(event: &Event) -> Option<String> {
    let decoded = event.decoded.as_ref().and_then(|decoded| decoded.as2_message_id.clone());
    let header = || event.headers.text("Message-ID").map(|id| id.trim().to_owned());
    decoded.or_else(header).filter(|id| !id.is_empty())
}

// === messages that came already ===

/// Stands before an event's id: its message was refused by an asynchronous MDN.
const REFUSED: &str = "refused ";

/// Where a message is found that is the same as this one: same parties, same Message-ID, same content,
/// and the same signature status. Any client can send a copy without the signature, before or after.
/// `None`: its content is not known for certain, so nothing can be the same.
pub(crate) fn seen_key(event: &Event, group: &Group) -> Option<String> {
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
fn first_seen(record: &Record) -> Option<Uuid> {
    Uuid::try_parse_ascii(&record.body).ok()
}

/// What is remembered of the same message: its record, and the event that came first. That may stand in the
/// record of another group, from when the config had its partner otherwise, or not at all. Its signature
/// status was the same, so a verified message has no other: to be verified, its partner had its certificates
/// then too.
pub(crate) async fn seen_before(
    key: &str,
    event: &Event,
    routes: &Routes,
    outbox: &Outbox,
) -> Result<(Option<Record>, Option<Uuid>), OutboxError> {
    let mut keys = vec![key.to_owned()];
    let status = event.decoded.as_ref().and_then(|decoded| decoded.signature_status);
    if status != Some(SignatureStatus::Valid) {
        let groups = Group::all(routes);
        let others = groups.iter().filter_map(|group| seen_key(event, group));
        keys.extend(others.filter(|other| other != key));
    }
    let mut found = outbox.records(&keys).await?;
    let first = found.iter().flatten().find_map(first_seen);
    Ok((found.swap_remove(0), first))
}

/// Remembers it for as long as it counts. `found`: what is there already, a message that was refused.
/// `None`: it is this one, whose refusal was faster than its response.
pub(crate) fn remember_seen(
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
pub(crate) fn refuse_seen(
    key: String,
    event: Uuid,
    window: Duration,
    found: Option<&Record>,
) -> Option<RecordChange> {
    let is_other = found.and_then(first_seen).is_some_and(|first| first != event);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_a_message_id_does_not_depend_on_blanks() {
        let group = Group(String::new());
        let key = |id: &str| key(SENT, &group, "US", "ACME", id);
        assert_eq!(key("<a b@c>"), key("<a\r\n b@c>"));
        assert_eq!(key("<a b@c>"), key("ab@c"));
        // As it was written before.
        assert_eq!(key("<a@c>"), format!("sent::{}", digest(["US", "ACME", "a@c"].into_iter())));
        assert_ne!(key("<a@c>"), key("<b@c>"));
    }
}
