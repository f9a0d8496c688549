//! What the admin API asks: filters, pages, and the rows as it shows them.

use uuid::Uuid;

use crate::{
    columns::length,
    model::{Attempt, DeliveryState},
};

/// Which rows. Every field that is set has to match; none set is all of them. On events, the fields of
/// a delivery ask for one delivery that matches them all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The tenant.
    pub site: Option<String>,
    /// The event's id.
    pub event: Option<Uuid>,
    /// The event's kind.
    pub kind: Option<String>,
    /// AS2 id of the remote side.
    pub partner: Option<String>,
    /// AS2 id of our side.
    pub station: Option<String>,
    /// The AS2 Message-ID.
    pub message_id: Option<String>,
    /// When the event happened, at the earliest.
    pub from: Option<i64>,
    /// When the event happened, before this.
    pub until: Option<i64>,
    /// The delivery's number.
    pub delivery: Option<i64>,
    /// The webhook's name.
    pub webhook: Option<String>,
    /// Where the delivery stands.
    pub state: Option<DeliveryState>,
}

/// Some rows, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The cursor of the next page. `None`: this is the last one.
    pub next: Option<i64>,
}

/// What a filter asks of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OfEvent<'a> {
    Id(Uuid),
    Site(&'a str),
    Kind(&'a str),
    Partner(&'a str),
    Station(&'a str),
    MessageId(&'a str),
    From(i64),
    Until(i64),
}

/// What a filter asks of a delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OfDelivery<'a> {
    Number(i64),
    Webhook(&'a str),
    State(DeliveryState),
}

/// An event in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Its id.
    pub id: Uuid,
    /// Its kind's name; while it is open, what it will be if nobody ever learns the outcome.
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
    /// Whether its outcome is not known yet.
    pub open: bool,
}

/// A delivery in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryRow {
    /// The store's number for it.
    pub id: i64,
    /// The dedupe key of the receiver.
    pub webhook_id: String,
    /// The webhook's name.
    pub webhook: String,
    /// Its payload mode.
    pub mode: String,
    /// See [`crate::NewDelivery::order_key`].
    pub order_key: Option<String>,
    /// Where it stands.
    pub state: DeliveryState,
    /// Whether an earlier one of its order key has to be done first.
    pub blocked: bool,
    /// When it may be made; for one that is done, when it might have been made last.
    pub due: i64,
    /// Attempts ever made.
    pub attempts: u32,
    /// Attempts made since the last replay.
    pub tries: u32,
    /// Whether somebody asked for it again.
    pub replay: bool,
    /// What it tells.
    pub event: EventRow,
}

/// An attempt in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRow {
    /// The store's number for it.
    pub id: i64,
    /// The delivery's number.
    pub delivery: i64,
    /// The dedupe key of the receiver.
    pub webhook_id: String,
    /// The webhook's name.
    pub webhook: String,
    /// What it told.
    pub event: EventRow,
    /// The attempt.
    pub attempt: Attempt,
    /// What became of the delivery by it.
    pub state: DeliveryState,
    /// When the next one is due, if there is to be one.
    pub next_at: Option<i64>,
}

// === impl Filter ===

impl Filter {
    /// What it asks of events. Each store has its own words for each of these, and none can forget one.
    pub(crate) fn of_event(&self) -> impl Iterator<Item = OfEvent<'_>> {
        [
            self.event.map(OfEvent::Id),
            self.site.as_deref().map(OfEvent::Site),
            self.kind.as_deref().map(OfEvent::Kind),
            self.partner.as_deref().map(OfEvent::Partner),
            self.station.as_deref().map(OfEvent::Station),
            self.message_id.as_deref().map(OfEvent::MessageId),
            self.from.map(OfEvent::From),
            self.until.map(OfEvent::Until),
        ]
        .into_iter()
        .flatten()
    }

    /// What it asks of deliveries.
    pub(crate) fn of_delivery(&self) -> impl Iterator<Item = OfDelivery<'_>> {
        [
            self.delivery.map(OfDelivery::Number),
            self.webhook.as_deref().map(OfDelivery::Webhook),
            self.state.map(OfDelivery::State),
        ]
        .into_iter()
        .flatten()
    }
}

// === impl Page ===

impl<T> Page<T> {
    /// So many rows are read for a page of `limit`: one more, to know whether there is a next page.
    pub(crate) fn reads(limit: usize) -> i64 {
        length(limit.max(1)).saturating_add(1)
    }

    /// The first `limit` of these rows, each with the number that a cursor knows it by.
    pub(crate) fn of<E>(
        limit: usize,
        numbered: impl Iterator<Item = Result<(i64, T), E>>,
    ) -> Result<Self, E> {
        let limit = limit.max(1);
        let mut rows = Vec::new();
        let mut last = None;
        for row in numbered {
            let (number, row) = row?;
            if rows.len() == limit {
                return Ok(Self { rows, next: last });
            }
            rows.push(row);
            last = Some(number);
        }
        Ok(Self { rows, next: None })
    }
}
