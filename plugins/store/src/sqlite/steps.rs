//! Long changes, in steps so small that no exchange waits long for one.

use rusqlite::Connection;

use super::{
    gateways, lists, notes,
    prune::{self, PrunableEvents},
    readers::Readers,
    shifts,
    writer::ThreadWriter,
};
use crate::{
    model::DeliveryState,
    payload::remove_files,
    query::Filter,
    store::{PurgedPayloads, StoreError},
};

/// The most rows in one step.
const STEP: usize = 200;

/// The most rows in one step of a replay, which has a few statements for all of them.
const REPLAY_STEP: usize = 1_000;

/// The most rows that are looked up at once for the steps of a replay: some filters scan everything
/// to find the first row.
const FOUND: usize = 20_000;

/// The most steps of returning space in one call: 64 MiB.
const SHRINK_STEPS: usize = 64;

/// Moves a webhook's deliveries from one state to another, while the configuration of this generation is the
/// newest. Returns how many.
pub(super) async fn change_state(
    readers: &Readers,
    writer: &ThreadWriter,
    generation: i64,
    webhook: &str,
    from: DeliveryState,
    to: DeliveryState,
) -> Result<u64, StoreError> {
    let name = webhook.to_owned();
    // Excludes deliveries that enter the state meanwhile, so that the loop ends.
    let all = readers.run(move |connection| shifts::count(connection, &name, from)).await?;
    let mut moved = 0;
    while moved < all {
        let name = webhook.to_owned();
        let step = writer
            .run(move |connection| {
                gateways::check_newest(connection, generation)?;
                shifts::change_state(connection, &name, from, to, STEP)
            })
            .await?;
        moved += step;
        if step == 0 {
            break;
        }
    }
    Ok(moved as u64)
}

/// Makes finished deliveries due again. Returns how many.
pub(super) async fn replay(
    readers: &Readers,
    writer: &ThreadWriter,
    filter: &Filter,
) -> Result<u64, StoreError> {
    let (mut replayed, mut after) = (0, 0);
    loop {
        let filter = filter.clone();
        let ids = readers
            .run(move |connection| lists::replayable(connection, &filter, after, FOUND))
            .await?;
        let Some(&last) = ids.last() else { return Ok(replayed) };
        after = last;
        for step in ids.chunks(REPLAY_STEP) {
            let step = step.to_vec();
            replayed +=
                writer.run(move |connection| shifts::replay(connection, &step)).await? as u64;
        }
    }
}

/// Makes deliveries due earlier that were planned by a clock ahead of `now`. Returns how many.
pub(super) async fn advance_due_times(writer: &ThreadWriter, now: i64) -> Result<u64, StoreError> {
    let mut pulled = 0;
    loop {
        let step =
            writer.run(move |connection| shifts::advance_due_times(connection, now, STEP)).await?;
        pulled += step;
        if step < STEP {
            return Ok(pulled as u64);
        }
    }
}

/// Removes events that were done before `before`. Returns how many.
pub(super) async fn prune(
    readers: &Readers,
    writer: &ThreadWriter,
    before: i64,
    limit: usize,
) -> Result<u64, StoreError> {
    let find = move |connection: &Connection| prune::idle(connection, before, limit);
    let found = readers.run(find).await?;
    remove(readers, writer, found).await
}

/// Removes done events beyond the newest `keep`. Returns how many.
pub(super) async fn prune_beyond(
    readers: &Readers,
    writer: &ThreadWriter,
    keep: u64,
    limit: usize,
) -> Result<u64, StoreError> {
    let find = move |connection: &Connection| prune::beyond(connection, keep, limit);
    let found = readers.run(find).await?;
    remove(readers, writer, found).await
}

/// Removes those of the oldest `limit` attempts of the log that are too old. Returns how many.
pub(super) async fn prune_attempts(
    writer: &ThreadWriter,
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

/// Removes payloads that no delivery has needed since before `before`, with their files.
pub(super) async fn purge_payloads(
    writer: &ThreadWriter,
    before: i64,
    limit: usize,
) -> Result<PurgedPayloads, StoreError> {
    let mut spent = PurgedPayloads::default();
    let mut left = limit;
    while left > 0 {
        let step = STEP.min(left);
        let (events, files, pieces) =
            writer.run(move |connection| prune::purge_payloads(connection, before, step)).await?;
        remove_files(writer.payload_root(), files).await;
        spent.events += events as u64;
        spent.blobs.extend(pieces);
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

/// Removes expired notes. Returns how many.
pub(super) async fn remove_expired_records(
    writer: &ThreadWriter,
    at: i64,
    limit: usize,
) -> Result<u64, StoreError> {
    let mut removed = 0;
    while removed < limit {
        let step = STEP.min(limit - removed);
        let gone = writer.run(move |connection| notes::forget(connection, at, step)).await?;
        removed += gone;
        if gone < step {
            break;
        }
    }
    Ok(removed as u64)
}

/// Removes notes of groups that have more than `keep`. Returns how many.
pub(super) async fn trim_records(
    readers: &Readers,
    writer: &ThreadWriter,
    keep: u64,
    limit: usize,
) -> Result<u64, StoreError> {
    let mut removed = 0;
    for (group, beyond) in readers.run(move |connection| notes::large(connection, keep)).await? {
        let mut left = beyond.min(limit - removed);
        while left > 0 {
            let (name, step) = (group.clone(), STEP.min(left));
            let gone = writer.run(move |connection| notes::trim(connection, &name, step)).await?;
            removed += gone;
            left -= step;
        }
    }
    Ok(removed as u64)
}

/// Removes the found events, and returns free space.
async fn remove(
    readers: &Readers,
    writer: &ThreadWriter,
    found: PrunableEvents,
) -> Result<u64, StoreError> {
    let mut removed = 0;
    for step in found.steps() {
        let work = move |connection: &Connection| prune::remove(connection, &step);
        let (events, files) = writer.run(work).await?;
        remove_files(writer.payload_root(), files).await;
        removed += events;
    }
    let mut steps = 0;
    while steps < SHRINK_STEPS && readers.run(prune::is_loose).await? {
        writer.run(prune::shrink).await?;
        steps += 1;
    }
    Ok(removed as u64)
}
