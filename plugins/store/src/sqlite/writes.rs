//! Executes writes, several in one commit.

use std::path::PathBuf;

use rusqlite::{Connection, params};

use super::{deliveries, events};
use crate::{
    clock::now,
    record::{Before, Record, RecordChange},
    store::StoreError,
    write::Write,
};

/// Executes one of several writes. Returns the payload file of a discarded event, to be removed after
/// the commit.
pub(super) fn apply(
    connection: &Connection,
    owner: i64,
    write: &Write,
) -> Result<Option<PathBuf>, StoreError> {
    match write {
        Write::Discard(event) => return events::discard(connection, *event),
        Write::Open(event, if_unknown) => {
            events::insert(connection, event, Some(owner), if_unknown)?;
        }
        Write::Reserve(event, places) => deliveries::reserve(connection, *event, places)?,
        Write::Settle(settlement) => events::settle(connection, settlement)?,
        Write::Replace(event) => events::replace(connection, event)?,
        Write::Publish(event, planned) => events::publish(connection, event, planned)?,
        Write::Record(change) => {
            write_record(connection, change)?;
        }
        Write::Once(change, event, planned) => {
            if write_record(connection, change)? {
                events::publish(connection, event, planned)?;
            }
        }
    }
    Ok(None)
}

/// Returns whether it was written.
fn write_record(connection: &Connection, change: &RecordChange) -> Result<bool, StoreError> {
    let Record { key, body, due, expires } = &change.record;
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
