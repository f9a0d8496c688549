//! Deliveries moved from state to state: a webhook's put aside or brought back, and those that are
//! made again.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    deliveries::{is_done, known_webhook, reorder},
    events, lists,
    tally::Moves,
};
use crate::{
    columns::{length, now},
    model::DeliveryState,
    store::StoreError,
};

/// The states in which a delivery of an order key is still to be made.
const UNFINISHED: [DeliveryState; 3] =
    [DeliveryState::Pending, DeliveryState::Claimed, DeliveryState::Held];

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
    moves.write(connection)?;
    if !(UNFINISHED.contains(&from) && UNFINISHED.contains(&to)) {
        for key in &keys {
            reorder(connection, webhook, key)?;
        }
    }
    Ok(ids.len())
}

/// Makes deliveries due again, from the beginning of their retry schedule. Returns how many were.
pub(super) fn replay(connection: &Connection, ids: &[i64]) -> Result<usize, StoreError> {
    let mut replayed = 0;
    let mut moves = Moves::default();
    for id in ids {
        let found = connection
            .prepare_cached(
                "SELECT event, webhook, order_key, state FROM delivery
                WHERE id = ?1 AND state IN ('delivered', 'dead', 'orphaned')",
            )?
            .query_row([id], |row| {
                let key: Option<String> = row.get(2)?;
                Ok((row.get(0)?, row.get(1)?, key, lists::state(row, 3)?))
            })
            .optional()?;
        let Some((event, webhook, key, from)) = found else { continue };
        connection
            .prepare_cached(
                "UPDATE delivery SET state = 'pending', due = ?2, tries = 0, replay = 1,
                    blocked = order_key IS NOT NULL
                WHERE id = ?1",
            )?
            .execute(params![id, now()])?;
        moves.moved(from, DeliveryState::Pending, 1);
        replayed += 1;
        events::mark_busy(connection, event)?;
        events::mark_payload(connection, event)?;
        if let Some(key) = key {
            reorder(connection, webhook, &key)?;
        }
    }
    moves.write(connection)?;
    Ok(replayed)
}

/// The query for the numbers of webhook `?1`'s deliveries in a state, at most `?2`; each by an index
/// that a delivery leaves when it changes its state.
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
