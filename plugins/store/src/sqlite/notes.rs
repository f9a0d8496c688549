//! Notes, and several writes in one commit.

use std::path::PathBuf;

use rusqlite::{Connection, params};

use super::{deliveries, events};
use crate::{
    clock::now,
    columns::{length, number},
    record::{Before, Record, RecordChange},
    store::StoreError,
    write::Write,
};

/// Exactly the expression of the index of groups, whose length is [`Record::GROUP`].
pub(super) const LARGE: &str = "SELECT substr(key, 1, 21), count(*) - ?1 FROM note
    GROUP BY substr(key, 1, 21) HAVING count(*) > ?1";

pub(super) const TRIM: &str = "DELETE FROM note WHERE key IN
    (SELECT key FROM note WHERE substr(key, 1, 21) = ?1 ORDER BY expires LIMIT ?2)";

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
            write_note(connection, change)?;
        }
        Write::Once(change, event, planned) => {
            if write_note(connection, change)? {
                events::publish(connection, event, planned)?;
            }
        }
    }
    Ok(None)
}

/// Removes up to `limit` notes that are expired at `at`.
pub(super) fn forget(connection: &Connection, at: i64, limit: usize) -> Result<usize, StoreError> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM note WHERE key IN (SELECT key FROM note WHERE expires <= ?1 LIMIT ?2)",
    )?;
    Ok(statement.execute(params![at, length(limit)])?)
}

/// Returns the groups that have more than `keep`, and by how many.
pub(super) fn large(
    connection: &Connection,
    keep: u64,
) -> Result<Vec<(String, usize)>, StoreError> {
    let mut statement = connection.prepare_cached(LARGE)?;
    let rows = statement.query_map([number(keep)], |row| {
        let beyond = row.get::<_, i64>(1)?;
        Ok((row.get(0)?, usize::try_from(beyond).unwrap_or(usize::MAX)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes this many of a group, those that expire first.
pub(super) fn trim(connection: &Connection, group: &str, n: usize) -> Result<usize, StoreError> {
    Ok(connection.prepare_cached(TRIM)?.execute(params![group, length(n)])?)
}

/// Returns whether it was written.
fn write_note(connection: &Connection, change: &RecordChange) -> Result<bool, StoreError> {
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
