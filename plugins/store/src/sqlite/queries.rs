//! Queries: due webhooks, states of webhooks.

use rusqlite::{Connection, params};

use super::{deliveries, readers::rows};
use crate::{
    model::{DueWebhook, WebhookState},
    select::Select,
    store::StoreError,
};

pub(super) const DUE: &str = "SELECT name, min(first) FROM
    (SELECT w.id, name, (SELECT min(due) FROM delivery WHERE webhook = w.id AND replay = r.replay
            AND state = 'pending' AND blocked = 0 AND owner IS NULL) AS first
    FROM webhook w CROSS JOIN (SELECT 0 AS replay UNION ALL SELECT 1) r)
    WHERE first IS NOT NULL GROUP BY id";

/// Two index look-ups for each webhook, however many deliveries wait.
pub(super) fn due(connection: &Connection) -> Result<Vec<DueWebhook>, StoreError> {
    let mut due: Vec<DueWebhook> = rows(connection, &Select::new(DUE, []))?;
    due.sort_by_key(|webhook| webhook.due);
    Ok(due)
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
