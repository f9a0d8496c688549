//! Figures, and what events name.

use std::path::PathBuf;

use rusqlite::Connection;
use uuid::Uuid;

use crate::{
    model::DeliveryState,
    store::{Counts, StoreError},
};

pub(super) const PAYLOAD_BYTES: &str = "SELECT
    coalesce((SELECT sum(payload_size) FROM event WHERE payload_path IS NOT NULL), 0)
    + coalesce((SELECT sum(payload_size) FROM event WHERE payload_pieces IS NOT NULL), 0)";

/// Of one webhook: how many wait or are being made, and since when; by their indexes.
const UNFINISHED: &str = "SELECT count(*), min(occurred_at) FROM delivery
    WHERE webhook = (SELECT id FROM webhook WHERE name = ?1) AND state = 'pending' AND blocked = 0
    UNION ALL SELECT count(*), min(occurred_at) FROM delivery
    WHERE webhook = (SELECT id FROM webhook WHERE name = ?1) AND state = 'pending' AND blocked = 1";
/// Exactly the condition of the index `delivery_parked`.
const DEAD: &str = "SELECT count(*) FROM delivery
    WHERE webhook = (SELECT id FROM webhook WHERE name = ?1)
        AND state IN ('held', 'orphaned', 'dead') AND state = 'dead'";

/// Returns the figures of one site with these webhooks.
pub(super) fn counts_of(
    connection: &Connection,
    site: &str,
    webhooks: &[String],
) -> Result<Counts, StoreError> {
    let moment = connection.unchecked_transaction()?;
    let (mut pending, mut dead, mut oldest) = (0, 0, None::<i64>);
    for webhook in webhooks {
        let mut unfinished = moment.prepare_cached(UNFINISHED)?;
        let rows = unfinished.query_map([webhook], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        for row in rows {
            let (count, since) = row?;
            pending += count.unsigned_abs();
            oldest = oldest.into_iter().chain(since).min();
        }
        let count: i64 = moment.prepare_cached(DEAD)?.query_row([webhook], |row| row.get(0))?;
        dead += count.unsigned_abs();
    }
    let open = "SELECT count(*) FROM event WHERE owner IS NOT NULL AND site = ?1";
    let open: i64 = moment.prepare_cached(open)?.query_row([site], |row| row.get(0))?;
    let deliveries = vec![(DeliveryState::Pending, pending), (DeliveryState::Dead, dead)];
    Ok(Counts { deliveries, open: open.unsigned_abs(), oldest_undelivered: oldest })
}

/// Returns the bytes in use: of the database without its free pages, and of payloads elsewhere.
pub(super) fn bytes(connection: &Connection) -> Result<u64, StoreError> {
    let figure = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = figure("page_count")? - figure("freelist_count")?;
    let payloads: i64 =
        connection.prepare_cached(PAYLOAD_BYTES)?.query_row([], |row| row.get(0))?;
    Ok(pages.saturating_mul(figure("page_size")?).saturating_add(payloads).unsigned_abs())
}

/// Returns those of `files` that no event names. Compares names only, wherever the files are.
pub(super) fn unnamed_payloads(
    connection: &Connection,
    files: Vec<PathBuf>,
) -> Result<Vec<PathBuf>, StoreError> {
    let mut named = connection.prepare_cached(NAMED)?;
    let mut unnamed = Vec::new();
    for file in files {
        // No event can name a path that is not UTF-8.
        let found = match file.file_name().and_then(|name| name.to_str()) {
            Some(name) => named.exists([name])?,
            None => false,
        };
        if !found {
            unnamed.push(file);
        }
    }
    Ok(unnamed)
}

/// Returns those that no event names as its payload.
pub(super) fn unnamed_pieces(
    connection: &Connection,
    payloads: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    let mut named =
        connection.prepare_cached("SELECT 1 FROM event WHERE payload_pieces = ?1 LIMIT 1")?;
    let mut unnamed = Vec::new();
    for payload in payloads {
        if !named.exists([payload.as_bytes()])? {
            unnamed.push(*payload);
        }
    }
    Ok(unnamed)
}

/// Finds whether an event names a payload file of this name.
pub(super) const NAMED: &str =
    "SELECT 1 FROM event WHERE payload_path IS NOT NULL AND substr(payload_path, -36) = ?1 LIMIT 1";
