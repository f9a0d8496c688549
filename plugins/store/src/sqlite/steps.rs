//! Long changes, in steps so small that no exchange waits long behind one.

use rusqlite::Connection;

use super::{
    lists,
    prune::{self, Found},
    readers::Readers,
    shifts,
    writer::Writer,
};
use crate::{
    model::DeliveryState,
    payload::remove_files,
    query::Filter,
    store::{Spent, StoreError},
};

/// Rows that one step touches at most.
const STEP: usize = 200;

/// Steps of giving room back that one call makes at most: 64 MiB.
const SHRINK_STEPS: usize = 64;

/// Moves a webhook's deliveries from one state to another. Returns how many.
pub(super) async fn shift(
    readers: &Readers,
    writer: &Writer,
    webhook: &str,
    from: DeliveryState,
    to: DeliveryState,
) -> Result<u64, StoreError> {
    let name = webhook.to_owned();
    // Those that come into the state meanwhile may be left for the next call: no endless chase.
    let all = readers.run(move |connection| shifts::count(connection, &name, from)).await?;
    let mut moved = 0;
    while moved < all {
        let name = webhook.to_owned();
        let step =
            writer.run(move |connection| shifts::shift(connection, &name, from, to, STEP)).await?;
        moved += step;
        if step == 0 {
            break;
        }
    }
    Ok(moved as u64)
}

/// Makes deliveries that are over due again. Returns how many.
pub(super) async fn replay(
    readers: &Readers,
    writer: &Writer,
    filter: &Filter,
) -> Result<u64, StoreError> {
    let (mut replayed, mut after) = (0, 0);
    loop {
        let filter = filter.clone();
        let ids = readers
            .run(move |connection| lists::replayable(connection, &filter, after, STEP))
            .await?;
        let Some(&last) = ids.last() else { return Ok(replayed) };
        after = last;
        replayed += writer.run(move |connection| shifts::replay(connection, &ids)).await? as u64;
    }
}

/// Removes what is done since before `before`. Returns how many events.
pub(super) async fn prune(
    readers: &Readers,
    writer: &Writer,
    before: i64,
    limit: usize,
) -> Result<u64, StoreError> {
    let find = move |connection: &Connection| prune::idle(connection, before, limit);
    let found = readers.run(find).await?;
    remove(readers, writer, found).await
}

/// Removes what is done beyond the newest `keep`. Returns how many events.
pub(super) async fn prune_beyond(
    readers: &Readers,
    writer: &Writer,
    keep: u64,
    limit: usize,
) -> Result<u64, StoreError> {
    let find = move |connection: &Connection| prune::beyond(connection, keep, limit);
    let found = readers.run(find).await?;
    remove(readers, writer, found).await
}

/// Removes those of the oldest `limit` attempts of the log that are too old. Returns how many.
pub(super) async fn prune_attempts(
    writer: &Writer,
    before: i64,
    limit: usize,
) -> Result<u64, StoreError> {
    let (mut removed, mut left, mut after) = (0, limit, 0);
    while left > 0 {
        let step = prune::ATTEMPTS.min(left);
        let work = move |connection: &Connection| prune::attempts(connection, before, after, step);
        let looked = writer.run(work).await?;
        removed += looked.removed;
        left -= looked.seen.min(left);
        after = looked.last;
        if looked.seen < step {
            break;
        }
    }
    Ok(removed as u64)
}

/// Takes payloads away that no delivery needs since before `before`, with their files.
pub(super) async fn spend(writer: &Writer, before: i64, limit: usize) -> Result<Spent, StoreError> {
    let mut spent = Spent::default();
    let mut left = limit;
    while left > 0 {
        let step = STEP.min(left);
        let (events, files, pieces) =
            writer.run(move |connection| prune::spend(connection, before, step)).await?;
        remove_files(files).await;
        spent.events += events as u64;
        spent.pieces.extend(pieces);
        left -= events;
        if events < step {
            break;
        }
    }
    if spent.events > 0 {
        writer.run(prune::shrink).await?;
    }
    Ok(spent)
}

/// Removes what was found, and gives the room back.
async fn remove(readers: &Readers, writer: &Writer, found: Found) -> Result<u64, StoreError> {
    let mut removed = 0;
    for step in found.steps() {
        let work = move |connection: &Connection| prune::remove(connection, &step);
        let (events, files) = writer.run(work).await?;
        remove_files(files).await;
        removed += events;
    }
    let mut steps = 0;
    while steps < SHRINK_STEPS && readers.run(prune::is_loose).await? {
        writer.run(prune::shrink).await?;
        steps += 1;
    }
    Ok(removed as u64)
}
