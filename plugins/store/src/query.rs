//! The queries of the admin API: filters, pages, and rows.

use uuid::Uuid;

use crate::{
    columns::length,
    model::{Attempt, DeliveryState},
};

/// Selects rows. Every field that is set must match; an empty filter selects all. On events, the
/// fields of a delivery select events with one delivery that matches them all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The tenant.
    pub site: Option<String>,
    /// The event's id.
    pub event: Option<Uuid>,
    /// The event's kind.
    pub kind: Option<String>,
    /// Whether only events of exchanges match, and none of webhooks and certificates.
    pub exchanges: bool,
    /// AS2 id of the remote side.
    pub partner: Option<String>,
    /// AS2 id of our side.
    pub station: Option<String>,
    /// The AS2 Message-ID, with or without its angle brackets.
    pub message_id: Option<String>,
    /// Of an MDN: the Message-ID of its message, likewise.
    pub about: Option<String>,
    /// The name of its first attachment that has one.
    pub file_name: Option<String>,
    /// The code of one of its processing errors.
    pub error: Option<u16>,
    /// The earliest time of the event.
    pub from: Option<i64>,
    /// The time before which the event happened.
    pub until: Option<i64>,
    /// The delivery's number.
    pub delivery: Option<i64>,
    /// The delivery's `webhook-id`.
    pub webhook_id: Option<String>,
    /// The webhook's name.
    pub webhook: Option<String>,
    /// The delivery's state.
    pub state: Option<DeliveryState>,
}

/// A part of the rows, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The cursor of the next page. `None`: this is the last one.
    pub next: Option<i64>,
}

/// A row after its number.
pub(crate) struct Numbered<T>(pub(crate) i64, pub(crate) T);

/// An event in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Its id.
    pub id: Uuid,
    /// Its kind's name; while it is open, the kind for an unknown outcome.
    pub kind: String,
    /// The tenant.
    pub site: String,
    /// AS2 id of the remote side.
    pub partner: Option<String>,
    /// AS2 id of our side.
    pub station: Option<String>,
    /// The AS2 Message-ID.
    pub message_id: Option<String>,
    /// The name of its first attachment that has one.
    pub file_name: Option<String>,
    /// The codes of its processing errors.
    pub errors: Vec<u16>,
    /// When it happened.
    pub occurred_at: i64,
    /// Whether its outcome is not known yet.
    pub open: bool,
}

/// How many deliveries of a webhook are in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryTally {
    /// The webhook's name.
    pub webhook: String,
    /// The state.
    pub state: DeliveryState,
    /// How many.
    pub count: u64,
}

/// How many deliveries of an event are in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTally {
    /// The event's id.
    pub event: Uuid,
    /// The state.
    pub state: DeliveryState,
    /// How many.
    pub count: u64,
}

/// A delivery in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryRow {
    /// The store's number for it.
    pub id: i64,
    /// The dedupe key for the receiver.
    pub webhook_id: String,
    /// The webhook's name.
    pub webhook: String,
    /// Its payload mode.
    pub mode: String,
    /// See [`crate::NewDelivery::order_key`].
    pub order_key: Option<String>,
    /// Its state.
    pub state: DeliveryState,
    /// Whether an earlier one with its order key must be done first.
    pub blocked: bool,
    /// When it may be made. Of one that is done, the last due time.
    pub due: i64,
    /// All attempts.
    pub attempts: u32,
    /// The attempts since the last replay.
    pub tries: u32,
    /// Whether it is a replay.
    pub replay: bool,
    /// The status of the last response.
    pub last_http_code: Option<u16>,
    /// The error of the last attempt, if it failed.
    pub last_error: Option<String>,
    /// The event that it delivers.
    pub event: EventRow,
}

/// An attempt in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRow {
    /// The store's number for it.
    pub id: i64,
    /// The delivery's number.
    pub delivery: i64,
    /// The dedupe key for the receiver.
    pub webhook_id: String,
    /// The webhook's name.
    pub webhook: String,
    /// The event that it delivered.
    pub event: EventRow,
    /// The attempt.
    pub attempt: Attempt,
    /// The outcome for the delivery.
    pub state: DeliveryState,
    /// When the next attempt is due, if there is one.
    pub next_at: Option<i64>,
}

// === impl Page ===

impl<T> Page<T> {
    /// Returns how many rows to read for a page of `limit`: one more shows whether there is a next
    /// page.
    pub(crate) fn reads(limit: usize) -> i64 {
        length(limit.max(1)).saturating_add(1)
    }

    /// Builds a page from the first `limit` of these rows, each with its number for the cursor.
    pub(crate) fn of(limit: usize, mut numbered: Vec<Numbered<T>>) -> Self {
        let limit = limit.max(1);
        let is_last = numbered.len() <= limit;
        numbered.truncate(limit);
        let next = numbered.last().map(|Numbered(number, _)| *number).filter(|_| !is_last);
        Self { rows: numbered.into_iter().map(|Numbered(_, row)| row).collect(), next }
    }
}
