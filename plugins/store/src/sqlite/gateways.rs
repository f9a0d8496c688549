//! What each process says of itself.

use rusqlite::{Connection, params};

use super::events::uuid;
use crate::{gateways::GatewayReport, store::StoreError};

/// Writes a report over the last one, and forgets gateways that have not reported for a day.
pub(super) fn report(connection: &Connection, report: &GatewayReport) -> Result<(), StoreError> {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    connection
        .prepare_cached(
            "INSERT INTO gateway (uuid, host, process, version, started_at, seen_at, rules)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (uuid) DO UPDATE SET
                seen_at = excluded.seen_at, rules = excluded.rules",
        )?
        .execute(params![
            report.id.as_bytes(),
            report.host,
            report.process,
            report.version,
            report.started_at,
            report.seen_at,
            report.rules,
        ])?;
    connection
        .prepare_cached("DELETE FROM gateway WHERE seen_at < ?1")?
        .execute([report.seen_at - DAY_MS])?;
    Ok(())
}

/// Those that reported since then.
pub(super) fn list(connection: &Connection, since: i64) -> Result<Vec<GatewayReport>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT uuid, host, process, version, started_at, seen_at, rules FROM gateway
        WHERE seen_at >= ?1 ORDER BY started_at, uuid",
    )?;
    let rows = statement.query_map([since], |row| {
        Ok(GatewayReport {
            id: uuid(row, 0)?,
            host: row.get(1)?,
            process: row.get(2)?,
            version: row.get(3)?,
            started_at: row.get(4)?,
            seen_at: row.get(5)?,
            rules: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
