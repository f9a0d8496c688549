//! What is written: each commit is a list of writes.

use uuid::Uuid;

use crate::{
    model::{NewDelivery, NewEvent, Settlement},
    record::RecordChange,
};

/// One of several writes of a commit; see [`crate::EventStore::commit`].
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Stores an event whose outcome is not known yet, with the deliveries to make if it never is.
    Open(NewEvent, Vec<NewDelivery>),
    /// Gives an open exchange places in the orders of its deliveries: deliveries of later events
    /// wait until it is settled or discarded, at most [`OrderPlace::KEPT_MS`]. A settled exchange
    /// is not changed.
    Reserve(Uuid, Vec<OrderPlace>),
    /// Adds the outcome, and makes the deliveries due; those planned at [`Self::Open`] are dropped.
    /// Settling twice changes nothing.
    Settle(Settlement),
    /// Removes an open exchange that turned out to be no event, with its payload. A settled one is
    /// not changed.
    Discard(Uuid),
    /// Replaces content and payload of an open exchange, after a late decode. An exchange that is
    /// settled or does not exist is not changed. The caller removes a payload that is already
    /// stored.
    Replace(NewEvent),
    /// Stores an event without a pending outcome.
    Publish(NewEvent, Vec<NewDelivery>),
    /// A record. When [`RecordChange::before`] does not hold, nothing is written.
    Record(RecordChange),
    /// A record, and an event only if the record was written: of several callers one publishes it.
    Once(RecordChange, NewEvent, Vec<NewDelivery>),
}

/// A place in an order of deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderPlace {
    /// The webhook's name.
    pub webhook: String,
    /// See [`NewDelivery::order_key`].
    pub order_key: String,
}

// === impl Write ===

impl Write {
    /// The approximate memory of a row beside its contents.
    const ROW: usize = 512;

    /// Returns its event. A record has none.
    pub const fn event(&self) -> Option<Uuid> {
        match self {
            Self::Open(event, _)
            | Self::Replace(event)
            | Self::Publish(event, _)
            | Self::Once(_, event, _) => Some(event.id),
            Self::Settle(settlement) => Some(settlement.event),
            Self::Reserve(event, _) | Self::Discard(event) => Some(*event),
            Self::Record(_) => None,
        }
    }

    /// Returns the deliveries that it makes due.
    pub fn deliveries(&self) -> &[NewDelivery] {
        match self {
            Self::Publish(_, deliveries) | Self::Once(_, _, deliveries) => deliveries,
            Self::Settle(settlement) => &settlement.deliveries,
            Self::Open(..)
            | Self::Reserve(..)
            | Self::Discard(_)
            | Self::Replace(_)
            | Self::Record(_) => &[],
        }
    }

    /// Returns its approximate size, in memory and on its way to the store.
    pub fn bytes(&self) -> usize {
        let row = |event: &NewEvent, deliveries: &[NewDelivery]| {
            Self::ROW * (1 + deliveries.len()) + event.body.len() + event.payload.in_memory()
        };
        let record =
            |change: &RecordChange| Self::ROW + change.record.key.len() + change.record.body.len();
        match self {
            Self::Open(event, deliveries) | Self::Publish(event, deliveries) => {
                row(event, deliveries)
            }
            Self::Once(change, event, deliveries) => record(change) + row(event, deliveries),
            Self::Replace(event) => row(event, &[]),
            Self::Settle(settlement) => {
                Self::ROW * (1 + settlement.deliveries.len()) + settlement.verdict.len()
            }
            Self::Reserve(_, places) => Self::ROW * places.len(),
            Self::Discard(_) => Self::ROW,
            Self::Record(change) => record(change),
        }
    }
}

// === impl OrderPlace ===

impl OrderPlace {
    /// How long an exchange with an unknown outcome blocks an order, in milliseconds. Long enough
    /// for the longest decode and for a takeover.
    pub const KEPT_MS: i64 = 15 * 60 * 1000;
}
