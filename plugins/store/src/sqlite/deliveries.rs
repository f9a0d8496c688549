//! Deliveries: added, claimed, finished, in their order.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{events, readers::rows, transaction::write_counts};
use crate::{
    clock::now,
    columns::{length, number},
    model::{
        Attempt, AttemptRecord, Claimed, DeliveryOutcome, DeliveryState, NewDelivery, StoredEvent,
    },
    rows::{FromSqlRow as _, SqlRow},
    select,
    store::StoreError,
    transaction::Moves,
    write::OrderPlace,
};

/// Selects due deliveries with the events that they deliver; a large body or payload is left for
/// [`fill`].
///
/// `CROSS JOIN` makes SQLite keep this order of the tables.
pub(super) const CLAIM: &str = "SELECT length(c.body) > ?4 OR coalesce(length(c.payload) > ?4, 0),
        d.id, d.webhook_id, d.mode, d.attempts, d.tries, d.replay,
        e.uuid, iif(length(c.body) <= ?4, c.body, x''), e.verdict, e.payload_spent_at IS NOT NULL,
        iif(length(c.payload) <= ?4, c.payload, NULL), e.payload_path, e.payload_size,
        e.payload_pieces, e.payload_sealed
    FROM delivery d CROSS JOIN event e ON e.id = d.event CROSS JOIN content c ON c.event = d.event
    WHERE d.webhook = ?1 AND d.replay = ?5 AND d.state = 'pending' AND d.blocked = 0
        AND d.owner IS NULL AND d.due <= ?2
    ORDER BY d.due, d.id LIMIT ?3";

/// Bodies and payloads up to this many bytes are read with the claim, by the thread that all writes
/// wait for; larger ones are read by another.
const READ_ALONG: i64 = 32 * 1024;

pub(super) const UNBLOCK: &str = "UPDATE delivery SET blocked = 0 WHERE id =
        (SELECT id FROM delivery WHERE webhook = ?1 AND order_key = ?2
            AND blocked = 1 AND state IN ('pending', 'held') ORDER BY event, id LIMIT 1)
    AND NOT EXISTS
        (SELECT 1 FROM order_place p WHERE p.webhook = ?1 AND p.order_key = ?2
            AND p.event < delivery.event)
    AND NOT EXISTS
        (SELECT 1 FROM delivery WHERE webhook = ?1 AND order_key = ?2
            AND blocked = 0 AND state IN ('pending', 'held'))";

/// Whether a delivery of a later event is the first of its order.
pub(super) const LATER: &str = "SELECT 1 FROM delivery WHERE webhook = ?1 AND order_key = ?2
    AND blocked = 0 AND state IN ('pending', 'held') AND event > ?3";

/// A delivery that is being claimed.
pub(super) struct ClaimingRow {
    pub(super) claimed: Claimed,
    /// [`fill`] still has to read its event's bytes.
    pub(super) is_large: bool,
}

/// Adds an event's deliveries; existing webhook ids are skipped.
pub(super) fn insert(
    connection: &Connection,
    event: i64,
    occurred_at: i64,
    deliveries: &[NewDelivery],
) -> Result<usize, StoreError> {
    let mut added = 0;
    for delivery in deliveries {
        let webhook = webhook(connection, &delivery.webhook)?;
        added += connection
            .prepare_cached(
                "INSERT INTO delivery
                    (webhook_id, event, webhook, mode, order_key, state, due, occurred_at, blocked)
                VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6, ?7, ?5 IS NOT NULL AND (EXISTS
                    (SELECT 1 FROM delivery WHERE webhook = ?3 AND order_key = ?5
                        AND state IN ('pending', 'held'))
                    OR EXISTS (SELECT 1 FROM order_place WHERE webhook = ?3 AND order_key = ?5
                        AND event < ?2)))
                ON CONFLICT (webhook_id) DO NOTHING",
            )?
            .execute(params![
                delivery.webhook_id,
                event,
                webhook,
                delivery.mode,
                delivery.order_key,
                delivery.due,
                occurred_at,
            ])?;
        if let Some(key) = &delivery.order_key
            && connection.prepare_cached(LATER)?.exists(params![webhook, key, event])?
        {
            reorder(connection, webhook, key)?;
        }
    }
    let mut moves = Moves::default();
    moves.added(DeliveryState::Pending, added);
    write_counts(connection, &moves)?;
    Ok(added)
}

/// Returns the number of a webhook, which is created if necessary.
pub(super) fn webhook(connection: &Connection, name: &str) -> Result<i64, StoreError> {
    if let Some(id) = known_webhook(connection, name)? {
        return Ok(id);
    }
    connection.execute("INSERT INTO webhook (name) VALUES (?1)", [name])?;
    Ok(connection.last_insert_rowid())
}

/// Returns the number of an existing webhook.
pub(super) fn known_webhook(
    connection: &Connection,
    name: &str,
) -> Result<Option<i64>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM webhook WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// Claims the first due deliveries of a webhook for `owner`, in the order in which they are to be
/// made: up to `share` replays, and more only if other deliveries leave room.
///
/// A claimed delivery stays `pending`, and has an owner: a claim moves one entry of one index, and
/// changes no count.
pub(super) fn claim(
    connection: &Connection,
    owner: i64,
    webhook: &str,
    now: i64,
    limit: usize,
    share: usize,
) -> Result<Vec<ClaimingRow>, StoreError> {
    let Some(id) = known_webhook(connection, webhook)? else { return Ok(Vec::new()) };
    let mut due = connection.prepare_cached(CLAIM)?;
    let mut first = |replay: bool, limit: usize| {
        due.query_map(params![id, now, length(limit), READ_ALONG, replay], |row| {
            Ok(SqlRow::try_from(row).and_then(|mut row| claiming(&mut row, webhook)))
        })?
        .map(|row| row?)
        .collect::<Result<Vec<_>, StoreError>>()
    };
    let mut taken = first(false, limit)?;
    // All of them may be needed; the others are not touched.
    let replays = first(true, limit.saturating_sub(taken.len()).max(share.min(limit)))?;
    taken.truncate(limit - replays.len());
    taken.extend(replays);
    let mut take = connection.prepare_cached("UPDATE delivery SET owner = ?2 WHERE id = ?1")?;
    for taking in &taken {
        take.execute(params![taking.claimed.id, owner])?;
    }
    Ok(taken)
}

/// Reads what [`claim`] left out.
pub(super) fn fill(connection: &Connection, taken: &mut [ClaimingRow]) -> Result<(), StoreError> {
    for ClaimingRow { claimed, is_large } in taken.iter_mut().filter(|taking| taking.is_large) {
        let Some(event) = rows(connection, &select::event(claimed.event.id))?.pop() else {
            return Err(StoreError::UnknownEvent(claimed.event.id));
        };
        (claimed.event, *is_large) = (event, false);
    }
    Ok(())
}

fn claiming(row: &mut SqlRow, webhook: &str) -> Result<ClaimingRow, StoreError> {
    let is_large = row.get()?;
    let claimed = Claimed {
        webhook: webhook.to_owned(),
        id: row.get()?,
        webhook_id: row.get()?,
        mode: row.get()?,
        attempts: row.get()?,
        tries: row.get()?,
        replay: row.get()?,
        event: StoredEvent::read(row)?,
    };
    Ok(ClaimingRow { claimed, is_large })
}

/// Stores the outcomes of claimed deliveries.
pub(super) fn finish(
    connection: &Connection,
    owner: i64,
    records: &[AttemptRecord],
) -> Result<(), StoreError> {
    let mut moves = Moves::default();
    let mut done = BTreeSet::new();
    for record in records {
        done.extend(finish_one(connection, owner, record, &mut moves)?);
    }
    write_counts(connection, &moves)?;
    // Several deliveries of one event often end together.
    done.into_iter().try_for_each(|event| events::mark_idle(connection, event))
}

/// Returns the event if the delivery has no work left.
fn finish_one(
    connection: &Connection,
    owner: i64,
    record: &AttemptRecord,
    moves: &mut Moves,
) -> Result<Option<i64>, StoreError> {
    let found = connection
        .prepare_cached(
            "SELECT event, webhook, order_key, attempts, mode = 'raw'
            FROM delivery WHERE id = ?1 AND owner = ?2",
        )?
        .query_row([record.delivery, owner], |row| {
            let key: Option<String> = row.get(2)?;
            let (attempts, raw): (u32, bool) = (row.get(3)?, row.get(4)?);
            Ok((row.get(0)?, row.get::<_, i64>(1)?, key, attempts, raw))
        })
        .optional()?;
    let Some((event, webhook, key, attempts, raw)) = found else { return Ok(None) };
    let (state, due) = record.outcome.leads_to();
    if let Some(attempt) = &record.attempt {
        if attempt.number <= attempts {
            return Ok(None);
        }
        log(connection, record.delivery, webhook, attempt, state, due)?;
        if attempt.number > Attempt::KEPT {
            connection
                .prepare_cached("DELETE FROM attempt WHERE delivery = ?1 AND number <= ?2")?
                .execute([record.delivery, i64::from(attempt.number - Attempt::KEPT)])?;
        }
    }
    let number = record.attempt.as_ref().map(|attempt| attempt.number);
    connection
        .prepare_cached(
            "UPDATE delivery SET state = ?2, due = coalesce(?3, due), owner = NULL,
                attempts = coalesce(?4, attempts), tries = tries + (?4 IS NOT NULL)
            WHERE id = ?1",
        )?
        .execute(params![record.delivery, state.as_str(), due, number])?;
    moves.moved(DeliveryState::Pending, state, 1);
    if let Some(key) = key {
        reorder(connection, webhook, &key)?;
    }
    if raw && state == DeliveryState::Delivered {
        events::mark_payload(connection, event)?;
    }
    Ok(is_done(state).then_some(event))
}

/// Logs an attempt, with its outcome for the delivery.
pub(super) fn log(
    connection: &Connection,
    delivery: i64,
    webhook: i64,
    attempt: &Attempt,
    state: DeliveryState,
    next_at: Option<i64>,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO attempt (delivery, webhook, number, at, url, http_code, error,
                duration_ms, state, next_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            delivery,
            webhook,
            attempt.number,
            attempt.at,
            attempt.url,
            attempt.http_code,
            attempt.error,
            number(attempt.duration_ms),
            state.as_str(),
            next_at,
        ])?;
    Ok(())
}

/// Releases claims that never reached their caller.
pub(super) fn give_back(
    connection: &Connection,
    owner: i64,
    ids: &[i64],
) -> Result<(), StoreError> {
    let mut released = Vec::with_capacity(ids.len());
    for &delivery in ids {
        let due = connection
            .prepare_cached("SELECT due FROM delivery WHERE id = ?1")?
            .query_row([delivery], |row| row.get(0))
            .optional()?;
        if let Some(due) = due {
            let outcome = DeliveryOutcome::Released(due);
            released.push(AttemptRecord { delivery, attempt: None, outcome });
        }
    }
    finish(connection, owner, &released)
}

/// Releases all claims of an owner.
pub(super) fn free(connection: &Connection, owner: i64) -> Result<(), StoreError> {
    let ids = connection
        .prepare("SELECT id FROM delivery WHERE owner = ?1")?
        .query_map([owner], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    give_back(connection, owner, &ids)
}

/// Gives an open event places in orders.
pub(super) fn reserve(
    connection: &Connection,
    event: Uuid,
    places: &[OrderPlace],
) -> Result<(), StoreError> {
    for place in places {
        let webhook = webhook(connection, &place.webhook)?;
        connection
            .prepare_cached(
                "INSERT INTO order_place (webhook, order_key, event, until)
                SELECT ?1, ?2, id, ?3 FROM event WHERE uuid = ?4 AND owner IS NOT NULL
                ON CONFLICT (webhook, order_key, event) DO NOTHING",
            )?
            .execute(params![
                webhook,
                place.order_key,
                now().saturating_add(OrderPlace::KEPT_MS),
                event.as_bytes(),
            ])?;
    }
    Ok(())
}

/// Ends the places of an event that is settled or discarded.
pub(super) fn leave_places(connection: &Connection, event: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM order_place WHERE event = ?1 RETURNING webhook, order_key";
    leave(connection, sql, event)
}

/// Ends the places whose time is over.
pub(super) fn leave_late_places(connection: &Connection) -> Result<(), StoreError> {
    let sql = "DELETE FROM order_place WHERE until < ?1 RETURNING webhook, order_key";
    leave(connection, sql, now())
}

fn leave(connection: &Connection, sql: &str, of: i64) -> Result<(), StoreError> {
    let left = connection
        .prepare_cached(sql)?
        .query_map([of], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(i64, String)>, _>>()?;
    left.iter().try_for_each(|(webhook, key)| reorder(connection, *webhook, key))
}

/// Whether there are places whose time is over.
pub(super) fn has_late_places(connection: &Connection) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM order_place WHERE until < ?1 LIMIT 1")?
        .exists([now()])?)
}

/// Makes sure that only the first of a webhook's unfinished deliveries with this key is unblocked,
/// and none while one is claimed or an earlier event has a place.
pub(super) fn reorder(connection: &Connection, webhook: i64, key: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE delivery SET blocked = 1 WHERE webhook = ?1 AND order_key = ?2 AND blocked = 0
                AND state IN ('pending', 'held') AND owner IS NULL",
        )?
        .execute(params![webhook, key])?;
    connection.prepare_cached(UNBLOCK)?.execute(params![webhook, key])?;
    Ok(())
}

/// Whether such a delivery has no work left, so that its event may be pruned.
pub(super) const fn is_done(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Delivered | DeliveryState::Dead)
}
