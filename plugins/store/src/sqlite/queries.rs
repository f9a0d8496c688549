//! What can be asked: who is due, how webhooks are.

use rusqlite::{Connection, params};

use super::deliveries;
use crate::{
    model::{DueWebhook, WebhookState},
    store::StoreError,
};

pub(super) const DUE: &str = "SELECT name, first FROM
    (SELECT name, (SELECT min(due) FROM delivery
        WHERE webhook = w.id AND state = 'pending' AND blocked = 0 AND owner IS NULL) AS first
    FROM webhook w)
    WHERE first IS NOT NULL";

/// One look into the index for each webhook, however many deliveries wait.
pub(super) fn due(connection: &Connection) -> Result<Vec<DueWebhook>, StoreError> {
    let mut statement = connection.prepare_cached(DUE)?;
    let rows =
        statement.query_map([], |row| Ok(DueWebhook { webhook: row.get(0)?, due: row.get(1)? }))?;
    let mut due = rows.collect::<Result<Vec<_>, _>>()?;
    due.sort_by_key(|webhook| webhook.due);
    Ok(due)
}

pub(super) fn webhook_states(connection: &Connection) -> Result<Vec<WebhookState>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT name, disabled, failing_since, fingerprint FROM webhook
        WHERE fingerprint IS NOT NULL ORDER BY name",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(WebhookState {
            webhook: row.get(0)?,
            disabled: row.get(1)?,
            failing_since: row.get(2)?,
            fingerprint: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn set_webhook_state(
    connection: &Connection,
    state: &WebhookState,
) -> Result<(), StoreError> {
    let id = deliveries::webhook(connection, &state.webhook)?;
    connection
        .prepare_cached(
            "UPDATE webhook SET disabled = ?2, failing_since = ?3, fingerprint = ?4 WHERE id = ?1",
        )?
        .execute(params![id, state.disabled, state.failing_since, state.fingerprint])?;
    Ok(())
}
