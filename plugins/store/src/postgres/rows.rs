//! Converts rows to plain types.

use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::error::{DatabaseFailure, FailureKind};
use crate::{
    columns::PayloadColumns,
    gateways::GatewayReport,
    model::{Attempt, DeliveryState, NewDelivery, Payload, StoredEvent, WebhookState},
    partner_webhook::PartnerWebhook,
    query::{AttemptRow, DeliveryRow, EventRow},
    record::Record,
    store::StoreError,
};

/// Columns that [`event_row`] reads.
pub(super) const EVENT: &str = "e.uuid, e.kind, e.site, e.partner, e.station, e.message_id,
    e.occurred_at, e.owner IS NOT NULL";

/// Columns that [`delivery_row`] reads before [`EVENT`].
pub(super) const DELIVERY: &str = "d.id, d.webhook_id, w.name, d.mode, d.order_key, d.state,
    d.blocked, d.due, d.attempts, d.tries, d.replay";

/// Columns that [`attempt_row`] reads before [`EVENT`].
pub(super) const ATTEMPT: &str = "a.id, a.delivery, d.webhook_id, w.name, a.number, a.at, a.url,
    a.http_code, a.error, a.duration_ms, a.state, a.next_at";

/// Columns that [`partner_webhook`] reads.
pub(super) const PARTNER_WEBHOOK: &str = "site, partner, url, secret, enabled, events, changed_at";

pub(super) fn event_row(row: &Row, first: usize) -> Result<EventRow, DatabaseFailure> {
    Ok(EventRow {
        id: row.try_get(first)?,
        kind: row.try_get(first + 1)?,
        site: row.try_get(first + 2)?,
        partner: row.try_get(first + 3)?,
        station: row.try_get(first + 4)?,
        message_id: row.try_get(first + 5)?,
        occurred_at: row.try_get(first + 6)?,
        open: row.try_get(first + 7)?,
    })
}

pub(super) fn delivery_row(row: &Row) -> Result<DeliveryRow, DatabaseFailure> {
    Ok(DeliveryRow {
        id: row.try_get(0)?,
        webhook_id: row.try_get(1)?,
        webhook: row.try_get(2)?,
        mode: row.try_get(3)?,
        order_key: row.try_get(4)?,
        state: state(row, 5)?,
        blocked: row.try_get(6)?,
        due: row.try_get(7)?,
        attempts: count(row, 8)?,
        tries: count(row, 9)?,
        replay: row.try_get(10)?,
        event: event_row(row, 11)?,
    })
}

pub(super) fn attempt_row(row: &Row) -> Result<AttemptRow, DatabaseFailure> {
    let attempt = Attempt {
        number: count(row, 4)?,
        at: row.try_get(5)?,
        url: row.try_get(6)?,
        http_code: row.try_get::<_, Option<i32>>(7)?.and_then(|code| u16::try_from(code).ok()),
        error: row.try_get(8)?,
        duration_ms: row.try_get::<_, i64>(9)?.unsigned_abs(),
    };
    Ok(AttemptRow {
        id: row.try_get(0)?,
        delivery: row.try_get(1)?,
        webhook_id: row.try_get(2)?,
        webhook: row.try_get(3)?,
        attempt,
        state: state(row, 10)?,
        next_at: row.try_get(11)?,
        event: event_row(row, 12)?,
    })
}

/// Columns: uuid, body, verdict, payload, path, size, pieces, sealed, whether it is spent.
pub(super) fn stored_event(row: &Row) -> Result<StoredEvent, DatabaseFailure> {
    Ok(StoredEvent {
        id: row.try_get(0)?,
        body: row.try_get(1)?,
        verdict: row.try_get(2)?,
        payload: if row.try_get(8)? {
            Payload::Purged
        } else {
            PayloadColumns {
                inline: row.try_get(3)?,
                path: row.try_get(4)?,
                size: row.try_get(5)?,
                pieces: row.try_get(6)?,
                sealed: row.try_get(7)?,
            }
            .payload()
        },
    })
}

/// Columns: uuid, body, planned deliveries.
pub(super) fn open_event(row: &Row) -> Result<(StoredEvent, Vec<NewDelivery>), StoreError> {
    let planned: Option<Vec<u8>> = row.try_get(2)?;
    let planned = match planned {
        Some(planned) => serde_json::from_slice(&planned)
            .map_err(|error| StoreError::Database(error.to_string()))?,
        None => Vec::new(),
    };
    let event = StoredEvent {
        id: row.try_get(0)?,
        body: row.try_get(1)?,
        verdict: None,
        payload: Payload::None,
    };
    Ok((event, planned))
}

/// Columns: key, body, due, expires.
pub(super) fn note(row: &Row) -> Result<Record, Error> {
    Ok(Record {
        key: row.try_get(0)?,
        body: row.try_get(1)?,
        due: row.try_get(2)?,
        expires: row.try_get(3)?,
    })
}

/// Columns: name, disabled, failing_since, fingerprint.
pub(super) fn webhook_state(row: &Row) -> Result<WebhookState, Error> {
    Ok(WebhookState {
        webhook: row.try_get(0)?,
        disabled: row.try_get(1)?,
        failing_since: row.try_get(2)?,
        fingerprint: row.try_get(3)?,
    })
}

pub(super) fn partner_webhook(row: &Row) -> Result<PartnerWebhook, StoreError> {
    let events: String = row.try_get(5)?;
    Ok(PartnerWebhook {
        site: row.try_get(0)?,
        partner: row.try_get::<_, i64>(1)?.unsigned_abs(),
        url: row.try_get(2)?,
        sealed_secret: row.try_get(3)?,
        enabled: row.try_get(4)?,
        events: serde_json::from_str(&events)
            .map_err(|error| StoreError::Database(error.to_string()))?,
        changed_at: row.try_get(6)?,
    })
}

/// Columns: uuid, host, process, version, started_at, seen_at, rules.
pub(super) fn gateway(row: &Row) -> Result<GatewayReport, Error> {
    Ok(GatewayReport {
        id: row.try_get(0)?,
        host: row.try_get(1)?,
        process: u32::try_from(row.try_get::<_, i64>(2)?).unwrap_or_default(),
        version: row.try_get(3)?,
        started_at: row.try_get(4)?,
        seen_at: row.try_get(5)?,
        rules: row.try_get(6)?,
        generation: row.try_get(7)?,
    })
}

/// Reads a column of ids.
pub(super) fn ids(rows: &[Row]) -> Result<Vec<Uuid>, Error> {
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Reads a column that is never negative.
pub(super) fn count(row: &Row, index: usize) -> Result<u32, Error> {
    Ok(row.try_get::<_, i32>(index)?.unsigned_abs())
}

pub(super) fn state(row: &Row, index: usize) -> Result<DeliveryState, DatabaseFailure> {
    let word: &str = row.try_get(index)?;
    DeliveryState::named(word).ok_or_else(|| {
        DatabaseFailure::new(FailureKind::Database, format!("{word} is no state of a delivery"))
    })
}
