//! Removes attempts of the log, and returns free space.

use rusqlite::{Connection, params};

use super::readers::rows;
use crate::{
    columns::{length, number},
    retention::{BEYOND, DoneEvents},
    select::Select,
    store::StoreError,
};

pub(super) const PAYLOAD_BYTES: &str = "SELECT
    coalesce((SELECT sum(payload_size) FROM event WHERE payload_path IS NOT NULL), 0)
    + coalesce((SELECT sum(payload_size) FROM event WHERE payload_pieces IS NOT NULL), 0)";

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

/// The result of a step through the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogStep {
    pub(super) seen: usize,
    /// The number of the last attempt in the step.
    pub(super) last: i64,
    pub(super) removed: usize,
}

/// Finds the newest of the done events beyond the newest `keep`.
pub(super) fn beyond(connection: &Connection, keep: u64) -> Result<Option<DoneEvents>, StoreError> {
    let found = rows(connection, &Select::new(BEYOND, [number(keep).into()]))?;
    Ok(found.into_iter().next().map(|(since, last)| DoneEvents::UpTo { since, last }))
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
