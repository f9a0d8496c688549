//! The rows, as plain types. Times are milliseconds since 1970.

use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An event to be written down.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Its id, made by the caller.
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
    /// When it happened.
    pub occurred_at: i64,
    /// The event itself; the store does not look into it.
    pub body: Vec<u8>,
    /// What `raw` deliveries send.
    pub payload: Payload,
}

/// Bytes that a `raw` delivery sends.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Payload {
    /// None are kept.
    #[default]
    None,
    /// Small ones, in the event's row.
    Inline(Bytes),
    /// Large ones, in a file that is already durable.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its length in bytes.
        size: u64,
    },
    /// Large ones, in [`crate::Pieces`] that are already durable.
    Stored {
        /// Their name.
        id: Uuid,
        /// The length in bytes.
        size: u64,
    },
    /// Encrypted at rest. See [`crate::Payloads`].
    Sealed {
        /// The length in bytes before it was sealed.
        size: u64,
        /// Where the sealed bytes are; its own length is theirs.
        kept: Box<Payload>,
    },
    /// They were kept, and were taken away when every delivery that needed them had been made. See
    /// [`crate::Store::spend`].
    Spent,
}

/// What became of an open exchange: closes it and makes its deliveries due, in one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The event that [`crate::Store::open`] wrote down.
    pub event: Uuid,
    /// The kind that it turned out to be.
    pub kind: String,
    /// The verdict; the store does not look into it.
    pub verdict: Vec<u8>,
    /// Who is told.
    pub deliveries: Vec<NewDelivery>,
}

/// One webhook to be told of one event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewDelivery {
    /// The dedupe key of the receiver. Writing one that exists already changes nothing.
    pub webhook_id: String,
    /// The webhook's name.
    pub webhook: String,
    /// Its payload mode, fixed for this delivery.
    pub mode: String,
    /// Deliveries of one webhook with the same key are made one at a time, in the order they came.
    pub order_key: Option<String>,
    /// When it may be made.
    pub due: i64,
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Its id.
    pub id: Uuid,
    /// What [`NewEvent::body`] was.
    pub body: Vec<u8>,
    /// What [`Settlement::verdict`] was. `None`: still open, or published without an exchange.
    pub verdict: Option<Vec<u8>>,
    /// What a `raw` delivery sends.
    pub payload: Payload,
}

/// A delivery that this process may make now.
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
    /// Attempts made before; the next is this plus one.
    pub attempts: u32,
    /// Attempts made before since the last replay: the place in the retry schedule.
    pub tries: u32,
    /// Whether somebody asked for it again.
    pub replay: bool,
    /// What it tells.
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

/// One attempt that was made, or a delivery that is given back.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// The delivery.
    pub delivery: i64,
    /// Its number, from 1. `None`: no attempt was made, and none is logged.
    pub attempt: Option<Attempt>,
    /// What becomes of the delivery.
    pub fate: Fate,
}

/// The log's row of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// When it began.
    pub at: i64,
    /// Where it went.
    pub url: String,
    /// The answer's status.
    pub http_code: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Done.
    Delivered,
    /// To be tried again at this time.
    Retry(i64),
    /// Out of retries: kept, listed, replayable.
    Dead,
    /// Its webhook is disabled: kept until it is enabled.
    Held,
    /// Its webhook is gone: kept, replayable to another.
    Orphaned,
    /// Given back unmade, due at this time; it counts as no attempt.
    Released(i64),
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Waits for its time.
    Pending,
    /// A process is making it.
    Claimed,
    /// Done.
    Delivered,
    /// See [`Fate::Dead`].
    Dead,
    /// See [`Fate::Held`].
    Held,
    /// See [`Fate::Orphaned`].
    Orphaned,
}

/// What outlives a restart of a webhook's health. A webhook without a row is in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookState {
    /// Its name.
    pub webhook: String,
    /// Why it is disabled, in a sentence. `None`: it is in service.
    pub disabled: Option<String>,
    /// Since when it fails without a success between. `None`: it does not.
    pub failing_since: Option<i64>,
    /// The rule's fingerprint when this was written; another one puts the webhook back into service.
    pub fingerprint: String,
}

// === impl Attempt ===

impl Attempt {
    /// So many of one delivery stay in the log, however often it is replayed.
    pub const KEPT: u32 = 200;
}

// === impl Payload ===

impl Payload {
    /// Up to this many bytes stay in the event's row.
    pub const INLINE_MAX: usize = 256 * 1024;

    /// The length in bytes of what a delivery sends.
    pub const fn size(&self) -> u64 {
        match self {
            Self::None | Self::Spent => 0,
            Self::Inline(bytes) => bytes.len() as u64,
            Self::File { size, .. } | Self::Stored { size, .. } | Self::Sealed { size, .. } => {
                *size
            }
        }
    }

    /// The bytes that are in memory with it.
    pub fn in_memory(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Sealed { kept, .. } => kept.in_memory(),
            Self::None | Self::File { .. } | Self::Stored { .. } | Self::Spent => 0,
        }
    }
}

// === impl Fate ===

impl Fate {
    /// Where the delivery stands then, and when it is due, where that becomes another time.
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
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Claimed, Self::Delivered, Self::Dead, Self::Held, Self::Orphaned];

    /// The word in the store and in the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Held => "held",
            Self::Orphaned => "orphaned",
        }
    }

    /// The state that a word of [`Self::as_str`] names.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}
