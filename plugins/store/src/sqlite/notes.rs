//! Notes, and several writes in one commit.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::events;
use crate::{
    columns::{length, now},
    note::{Before, Note, NoteChange, Write},
    store::StoreError,
};

/// Carries out one of several writes.
pub(super) fn apply(connection: &Connection, owner: i64, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::Open(event, if_unknown) => {
            events::insert(connection, event, Some(owner), if_unknown).map(|_| ())
        }
        Write::Settle(settlement) => events::settle(connection, settlement),
        Write::Publish(event, told) => events::publish(connection, event, told),
        Write::Note(change) => write_note(connection, change).map(|_| ()),
        Write::Once(change, event, told) => {
            if write_note(connection, change)? {
                events::publish(connection, event, told)?;
            }
            Ok(())
        }
    }
}

/// The note under a key, unless it may be forgotten.
pub(super) fn read(connection: &Connection, key: &str) -> Result<Option<Note>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT key, body, due, expires FROM note WHERE key = ?1 AND expires > ?2",
    )?;
    Ok(statement.query_row(params![key, now()], note).optional()?)
}

/// The notes that are due at `at`, longest due first.
pub(super) fn due(connection: &Connection, at: i64, limit: usize) -> Result<Vec<Note>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT key, body, due, expires FROM note WHERE due <= ?1 ORDER BY due LIMIT ?2",
    )?;
    let rows = statement.query_map(params![at, length(limit)], note)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets up to `limit` notes that expired at `at`.
pub(super) fn forget(connection: &Connection, at: i64, limit: usize) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM note WHERE key IN (SELECT key FROM note WHERE expires <= ?1 LIMIT ?2)",
    )?;
    Ok(statement.execute(params![at, length(limit)])? as u64)
}

/// Returns whether it was written.
fn write_note(connection: &Connection, change: &NoteChange) -> Result<bool, StoreError> {
    let Note { key, body, due, expires } = &change.note;
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

/// A note as its four columns tell it.
pub(super) fn note(row: &Row<'_>) -> rusqlite::Result<Note> {
    Ok(Note { key: row.get(0)?, body: row.get(1)?, due: row.get(2)?, expires: row.get(3)? })
}
