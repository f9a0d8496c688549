//! Removes what is done with, and what of it is no longer needed, and gives the room back: in steps so
//! small that no exchange waits long behind one. What to remove is looked up beside the writing thread.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::events;
use crate::{
    columns::{length, now, number},
    store::StoreError,
};

pub(super) const IDLE: &str =
    "SELECT id FROM event WHERE idle_since < ?1 ORDER BY idle_since LIMIT ?2";

/// Finds the newest of those that are too many: a walk over the index alone.
pub(super) const BEYOND: &str =
    "SELECT idle_since, id FROM event WHERE idle_since IS NOT NULL AND dead = 0
    ORDER BY idle_since DESC, id DESC LIMIT 1 OFFSET ?1";

pub(super) const SPENDABLE: &str = "SELECT id, payload_path, payload_pieces FROM event
    WHERE payload_idle_since < ?1 ORDER BY payload_idle_since LIMIT ?2";

pub(super) const UP_TO: &str = "SELECT id FROM event
    WHERE idle_since IS NOT NULL AND dead = 0 AND (idle_since, id) <= (?1, ?2)
    ORDER BY idle_since, id LIMIT ?3";

/// Events that one transaction removes at most.
pub(super) const EVENTS: usize = 50;

/// Attempts that one transaction looks at and removes at most.
pub(super) const ATTEMPTS: usize = 500;

/// Pages that one transaction gives back to the system at most: 1 MiB.
const PAGES: i64 = 256;

/// Free pages that are left in the file for what comes next, 4 MiB: given back, they would only be
/// asked for again.
const SLACK: i64 = 1_024;

/// Of a larger file this part is left.
const SLACK_PART: i64 = 8;

/// Events that may go, longest done first.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    ids: Vec<i64>,
    /// They were done at this time at the latest; one that is done later than that has been replayed
    /// since.
    until: i64,
}

/// What a look at a part of the log found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    pub(super) seen: usize,
    /// The number of the last that was seen.
    pub(super) last: i64,
    pub(super) removed: usize,
}

/// The events that were done before `before`.
pub(super) fn idle(
    connection: &Connection,
    before: i64,
    limit: usize,
) -> Result<Found, StoreError> {
    let ids = connection
        .prepare_cached(IDLE)?
        .query_map(params![before, length(limit)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(Found { ids, until: before.saturating_sub(1) })
}

/// The events that are done, without a dead delivery, and older than the newest `keep` such.
pub(super) fn beyond(
    connection: &Connection,
    keep: u64,
    limit: usize,
) -> Result<Found, StoreError> {
    let first = connection
        .prepare_cached(BEYOND)?
        .query_row([number(keep)], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    let Some((until, id)) = first else { return Ok(Found::default()) };
    let ids = connection
        .prepare_cached(UP_TO)?
        .query_map(params![until, id, length(limit)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(Found { ids, until })
}

/// Removes events that are still done. Returns how many, and the payload files that are to be removed
/// after the commit.
pub(super) fn remove(
    connection: &Connection,
    found: &Found,
) -> Result<(usize, Vec<PathBuf>), StoreError> {
    let mut still = connection
        .prepare_cached("SELECT payload_path FROM event WHERE id = ?1 AND idle_since <= ?2")?;
    let mut attempts = connection.prepare_cached(
        "DELETE FROM attempt WHERE delivery IN (SELECT id FROM delivery WHERE event = ?1)",
    )?;
    let mut deliveries = connection.prepare_cached("DELETE FROM delivery WHERE event = ?1")?;
    let (mut removed, mut files) = (0, Vec::new());
    for id in &found.ids {
        let done = still
            .query_row(params![id, found.until], |row| row.get::<_, Option<String>>(0))
            .optional()?;
        let Some(path) = done else { continue };
        attempts.execute([id])?;
        deliveries.execute([id])?;
        events::remove(connection, *id)?;
        removed += 1;
        files.extend(path.map(PathBuf::from));
    }
    Ok((removed, files))
}

/// Looks at `count` attempts of the log behind number `after`, and removes those that began before
/// `before`. One that a clock gone wrong stamped late is passed over: those behind it are old all the
/// same.
pub(super) fn attempts(
    connection: &Connection,
    before: i64,
    after: i64,
    count: usize,
) -> Result<Looked, StoreError> {
    // In the order they were logged, which is nearly that of their beginnings: no index is needed.
    let (seen, last) = connection
        .prepare_cached(
            "SELECT count(*), max(id) FROM
                (SELECT id FROM attempt WHERE id > ?1 ORDER BY id LIMIT ?2)",
        )?
        .query_row(params![after, length(count)], |row| {
            Ok((row.get::<_, u32>(0)? as usize, row.get::<_, Option<i64>>(1)?.unwrap_or(after)))
        })?;
    let removed = connection
        .prepare_cached("DELETE FROM attempt WHERE id > ?1 AND id <= ?2 AND at < ?3")?
        .execute([after, last, before])?;
    Ok(Looked { seen, last, removed })
}

/// Whether so much of the file is free that some of it is to be given back.
pub(super) fn is_loose(connection: &Connection) -> Result<bool, StoreError> {
    let figure = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(figure("freelist_count")? > SLACK.max(figure("page_count")? / SLACK_PART))
}

/// Takes the payloads away that no delivery needs since before `before`, longest first. Returns how
/// many events had one, the files that are to be removed after the commit, and the pieces.
pub(super) fn spend(
    connection: &Connection,
    before: i64,
    limit: usize,
) -> Result<(usize, Vec<PathBuf>, Vec<Uuid>), StoreError> {
    let found = connection
        .prepare_cached(SPENDABLE)?
        .query_map(params![before, length(limit)], |row| {
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

/// Gives some free pages back to the system.
pub(super) fn shrink(connection: &Connection) -> Result<(), StoreError> {
    // Each step of the statement frees one page.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

// === impl Found ===

impl Found {
    /// In pieces for one transaction each.
    pub(super) fn steps(&self) -> Vec<Self> {
        let piece = |ids: &[i64]| Self { ids: ids.to_vec(), until: self.until };
        self.ids.chunks(EVENTS).map(piece).collect()
    }
}
