//! Records: small rows beside events, such as sent messages that wait for a receipt, received
//! Message-IDs, and published events. A record is as opaque to the store as an event.

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
    /// The number of records is limited for each group; a group is all records with this many equal
    /// first characters. The indexes and statements of both stores contain this number.
    pub const GROUP: u32 = 21;
}

/// A record to be written, on a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordChange {
    /// The new record.
    pub record: Record,
    /// The condition on the existing record.
    pub before: Before,
}

/// The condition of a [`RecordChange`] on the existing record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// None.
    Any,
    /// There is no record, or an expired one.
    Absent,
    /// The record has this body, due or not.
    Body(Vec<u8>),
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
