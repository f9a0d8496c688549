//! Queries: due webhooks, counts, states of webhooks.

use super::{
    database::{Database, Values},
    first,
    group::text,
};
use crate::{
    model::{DeliveryState, DueWebhook, WebhookState},
    select::Select,
    store::{Counts, StoreError},
};

/// Returns the webhooks with due deliveries. Two index look-ups for each, however many deliveries
/// wait.
pub(super) async fn due(writing: &Database) -> Result<Vec<DueWebhook>, StoreError> {
    let sql = "SELECT w.name, d.first FROM webhook w, LATERAL (SELECT least(
            (SELECT min(due) FROM delivery
                WHERE webhook = w.id AND NOT replay AND state = 'pending' AND NOT blocked),
            (SELECT min(due) FROM delivery
                WHERE webhook = w.id AND replay AND state = 'pending' AND NOT blocked)) AS first) d
        WHERE d.first IS NOT NULL ORDER BY d.first, w.id";
    writing.select(Select::new(sql, [])).await
}

/// Returns the figures of the status page.
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

/// Returns the bytes in use: of the tables, and of payloads elsewhere.
pub(super) async fn bytes(reading: &Database) -> Result<u64, StoreError> {
    let sql = "SELECT (coalesce((SELECT sum(n) FROM tally WHERE state = 'bytes'), 0)
        + coalesce((SELECT sum(payload_size) FROM event
            WHERE payload_path IS NOT NULL OR payload_pieces IS NOT NULL), 0))::bigint";
    let rows = reading.query(sql, &[]).await?;
    Ok(first::<i64>(&rows)?.unsigned_abs())
}

/// Returns the figures of one site with these webhooks.
pub(super) async fn counts_of(
    reading: &Database,
    site: &str,
    webhooks: &[String],
) -> Result<Counts, StoreError> {
    let sql = "WITH own AS (SELECT id FROM webhook WHERE name = ANY ($2))
        SELECT (SELECT count(*) FROM delivery
                WHERE webhook IN (SELECT id FROM own) AND state IN ('pending', 'claimed')),
            (SELECT count(*) FROM delivery WHERE webhook IN (SELECT id FROM own)
                AND state IN ('held', 'orphaned', 'dead') AND state = 'dead'),
            (SELECT count(*) FROM event WHERE owner IS NOT NULL AND site = $1),
            (SELECT min(occurred_at) FROM delivery
                WHERE webhook IN (SELECT id FROM own) AND state IN ('pending', 'claimed'))";
    let rows = reading.query(sql, &[&site, &webhooks]).await?;
    let mut counts = Counts::default();
    for row in &rows {
        let number = |column| row.try_get::<_, i64>(column).map(i64::unsigned_abs);
        counts.deliveries =
            vec![(DeliveryState::Pending, number(0)?), (DeliveryState::Dead, number(1)?)];
        counts.open = number(2)?;
        counts.oldest_undelivered = row.try_get(3)?;
    }
    Ok(counts)
}

/// Stores one webhook's health, while the configuration of this generation is the newest.
pub(super) async fn set_webhook_state(
    writing: &Database,
    generation: i64,
    state: &WebhookState,
) -> Result<(), StoreError> {
    let sql = "SELECT set_webhook_state($1, $2, $3, $4, $5)";
    let (name, why) = (text(&state.webhook), state.disabled.as_deref().map(text));
    let fingerprint = text(&state.fingerprint);
    let values: Values<'_> = &[&generation, &name, &why, &state.failing_since, &fingerprint];
    let rows = writing.query(sql, values).await?;
    if first::<bool>(&rows)? { Ok(()) } else { Err(StoreError::OlderConfiguration) }
}
