//! Queries: due webhooks, states of webhooks.

use rusqlite::{Connection, params};

use super::{deliveries, lists};
use crate::{
    model::{DueWebhook, SetAside, WebhookState},
    store::StoreError,
};

pub(super) const DUE: &str = "SELECT name, min(first) FROM
    (SELECT w.id, name, (SELECT min(due) FROM delivery WHERE webhook = w.id AND replay = r.replay
            AND state = 'pending' AND blocked = 0 AND owner IS NULL) AS first
    FROM webhook w CROSS JOIN (SELECT 0 AS replay UNION ALL SELECT 1) r)
    WHERE first IS NOT NULL GROUP BY id";

/// Selects times stamped by the clock of a running process, by indexes and single values.
const NEWEST: &str = "SELECT max(at) FROM (
    SELECT max(seen_at) AS at FROM gateway
    UNION ALL SELECT max(idle_since) FROM event WHERE idle_since IS NOT NULL
    UNION ALL SELECT occurred_at FROM event WHERE id = (SELECT max(id) FROM event)
    UNION ALL SELECT at FROM attempt WHERE id = (SELECT max(id) FROM attempt))";

pub(super) const SET_ASIDE: &str = "SELECT name, aside.state
    FROM webhook w, (SELECT 'held' AS state UNION ALL SELECT 'orphaned') aside
    WHERE EXISTS (SELECT 1 FROM delivery WHERE state IN ('held', 'orphaned', 'dead')
        AND webhook = w.id AND state = aside.state)
    ORDER BY name";

/// Two index look-ups for each webhook, however many deliveries wait.
pub(super) fn due(connection: &Connection) -> Result<Vec<DueWebhook>, StoreError> {
    let mut statement = connection.prepare_cached(DUE)?;
    let rows =
        statement.query_map([], |row| Ok(DueWebhook { webhook: row.get(0)?, due: row.get(1)? }))?;
    let mut due = rows.collect::<Result<Vec<_>, _>>()?;
    due.sort_by_key(|webhook| webhook.due);
    Ok(due)
}

/// Returns the newest stored time.
pub(super) fn newest(connection: &Connection) -> Result<Option<i64>, StoreError> {
    let newest: Option<i64> = connection.prepare_cached(NEWEST)?.query_row([], |row| row.get(0))?;
    // 0 means that a gateway has terminated.
    Ok(newest.filter(|at| *at > 0))
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

/// One index look-up for each webhook and state.
pub(super) fn set_aside(connection: &Connection) -> Result<Vec<SetAside>, StoreError> {
    let mut statement = connection.prepare_cached(SET_ASIDE)?;
    let rows = statement
        .query_map([], |row| Ok(SetAside { webhook: row.get(0)?, state: lists::state(row, 1)? }))?;
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
