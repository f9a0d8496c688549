//! Notes: small records beside events, such as sent messages that wait for a receipt, received
//! Message-IDs, and published events. A note is as opaque to the store as an event.

use uuid::Uuid;

use crate::model::{NewDelivery, NewEvent, Settlement};

/// A record under a key. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: String,
    /// Its content.
    pub body: Vec<u8>,
    /// When it is to be handled. `None`: never.
    pub due: Option<i64>,
    /// When it may be removed.
    pub expires: i64,
}

impl Record {
    /// The number of notes is limited for each group; a group is all notes with this many equal
    /// first characters. The indexes and statements of both stores contain this number.
    pub const GROUP: u32 = 21;
}

/// A note to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordChange {
    /// The new note.
    pub note: Record,
    /// The condition on the existing note.
    pub before: Before,
}

/// The condition of a [`RecordChange`] on the existing note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// None.
    Any,
    /// There is no note, or an expired one.
    Absent,
    /// The note has this body, due or not.
    Body(Vec<u8>),
}

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
    /// not changed. Stands first in its commit: the others may fail after it.
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
            |change: &RecordChange| Self::ROW + change.note.key.len() + change.note.body.len();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_and_indexes_of_both_stores_count_by_the_length_of_a_group() {
        let sqlite = "substr(key, 1, ";
        for (text, cut) in [
            (include_str!("sqlite/notes.rs"), sqlite),
            (include_str!("sqlite/schema/009.sql"), sqlite),
            (include_str!("postgres/schema/010.sql"), "left(key, "),
        ] {
            let all = text.matches(cut).count();
            assert!(all > 0);
            assert_eq!(text.matches(&format!("{cut}{})", Record::GROUP)).count(), all, "{text}");
        }
    }
}
