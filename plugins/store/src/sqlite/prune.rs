//! The space in use, and its return in steps so small that no exchange waits long for one.

use rusqlite::Connection;

use super::{readers::Readers, writer::ThreadWriter};
use crate::store::StoreError;

/// The most steps of returning space in one call: 64 MiB.
const SHRINK_STEPS: usize = 64;

/// The most pages that one transaction returns to the system: 1 MiB.
const PAGES: i64 = 256;

/// Free pages that stay in the file for later writes, 4 MiB: they would soon be needed again.
const SLACK: i64 = 1_024;

/// The divisor for the free pages that stay in a larger file.
const SLACK_PART: i64 = 8;

pub(super) const PAYLOAD_BYTES: &str = "SELECT
    coalesce((SELECT sum(payload_size) FROM event WHERE payload_path IS NOT NULL), 0)
    + coalesce((SELECT sum(payload_size) FROM event WHERE payload_pieces IS NOT NULL), 0)";

/// Returns free space, after events were removed.
pub(super) async fn shrink_file(
    readers: &Readers,
    writer: &ThreadWriter,
) -> Result<(), StoreError> {
    for _ in 0..SHRINK_STEPS {
        if !readers.run(is_loose).await? {
            break;
        }
        writer.run(shrink).await?;
    }
    Ok(())
}

/// Returns the bytes in use: of the database without its free pages, and of payloads elsewhere.
pub(super) fn bytes(connection: &Connection) -> Result<u64, StoreError> {
    let figure = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = figure("page_count")? - figure("freelist_count")?;
    let payloads: i64 =
        connection.prepare_cached(PAYLOAD_BYTES)?.query_row([], |row| row.get(0))?;
    Ok(pages.saturating_mul(figure("page_size")?).saturating_add(payloads).unsigned_abs())
}

/// Whether enough of the file is free to return some of it.
fn is_loose(connection: &Connection) -> Result<bool, StoreError> {
    let figure = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(figure("freelist_count")? > SLACK.max(figure("page_count")? / SLACK_PART))
}

/// Returns some free pages to the system.
pub(super) fn shrink(connection: &Connection) -> Result<(), StoreError> {
    // Each step of the statement frees one page.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
