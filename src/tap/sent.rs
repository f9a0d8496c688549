//! What was sent, remembered until its receipt has come: an asynchronous MDN finds its message by our
//! id, the partner's id and the Message-ID, whichever gateway of the store it reaches.

use std::time::Duration;

use as2hook_as2::Headers;
use as2hook_store::{Before, Note, NoteChange};
use as2hook_webhooks::Event;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::receipt::{Expected, When, Wish, bare};

/// How long a message is remembered. MDNs that come later are of an unknown message.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// What the keys of these notes begin with.
pub(crate) const PREFIX: &str = "sent:";

/// What the keys of notes about messages to us begin with: for our own receiver's asynchronous MDN.
const TAKEN: &str = "taken:";

/// A message that was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sent {
    /// The event of its exchange.
    pub(crate) event: Uuid,
    /// When it was sent.
    pub(crate) at: Timestamp,
    /// The tenant.
    pub(crate) site: String,
    /// AS2 id of the remote side.
    pub(crate) partner: String,
    /// AS2 id of our side.
    pub(crate) station: String,
    /// AS2-From, AS2-To, Message-ID and Subject.
    pub(crate) headers: Headers,
    /// Where it could be seen: not in what is encrypted for the partner.
    pub(crate) mic: Option<String>,
    /// Whether a signed receipt was asked for.
    pub(crate) signed: bool,
    /// When an asynchronous receipt is overdue.
    pub(crate) deadline: Option<Timestamp>,
    /// How it stands.
    pub(crate) state: State,
}

/// How a sent message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// No receipt that counts has come on a connection of its own.
    Sent,
    /// Its exchange failed.
    Failed,
    /// A positive receipt that counts came.
    Accepted,
    /// A negative receipt that counts came, or one of another MIC; that was told.
    Refused,
    /// It was told that none came in time.
    Overdue,
}

// === impl Sent ===

impl Sent {
    /// What is to be remembered of a message on its way out. `None`: it has no Message-ID.
    pub(super) fn of(event: &Event, mdn_deadline: Duration) -> Option<Self> {
        let wish = Wish::of(&event.headers);
        let message_id = message_id(event)?;
        let (partner, station) = (event.partner.clone()?, event.station.clone()?);
        let mut headers = Headers::new();
        headers.push("AS2-From", station.as_str());
        headers.push("AS2-To", partner.as_str());
        headers.push("Message-ID", message_id);
        if let Some(subject) = event.headers.get("Subject") {
            headers.push("Subject", subject);
        }
        let deadline = (wish.when == When::Later)
            .then(|| Timestamp::now().checked_add(mdn_deadline).unwrap_or(Timestamp::MAX));
        Some(Self {
            event: event.id,
            at: event.occurred_at,
            site: event.site.clone(),
            partner,
            station,
            headers,
            mic: event.decoded.as_ref().and_then(|decoded| decoded.mic.clone()),
            signed: wish.signed,
            deadline,
            state: State::Sent,
        })
    }

    /// Out of the store.
    pub(crate) fn read(note: &Note) -> Option<Self> {
        serde_json::from_slice(&note.body).ok()
    }

    /// What is to be remembered of a message on its way in. `None`: our receiver's MDN comes in the
    /// answer, or not at all.
    pub(super) fn taken(event: &Event) -> Option<NoteChange> {
        if Wish::of(&event.headers).when != When::Later {
            return None;
        }
        let taken = Self::of(event, Duration::ZERO)?;
        let message_id = message_id(event)?;
        let key = Self::key_of_taken(&taken.station, &taken.partner, &message_id);
        let change = Self { deadline: None, ..taken }.change();
        Some(NoteChange { note: Note { key, ..change.note }, ..change })
    }

    /// Where a message from the partner is found.
    pub(super) fn key_of_taken(station: &str, partner: &str, message_id: &str) -> String {
        format!("{TAKEN}{}", serde_json::json!([station, partner, bare(message_id)]))
    }

    /// Where a message of these parties is found.
    pub(crate) fn key(station: &str, partner: &str, message_id: &str) -> String {
        // JSON keeps the three apart whatever they hold.
        format!("{PREFIX}{}", serde_json::json!([station, partner, bare(message_id)]))
    }

    /// What a receipt is held against.
    pub(super) fn expected(&self) -> Expected<'_> {
        Expected { signed: self.signed, message_id: self.message_id(), mic: self.mic.as_deref() }
    }

    /// To be written whatever there is.
    pub(crate) fn change(&self) -> NoteChange {
        let message_id = self.message_id().unwrap_or_default();
        let waits = self.state == State::Sent;
        let due = self.deadline.filter(|_| waits).map(Timestamp::as_millisecond);
        let kept = self.at.checked_add(KEPT).unwrap_or(Timestamp::MAX).as_millisecond();
        let note = Note {
            key: Self::key(&self.station, &self.partner, message_id),
            body: serde_json::to_vec(self).expect("plain data with string keys has a JSON form"),
            due,
            // Not before it is overdue.
            expires: due.map_or(kept, |due| kept.max(due.saturating_add(1))),
        };
        NoteChange { note, before: Before::Any }
    }

    /// As it stands now, written only over what `found` was.
    pub(crate) fn becomes(mut self, state: State, found: &Note) -> NoteChange {
        self.state = state;
        NoteChange { before: Before::Body(found.body.clone()), ..self.change() }
    }

    fn message_id(&self) -> Option<&str> {
        std::str::from_utf8(self.headers.get("Message-ID")?).ok()
    }
}

/// The Message-ID of a message's event.
pub(super) fn message_id(event: &Event) -> Option<String> {
    let decoded = event.decoded.as_ref().and_then(|decoded| decoded.as2_message_id.clone());
    let header = || event.headers.text("Message-ID").map(|id| id.trim().to_owned());
    decoded.or_else(header).filter(|id| !id.is_empty())
}
