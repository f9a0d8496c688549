//! Deliveries: moved, replayed, removed. They are added, claimed and finished in groups.

use std::path::PathBuf;

use uuid::Uuid;

use super::{
    database::{Database, Values},
    first,
    group::text,
    lists, pieces, rows,
};
use crate::{
    columns::{length, now, number},
    model::DeliveryState,
    payload::remove_files,
    query::Filter,
    store::{Spent, StoreError},
};

/// Rows that one step of a long change touches at most, so that no exchange waits long behind it.
const STEP: usize = 200;

/// Moves a webhook's deliveries from one state to another, in steps. Returns how many.
pub(super) async fn shift(
    writing: &Database,
    webhook: &str,
    from: DeliveryState,
    to: DeliveryState,
) -> Result<u64, StoreError> {
    // Those that are made meanwhile may be left for the next call: no endless chase.
    let rows = writing.query("SELECT coalesce(max(id), 0) FROM delivery", &[]).await?;
    let upto: i64 = first(&rows)?;
    let sql = "SELECT shift($1, $2, $3, $4, $5, $6)::bigint";
    let (name, from, to, most) = (text(webhook), from.as_str(), to.as_str(), length(STEP));
    let mut moved = 0;
    loop {
        let rows = writing.query(sql, &[&name, &from, &to, &now(), &most, &upto]).await?;
        match first::<Option<i64>>(&rows)? {
            // All of a step may have been changed by others meanwhile, and more be left.
            Some(step) => moved += step.unsigned_abs(),
            None => return Ok(moved),
        }
    }
}

/// Removes what is done since before `before`, with its payloads. Returns how many events.
pub(super) async fn prune(
    writing: &Database,
    moving: &Database,
    before: i64,
    limit: usize,
) -> Result<u64, StoreError> {
    let sql = "SELECT removed, files, pieces FROM prune($1, $2)";
    remove(writing, moving, sql, &[&before], limit).await
}

/// Removes what is done beyond the newest `keep`, with its payloads. Returns how many events.
pub(super) async fn prune_beyond(
    writing: &Database,
    moving: &Database,
    keep: u64,
    limit: usize,
) -> Result<u64, StoreError> {
    let sql = "SELECT idle_since, id FROM event WHERE idle_since IS NOT NULL AND NOT has_dead
        ORDER BY idle_since DESC, id DESC LIMIT 1 OFFSET $1";
    let rows = writing.query(sql, &[&number(keep)]).await?;
    let Some(row) = rows.first() else { return Ok(0) };
    let (since, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let sql = "SELECT removed, files, pieces FROM prune_upto($1, $2, $3)";
    remove(writing, moving, sql, &[&since, &last], limit).await
}

/// Takes payloads away that no delivery needs since before `before`, with their files.
pub(super) async fn spend(
    writing: &Database,
    before: i64,
    limit: usize,
) -> Result<Spent, StoreError> {
    let mut spent = Spent::default();
    let mut left = limit;
    while left > 0 {
        let step = STEP.min(left);
        let sql = "SELECT spent, files, pieces FROM spend($1, $2)";
        let rows = writing.query(sql, &[&before, &length(step)]).await?;
        let Some(row) = rows.first() else { break };
        let files: Vec<String> = row.try_get(1)?;
        remove_files(files.into_iter().map(PathBuf::from).collect()).await;
        let events = rows::count(row, 0)? as usize;
        spent.events += events as u64;
        spent.pieces.extend(row.try_get::<_, Vec<Uuid>>(2)?);
        left -= events.min(left);
        if events < step {
            break;
        }
    }
    Ok(spent)
}

/// Removes the oldest attempts of the log. Returns how many.
pub(super) async fn prune_attempts(
    writing: &Database,
    before: i64,
    limit: usize,
) -> Result<u64, StoreError> {
    let rows = writing.query("SELECT prune_attempts($1, $2)", &[&before, &length(limit)]).await?;
    Ok(first::<i64>(&rows)?.unsigned_abs())
}

/// Removes events in steps, as a statement does whose last parameter is their number. Their pieces go
/// outside of its transaction: there may be thousands.
async fn remove(
    writing: &Database,
    moving: &Database,
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
        let rows = writing.query(sql, &values).await?;
        let Some(row) = rows.first() else { break };
        let files: Vec<String> = row.try_get(1)?;
        remove_files(files.into_iter().map(PathBuf::from).collect()).await;
        pieces::remove_all(moving, row.try_get::<_, Vec<Uuid>>(2)?).await;
        let events = rows::count(row, 0)? as usize;
        removed += events;
        if events < step {
            break;
        }
    }
    Ok(removed as u64)
}

/// Makes deliveries that are over due again. Returns how many.
pub(super) async fn replay(
    reading: &Database,
    writing: &Database,
    filter: &Filter,
) -> Result<u64, StoreError> {
    let (mut replayed, mut after) = (0, 0);
    loop {
        let ids = lists::replayable(reading, filter, after, STEP).await?;
        let Some(&last) = ids.last() else { return Ok(replayed) };
        after = last;
        let sql = "SELECT replay($1, $2)::bigint";
        let rows = writing.query(sql, &[&ids, &now()]).await?;
        replayed += first::<i64>(&rows)?.unsigned_abs();
    }
}
