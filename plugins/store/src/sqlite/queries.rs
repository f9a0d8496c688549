//! What can be asked: who is due, how much there is, how webhooks are.

use rusqlite::{Connection, params};

use super::deliveries;
use crate::{
    model::{DeliveryState, DueWebhook, WebhookState},
    store::{Counts, StoreError},
};

pub(super) const DUE: &str = "SELECT name, first FROM
    (SELECT name, (SELECT min(due) FROM delivery
        WHERE webhook = w.id AND state = 'pending' AND blocked = 0) AS first
    FROM webhook w)
    WHERE first IS NOT NULL";

pub(super) const OLDEST: &str =
    "SELECT min(occurred_at) FROM delivery WHERE state IN ('pending', 'claimed')";

/// One look into the index for each webhook, however many deliveries wait.
pub(super) fn due(connection: &Connection) -> Result<Vec<DueWebhook>, StoreError> {
    let mut statement = connection.prepare_cached(DUE)?;
    let rows =
        statement.query_map([], |row| Ok(DueWebhook { webhook: row.get(0)?, due: row.get(1)? }))?;
    let mut due = rows.collect::<Result<Vec<_>, _>>()?;
    due.sort_by_key(|webhook| webhook.due);
    Ok(due)
}

pub(super) fn counts(connection: &Connection) -> Result<Counts, StoreError> {
    let mut tally = connection.prepare_cached("SELECT n FROM tally WHERE state = ?1")?;
    let mut deliveries = Vec::new();
    for state in DeliveryState::ALL {
        let n: i64 = tally.query_row([state.as_str()], |row| row.get(0))?;
        deliveries.push((state, n.unsigned_abs()));
    }
    let open: i64 = connection
        .prepare_cached("SELECT count(*) FROM event WHERE owner IS NOT NULL")?
        .query_row([], |row| row.get(0))?;
    let oldest_undelivered = connection.prepare_cached(OLDEST)?.query_row([], |row| row.get(0))?;
    Ok(Counts { deliveries, open: open.unsigned_abs(), oldest_undelivered })
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
