//! Notes, and several writes in one commit.

use rusqlite::{Connection, params};

use super::{deliveries, events};
use crate::{
    clock::now,
    note::{Before, Record, RecordChange, Write},
    store::StoreError,
};

/// Executes one of several writes.
pub(super) fn apply(connection: &Connection, owner: i64, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::Open(event, if_unknown) => {
            events::insert(connection, event, Some(owner), if_unknown).map(|_| ())
        }
        Write::Reserve(event, places) => deliveries::reserve(connection, *event, places),
        Write::Settle(settlement) => events::settle(connection, settlement),
        Write::Replace(event) => events::replace(connection, event),
        Write::Publish(event, planned) => events::publish(connection, event, planned),
        Write::Record(change) => write_note(connection, change).map(|_| ()),
        Write::Once(change, event, planned) => {
            if write_note(connection, change)? {
                events::publish(connection, event, planned)?;
            }
            Ok(())
        }
    }
}

/// Returns whether it was written.
fn write_note(connection: &Connection, change: &RecordChange) -> Result<bool, StoreError> {
    let Record { key, body, due, expires } = &change.note;
    let put = "INSERT INTO note (key, body, due, expires) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (key) DO UPDATE SET body = ?2, due = ?3, expires = ?4";
    let written = match &change.before {
        Before::Any => connection.prepare_cached(put)?.execute(params![key, body, due, expires])?,
        Before::Absent => connection
            .prepare_cached(&format!("{put} WHERE note.expires <= ?5"))?
            .execute(params![key, body, due, expires, now()])?,
        Before::Body(before) => connection
            .prepare_cached(
                "UPDATE note SET body = ?2, due = ?3, expires = ?4 WHERE key = ?1 AND body = ?5",
            )?
            .execute(params![key, body, due, expires, before])?,
    };
    Ok(written > 0)
}
