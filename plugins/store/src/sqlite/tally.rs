//! Counts the deliveries in each state: counting millions of rows takes too long for a status page.
//!
//! Code that moves deliveries reports it, once for all moves of a call. Triggers would do it for each row,
//! and make SQLite keep a journal for each statement, which costs more than the move itself.

use rusqlite::Connection;

use crate::{
    model::DeliveryState,
    store::{Counts, StoreError},
};

pub(super) const OLDEST: &str = "SELECT min(occurred_at) FROM delivery WHERE state = 'pending'";

/// Returns the figures of the status page.
pub(super) fn counts(connection: &Connection) -> Result<Counts, StoreError> {
    // All as of one moment.
    let moment = connection.unchecked_transaction()?;
    let number = |sql: &str| -> Result<u64, StoreError> {
        let n: i64 = moment.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(n.unsigned_abs())
    };
    let mut tally = moment.prepare_cached("SELECT n FROM tally WHERE state = ?1")?;
    let mut counted = |state: DeliveryState| -> Result<u64, StoreError> {
        let n: i64 = tally.query_row([state.as_str()], |row| row.get(0))?;
        Ok(n.unsigned_abs())
    };
    // Claimed deliveries count as pending in the table.
    let claimed = number("SELECT count(*) FROM delivery WHERE owner IS NOT NULL")?;
    let mut deliveries = Vec::new();
    for state in DeliveryState::ALL {
        let n = match state {
            DeliveryState::Pending => counted(state)?.saturating_sub(claimed),
            DeliveryState::Claimed => claimed,
            _ => counted(state)?,
        };
        deliveries.push((state, n));
    }
    drop(tally);
    let open = number("SELECT count(*) FROM event WHERE owner IS NOT NULL")?;
    let oldest_undelivered = moment.prepare_cached(OLDEST)?.query_row([], |row| row.get(0))?;
    Ok(Counts { deliveries, open, oldest_undelivered })
}

/// Of one webhook: how many wait or are being made, and since when; by their indexes.
const UNFINISHED: &str = "SELECT count(*), min(occurred_at) FROM delivery
    WHERE webhook = (SELECT id FROM webhook WHERE name = ?1) AND state = 'pending' AND blocked = 0
    UNION ALL SELECT count(*), min(occurred_at) FROM delivery
    WHERE webhook = (SELECT id FROM webhook WHERE name = ?1) AND state = 'pending' AND blocked = 1";
/// Exactly the condition of the index `delivery_parked`.
const DEAD: &str = "SELECT count(*) FROM delivery
    WHERE webhook = (SELECT id FROM webhook WHERE name = ?1)
        AND state IN ('held', 'orphaned', 'dead') AND state = 'dead'";

/// Returns the figures of one site with these webhooks.
pub(super) fn counts_of(
    connection: &Connection,
    site: &str,
    webhooks: &[String],
) -> Result<Counts, StoreError> {
    let moment = connection.unchecked_transaction()?;
    let (mut pending, mut dead, mut oldest) = (0, 0, None::<i64>);
    for webhook in webhooks {
        let mut unfinished = moment.prepare_cached(UNFINISHED)?;
        let rows = unfinished.query_map([webhook], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        for row in rows {
            let (count, since) = row?;
            pending += count.unsigned_abs();
            oldest = oldest.into_iter().chain(since).min();
        }
        let count: i64 = moment.prepare_cached(DEAD)?.query_row([webhook], |row| row.get(0))?;
        dead += count.unsigned_abs();
    }
    let open = "SELECT count(*) FROM event WHERE owner IS NOT NULL AND site = ?1";
    let open: i64 = moment.prepare_cached(open)?.query_row([site], |row| row.get(0))?;
    let deliveries = vec![(DeliveryState::Pending, pending), (DeliveryState::Dead, dead)];
    Ok(Counts { deliveries, open: open.unsigned_abs(), oldest_undelivered: oldest })
}
