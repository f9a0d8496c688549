//! Removes what is no longer kept, in steps so small that no exchange waits long for one.

use std::path::PathBuf;

use uuid::Uuid;

use crate::{
    backend::StoreBackend,
    columns::{length, number},
    model::DeliveryState,
    rows::SqlValue,
    store::{Prune, PurgedPayloads, StoreError},
    transaction::{Moves, Statement, StoreChange, Transaction},
};

/// The most rows of one step.
const STEP: usize = 200;

/// What a step removed. The caller removes the files and pieces after the commit.
#[derive(Default)]
struct Removed {
    events: usize,
    files: Vec<PathBuf>,
    pieces: Vec<Uuid>,
}

/// Selects done events.
#[derive(Clone, Copy, Debug)]
enum DoneEvents {
    /// Those done before this time.
    Before(i64),
    /// Those without a dead delivery up to the one that was done at `since`, by its number.
    UpTo { since: i64, last: i64 },
}

/// Removes events with everything that belongs to them, longest done first.
struct PruneEvents {
    done: DoneEvents,
    most: usize,
}

/// Removes payloads that no delivery has needed since before `before`, longest first.
struct PurgePayloads {
    before: i64,
    most: usize,
}

/// Removes those of `most` attempts of the log after number `after` that began before `before`. Returns how
/// many it looked at, the number of the last one, and how many it removed.
struct PruneAttempts {
    before: i64,
    after: i64,
    most: usize,
}

/// Removes up to `most` records that are expired at `at`. Returns how many.
struct RemoveExpiredRecords {
    at: i64,
    most: usize,
}

/// Removes up to `most` records of a group, those that expire first. Returns how many.
struct TrimRecords {
    group: String,
    most: usize,
}

/// Selects the newest done event beyond the newest `keep` without a dead delivery: reads only the index.
pub(crate) const BEYOND: &str =
    "SELECT idle_since, id FROM event WHERE idle_since IS NOT NULL AND has_dead = false
    ORDER BY idle_since DESC, id DESC LIMIT 1 OFFSET $1";

pub(crate) const BEFORE: &str = "SELECT id, payload_path, payload_pieces FROM event
    WHERE idle_since < $1 ORDER BY idle_since LIMIT $2 FOR UPDATE SKIP LOCKED";

pub(crate) const UP_TO: &str = "SELECT id, payload_path, payload_pieces FROM event
    WHERE idle_since IS NOT NULL AND has_dead = false AND (idle_since, id) <= ($1, $2)
    ORDER BY idle_since, id LIMIT $3 FOR UPDATE SKIP LOCKED";

pub(crate) const PURGEABLE: &str = "SELECT id, payload_path, payload_pieces FROM event
    WHERE payload_idle_since < $1 ORDER BY payload_idle_since LIMIT $2 FOR UPDATE SKIP LOCKED";

/// Exactly the expression of the index of groups, whose length is [`Record::GROUP`](crate::Record::GROUP).
pub(crate) const LARGE: &str = "SELECT substr(key, 1, 21), count(*) - $1 FROM note
    GROUP BY substr(key, 1, 21) HAVING count(*) > $1";

pub(crate) const TRIM: &str = "DELETE FROM note WHERE key IN
    (SELECT key FROM note WHERE substr(key, 1, 21) = $1
        ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// Removes up to `limit` of what is no longer kept, in small steps. Returns how many.
pub(crate) async fn remove(
    store: &impl StoreBackend,
    what: Prune,
    limit: usize,
) -> Result<u64, StoreError> {
    match what {
        Prune::Events(before) => prune(store, DoneEvents::Before(before), limit).await,
        Prune::EventsBeyond(keep) => prune_beyond(store, keep, limit).await,
        Prune::Attempts(before) => prune_attempts(store, before, limit).await,
        Prune::Records(at) => remove_expired_records(store, at, limit).await,
        Prune::RecordsBeyond(keep) => trim_records(store, keep, limit).await,
    }
}

/// Removes up to `limit` of the done events without a dead delivery beyond the newest `keep`.
async fn prune_beyond(
    store: &impl StoreBackend,
    keep: u64,
    limit: usize,
) -> Result<u64, StoreError> {
    let found = store.select(Statement::new(BEYOND, [number(keep).into()])).await?.pop();
    let Some((since, last)) = found else { return Ok(0) };
    prune(store, DoneEvents::UpTo { since, last }, limit).await
}

/// Removes up to `limit` done in small steps. Returns how many.
async fn prune<S: StoreBackend>(
    store: &S,
    done: DoneEvents,
    limit: usize,
) -> Result<u64, StoreError> {
    let mut removed = 0;
    while removed < limit {
        let most = S::PRUNED.min(limit - removed);
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

/// Removes the payloads of up to `limit` events, their pieces excepted.
pub(crate) async fn purge_payloads(
    store: &impl StoreBackend,
    before: i64,
    limit: usize,
) -> Result<PurgedPayloads, StoreError> {
    let mut purged = PurgedPayloads::default();
    let mut left = limit;
    while left > 0 {
        let most = STEP.min(left);
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

/// Removes those of the oldest `limit` attempts of the log that began before `before`. Returns how many.
async fn prune_attempts(
    store: &impl StoreBackend,
    before: i64,
    limit: usize,
) -> Result<u64, StoreError> {
    let (mut removed, mut left, mut after) = (0, limit, 0);
    while left > 0 {
        let most = STEP.min(left);
        let (seen, last, gone) = store.change(PruneAttempts { before, after, most }).await?;
        removed += gone;
        (left, after) = (left - seen.min(left), last);
        if seen < most {
            break;
        }
    }
    Ok(removed)
}

/// Removes up to `limit` records that are expired at `at`. Returns how many.
async fn remove_expired_records(
    store: &impl StoreBackend,
    at: i64,
    limit: usize,
) -> Result<u64, StoreError> {
    let (mut removed, mut left) = (0, limit);
    while left > 0 {
        let most = STEP.min(left);
        let gone = store.change(RemoveExpiredRecords { at, most }).await?;
        removed += gone;
        left -= most;
        if gone < most as u64 {
            break;
        }
    }
    Ok(removed)
}

/// Removes up to `limit` records of groups that have more than `keep`. Returns how many.
async fn trim_records(
    store: &impl StoreBackend,
    keep: u64,
    limit: usize,
) -> Result<u64, StoreError> {
    let (mut removed, mut allowed) = (0, limit);
    let groups: Vec<(String, u64)> =
        store.select(Statement::new(LARGE, [number(keep).into()])).await?;
    for (group, beyond) in groups {
        let mut left = usize::try_from(beyond).unwrap_or(usize::MAX).min(allowed);
        allowed -= left;
        while left > 0 {
            let (group, most) = (group.clone(), STEP.min(left));
            removed += store.change(TrimRecords { group, most }).await?;
            left -= most;
        }
    }
    Ok(removed)
}

// === impl StoreChange ===

impl StoreChange for PruneEvents {
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
        let mut moves = Moves::default();
        for (state, n) in states {
            moves.removed(state, usize::try_from(n).unwrap_or(usize::MAX));
        }
        let mut statements = Vec::from_iter(moves.statements());
        for sql in [
            "DELETE FROM attempt
                WHERE delivery IN (SELECT id FROM delivery WHERE event = ANY ($1))",
            "DELETE FROM delivery WHERE event = ANY ($1)",
            "DELETE FROM content WHERE event = ANY ($1)",
            "DELETE FROM event WHERE id = ANY ($1)",
        ] {
            statements.push(Statement::new(sql, of_them()));
        }
        transaction.end(statements).await?;
        Ok(removed)
    }
}

impl StoreChange for PurgePayloads {
    type Outcome = Removed;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<Removed, StoreError> {
        let values = vec![self.before.into(), length(self.most).into()];
        let (ids, removed) = split(transaction.rows(PURGEABLE, values).await?);
        let mut statements = Vec::new();
        for sql in [
            "UPDATE content SET payload = NULL WHERE event = ANY ($1) AND payload IS NOT NULL",
            "UPDATE event SET payload_path = NULL, payload_pieces = NULL, payload_idle_since = NULL,
                payload_spent_at = clock_ms() WHERE id = ANY ($1)",
        ] {
            statements.push(Statement::new(sql, [SqlValue::Numbers(ids.clone())]));
        }
        transaction.end(statements).await?;
        Ok(removed)
    }
}

impl StoreChange for PruneAttempts {
    type Outcome = (usize, i64, u64);

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<Self::Outcome, StoreError> {
        // In the order of logging, which is nearly that of their beginnings: no index is needed. One with a
        // late time, from a wrong clock, is skipped: those after it are old all the same.
        let sql = "SELECT count(*), max(id) FROM
            (SELECT id FROM attempt WHERE id > $1 ORDER BY id LIMIT $2) oldest";
        let values = vec![self.after.into(), length(self.most).into()];
        let seen: Option<(u32, Option<i64>)> = transaction.rows(sql, values).await?.pop();
        let (seen, last) = seen.unwrap_or_default();
        let last = last.unwrap_or(self.after);
        let sql = "DELETE FROM attempt WHERE id > $1 AND id <= $2 AND at < $3";
        let values = vec![self.after.into(), last.into(), self.before.into()];
        Ok((seen as usize, last, transaction.execute(sql, values).await?))
    }
}

impl StoreChange for RemoveExpiredRecords {
    type Outcome = u64;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<u64, StoreError> {
        let sql = "DELETE FROM note WHERE key IN
            (SELECT key FROM note WHERE expires <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
        let values = vec![self.at.into(), length(self.most).into()];
        transaction.execute(sql, values).await
    }
}

impl StoreChange for TrimRecords {
    type Outcome = u64;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<u64, StoreError> {
        let values = vec![self.group.as_str().into(), length(self.most).into()];
        transaction.execute(TRIM, values).await
    }
}

/// Splits found events into their numbers, and what is removed with them.
fn split(found: Vec<(i64, Option<String>, Option<Uuid>)>) -> (Vec<i64>, Removed) {
    let (mut ids, mut removed) = (Vec::with_capacity(found.len()), Removed::default());
    for (id, path, pieces) in found {
        ids.push(id);
        removed.files.extend(path.map(PathBuf::from));
        removed.pieces.extend(pieces);
    }
    removed.events = ids.len();
    (ids, removed)
}
