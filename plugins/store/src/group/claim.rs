//! Deliveries are claimed and released. A claimed delivery has an owner and stays `pending`: a claim
//! moves the entry of one index and changes no count.

use std::collections::BTreeSet;

use crate::{
    columns::length,
    model::{Claimed, Payload, StoredEvent},
    order::{Locks, reorder},
    rows::{FromSqlRow as _, SqlRow, SqlValue},
    store::StoreError,
    transaction::{Reply, Statement, StoreChange, Transaction},
};

/// Claims for owner `$1` and ticket `$2` the first due deliveries of webhook `$3`, at most `$6`: up to
/// `$5` replays, and more only if the others leave room. Replays that are locked already are found
/// again.
pub(crate) const CLAIM: &str = "WITH replays AS (
        SELECT id FROM delivery WHERE webhook = (SELECT id FROM webhook WHERE name = $3)
            AND replay = true AND state = 'pending' AND blocked = false AND owner IS NULL
            AND due <= $4
        ORDER BY due, id LIMIT $5 FOR UPDATE SKIP LOCKED
    ), others AS (
        SELECT id FROM delivery WHERE webhook = (SELECT id FROM webhook WHERE name = $3)
            AND replay = false AND state = 'pending' AND blocked = false AND owner IS NULL
            AND due <= $4
        ORDER BY due, id LIMIT $6 - (SELECT count(*) FROM replays) FOR UPDATE SKIP LOCKED
    ), more AS (
        SELECT id FROM delivery WHERE webhook = (SELECT id FROM webhook WHERE name = $3)
            AND replay = true AND state = 'pending' AND blocked = false AND owner IS NULL
            AND due <= $4
        ORDER BY due, id LIMIT $6 - (SELECT count(*) FROM others) FOR UPDATE SKIP LOCKED
    )
    UPDATE delivery SET owner = $1, ticket = $2
    WHERE id IN (SELECT id FROM others UNION ALL SELECT id FROM more)";

/// Selects the deliveries of a ticket with the events that they deliver. A body or payload of more than
/// `$3` bytes is left out.
pub(crate) const READ: &str =
    "SELECT length(c.body) > $3 OR coalesce(length(c.payload) > $3, false),
        d.id, d.webhook_id, d.mode, d.attempts, d.tries, d.asked, d.extra, d.replay,
        e.uuid, CASE WHEN length(c.body) <= $3 THEN c.body END, e.verdict,
        e.payload_spent_at, CASE WHEN length(c.payload) <= $3 THEN c.payload END,
        e.payload_path, e.payload_size, e.payload_pieces, e.payload_sealed
    FROM delivery d JOIN event e ON e.id = d.event JOIN content c ON c.event = d.event
    WHERE d.owner = $1 AND d.ticket = $2 ORDER BY d.replay, d.due, d.id";

/// Claims deliveries of a webhook.
pub(crate) struct ClaimCall {
    pub(crate) webhook: String,
    /// When they are due.
    pub(crate) now: i64,
    /// The most of them.
    pub(crate) limit: usize,
    /// The most replays while others wait.
    pub(crate) share: usize,
    /// The number of this claim. No other claim of the process has it.
    pub(crate) ticket: i64,
    /// The most bytes of a body or payload that are read along.
    pub(crate) read_along: i64,
}

/// How a delivery is claimed. Without a ticket, any claim of the owner counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClaimHolding {
    pub(crate) owner: i64,
    pub(crate) ticket: Option<i64>,
}

/// A delivery that is being claimed.
pub(crate) struct ClaimedRow {
    pub(crate) claimed: Claimed,
    /// Its event's bytes are still to be read.
    pub(crate) is_large: bool,
}

/// Releases those claims of an owner whose delivery and ticket `is_released` selects. Returns how many.
pub(crate) struct ReleaseClaims<F> {
    pub(crate) owner: i64,
    pub(crate) is_released: F,
}

// === impl ClaimCall ===

impl ClaimCall {
    /// Returns the statement that claims, and the one that reads what was claimed.
    pub(super) fn statements(&self, owner: i64) -> [Statement; 2] {
        let claim = [
            owner.into(),
            self.ticket.into(),
            self.webhook.as_str().into(),
            self.now.into(),
            length(self.share.min(self.limit)).into(),
            length(self.limit).into(),
        ];
        let read = [owner.into(), self.ticket.into(), self.read_along.into()];
        [Statement::new(CLAIM, claim), Statement::new(READ, read)]
    }

    pub(super) fn read(&self, reply: Reply) -> Result<Vec<ClaimedRow>, StoreError> {
        reply.rows.into_iter().map(|mut row| self.row(&mut row)).collect()
    }

    fn row(&self, row: &mut SqlRow) -> Result<ClaimedRow, StoreError> {
        let is_large = row.get()?;
        let claimed = Claimed {
            webhook: self.webhook.clone(),
            id: row.get()?,
            webhook_id: row.get()?,
            mode: row.get()?,
            attempts: row.get()?,
            tries: row.get()?,
            asked: row.get()?,
            extra: row.get()?,
            replay: row.get()?,
            event: StoredEvent {
                id: row.get()?,
                body: row.get::<Option<_>>()?.unwrap_or_default(),
                verdict: row.get()?,
                payload: Payload::read(row)?,
            },
        };
        Ok(ClaimedRow { claimed, is_large })
    }
}

// === impl ReleaseClaims ===

impl<F: Fn(i64, i64) -> bool + Send + Sync + 'static> StoreChange for ReleaseClaims<F> {
    type Outcome = usize;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<usize, StoreError> {
        let sql = "SELECT id, ticket FROM delivery WHERE owner = $1";
        let claims: Vec<(i64, i64)> = transaction.rows(sql, vec![self.owner.into()]).await?;
        let claims = claims.into_iter().filter(|&(id, ticket)| (self.is_released)(id, ticket));
        let (ids, tickets): (Vec<i64>, Vec<i64>) = claims.unzip();
        if ids.is_empty() {
            return Ok(0);
        }
        let locks = Locks::of(&ids);
        let sql = "UPDATE delivery SET owner = NULL
            WHERE id = ANY ($1) AND owner = $2 AND ticket = ANY ($3)
            RETURNING webhook, order_key";
        let values = [SqlValue::Numbers(ids), self.owner.into(), SqlValue::Numbers(tickets)];
        let released = Statement::new(sql, values);
        let released = transaction.send(locks.into_iter().chain([released]).collect()).await?;
        let released: Vec<(i64, Option<String>)> =
            released.into_iter().next_back().unwrap_or_default().read()?;
        let orders: BTreeSet<_> =
            released.iter().filter_map(|(hook, key)| Some((*hook, key.clone()?))).collect();
        transaction.send(reorder(orders).collect()).await?;
        Ok(released.len())
    }
}
