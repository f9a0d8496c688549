//! Deliveries: moved, replayed, removed. Groups add, claim and finish them.

use super::{
    database::{Database, Values},
    first,
    group::text,
};
use crate::{
    clock::{self, now},
    columns::{length, number},
    model::DeliveryState,
    query::Filter,
    retention::{BEYOND, DoneEvents},
    select::{self, Select},
    store::StoreError,
};

/// The most rows in one step of a long change, so that no exchange waits long for it.
pub(super) const STEP: usize = 200;

/// The most rows in one step of a replay, which has a few statements for all of them.
const REPLAY_STEP: usize = 500;

/// The most rows that are looked up at once for the steps of a replay: some filters scan everything
/// to find the first row.
const FOUND: usize = 20_000;

/// Moves a webhook's deliveries from one state to another, in steps, while the configuration of
/// this generation is the newest. Returns how many.
pub(super) async fn change_state(
    writing: &Database,
    generation: i64,
    webhook: &str,
    from: DeliveryState,
    to: DeliveryState,
) -> Result<u64, StoreError> {
    // Excludes deliveries that are added meanwhile, so that the loop ends.
    let rows = writing.query("SELECT coalesce(max(id), 0) FROM delivery", &[]).await?;
    let upto: i64 = first(&rows)?;
    let sql = "SELECT change_state($1, $2, $3, $4, $5, $6, $7)::bigint";
    let (name, from, to, most) = (text(webhook), from.as_str(), to.as_str(), length(STEP));
    let mut moved = 0;
    loop {
        let values: Values<'_> = &[&generation, &name, &from, &to, &now(), &most, &upto];
        let rows = writing.query(sql, values).await?;
        match first::<Option<i64>>(&rows)? {
            Some(-1) => return Err(StoreError::OlderConfiguration),
            // Others may have changed all rows of a step while more rows are left.
            Some(step) => moved += step.unsigned_abs(),
            None => return Ok(moved),
        }
    }
}

/// Makes deliveries due earlier that were planned by a clock ahead of `now`, in steps. Returns how
/// many.
pub(super) async fn advance_due_times(writing: &Database, now: i64) -> Result<u64, StoreError> {
    let far = now.saturating_add(clock::milliseconds(clock::TOLERANCE));
    let mut pulled = 0;
    // Exactly the conditions of the indexes.
    for place in ["NOT d.blocked", "d.blocked"] {
        let sql = format!(
            "WITH planned AS MATERIALIZED (
                    SELECT d.id, $1 + coalesce(a.next_at - a.at, 0) AS due
                    FROM delivery d
                        LEFT JOIN attempt a ON a.delivery = d.id AND a.number = d.attempts AND d.tries > 0
                    WHERE d.state = 'pending' AND {place} AND d.due > $2
                        AND (d.tries = 0 OR (a.next_at = d.due AND a.at > $2 AND a.next_at > a.at))
                    LIMIT $3 FOR UPDATE OF d SKIP LOCKED
                ), pulled AS (
                    UPDATE delivery d SET due = planned.due FROM planned WHERE d.id = planned.id
                    RETURNING 1
                )
                SELECT count(*) FROM pulled"
        );
        loop {
            let rows = writing.query(&sql, &[&now, &far, &length(STEP)]).await?;
            let step = first::<i64>(&rows)?.unsigned_abs();
            pulled += step;
            if step < STEP as u64 {
                break;
            }
        }
    }
    Ok(pulled)
}

/// Returns the newest of the done events beyond the newest `keep`.
pub(super) async fn beyond(
    reading: &Database,
    keep: u64,
) -> Result<Option<DoneEvents>, StoreError> {
    let found = reading.select(Select::new(BEYOND, [number(keep).into()])).await?;
    Ok(found.into_iter().next().map(|(since, last)| DoneEvents::UpTo { since, last }))
}

/// Removes the oldest attempts from the log. Returns how many.
pub(super) async fn prune_attempts(
    writing: &Database,
    before: i64,
    limit: usize,
) -> Result<u64, StoreError> {
    let rows = writing.query("SELECT prune_attempts($1, $2)", &[&before, &length(limit)]).await?;
    Ok(first::<i64>(&rows)?.unsigned_abs())
}

async fn replay_step(writing: &Database, ids: &[i64]) -> Result<u64, StoreError> {
    if ids.is_empty() {
        return Ok(0);
    }
    let rows = writing.query("SELECT replay($1, $2)::bigint", &[&ids, &now()]).await?;
    Ok(first::<i64>(&rows)?.unsigned_abs())
}

/// Makes finished deliveries due again. Returns how many.
pub(super) async fn replay(
    reading: &Database,
    writing: &Database,
    filter: &Filter,
) -> Result<u64, StoreError> {
    let (mut replayed, mut after) = (0, 0);
    loop {
        let found: Vec<(i64,)> = reading.select(select::replayable(filter, after, FOUND)).await?;
        let ids: Vec<i64> = found.into_iter().map(|(id,)| id).collect();
        let Some(&last) = ids.last() else { return Ok(replayed) };
        after = last;
        // Two at once: most of the time goes into indexes, and the server has more than one
        // processor.
        for pair in ids.chunks(2 * REPLAY_STEP) {
            let (one, other) = pair.split_at(pair.len().min(REPLAY_STEP));
            let (one, other) =
                tokio::try_join!(replay_step(writing, one), replay_step(writing, other))?;
            replayed += one + other;
        }
    }
}
