//! The rows, as plain types. Times are milliseconds since 1970.

use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An event to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Its id, chosen by the caller.
    pub id: Uuid,
    /// Its kind's name, such as `message.received`.
    pub kind: String,
    /// The tenant.
    pub site: String,
    /// AS2 id of the remote side.
    pub partner: Option<String>,
    /// AS2 id of our side.
    pub station: Option<String>,
    /// The AS2 Message-ID.
    pub message_id: Option<String>,
    /// Of an MDN: the Message-ID of its message.
    pub about: Option<String>,
    /// What else it is found by.
    pub terms: EventTerms,
    /// When it happened.
    pub occurred_at: i64,
    /// The event itself; opaque to the store.
    pub body: Vec<u8>,
    /// What `raw` deliveries send.
    pub payload: Payload,
}

/// What an event is found by beside its columns of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventTerms {
    /// The name of its first attachment that has one.
    pub file_name: Option<String>,
    /// The codes of its processing errors.
    pub errors: Vec<u16>,
}

/// Bytes that a `raw` delivery sends.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Payload {
    /// None.
    #[default]
    None,
    /// Small ones, in the event's row.
    Inline(Bytes),
    /// Large ones, in a file that is already durable.
    File {
        /// Its name within the payload root.
        path: PathBuf,
        /// Its length in bytes.
        size: u64,
    },
    /// Large ones, in a [`crate::BlobStore`] that are already durable.
    Stored {
        /// Their id.
        id: Uuid,
        /// The length in bytes.
        size: u64,
    },
    /// Encrypted at rest. See [`crate::Payloads`].
    Sealed {
        /// The length in bytes before it was sealed.
        size: u64,
        /// The sealed bytes, with their own length.
        kept: Box<Payload>,
    },
    /// The payload was removed after all deliveries that needed it had been made. See
    /// [`crate::Store::purge_payloads`].
    Purged,
}

/// The outcome of an open exchange: closes it and makes its deliveries due, in one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The event that [`crate::Write::Open`] stored.
    pub event: Uuid,
    /// Its final kind.
    pub kind: String,
    /// The verdict; opaque to the store.
    pub verdict: Vec<u8>,
    /// The codes of the processing errors that the verdict adds.
    pub errors: Vec<u16>,
    /// The deliveries to make.
    pub deliveries: Vec<NewDelivery>,
}

/// A planned delivery of one event to one webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewDelivery {
    /// The dedupe key for the receiver. Writing an existing one again changes nothing.
    pub webhook_id: String,
    /// The webhook's name.
    pub webhook: String,
    /// Its payload mode, fixed for this delivery.
    pub mode: String,
    /// Deliveries of one webhook with the same key are made one at a time, in the order of their
    /// arrival.
    pub order_key: Option<String>,
    /// When it may be made.
    pub due: i64,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Its id.
    pub id: Uuid,
    /// See [`NewEvent::body`].
    pub body: Vec<u8>,
    /// See [`Settlement::verdict`]. `None`: still open, or published without an exchange.
    pub verdict: Option<Vec<u8>>,
    /// What a `raw` delivery sends.
    pub payload: Payload,
}

/// A delivery that this process has claimed.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The store's number for it.
    pub id: i64,
    /// See [`NewDelivery::webhook_id`].
    pub webhook_id: String,
    /// The webhook's name.
    pub webhook: String,
    /// Its payload mode.
    pub mode: String,
    /// The number of earlier attempts; the next attempt has this plus one.
    pub attempts: u32,
    /// The number of attempts since the last replay: the place in the retry schedule.
    pub tries: u32,
    /// Whether the next attempt was asked for, so that it is none of the schedule's.
    pub asked: bool,
    /// The number of attempts that were asked for since the last replay.
    pub extra: u32,
    /// Whether it is a replay.
    pub replay: bool,
    /// The event that it delivers.
    pub event: StoredEvent,
}

/// A webhook with pending deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueWebhook {
    /// Its name.
    pub webhook: String,
    /// When the first of them may be made.
    pub due: i64,
}

/// A webhook with held or orphaned deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its name.
    pub webhook: String,
    /// Held or orphaned.
    pub state: DeliveryState,
}

/// The end of one attempt, or a claim that is released.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// The delivery.
    pub delivery: i64,
    /// The attempt to log. `None`: no attempt was made.
    pub attempt: Option<Attempt>,
    /// The outcome for the delivery.
    pub outcome: DeliveryOutcome,
}

/// An attempt in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Counts from 1.
    pub number: u32,
    /// When it began.
    pub at: i64,
    /// The URL.
    pub url: String,
    /// The status of the response.
    pub http_code: Option<u16>,
    /// The error, if it failed.
    pub error: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
}

/// The outcome of an attempt for its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// Delivered.
    Delivered,
    /// To be retried at this time.
    Retry(i64),
    /// Out of retries: kept, listed, and can be replayed.
    Dead,
    /// Its webhook is disabled: kept until it is enabled.
    Held,
    /// Its webhook is gone: kept, and can be replayed to another.
    Orphaned,
    /// The claim is released without an attempt; due at this time.
    Released(i64),
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Waiting until it is due.
    Pending,
    /// Claimed by a process that makes it.
    Claimed,
    /// Delivered.
    Delivered,
    /// See [`DeliveryOutcome::Dead`].
    Dead,
    /// See [`DeliveryOutcome::Held`].
    Held,
    /// See [`DeliveryOutcome::Orphaned`].
    Orphaned,
    /// Given up by an operator: kept, and can be replayed.
    Cancelled,
}

/// The part of a webhook's health that outlives a restart. A webhook without a row is in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookState {
    /// Its name.
    pub webhook: String,
    /// Why it is disabled, as a sentence. `None`: it is in service.
    pub disabled: Option<String>,
    /// The time of the first failure without a success since. `None`: it does not fail.
    pub failing_since: Option<i64>,
    /// The fingerprint of the rule at that time. A rule with another one puts the webhook back into
    /// service, and nothing of this counts against it.
    pub fingerprint: String,
}

/// An action over the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The name of the caller's token.
    pub token: String,
    /// The tenant.
    pub site: String,
    /// What was asked for, in a word.
    pub action: String,
    /// Of what.
    pub target: String,
    /// What came of it.
    pub result: String,
}

// === impl Attempt ===

impl Attempt {
    /// The most attempts of one delivery in the log, however often it is replayed.
    pub const KEPT: u32 = 200;
}

// === impl Payload ===

impl Payload {
    /// The largest payload that stays in the event's row, in bytes.
    pub const INLINE_MAX: usize = 256 * 1024;

    /// Returns the length in bytes of what a delivery sends.
    pub const fn size(&self) -> u64 {
        match self {
            Self::None | Self::Purged => 0,
            Self::Inline(bytes) => bytes.len() as u64,
            Self::File { size, .. } | Self::Stored { size, .. } | Self::Sealed { size, .. } => {
                *size
            }
        }
    }

    /// Returns how many of its bytes are in memory.
    pub fn in_memory(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Sealed { kept, .. } => kept.in_memory(),
            Self::None | Self::File { .. } | Self::Stored { .. } | Self::Purged => 0,
        }
    }
}

// === impl DeliveryOutcome ===

impl DeliveryOutcome {
    /// Returns the new state of the delivery, and its new due time if that changes.
    pub(crate) const fn leads_to(self) -> (DeliveryState, Option<i64>) {
        match self {
            Self::Delivered => (DeliveryState::Delivered, None),
            Self::Retry(due) | Self::Released(due) => (DeliveryState::Pending, Some(due)),
            Self::Dead => (DeliveryState::Dead, None),
            Self::Held => (DeliveryState::Held, None),
            Self::Orphaned => (DeliveryState::Orphaned, None),
        }
    }
}

// === impl DeliveryState ===

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Claimed,
        Self::Delivered,
        Self::Dead,
        Self::Held,
        Self::Orphaned,
        Self::Cancelled,
    ];

    /// Returns the word for it in the store and in the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Held => "held",
            Self::Orphaned => "orphaned",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the state for a word of [`Self::as_str`].
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}
