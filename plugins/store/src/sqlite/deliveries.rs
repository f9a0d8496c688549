//! Deliveries: added, claimed, finished, moved, in their order.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::{events, now};
use crate::{
    model::{AttemptRecord, Claimed, DeliveryState, Fate, NewDelivery, StoredEvent},
    store::StoreError,
};

pub(super) const CLAIM: &str = "SELECT id FROM delivery
    WHERE webhook = ?1 AND state = 'pending' AND blocked = 0 AND due <= ?2
    ORDER BY due, id LIMIT ?3";

pub(super) const UNBLOCK: &str = "UPDATE delivery SET blocked = 0 WHERE id =
        (SELECT min(id) FROM delivery WHERE webhook = ?1 AND order_key = ?2
            AND blocked = 1 AND state IN ('pending', 'claimed', 'held'))
    AND NOT EXISTS
        (SELECT 1 FROM delivery WHERE webhook = ?1 AND order_key = ?2
            AND blocked = 0 AND state IN ('pending', 'claimed', 'held'))";

/// The states in which a delivery of an order key is still to be made.
const UNFINISHED: [DeliveryState; 3] =
    [DeliveryState::Pending, DeliveryState::Claimed, DeliveryState::Held];

/// Adds an event's deliveries; those whose webhook id is there already are passed over.
pub(super) fn insert(
    connection: &Connection,
    event: i64,
    occurred_at: i64,
    deliveries: &[NewDelivery],
) -> Result<(), StoreError> {
    for delivery in deliveries {
        let webhook = webhook(connection, &delivery.webhook)?;
        connection
            .prepare_cached(
                "INSERT INTO delivery
                    (webhook_id, event, webhook, mode, order_key, state, due, occurred_at, blocked)
                VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6, ?7, ?5 IS NOT NULL AND EXISTS
                    (SELECT 1 FROM delivery WHERE webhook = ?3 AND order_key = ?5
                        AND state IN ('pending', 'claimed', 'held')))
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
    }
    Ok(())
}

/// The number of a webhook, given to it now if it has none.
pub(super) fn webhook(connection: &Connection, name: &str) -> Result<i64, StoreError> {
    if let Some(id) = known_webhook(connection, name)? {
        return Ok(id);
    }
    connection.execute("INSERT INTO webhook (name) VALUES (?1)", [name])?;
    Ok(connection.last_insert_rowid())
}

/// The number of a webhook that has one.
pub(super) fn known_webhook(
    connection: &Connection,
    name: &str,
) -> Result<Option<i64>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM webhook WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// Takes the first due deliveries of a webhook for `owner`, in the order they are to be made.
pub(super) fn claim(
    connection: &Connection,
    owner: i64,
    webhook: &str,
    now: i64,
    limit: usize,
) -> Result<Vec<i64>, StoreError> {
    let Some(webhook) = known_webhook(connection, webhook)? else { return Ok(Vec::new()) };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let ids = connection
        .prepare_cached(CLAIM)?
        .query_map(params![webhook, now, limit], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    let mut take = connection
        .prepare_cached("UPDATE delivery SET state = 'claimed', owner = ?2 WHERE id = ?1")?;
    for id in &ids {
        take.execute(params![id, owner])?;
    }
    Ok(ids)
}

/// What is to be told by claimed deliveries, in the order of `ids`.
pub(super) fn read(connection: &Connection, ids: &[i64]) -> Result<Vec<Claimed>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT d.webhook_id, w.name, d.mode, d.attempts, d.tries, d.replay, e.uuid, c.body,
            e.verdict, {}
        FROM delivery d JOIN webhook w ON w.id = d.webhook JOIN event e ON e.id = d.event
            JOIN content c ON c.event = d.event
        WHERE d.id = ?1",
        events::PAYLOAD
    ))?;
    let mut claimed = Vec::with_capacity(ids.len());
    for &id in ids {
        claimed.push(statement.query_row([id], |row| {
            Ok(Claimed {
                id,
                webhook_id: row.get(0)?,
                webhook: row.get(1)?,
                mode: row.get(2)?,
                attempts: row.get(3)?,
                tries: row.get(4)?,
                replay: row.get(5)?,
                event: StoredEvent {
                    id: events::uuid(row, 6)?,
                    body: row.get(7)?,
                    verdict: row.get(8)?,
                    payload: events::payload(row, 9)?,
                },
            })
        })?);
    }
    Ok(claimed)
}

/// Writes down what became of one claimed delivery.
pub(super) fn finish(
    connection: &Connection,
    owner: i64,
    record: &AttemptRecord,
) -> Result<(), StoreError> {
    let found = connection
        .prepare_cached(
            "SELECT attempts, event, webhook, order_key, mode = 'raw' FROM delivery
            WHERE id = ?1 AND state = 'claimed' AND owner = ?2",
        )?
        .query_row([record.delivery, owner], |row| {
            let key: Option<String> = row.get(3)?;
            let raw = row.get::<_, bool>(4)?;
            Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, key, raw))
        })
        .optional()?;
    let Some((attempts, event, webhook, key, raw)) = found else { return Ok(()) };
    let (state, due) = match record.fate {
        Fate::Delivered => (DeliveryState::Delivered, None),
        Fate::Retry(due) | Fate::Released(due) => (DeliveryState::Pending, Some(due)),
        Fate::Dead => (DeliveryState::Dead, None),
        Fate::Held => (DeliveryState::Held, None),
        Fate::Orphaned => (DeliveryState::Orphaned, None),
    };
    if let Some(attempt) = &record.attempt {
        if attempt.number <= attempts {
            return Ok(());
        }
        connection
            .prepare_cached(
                "INSERT INTO attempt (delivery, webhook, number, at, url, http_code, error,
                    duration_ms, state, next_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                record.delivery,
                webhook,
                attempt.number,
                attempt.at,
                attempt.url,
                attempt.http_code,
                attempt.error,
                i64::try_from(attempt.duration_ms).unwrap_or(i64::MAX),
                state.as_str(),
                due,
            ])?;
    }
    let number = record.attempt.as_ref().map(|attempt| attempt.number);
    connection
        .prepare_cached(
            "UPDATE delivery SET state = ?2, due = coalesce(?3, due), owner = NULL,
                attempts = coalesce(?4, attempts), tries = tries + (?4 IS NOT NULL)
            WHERE id = ?1",
        )?
        .execute(params![record.delivery, state.as_str(), due, number])?;
    if let Some(key) = key {
        reorder(connection, webhook, &key)?;
    }
    if raw && state == DeliveryState::Delivered {
        events::mark_payload(connection, event)?;
    }
    if is_done(state) { events::mark_idle(connection, event) } else { Ok(()) }
}

/// Puts claims that never reached their caller back.
pub(super) fn give_back(
    connection: &Connection,
    owner: i64,
    ids: &[i64],
) -> Result<(), StoreError> {
    for &delivery in ids {
        let due = connection
            .prepare_cached("SELECT due FROM delivery WHERE id = ?1")?
            .query_row([delivery], |row| row.get(0))
            .optional()?;
        if let Some(due) = due {
            let fate = Fate::Released(due);
            finish(connection, owner, &AttemptRecord { delivery, attempt: None, fate })?;
        }
    }
    Ok(())
}

/// Puts all of an owner's claims back.
pub(super) fn free(connection: &Connection, owner: i64) -> Result<(), StoreError> {
    let ids = connection
        .prepare("SELECT id FROM delivery WHERE owner = ?1")?
        .query_map([owner], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    give_back(connection, owner, &ids)
}

/// How many deliveries of a webhook are in a state.
pub(super) fn count(
    connection: &Connection,
    webhook: &str,
    state: DeliveryState,
) -> Result<usize, StoreError> {
    let Some(webhook) = known_webhook(connection, webhook)? else { return Ok(0) };
    let sql = format!("SELECT count(*) FROM ({})", in_state(state));
    // No limit is -1.
    let n: i64 =
        connection.prepare_cached(&sql)?.query_row(params![webhook, -1], |row| row.get(0))?;
    Ok(usize::try_from(n).unwrap_or(usize::MAX))
}

/// Moves up to `limit` of a webhook's deliveries from one state to another. Returns how many.
pub(super) fn shift(
    connection: &Connection,
    webhook: &str,
    from: DeliveryState,
    to: DeliveryState,
    limit: usize,
) -> Result<usize, StoreError> {
    let Some(webhook) = known_webhook(connection, webhook)? else { return Ok(0) };
    if from == to {
        return Ok(0);
    }
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let ids = connection
        .prepare_cached(&in_state(from))?
        .query_map(params![webhook, limit], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    let mut keys = BTreeSet::new();
    for &id in &ids {
        let (event, key) = connection
            .prepare_cached(
                "UPDATE delivery SET state = ?2, owner = NULL,
                    due = CASE WHEN ?2 = 'pending' THEN min(due, ?3) ELSE due END
                WHERE id = ?1 RETURNING event, order_key",
            )?
            .query_row(params![id, to.as_str(), now()], |row| {
                Ok((row.get(0)?, row.get::<_, Option<String>>(1)?))
            })?;
        keys.extend(key);
        events::mark_payload(connection, event)?;
        if is_done(to) {
            events::mark_idle(connection, event)?;
        } else if is_done(from) {
            events::mark_busy(connection, event)?;
        }
    }
    if !(UNFINISHED.contains(&from) && UNFINISHED.contains(&to)) {
        for key in &keys {
            reorder(connection, webhook, key)?;
        }
    }
    Ok(ids.len())
}

/// Sees to it that of a webhook's unfinished deliveries with this key only the first is not blocked,
/// and none while one is claimed.
pub(super) fn reorder(connection: &Connection, webhook: i64, key: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE delivery SET blocked = 1 WHERE webhook = ?1 AND order_key = ?2 AND blocked = 0
                AND state IN ('pending', 'claimed', 'held') AND state <> 'claimed'",
        )?
        .execute(params![webhook, key])?;
    connection.prepare_cached(UNBLOCK)?.execute(params![webhook, key])?;
    Ok(())
}

/// Whether such a delivery has nothing left to do, so that its event may be pruned.
const fn is_done(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Delivered | DeliveryState::Dead)
}

/// The query for the numbers of webhook `?1`'s deliveries in a state, at most `?2`; each by an index
/// that a delivery leaves when it changes its state.
fn in_state(state: DeliveryState) -> String {
    let condition = match state {
        DeliveryState::Pending => {
            return "SELECT id FROM delivery WHERE webhook = ?1 AND state = 'pending' AND blocked = 0
                UNION ALL
                SELECT id FROM delivery WHERE webhook = ?1 AND state = 'pending' AND blocked = 1
                LIMIT ?2"
                .to_owned();
        }
        DeliveryState::Claimed => "owner IS NOT NULL AND",
        DeliveryState::Held | DeliveryState::Orphaned | DeliveryState::Dead => {
            "state IN ('held', 'orphaned', 'dead') AND"
        }
        DeliveryState::Delivered => "",
    };
    let word = state.as_str();
    format!("SELECT id FROM delivery WHERE {condition} webhook = ?1 AND state = '{word}' LIMIT ?2")
}
