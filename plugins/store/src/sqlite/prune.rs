//! Removes what is done with, and gives the room back.

use std::path::PathBuf;

use rusqlite::{Connection, params};

use super::events;
use crate::store::StoreError;

pub(super) const IDLE: &str =
    "SELECT id, payload_path FROM event WHERE idle_since < ?1 ORDER BY idle_since LIMIT ?2";

/// Pages that one transaction gives back to the system at most.
const PAGES: u32 = 2_000;

/// Removes the events that are idle since before `before`, longest idle first. Returns how many, and
/// the payload files that are to be removed after the commit.
pub(super) fn prune(
    connection: &Connection,
    before: i64,
    limit: usize,
) -> Result<(usize, Vec<PathBuf>), StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = connection
        .prepare_cached(IDLE)?
        .query_map(params![before, limit], |row| {
            Ok((row.get(0)?, row.get::<_, Option<String>>(1)?))
        })?
        .collect::<Result<Vec<(i64, Option<String>)>, _>>()?;
    let mut attempts = connection.prepare_cached(
        "DELETE FROM attempt WHERE delivery IN (SELECT id FROM delivery WHERE event = ?1)",
    )?;
    let mut deliveries = connection.prepare_cached("DELETE FROM delivery WHERE event = ?1")?;
    for (id, _) in &found {
        attempts.execute([id])?;
        deliveries.execute([id])?;
        events::remove(connection, *id)?;
    }
    let files = found.iter().filter_map(|(_, path)| path.as_deref().map(PathBuf::from)).collect();
    Ok((found.len(), files))
}

/// Gives free pages back to the system.
pub(super) fn shrink(connection: &Connection) -> Result<(), StoreError> {
    // Each step of the statement frees one page.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
