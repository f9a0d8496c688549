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

/// One of several writes of a commit; see [`crate::Store::apply`].
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// See [`crate::Store::open`].
    Open(NewEvent, Vec<NewDelivery>),
    /// Gives an open exchange places in the orders of its deliveries: deliveries of later events
    /// wait until it is settled or discarded, at most [`OrderPlace::KEPT_MS`]. A settled exchange
    /// is not changed.
    Reserve(Uuid, Vec<OrderPlace>),
    /// See [`crate::Store::settle`].
    Settle(Settlement),
    /// Replaces content and payload of an open exchange, after a late decode. An exchange that is
    /// settled or does not exist is not changed. The caller removes a payload that is already
    /// stored.
    Replace(NewEvent),
    /// See [`crate::Store::publish`].
    Publish(NewEvent, Vec<NewDelivery>),
    /// A note. When [`RecordChange::before`] does not hold, nothing is written.
    Record(RecordChange),
    /// A note, and an event only if the note was written: of several callers one publishes it.
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
        let cut = "substr(key, 1, ";
        for text in [
            include_str!("retention.rs"),
            include_str!("sqlite/schema.sql"),
            include_str!("postgres/schema.sql"),
        ] {
            let all = text.matches(cut).count();
            assert!(all > 0);
            assert_eq!(text.matches(&format!("{cut}{})", Record::GROUP)).count(), all, "{text}");
        }
    }
}
