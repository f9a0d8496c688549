//! What each process says of itself.

use super::{database::Database, group::text, rows};
use crate::{columns::now, gateways::GatewayReport, store::StoreError};

/// Writes a report over the last one, and forgets gateways that have not reported for a day.
pub(super) async fn report(writing: &Database, report: &GatewayReport) -> Result<(), StoreError> {
    let sql = "SELECT report($1, $2, $3, $4, $5, $6, $7)";
    let (host, version, rules) = (text(&report.host), text(&report.version), text(&report.rules));
    let process = i64::from(report.process);
    let (id, started, seen) = (report.id, report.started_at, report.seen_at);
    writing.query(sql, &[&id, &host, &process, &version, &started, &seen, &rules]).await?;
    Ok(())
}

/// Those that reported since then: by the database's clock not longer ago than that is by ours.
pub(super) async fn list(reading: &Database, since: i64) -> Result<Vec<GatewayReport>, StoreError> {
    let age = now().saturating_sub(since);
    let sql = "SELECT uuid, host, process, version, started_at, seen_at, rules FROM gateway
        WHERE seen_at >= clock_ms() - $1 ORDER BY started_at, uuid";
    let rows = reading.query(sql, &[&age]).await?;
    Ok(rows.iter().map(rows::gateway).collect::<Result<_, _>>()?)
}
