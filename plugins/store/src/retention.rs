//! Removes what is no longer kept, in steps so small that no exchange waits long for one.

use std::path::PathBuf;

use uuid::Uuid;

use crate::{
    columns::length,
    model::DeliveryState,
    rows::SqlValue,
    store::{PurgedPayloads, StoreError},
    transaction::{Change, Changes, Moves, Transaction},
};

/// What a step removed. The caller removes the files and pieces after the commit.
#[derive(Default)]
pub(crate) struct Removed {
    pub(crate) events: usize,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) pieces: Vec<Uuid>,
}

/// Selects done events.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DoneEvents {
    /// Those done before this time.
    Before(i64),
    /// Those without a dead delivery up to the one that was done at `since`, by its number.
    UpTo { since: i64, last: i64 },
}

/// Removes events with everything that belongs to them, longest done first.
pub(crate) struct PruneEvents {
    pub(crate) done: DoneEvents,
    pub(crate) most: usize,
}

/// Removes payloads that no delivery has needed since before `before`, longest first.
pub(crate) struct PurgePayloads {
    pub(crate) before: i64,
    pub(crate) most: usize,
}

/// Selects the newest done event beyond the newest `keep` without a dead delivery: reads only the index.
pub(crate) const BEYOND: &str =
    "SELECT idle_since, id FROM event WHERE idle_since IS NOT NULL AND NOT has_dead
    ORDER BY idle_since DESC, id DESC LIMIT 1 OFFSET $1";

pub(crate) const BEFORE: &str = "SELECT id, payload_path, payload_pieces FROM event
    WHERE idle_since < $1 ORDER BY idle_since LIMIT $2 FOR UPDATE SKIP LOCKED";

pub(crate) const UP_TO: &str = "SELECT id, payload_path, payload_pieces FROM event
    WHERE idle_since IS NOT NULL AND NOT has_dead AND (idle_since, id) <= ($1, $2)
    ORDER BY idle_since, id LIMIT $3 FOR UPDATE SKIP LOCKED";

pub(crate) const PURGEABLE: &str = "SELECT id, payload_path, payload_pieces FROM event
    WHERE payload_idle_since < $1 ORDER BY payload_idle_since LIMIT $2 FOR UPDATE SKIP LOCKED";

/// Removes up to `limit` done events in steps of `step`. Returns how many.
pub(crate) async fn prune(
    store: &impl Changes,
    done: DoneEvents,
    limit: usize,
    step: usize,
) -> Result<u64, StoreError> {
    let mut removed = 0;
    while removed < limit {
        let most = step.min(limit - removed);
        let gone = store.change(PruneEvents { done, most }).await?;
        removed += gone.events;
        let is_last = gone.events < most;
        store.remove_payloads(gone.files, gone.pieces).await;
        if is_last {
            break;
        }
    }
    Ok(removed as u64)
}

/// Removes the payloads of up to `limit` events in steps of `step`, their pieces excepted.
pub(crate) async fn purge_payloads(
    store: &impl Changes,
    before: i64,
    limit: usize,
    step: usize,
) -> Result<PurgedPayloads, StoreError> {
    let mut purged = PurgedPayloads::default();
    let mut left = limit;
    while left > 0 {
        let most = step.min(left);
        let gone = store.change(PurgePayloads { before, most }).await?;
        store.remove_payloads(gone.files, Vec::new()).await;
        purged.events += gone.events as u64;
        purged.blobs.extend(gone.pieces);
        left -= gone.events.min(left);
        if gone.events < most {
            break;
        }
    }
    Ok(purged)
}

// === impl Change ===

impl Change for PruneEvents {
    type Outcome = Removed;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<Removed, StoreError> {
        let most = length(self.most).into();
        let found = match self.done {
            DoneEvents::Before(before) => transaction.rows(BEFORE, vec![before.into(), most]).await,
            DoneEvents::UpTo { since, last } => {
                transaction.rows(UP_TO, vec![since.into(), last.into(), most]).await
            }
        };
        let (ids, removed) = split(found?);
        if removed.events == 0 {
            return Ok(removed);
        }
        let of_them = || vec![SqlValue::Numbers(ids.clone())];
        let states: Vec<(DeliveryState, u64)> = transaction
            .rows(
                "SELECT state, count(*) FROM delivery WHERE event = ANY ($1) GROUP BY state",
                of_them(),
            )
            .await?;
        for sql in [
            "DELETE FROM attempt
                WHERE delivery IN (SELECT id FROM delivery WHERE event = ANY ($1))",
            "DELETE FROM delivery WHERE event = ANY ($1)",
            "DELETE FROM content WHERE event = ANY ($1)",
            "DELETE FROM event WHERE id = ANY ($1)",
        ] {
            transaction.execute(sql, of_them()).await?;
        }
        let mut moves = Moves::default();
        for (state, n) in states {
            moves.removed(state, usize::try_from(n).unwrap_or(usize::MAX));
        }
        transaction.count(moves).await?;
        Ok(removed)
    }
}

impl Change for PurgePayloads {
    type Outcome = Removed;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<Removed, StoreError> {
        let values = vec![self.before.into(), length(self.most).into()];
        let (ids, removed) = split(transaction.rows(PURGEABLE, values).await?);
        for sql in [
            "UPDATE content SET payload = NULL WHERE event = ANY ($1) AND payload IS NOT NULL",
            "UPDATE event SET payload_path = NULL, payload_pieces = NULL, payload_idle_since = NULL,
                payload_spent_at = clock_ms() WHERE id = ANY ($1)",
        ] {
            transaction.execute(sql, vec![SqlValue::Numbers(ids.clone())]).await?;
        }
        Ok(removed)
    }
}

/// Splits found events into their numbers, and what is removed with them.
fn split(found: Vec<(i64, Option<String>, Option<Uuid>)>) -> (Vec<i64>, Removed) {
    let ids = found.iter().map(|(id, ..)| *id).collect();
    let files = found.iter().filter_map(|(_, path, _)| path.as_ref().map(PathBuf::from)).collect();
    let pieces = found.iter().filter_map(|(.., pieces)| *pieces).collect();
    (ids, Removed { events: found.len(), files, pieces })
}
