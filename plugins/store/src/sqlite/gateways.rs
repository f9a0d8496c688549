//! The reports of gateways.

use rusqlite::{Connection, OptionalExtension, params};

use super::readers::rows;
use crate::{
    clock::{is_doubted, now},
    gateways::GatewayReport,
    rows::FromSqlRow as _,
    select::Select,
    store::StoreError,
};

/// Replaces the gateway's report, and removes gateways that have not reported for a day. Returns
/// the generation of its configuration.
pub(super) fn report(connection: &Connection, report: &GatewayReport) -> Result<i64, StoreError> {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    // A gateway that reports its end has no configuration any more.
    let generation = match report.seen_at {
        0 => report.generation,
        _ => generation(connection, report)?,
    };
    connection
        .prepare_cached(
            "INSERT INTO gateway (uuid, host, process, version, started_at, seen_at, rules, generation)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (uuid) DO UPDATE SET
                seen_at = excluded.seen_at, rules = excluded.rules,
                generation = excluded.generation",
        )?
        .execute(params![
            report.id.as_bytes(),
            report.host,
            report.process,
            report.version,
            report.started_at,
            report.seen_at,
            report.rules,
            generation,
        ])?;
    connection
        .prepare_cached("DELETE FROM gateway WHERE seen_at < ?1")?
        .execute([report.seen_at - DAY_MS])?;
    Ok(generation)
}

fn generation(connection: &Connection, report: &GatewayReport) -> Result<i64, StoreError> {
    const KEPT: i64 = 100;
    let newest: Option<(i64, String)> = connection
        .prepare_cached(
            "SELECT generation, hash FROM configuration ORDER BY generation DESC LIMIT 1",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match newest {
        Some((newest, hash)) if hash == report.rules => Ok(newest),
        _ if report.generation != 0 => Ok(report.generation),
        _ => {
            connection
                .prepare_cached("INSERT INTO configuration (hash) VALUES (?1)")?
                .execute([&report.rules])?;
            let given = connection.last_insert_rowid();
            connection
                .prepare_cached("DELETE FROM configuration WHERE generation < ?1")?
                .execute([given - KEPT])?;
            Ok(given)
        }
    }
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
pub(super) fn list(connection: &Connection, since: i64) -> Result<Vec<GatewayReport>, StoreError> {
    let sql = format!(
        "SELECT {} FROM gateway WHERE seen_at BETWEEN $1 AND $2 ORDER BY started_at, uuid",
        GatewayReport::COLUMNS
    );
    rows(connection, &Select::new(sql, [since.into(), latest().into()]))
}
