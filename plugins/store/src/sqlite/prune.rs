//! Removes done events and spent payloads, and returns free space, in steps so small that no
//! exchange waits long for one. The reading connections look up what to remove.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::events;
use crate::{
    clock::now,
    columns::{length, number},
    store::StoreError,
};

pub(super) const IDLE: &str =
    "SELECT id FROM event WHERE idle_since < ?1 ORDER BY idle_since LIMIT ?2";

/// Finds the newest of those beyond the limit: reads only the index.
pub(super) const BEYOND: &str =
    "SELECT idle_since, id FROM event WHERE idle_since IS NOT NULL AND dead = 0
    ORDER BY idle_since DESC, id DESC LIMIT 1 OFFSET ?1";

pub(super) const SPENDABLE: &str = "SELECT id, payload_path, payload_pieces FROM event
    WHERE payload_idle_since < ?1 ORDER BY payload_idle_since LIMIT ?2";

pub(super) const PAYLOAD_BYTES: &str = "SELECT
    coalesce((SELECT sum(payload_size) FROM event WHERE payload_path IS NOT NULL), 0)
    + coalesce((SELECT sum(payload_size) FROM event WHERE payload_pieces IS NOT NULL), 0)";

pub(super) const UP_TO: &str = "SELECT id FROM event
    WHERE idle_since IS NOT NULL AND dead = 0 AND (idle_since, id) <= (?1, ?2)
    ORDER BY idle_since, id LIMIT ?3";

/// The most events that one transaction removes.
pub(super) const EVENTS: usize = 50;

/// The most attempts that one transaction reads and removes.
pub(super) const ATTEMPTS: usize = 500;

/// The most pages that one transaction returns to the system: 1 MiB.
const PAGES: i64 = 256;

/// Free pages that stay in the file for later writes, 4 MiB: they would soon be needed again.
const SLACK: i64 = 1_024;

/// The divisor for the free pages that stay in a larger file.
const SLACK_PART: i64 = 8;

/// Events to remove, longest done first.
#[derive(Clone, Debug, Default)]
pub(super) struct PrunableEvents {
    ids: Vec<i64>,
    /// The latest time at which they were done; an event done later has been replayed since.
    until: i64,
}

/// The result of a step through the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogStep {
    pub(super) seen: usize,
    /// The number of the last attempt in the step.
    pub(super) last: i64,
    pub(super) removed: usize,
}

/// Finds the events that were done before `before`.
pub(super) fn idle(
    connection: &Connection,
    before: i64,
    limit: usize,
) -> Result<PrunableEvents, StoreError> {
    let ids = connection
        .prepare_cached(IDLE)?
        .query_map(params![before, length(limit)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(PrunableEvents { ids, until: before.saturating_sub(1) })
}

/// Finds the done events without a dead delivery that are older than the newest `keep` of them.
pub(super) fn beyond(
    connection: &Connection,
    keep: u64,
    limit: usize,
) -> Result<PrunableEvents, StoreError> {
    let first = connection
        .prepare_cached(BEYOND)?
        .query_row([number(keep)], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    let Some((until, id)) = first else { return Ok(PrunableEvents::default()) };
    let ids = connection
        .prepare_cached(UP_TO)?
        .query_map(params![until, id, length(limit)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(PrunableEvents { ids, until })
}

/// Removes events that are still done. Returns how many, and the payload files to remove after the
/// commit.
pub(super) fn remove(
    connection: &Connection,
    found: &PrunableEvents,
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

/// Reads `count` attempts of the log after number `after`, and removes those that began before
/// `before`. An attempt with a late time, from a wrong clock, is skipped: those after it are old
/// all the same.
pub(super) fn attempts(
    connection: &Connection,
    before: i64,
    after: i64,
    count: usize,
) -> Result<LogStep, StoreError> {
    // In the order of logging, which is nearly that of their beginnings: no index is needed.
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
    Ok(LogStep { seen, last, removed })
}

/// Whether enough of the file is free to return some of it.
pub(super) fn is_loose(connection: &Connection) -> Result<bool, StoreError> {
    let figure = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(figure("freelist_count")? > SLACK.max(figure("page_count")? / SLACK_PART))
}

/// Removes the payloads that no delivery has needed since before `before`, longest first. Returns
/// how many events had one, the files to remove after the commit, and the pieces.
pub(super) fn purge_payloads(
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

/// Returns the bytes in use: of the database without its free pages, and of payloads elsewhere.
pub(super) fn bytes(connection: &Connection) -> Result<u64, StoreError> {
    let figure = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = figure("page_count")? - figure("freelist_count")?;
    let payloads: i64 =
        connection.prepare_cached(PAYLOAD_BYTES)?.query_row([], |row| row.get(0))?;
    Ok(pages.saturating_mul(figure("page_size")?).saturating_add(payloads).unsigned_abs())
}

/// Returns some free pages to the system.
pub(super) fn shrink(connection: &Connection) -> Result<(), StoreError> {
    // Each step of the statement frees one page.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

// === impl PrunableEvents ===

impl PrunableEvents {
    /// Splits them into parts for one transaction each.
    pub(super) fn steps(&self) -> Vec<Self> {
        let piece = |ids: &[i64]| Self { ids: ids.to_vec(), until: self.until };
        self.ids.chunks(EVENTS).map(piece).collect()
    }
}
