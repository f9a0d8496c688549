//! Webhooks of the config API, and deliveries made for them outside the queue.

use tokio_postgres::types::Json;

use super::{
    database::Database,
    group::{self, CallGroup, text},
};
use crate::{
    columns::number,
    partner_webhook::{PartnerWebhook, PartnerWebhookChange, UnqueuedDelivery},
    rows::{FromSqlRow as _, SqlRow},
    store::StoreError,
};

/// Creates or changes one. `None`: it does not exist, and the change has no URL.
pub(super) async fn configure(
    writing: &Database,
    change: &PartnerWebhookChange,
) -> Result<Option<PartnerWebhook>, StoreError> {
    let events = change.events.as_ref().map(serde_json::to_string).transpose();
    let events = events.map_err(|error| StoreError::Database(error.to_string()))?;
    let columns = PartnerWebhook::COLUMNS;
    let sql = format!("SELECT {columns} FROM configure($1, $2, $3, $4, $5, $6)");
    let (site, partner) = (text(&change.site), number(change.partner));
    let url = change.url.as_deref().map(text);
    let rows = writing
        .query(&sql, &[&site, &partner, &url, &change.sealed_secret, &change.enabled, &events])
        .await?;
    rows.first().map(|row| PartnerWebhook::read(&mut SqlRow::try_from(row)?)).transpose()
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
