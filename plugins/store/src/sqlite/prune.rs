//! Removes what is done with, and what of it is no longer needed, and gives the room back.

use std::path::PathBuf;

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{events, now};
use crate::store::StoreError;

pub(super) const IDLE: &str =
    "SELECT id, payload_path FROM event WHERE idle_since < ?1 ORDER BY idle_since LIMIT ?2";

pub(super) const SPENDABLE: &str = "SELECT id, payload_path, payload_pieces FROM event
    WHERE payload_idle_since < ?1 ORDER BY payload_idle_since LIMIT ?2";

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

/// Takes the payloads away that no delivery needs since before `before`, longest first. Returns how
/// many events had one, the files that are to be removed after the commit, and the pieces.
pub(super) fn spend(
    connection: &Connection,
    before: i64,
    limit: usize,
) -> Result<(usize, Vec<PathBuf>, Vec<Uuid>), StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = connection
        .prepare_cached(SPENDABLE)?
        .query_map(params![before, limit], |row| {
            Ok((row.get(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<[u8; 16]>>(2)?))
        })?
        .collect::<Result<Vec<(i64, _, _)>, _>>()?;
    let mut bytes =
        connection.prepare_cached("UPDATE content SET payload = NULL WHERE event = ?1")?;
    let mut names = connection.prepare_cached(
        "UPDATE event SET payload_path = NULL, payload_pieces = NULL, payload_idle_since = NULL,
            payload_spent_at = ?2
        WHERE id = ?1",
    )?;
    for (id, ..) in &found {
        bytes.execute([id])?;
        names.execute(params![id, now()])?;
    }
    let files = found.iter().filter_map(|(_, path, _)| path.as_deref().map(PathBuf::from));
    let pieces = found.iter().filter_map(|(.., pieces)| pieces.map(Uuid::from_bytes));
    Ok((found.len(), files.collect(), pieces.collect()))
}

/// Gives free pages back to the system.
pub(super) fn shrink(connection: &Connection) -> Result<(), StoreError> {
    // Each step of the statement frees one page.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
