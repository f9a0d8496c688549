//! What an operator does with deliveries: has them made again or at once, or gives them up.

use std::collections::BTreeSet;

use crate::{
    backend::StoreBackend,
    clock::now,
    model::DeliveryState,
    moves::{is_done, is_unfinished, lock_events, mark_busy, mark_idle, mark_payloads, newest},
    order::{Locks, reorder},
    query::Filter,
    rows::SqlValue,
    select,
    store::StoreError,
    transaction::{Moves, Statement, StoreChange, Transaction},
};

/// What becomes of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryChange {
    /// Finished ones are made again, after those that are no replays, from the beginning of the retry
    /// schedule.
    Replay,
    /// Pending ones are due at once, by an attempt that is none of the schedule's; dead ones too, from the
    /// beginning of their schedule.
    Retry,
    /// Pending ones that wait for a retry are due at once, by an attempt that is none of the schedule's.
    Recover,
    /// They are given up, and what waits behind them in an order goes on.
    Cancel,
}

/// The most deliveries in one step, which has a few statements for all of them.
const STEP: usize = 500;

/// The most rows that are looked up at once for the steps: some filters scan everything to find the first
/// row.
const FOUND: usize = 20_000;

/// Changes matching deliveries, two steps at once: most of the time of a server goes into indices, and it has
/// more than one processor. Returns how many.
pub(crate) async fn change(
    store: &impl StoreBackend,
    change: DeliveryChange,
    filter: &Filter,
) -> Result<u64, StoreError> {
    let upto = newest(store).await?;
    let (mut changed, mut after) = (0, 0);
    loop {
        let found = select::changeable(change, filter, after, upto, FOUND);
        let found: Vec<(i64,)> = store.find(found).await?;
        let Some(&(last,)) = found.last() else { return Ok(changed) };
        after = last;
        let ids: Vec<i64> = found.into_iter().map(|(id,)| id).collect();
        for pair in ids.chunks(2 * STEP) {
            let (one, other) = pair.split_at(pair.len().min(STEP));
            let step = |ids: &[i64]| store.change(ChangeStep { change, ids: ids.to_vec() });
            let (one, other) = tokio::try_join!(step(one), step(other))?;
            changed += (one + other) as u64;
        }
    }
}

/// A step of [`change`]: these deliveries, as far as their states still allow it.
struct ChangeStep {
    change: DeliveryChange,
    ids: Vec<i64>,
}

impl StoreChange for ChangeStep {
    type Outcome = usize;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<usize, StoreError> {
        let Self { change, ids } = self;
        if ids.is_empty() {
            return Ok(0);
        }
        let mut statements = Vec::from_iter(Locks::of(ids));
        statements.push(lock_events(ids));
        let first = statements.len();
        for from in change.takes() {
            let sql = format!(
                "UPDATE delivery SET {} WHERE id = ANY ($1) AND state = $3 AND owner IS NULL
                RETURNING event, webhook, order_key",
                change.columns(*from)
            );
            let values = [SqlValue::Numbers(ids.clone()), now().into(), from.as_str().into()];
            statements.push(Statement::new(sql, values));
        }
        let sql = "SELECT DISTINCT w.name FROM delivery d JOIN webhook w ON w.id = d.webhook
            WHERE d.id = ANY ($1)";
        statements.push(Statement::new(sql, [SqlValue::Numbers(ids.clone())]));
        let mut replies = transaction.send(statements).await?.into_iter().skip(first);
        let (mut moves, mut orders, mut count) = (Moves::default(), BTreeSet::new(), 0);
        let (mut idle, mut busy) = (BTreeSet::new(), BTreeSet::new());
        let to = change.leads_to();
        for (from, reply) in change.takes().iter().zip(&mut replies) {
            let rows: Vec<(i64, i64, Option<String>)> = reply.read()?;
            count += rows.len();
            if *from == to {
                continue;
            }
            moves.moved(*from, to, rows.len());
            for (event, webhook, order_key) in rows {
                if is_unfinished(*from) != is_unfinished(to) {
                    orders.extend(order_key.map(|key| (webhook, key)));
                }
                if is_done(to) {
                    idle.insert(event)
                } else {
                    busy.insert(event)
                };
            }
        }
        let webhooks: Vec<(String,)> = replies.next().unwrap_or_default().read()?;
        let mut statements = Vec::from_iter(moves.statements());
        statements.extend(mark_idle(idle.clone()));
        statements.extend(mark_payloads(idle));
        statements.extend(mark_busy(busy));
        statements.extend(reorder(orders));
        statements.extend(webhooks.iter().map(|(name,)| Statement::notify("due", name)));
        transaction.end(statements).await?;
        Ok(count)
    }
}

// === impl DeliveryChange ===

impl DeliveryChange {
    /// Returns the states of the deliveries that it changes.
    pub const fn takes(self) -> &'static [DeliveryState] {
        use DeliveryState::{Cancelled, Dead, Delivered, Held, Orphaned, Pending};
        match self {
            Self::Replay => &[Delivered, Dead, Orphaned, Cancelled],
            Self::Retry => &[Pending, Dead],
            Self::Recover => &[Pending],
            Self::Cancel => &[Pending, Held, Dead, Orphaned],
        }
    }

    const fn leads_to(self) -> DeliveryState {
        match self {
            Self::Replay | Self::Retry | Self::Recover => DeliveryState::Pending,
            Self::Cancel => DeliveryState::Cancelled,
        }
    }

    /// Returns what is set in rows of this state. `$2` is the time.
    const fn columns(self, from: DeliveryState) -> &'static str {
        match (self, from) {
            (Self::Cancel, _) => {
                "state = 'cancelled', blocked = false, asked = false,
                    due = CASE WHEN due > $2 THEN $2 ELSE due END"
            }
            (_, DeliveryState::Pending) => {
                "asked = (asked OR due > $2), due = CASE WHEN due > $2 THEN $2 ELSE due END"
            }
            (Self::Replay, _) => {
                "state = 'pending', due = $2, tries = 0, extra = 0, asked = false, replay = true,
                    blocked = (order_key IS NOT NULL)"
            }
            (Self::Retry | Self::Recover, _) => {
                "state = 'pending', due = $2, tries = 0, extra = 0, asked = false,
                    blocked = (order_key IS NOT NULL)"
            }
        }
    }
}
