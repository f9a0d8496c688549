//! Figures and gateways.

use rusqlite::Connection;

use super::readers::rows;
use crate::{
    clock::{is_doubted, now},
    gateways::GatewayReport,
    model::DeliveryState,
    rows::FromSqlRow as _,
    select::Select,
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

/// Fails when a running gateway has a newer configuration than `mine`; 0 is none.
pub(super) fn check_newest(connection: &Connection, mine: i64) -> Result<(), StoreError> {
    let mut newer = connection.prepare_cached(
        "SELECT 1 FROM gateway WHERE generation > ?1 AND seen_at BETWEEN ?2 AND ?3 LIMIT 1",
    )?;
    if mine != 0 && newer.exists([mine, now() - GatewayReport::ALIVE_MS, latest()])? {
        return Err(StoreError::OlderConfiguration);
    }
    Ok(())
}

/// A report that seems later was made before the clock was set back. Until the new time is
/// accepted, another process may use the other time.
fn latest() -> i64 {
    if is_doubted() { i64::MAX } else { now() + GatewayReport::ALIVE_MS }
}

/// Returns the gateways that reported since then.
pub(super) fn gateways(
    connection: &Connection,
    since: i64,
) -> Result<Vec<GatewayReport>, StoreError> {
    let sql = format!(
        "SELECT {} FROM gateway WHERE seen_at BETWEEN $1 AND $2 ORDER BY started_at, uuid",
        GatewayReport::COLUMNS
    );
    rows(connection, &Select::new(sql, [since.into(), latest().into()]))
}
