//! Deliveries: moved, replayed, removed. Groups add, claim and finish them.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{
    database::{Database, Values},
    first,
    group::text,
    lists, pieces, rows,
};
use crate::{
    clock::{self, now},
    columns::{length, number},
    model::DeliveryState,
    payload::remove_files,
    query::Filter,
    store::{PurgedPayloads, StoreError},
};

/// The most rows in one step of a long change, so that no exchange waits long for it.
const STEP: usize = 200;

/// The most rows in one step of a replay, which has a few statements for all of them.
const REPLAY_STEP: usize = 500;

/// The most rows that are looked up at once for the steps of a replay: some filters scan everything
/// to find the first row.
const FOUND: usize = 20_000;

/// The connections and folder for removing events and payloads.
#[derive(Clone, Copy)]
pub(super) struct Removal<'a> {
    pub(super) writing: &'a Database,
    /// For pieces.
    pub(super) moving: &'a Database,
    /// For files.
    pub(super) payload_root: Option<&'a Path>,
}

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
    let sql = "SELECT shift_newest($1, $2, $3, $4, $5, $6, $7)::bigint";
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

/// Removes events that were done before `before`, with their payloads. Returns how many.
pub(super) async fn prune(
    removal: Removal<'_>,
    before: i64,
    limit: usize,
) -> Result<u64, StoreError> {
    let sql = "SELECT removed, files, pieces FROM prune($1, $2)";
    remove(removal, sql, &[&before], limit).await
}

/// Removes done events beyond the newest `keep`, with their payloads. Returns how many.
pub(super) async fn prune_beyond(
    removal: Removal<'_>,
    keep: u64,
    limit: usize,
) -> Result<u64, StoreError> {
    let sql = "SELECT idle_since, id FROM event WHERE idle_since IS NOT NULL AND NOT has_dead
        ORDER BY idle_since DESC, id DESC LIMIT 1 OFFSET $1";
    let rows = removal.writing.query(sql, &[&number(keep)]).await?;
    let Some(row) = rows.first() else { return Ok(0) };
    let (since, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let sql = "SELECT removed, files, pieces FROM prune_upto($1, $2, $3)";
    remove(removal, sql, &[&since, &last], limit).await
}

/// Removes payloads that no delivery has needed since before `before`, with their files.
pub(super) async fn purge_payloads(
    removal: Removal<'_>,
    before: i64,
    limit: usize,
) -> Result<PurgedPayloads, StoreError> {
    let mut spent = PurgedPayloads::default();
    let mut left = limit;
    while left > 0 {
        let step = STEP.min(left);
        let sql = "SELECT spent, files, pieces FROM spend($1, $2)";
        let rows = removal.writing.query(sql, &[&before, &length(step)]).await?;
        let Some(row) = rows.first() else { break };
        let files: Vec<String> = row.try_get(1)?;
        remove_files(removal.payload_root, files.into_iter().map(PathBuf::from).collect()).await;
        let events = rows::count(row, 0)? as usize;
        spent.events += events as u64;
        spent.blobs.extend(row.try_get::<_, Vec<Uuid>>(2)?);
        left -= events.min(left);
        if events < step {
            break;
        }
    }
    Ok(spent)
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

/// Removes events in steps, by a statement whose last parameter is their number. BlobStore are removed
/// outside of its transaction: there may be thousands.
async fn remove(
    removal: Removal<'_>,
    sql: &str,
    bound: Values<'_>,
    limit: usize,
) -> Result<u64, StoreError> {
    let mut removed = 0;
    while removed < limit {
        let step = STEP.min(limit - removed);
        let most = length(step);
        let mut values = bound.to_vec();
        values.push(&most);
        let rows = removal.writing.query(sql, &values).await?;
        let Some(row) = rows.first() else { break };
        let files: Vec<String> = row.try_get(1)?;
        let files = files.into_iter().map(PathBuf::from).collect();
        remove_files(removal.payload_root, files).await;
        pieces::remove_all(removal.moving, row.try_get::<_, Vec<Uuid>>(2)?).await;
        let events = rows::count(row, 0)? as usize;
        removed += events;
        if events < step {
            break;
        }
    }
    Ok(removed as u64)
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
        let ids = lists::replayable(reading, filter, after, FOUND).await?;
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
