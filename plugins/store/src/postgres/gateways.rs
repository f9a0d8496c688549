//! The reports of gateways.

use super::{database::Database, first, group::text};
use crate::{
    clock::now, gateways::GatewayReport, rows::FromSqlRow as _, select::Select, store::StoreError,
};

/// Replaces the gateway's report, and removes gateways that have not reported for a day. Returns
/// the generation of its configuration.
pub(super) async fn report(writing: &Database, report: &GatewayReport) -> Result<i64, StoreError> {
    let sql = "SELECT report($1, $2, $3, $4, $5, $6, $7, $8)";
    let (host, version, rules) = (text(&report.host), text(&report.version), text(&report.rules));
    let process = i64::from(report.process);
    let (id, started, seen) = (report.id, report.started_at, report.seen_at);
    let generation = report.generation;
    let rows = writing
        .query(sql, &[&id, &host, &process, &version, &started, &seen, &rules, &generation])
        .await?;
    first(&rows)
}

/// Returns the gateways that reported since then, converted to the database's clock.
pub(super) async fn list(reading: &Database, since: i64) -> Result<Vec<GatewayReport>, StoreError> {
    let age = now().saturating_sub(since);
    let sql = format!(
        "SELECT {} FROM gateway
        WHERE seen_at BETWEEN clock_ms() - $1 AND clock_ms() + $2 ORDER BY started_at, uuid",
        GatewayReport::COLUMNS
    );
    reading.select(Select::new(sql, [age.into(), GatewayReport::ALIVE_MS.into()])).await
}
