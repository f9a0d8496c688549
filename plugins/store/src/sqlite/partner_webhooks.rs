//! Webhooks of the config API, and their log.

use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};

use super::{deliveries, events, lists, tally::Moves};
use crate::{
    clock::now,
    columns::number,
    model::DeliveryState,
    partner_webhook::{AttemptLog, PartnerWebhook, PartnerWebhookChange, UnqueuedDelivery},
    store::StoreError,
};

const COLUMNS: &str = "site, partner, url, secret, enabled, events, changed_at";

pub(super) fn all(connection: &Connection) -> Result<Vec<PartnerWebhook>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM partner_webhooks ORDER BY site, partner");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

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
                "INSERT INTO partner_webhooks (site, partner, url, secret, enabled, events,
                    changed_at)
                VALUES (?1, ?2, ?3, x'', 1, '[]', ?4) ON CONFLICT (site, partner) DO NOTHING",
            )?
            .execute(params![change.site, partner, url, now()])?;
    }
    let sql = format!(
        "UPDATE partner_webhooks SET url = coalesce(?3, url), secret = coalesce(?4, secret),
            enabled = coalesce(?5, enabled), events = coalesce(?6, events), changed_at = ?7
        WHERE site = ?1 AND partner = ?2 RETURNING {COLUMNS}"
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
    Ok(connection.prepare_cached(&sql)?.query_row(values, read).optional()?)
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
    moves.write(connection)?;
    deliveries::log(connection, delivery, webhook, attempt, *state, None)?;
    events::mark_idle(connection, id)?;
    events::mark_payload(connection, id)
}

/// Returns a webhook's attempts, newest first, after the first `offset`.
pub(super) fn log(
    connection: &Connection,
    webhook: &str,
    offset: u64,
    limit: usize,
) -> Result<AttemptLog, StoreError> {
    let Some(id) = deliveries::known_webhook(connection, webhook)? else {
        return Ok(AttemptLog { total: 0, rows: Vec::new() });
    };
    let total: i64 = connection
        .prepare_cached("SELECT count(*) FROM attempt WHERE webhook = ?1")?
        .query_row([id], |row| row.get(0))?;
    let rows = lists::attempts_from(connection, id, number(offset), limit)?;
    Ok(AttemptLog { total: total.unsigned_abs(), rows })
}

fn read(row: &Row<'_>) -> rusqlite::Result<PartnerWebhook> {
    let events: String = row.get(5)?;
    Ok(PartnerWebhook {
        site: row.get(0)?,
        partner: row.get::<_, i64>(1)?.unsigned_abs(),
        url: row.get(2)?,
        sealed_secret: row.get(3)?,
        enabled: row.get(4)?,
        events: serde_json::from_str(&events).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(5, Type::Text, error.into())
        })?,
        changed_at: row.get(6)?,
    })
}
