//! What can be asked: who is due, how much there is, how webhooks are.

use super::{database::Database, group::text, rows};
use crate::{
    model::{DeliveryState, DueWebhook, WebhookState},
    store::{Counts, StoreError},
};

/// The webhooks that have something to do. One look into the index for each, however many deliveries wait.
pub(super) async fn due(writing: &Database) -> Result<Vec<DueWebhook>, StoreError> {
    // One look into the index for each webhook, however many deliveries wait.
    let sql = "SELECT w.name, d.first FROM webhook w, LATERAL
            (SELECT min(due) AS first FROM delivery
            WHERE webhook = w.id AND state = 'pending' AND NOT blocked) d
        WHERE d.first IS NOT NULL ORDER BY d.first, w.id";
    let rows = writing.query(sql, &[]).await?;
    let due = |row: &tokio_postgres::Row| {
        Ok(DueWebhook { webhook: row.try_get(0)?, due: row.try_get(1)? })
    };
    rows.iter().map(due).collect()
}

/// The figures of the status page.
pub(super) async fn counts(reading: &Database) -> Result<Counts, StoreError> {
    let sql = "SELECT coalesce((SELECT sum(n) FROM tally WHERE state = s), 0)::bigint,
            (SELECT count(*) FROM event WHERE owner IS NOT NULL),
            (SELECT min(occurred_at) FROM delivery WHERE state IN ('pending', 'claimed'))
        FROM unnest($1::text[]) WITH ORDINALITY AS states (s, place) ORDER BY place";
    let states = DeliveryState::ALL.map(DeliveryState::as_str).to_vec();
    let rows = reading.query(sql, &[&states]).await?;
    let mut counts = Counts::default();
    for (state, row) in DeliveryState::ALL.into_iter().zip(&rows) {
        counts.deliveries.push((state, row.try_get::<_, i64>(0)?.unsigned_abs()));
        counts.open = row.try_get::<_, i64>(1)?.unsigned_abs();
        counts.oldest_undelivered = row.try_get(2)?;
    }
    Ok(counts)
}

/// What is remembered of webhooks' health.
pub(super) async fn webhook_states(reading: &Database) -> Result<Vec<WebhookState>, StoreError> {
    let sql = "SELECT name, disabled, failing_since, fingerprint FROM webhook
        WHERE fingerprint IS NOT NULL ORDER BY name";
    let rows = reading.query(sql, &[]).await?;
    Ok(rows.iter().map(rows::webhook_state).collect::<Result<_, _>>()?)
}

/// Remembers one webhook's health.
pub(super) async fn set_webhook_state(
    writing: &Database,
    state: &WebhookState,
) -> Result<(), StoreError> {
    let sql = "SELECT set_state($1, $2, $3, $4)";
    let (name, why) = (text(&state.webhook), state.disabled.as_deref().map(text));
    let fingerprint = text(&state.fingerprint);
    writing.query(sql, &[&name, &why, &state.failing_since, &fingerprint]).await?;
    Ok(())
}
