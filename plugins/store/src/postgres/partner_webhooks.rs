//! Webhooks of the config API, and their log.

use tokio_postgres::types::Json;

use super::{
    database::Database,
    first, group,
    group::{CallGroup, text},
    lists, rows,
};
use crate::{
    columns::number,
    partner_webhook::{AttemptLog, PartnerWebhook, PartnerWebhookChange, UnqueuedDelivery},
    store::StoreError,
};

/// Returns all webhooks of the config API.
pub(super) async fn all(reading: &Database) -> Result<Vec<PartnerWebhook>, StoreError> {
    let columns = rows::PARTNER_WEBHOOK;
    let sql = format!("SELECT {columns} FROM partner_webhook ORDER BY site COLLATE \"C\", partner");
    let rows = reading.query(&sql, &[]).await?;
    rows.iter().map(rows::partner_webhook).collect()
}

/// Creates or changes one. `None`: it does not exist, and the change has no URL.
pub(super) async fn configure(
    writing: &Database,
    change: &PartnerWebhookChange,
) -> Result<Option<PartnerWebhook>, StoreError> {
    let events = change.events.as_ref().map(serde_json::to_string).transpose();
    let events = events.map_err(|error| StoreError::Database(error.to_string()))?;
    let columns = rows::PARTNER_WEBHOOK;
    let sql = format!("SELECT {columns} FROM configure($1, $2, $3, $4, $5, $6)");
    let (site, partner) = (text(&change.site), number(change.partner));
    let url = change.url.as_deref().map(text);
    let rows = writing
        .query(&sql, &[&site, &partner, &url, &change.sealed_secret, &change.enabled, &events])
        .await?;
    rows.first().map(rows::partner_webhook).transpose()
}

/// Stores a delivery that was made outside the queue.
pub(super) async fn record(writing: &Database, made: &UnqueuedDelivery) -> Result<(), StoreError> {
    let mut sent = CallGroup::default();
    let event = sent.event(&made.event)?;
    let planned = sent.deliveries(std::slice::from_ref(&made.delivery));
    let attempt = group::attempt(&made.attempt);
    let blobs: Vec<&[u8]> = sent.blobs.iter().map(|bytes| &**bytes).collect();
    let sql = "SELECT record_made($1, $2, $3, $4, $5)";
    let state = made.state.as_str();
    writing.query(sql, &[&Json(&event), &Json(&planned), &Json(&attempt), &state, &blobs]).await?;
    Ok(())
}

/// Returns a webhook's attempts, newest first, after the first `offset`.
pub(super) async fn log(
    reading: &Database,
    webhook: &str,
    offset: u64,
    limit: usize,
) -> Result<AttemptLog, StoreError> {
    let sql = "SELECT count(*) FROM attempt
        WHERE webhook = (SELECT id FROM webhook WHERE name = $1)";
    let rows = reading.query(sql, &[&text(webhook)]).await?;
    let total = first::<i64>(&rows)?.unsigned_abs();
    let rows = lists::attempts_from(reading, webhook, number(offset), limit).await?;
    Ok(AttemptLog { total, rows })
}
