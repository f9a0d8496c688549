//! Webhooks of the config API.

use rusqlite::{Connection, params};

use super::{deliveries, events, transaction::write_counts};
use crate::{
    clock::now,
    columns::number,
    model::DeliveryState,
    partner_webhook::{PartnerWebhook, PartnerWebhookChange, UnqueuedDelivery},
    rows::{FromSqlRow as _, SqlRow},
    store::StoreError,
    transaction::Moves,
};

/// Creates or changes one. `None`: it does not exist, and the change has no URL.
pub(super) fn configure(
    connection: &Connection,
    change: &PartnerWebhookChange,
) -> Result<Option<PartnerWebhook>, StoreError> {
    let partner = number(change.partner);
    let list = |events: &Vec<String>| {
        serde_json::to_string(events).map_err(|error| StoreError::Database(error.to_string()))
    };
    let events = change.events.as_ref().map(list).transpose()?;
    if let Some(url) = &change.url {
        connection
            .prepare_cached(
                "INSERT INTO partner_webhook (site, partner, url, secret, enabled, events,
                    changed_at)
                VALUES (?1, ?2, ?3, x'', 1, '[]', ?4) ON CONFLICT (site, partner) DO NOTHING",
            )?
            .execute(params![change.site, partner, url, now()])?;
    }
    let sql = format!(
        "UPDATE partner_webhook SET url = coalesce(?3, url), secret = coalesce(?4, secret),
            enabled = coalesce(?5, enabled), events = coalesce(?6, events), changed_at = ?7
        WHERE site = ?1 AND partner = ?2 RETURNING {}",
        PartnerWebhook::COLUMNS
    );
    let values = params![
        change.site,
        partner,
        change.url,
        change.sealed_secret,
        change.enabled,
        events,
        now()
    ];
    let mut changed = connection.prepare_cached(&sql)?;
    let mut rows = changed.query(values)?;
    rows.next()?.map(|row| PartnerWebhook::read(&mut SqlRow::try_from(row)?)).transpose()
}

/// Stores a delivery that was made outside the queue.
pub(super) fn record(connection: &Connection, made: &UnqueuedDelivery) -> Result<(), StoreError> {
    let UnqueuedDelivery { event, delivery, attempt, state } = made;
    let Some(id) = events::insert(connection, event, None, &[])? else { return Ok(()) };
    deliveries::insert(connection, id, event.occurred_at, std::slice::from_ref(delivery))?;
    let (delivery, webhook): (i64, i64) = connection
        .prepare_cached(
            "UPDATE delivery SET state = ?2, attempts = 1, tries = 1, blocked = 0
            WHERE webhook_id = ?1 RETURNING id, webhook",
        )?
        .query_row(params![delivery.webhook_id, state.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let mut moves = Moves::default();
    moves.moved(DeliveryState::Pending, *state, 1);
    write_counts(connection, &moves)?;
    deliveries::log(connection, delivery, webhook, attempt, *state, None)?;
    events::mark_idle(connection, id)?;
    events::mark_payload(connection, id)
}
