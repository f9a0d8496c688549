//! Exchanges: stored, settled, discarded, taken over, read, and delivered to additional webhooks.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{deliveries, transaction::write_counts};
use crate::{
    clock::now,
    columns::PayloadColumns,
    model::{DeliveryState, NewDelivery, NewEvent, Settlement},
    partner_webhook::UnqueuedDelivery,
    store::StoreError,
    transaction::Moves,
};

/// Stores an event; `owner` is its owner while its outcome is not known. Returns its number, or
/// `None` when it exists already.
pub(super) fn insert(
    connection: &Connection,
    event: &NewEvent,
    owner: Option<i64>,
    planned: &[NewDelivery],
) -> Result<Option<i64>, StoreError> {
    let planned = match owner {
        Some(_) => Some(
            serde_json::to_string(planned)
                .map_err(|error| StoreError::Database(error.to_string()))?,
        ),
        None => None,
    };
    let payload = PayloadColumns::of(&event.payload)?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO event (uuid, kind, site, partner, station, message_id, occurred_at, owner,
            planned, payload_path, payload_size, payload_pieces, payload_sealed)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
        ON CONFLICT (uuid) DO NOTHING",
    )?;
    let added = statement.execute(params![
        event.id.as_bytes(),
        event.kind,
        event.site,
        event.partner,
        event.station,
        event.message_id,
        event.occurred_at,
        owner,
        planned,
        payload.path,
        payload.size,
        payload.pieces.map(Uuid::into_bytes),
        payload.sealed,
    ])?;
    if added == 0 {
        return Ok(None);
    }
    let id = connection.last_insert_rowid();
    connection
        .prepare_cached("INSERT INTO content (event, body, payload) VALUES (?1, ?2, ?3)")?
        .execute(params![id, event.body, payload.inline])?;
    Ok(Some(id))
}

/// Stores an event without an outcome, and its deliveries.
pub(super) fn publish(
    connection: &Connection,
    event: &NewEvent,
    planned: &[NewDelivery],
) -> Result<(), StoreError> {
    if let Some(id) = insert(connection, event, None, &[])? {
        deliveries::insert(connection, id, event.occurred_at, planned)?;
        mark_idle(connection, id)?;
        mark_payload(connection, id)?;
    }
    Ok(())
}

/// Stores a delivery that was made outside the queue.
pub(super) fn record(connection: &Connection, made: &UnqueuedDelivery) -> Result<(), StoreError> {
    let UnqueuedDelivery { event, delivery, attempt, state } = made;
    let Some(id) = insert(connection, event, None, &[])? else { return Ok(()) };
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
    mark_idle(connection, id)?;
    mark_payload(connection, id)
}

/// Replaces the content of an open one.
pub(super) fn replace(connection: &Connection, event: &NewEvent) -> Result<(), StoreError> {
    let payload = PayloadColumns::of(&event.payload)?;
    let id: Option<i64> = connection
        .prepare_cached(
            "UPDATE event SET kind = ?2, message_id = ?3, payload_path = ?4, payload_size = ?5,
                payload_pieces = ?6, payload_sealed = ?7
            WHERE uuid = ?1 AND owner IS NOT NULL RETURNING id",
        )?
        .query_row(
            params![
                event.id.as_bytes(),
                event.kind,
                event.message_id,
                payload.path,
                payload.size,
                payload.pieces.map(Uuid::into_bytes),
                payload.sealed,
            ],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(id) = id {
        connection
            .prepare_cached("UPDATE content SET body = ?2, payload = ?3 WHERE event = ?1")?
            .execute(params![id, event.body, payload.inline])?;
    }
    Ok(())
}

/// Adds the outcome of an open one, and its deliveries.
pub(super) fn settle(connection: &Connection, settlement: &Settlement) -> Result<(), StoreError> {
    let found = connection
        .prepare_cached("SELECT id, occurred_at, owner FROM event WHERE uuid = ?1")?
        .query_row([settlement.event.as_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?))
        })
        .optional()?;
    let Some((id, occurred_at, owner)) = found else {
        return Err(StoreError::UnknownEvent(settlement.event));
    };
    if owner.is_none() {
        return Ok(());
    }
    connection
        .prepare_cached(
            "UPDATE event SET kind = ?2, verdict = ?3, owner = NULL, adopted = 0, planned = NULL
            WHERE id = ?1",
        )?
        .execute(params![id, settlement.kind, settlement.verdict])?;
    deliveries::insert(connection, id, occurred_at, &settlement.deliveries)?;
    deliveries::leave_places(connection, id)?;
    mark_idle(connection, id)?;
    mark_payload(connection, id)
}

/// Removes an open one. Returns its payload file, to be removed after the commit.
pub(super) fn discard(connection: &Connection, event: Uuid) -> Result<Option<PathBuf>, StoreError> {
    let found = connection
        .prepare_cached("SELECT id, payload_path FROM event WHERE uuid = ?1 AND owner IS NOT NULL")?
        .query_row([event.as_bytes()], |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?)))
        .optional()?;
    let Some((id, path)) = found else { return Ok(None) };
    remove(connection, id)?;
    deliveries::leave_places(connection, id)?;
    Ok(path.map(PathBuf::from))
}

/// Removes the rows of an event without deliveries.
pub(super) fn remove(connection: &Connection, id: i64) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM content WHERE event = ?1")?.execute([id])?;
    connection.prepare_cached("DELETE FROM event WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Adds deliveries to an event whose outcome is known. Returns how many are new.
pub(super) fn add_deliveries(
    connection: &Connection,
    event: Uuid,
    planned: &[NewDelivery],
) -> Result<u64, StoreError> {
    let found = connection
        .prepare_cached("SELECT id, occurred_at FROM event WHERE uuid = ?1 AND owner IS NULL")?
        .query_row([event.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, occurred_at)) = found else { return Err(StoreError::UnknownEvent(event)) };
    let added = deliveries::insert(connection, id, occurred_at, planned)?;
    mark_busy(connection, id)?;
    mark_idle(connection, id)?;
    mark_payload(connection, id)?;
    Ok(added as u64)
}

/// Returns those of `files` that no event names. Compares names only, wherever the files are.
pub(super) fn unnamed_payloads(
    connection: &Connection,
    files: Vec<PathBuf>,
) -> Result<Vec<PathBuf>, StoreError> {
    let mut named = connection.prepare_cached(NAMED)?;
    let mut unnamed = Vec::new();
    for file in files {
        // No event can name a path that is not UTF-8.
        let found = match file.file_name().and_then(|name| name.to_str()) {
            Some(name) => named.exists([name])?,
            None => false,
        };
        if !found {
            unnamed.push(file);
        }
    }
    Ok(unnamed)
}

/// Returns those that no event names as its payload.
pub(super) fn unnamed_pieces(
    connection: &Connection,
    payloads: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    let mut named =
        connection.prepare_cached("SELECT 1 FROM event WHERE payload_pieces = ?1 LIMIT 1")?;
    let mut unnamed = Vec::new();
    for payload in payloads {
        if !named.exists([payload.as_bytes()])? {
            unnamed.push(*payload);
        }
    }
    Ok(unnamed)
}

/// Records since when an event has no work left, if it has none.
pub(super) fn mark_idle(connection: &Connection, id: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE event SET idle_since = ?2,
                has_dead = EXISTS (SELECT 1 FROM delivery WHERE event = ?1 AND state = 'dead')
            WHERE id = ?1 AND owner IS NULL AND NOT EXISTS
                (SELECT 1 FROM delivery WHERE event = ?1 AND state NOT IN ('delivered', 'dead'))",
        )?
        .execute(params![id, now()])?;
    Ok(())
}

/// Records that an event has work again.
pub(super) fn mark_busy(connection: &Connection, id: i64) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE event SET idle_since = NULL WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Records since when no delivery needs an event's payload, or that one does. To be called whenever
/// a `raw` delivery is added or changes its state.
pub(super) fn mark_payload(connection: &Connection, id: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE event SET payload_idle_since = CASE WHEN EXISTS
                (SELECT 1 FROM delivery WHERE event = ?1 AND mode = 'raw' AND state <> 'delivered')
                THEN NULL ELSE coalesce(payload_idle_since, ?2) END
            WHERE id = ?1 AND owner IS NULL AND payload_size IS NOT NULL
                AND payload_spent_at IS NULL",
        )?
        .execute(params![id, now()])?;
    Ok(())
}

/// Finds whether an event names a payload file of this name.
pub(super) const NAMED: &str =
    "SELECT 1 FROM event WHERE payload_path IS NOT NULL AND substr(payload_path, -36) = ?1 LIMIT 1";
