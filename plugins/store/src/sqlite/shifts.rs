//! Moves deliveries from state to state: a webhook's deliveries that are held or brought back, and
//! replays.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::{
    deliveries::{is_done, known_webhook, reorder},
    events,
    transaction::write_counts,
};
use crate::{
    clock::{self, now},
    columns::length,
    model::DeliveryState,
    rows::SqlRow,
    store::StoreError,
    transaction::Moves,
};

/// The states of deliveries of an order key that are still to be made.
const UNFINISHED: [DeliveryState; 3] =
    [DeliveryState::Pending, DeliveryState::Claimed, DeliveryState::Held];

/// Counts a webhook's deliveries in a state.
pub(super) fn count(
    connection: &Connection,
    webhook: &str,
    state: DeliveryState,
) -> Result<usize, StoreError> {
    let Some(webhook) = known_webhook(connection, webhook)? else { return Ok(0) };
    let sql = format!("SELECT count(*) FROM ({})", in_state(state));
    // -1 is no limit.
    let n: i64 =
        connection.prepare_cached(&sql)?.query_row(params![webhook, -1], |row| row.get(0))?;
    Ok(usize::try_from(n).unwrap_or(usize::MAX))
}

/// Moves up to `limit` of a webhook's deliveries from one state to another. Returns how many.
pub(super) fn change_state(
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
    let ids = connection
        .prepare_cached(&in_state(from))?
        .query_map(params![webhook, length(limit)], |row| row.get(0))?
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
    let mut moves = Moves::default();
    let from_word = if from == DeliveryState::Claimed { DeliveryState::Pending } else { from };
    moves.moved(from_word, to, ids.len());
    write_counts(connection, &moves)?;
    if !(UNFINISHED.contains(&from) && UNFINISHED.contains(&to)) {
        for key in &keys {
            reorder(connection, webhook, key)?;
        }
    }
    Ok(ids.len())
}

/// Makes up to `limit` deliveries due earlier that were planned by a clock ahead of `now`. Returns
/// how many.
pub(super) fn advance_due_times(
    connection: &Connection,
    now: i64,
    limit: usize,
) -> Result<usize, StoreError> {
    let far = now.saturating_add(clock::milliseconds(clock::TOLERANCE));
    let mut pulled = 0;
    // Exactly the conditions of the indexes.
    for place in ["d.blocked = 0 AND d.owner IS NULL", "d.blocked = 1"] {
        let planned = connection
            .prepare_cached(&format!(
                "SELECT d.id, ?1 + coalesce(a.next_at - a.at, 0)
                FROM delivery d
                    LEFT JOIN attempt a ON a.delivery = d.id AND a.number = d.attempts AND d.tries > 0
                WHERE d.state = 'pending' AND {place} AND d.due > ?2
                    AND (d.tries = 0 OR (a.next_at = d.due AND a.at > ?2 AND a.next_at > a.at))
                LIMIT ?3"
            ))?
            .query_map(params![now, far, length(limit - pulled)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<Vec<(i64, i64)>, _>>()?;
        let mut due = connection.prepare_cached("UPDATE delivery SET due = ?2 WHERE id = ?1")?;
        for (id, at) in &planned {
            due.execute(params![id, at])?;
        }
        pulled += planned.len();
    }
    Ok(pulled)
}

/// Makes deliveries due again, from the beginning of their retry schedule. Returns how many.
///
/// One statement for all of them, and one write for each event: a replay may cover a whole backlog.
pub(super) fn replay(connection: &Connection, ids: &[i64]) -> Result<usize, StoreError> {
    let mut moves = Moves::default();
    let (mut over, mut events) = (Vec::new(), BTreeSet::new());
    let mut keys = BTreeSet::new();
    let mut found = connection.prepare_cached(
        "SELECT id, event, webhook, order_key, state FROM delivery
        WHERE id IN (SELECT value FROM json_each(?1)) AND state IN ('delivered', 'dead', 'orphaned')",
    )?;
    let mut rows = found.query([list(ids)])?;
    while let Some(row) = rows.next()? {
        let mut row = SqlRow::try_from(row)?;
        over.push(row.get::<i64>()?);
        events.insert(row.get::<i64>()?);
        let (webhook, key): (i64, Option<String>) = (row.get()?, row.get()?);
        keys.extend(key.map(|key| (webhook, key)));
        moves.moved(row.get()?, DeliveryState::Pending, 1);
    }
    connection
        .prepare_cached(
            "UPDATE delivery SET state = 'pending', due = ?2, tries = 0, replay = 1,
                blocked = order_key IS NOT NULL
            WHERE id IN (SELECT value FROM json_each(?1))",
        )?
        .execute(params![list(&over), now()])?;
    // As `mark_busy` and `mark_payload` do.
    connection
        .prepare_cached(
            "UPDATE event SET idle_since = NULL, payload_idle_since = iif(EXISTS
                (SELECT 1 FROM delivery d
                    WHERE d.event = event.id AND d.mode = 'raw' AND d.state <> 'delivered'),
                NULL, payload_idle_since)
            WHERE id IN (SELECT value FROM json_each(?1))
                AND (idle_since IS NOT NULL OR payload_idle_since IS NOT NULL)",
        )?
        .execute([list(&events)])?;
    for (webhook, key) in &keys {
        reorder(connection, *webhook, key)?;
    }
    write_counts(connection, &moves)?;
    Ok(over.len())
}

/// Encodes numbers for `json_each`.
fn list<'a>(numbers: impl IntoIterator<Item = &'a i64>) -> String {
    let numbers: Vec<_> = numbers.into_iter().map(i64::to_string).collect();
    format!("[{}]", numbers.join(","))
}

/// Returns the query for the numbers of webhook `?1`'s deliveries in a state, at most `?2`; by an
/// index that a delivery leaves when it changes its state.
fn in_state(state: DeliveryState) -> String {
    let condition = match state {
        DeliveryState::Pending => {
            return "SELECT id FROM delivery
                    WHERE webhook = ?1 AND state = 'pending' AND blocked = 0 AND owner IS NULL
                UNION ALL
                SELECT id FROM delivery WHERE webhook = ?1 AND state = 'pending' AND blocked = 1
                LIMIT ?2"
                .to_owned();
        }
        DeliveryState::Claimed => {
            return "SELECT id FROM delivery WHERE owner IS NOT NULL AND webhook = ?1 LIMIT ?2"
                .to_owned();
        }
        DeliveryState::Held | DeliveryState::Orphaned | DeliveryState::Dead => {
            "state IN ('held', 'orphaned', 'dead') AND"
        }
        DeliveryState::Delivered => "",
    };
    let word = state.as_str();
    format!("SELECT id FROM delivery WHERE {condition} webhook = ?1 AND state = '{word}' LIMIT ?2")
}
