//! Moves deliveries from state to state, outside of a message's path, and counts them.

use std::collections::BTreeSet;

use crate::{
    clock::{self, now},
    columns::length,
    gateways::GatewayReport,
    model::{DeliveryState, DueWebhook},
    query::Filter,
    rows::SqlValue,
    select::{self, Select},
    store::{Counts, StoreError},
    transaction::{ChangeExecutor, Moves, StoreChange, Transaction},
};

/// The most deliveries that one transaction moves.
const STEP: usize = 200;

/// The most deliveries in one step of a replay, which has a few statements for all of them.
const REPLAY_STEP: usize = 500;

/// The most rows that are looked up at once for the steps of a replay: some filters scan everything to
/// find the first row.
const FOUND: usize = 20_000;

/// Moves all of a webhook's deliveries from one state to another, in steps, while the configuration of
/// this generation is the newest. Returns how many.
pub(crate) async fn change_state(
    store: &impl ChangeExecutor,
    generation: i64,
    webhook: &str,
    from: DeliveryState,
    to: DeliveryState,
) -> Result<u64, StoreError> {
    let generation = GatewayReport::moving(generation, from, to);
    let (upto, mut moved) = (newest(store).await?, 0);
    loop {
        let webhook = webhook.to_owned();
        match store.change(ChangeState { generation, webhook, from, to, upto }).await? {
            // Others may have changed all rows of a step while more rows are left.
            Some(step) => moved += step as u64,
            None => return Ok(moved),
        }
    }
}

/// Returns the number of the newest delivery. Later ones are excluded from a loop, so that it ends.
async fn newest(store: &impl ChangeExecutor) -> Result<i64, StoreError> {
    let last = Select::new("SELECT coalesce(max(id), 0) FROM delivery", []);
    Ok(store.select(last).await?.pop().map_or(0, |(id,)| id))
}

/// A step of [`change_state`]. Returns `None` when no delivery up to number `upto` is left.
struct ChangeState {
    generation: i64,
    webhook: String,
    from: DeliveryState,
    to: DeliveryState,
    upto: i64,
}

impl StoreChange for ChangeState {
    type Outcome = Option<usize>;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<Option<usize>, StoreError> {
        let Self { from, to, .. } = *self;
        transaction.check_newest(self.generation).await?;
        let sql = "SELECT id FROM webhook WHERE name = $1";
        let webhook = transaction.rows(sql, vec![self.webhook.as_str().into()]).await?.pop();
        let Some((webhook,)) = webhook.filter(|_| from != to) else { return Ok(None) };
        let webhook: i64 = webhook;
        let values = vec![webhook.into(), self.upto.into(), length(STEP).into()];
        let found: Vec<(i64,)> = transaction.rows(&deliveries_in(from), values).await?;
        if found.is_empty() {
            return Ok(None);
        }
        let ids: Vec<i64> = found.into_iter().map(|(id,)| id).collect();
        transaction.lock_orders(&ids).await?;
        if is_done(from) || is_done(to) {
            transaction.lock_events(&ids).await?;
        }
        let sql = "UPDATE delivery SET state = $2, owner = NULL,
                due = CASE WHEN $2 = 'pending' AND due > $3 THEN $3 ELSE due END
            WHERE id = ANY ($1) AND CASE WHEN owner IS NULL THEN state ELSE 'claimed' END = $4
            RETURNING event, order_key";
        let values =
            vec![SqlValue::Numbers(ids), to.as_str().into(), now().into(), from.as_str().into()];
        let moved: Vec<(i64, Option<String>)> = transaction.rows(sql, values).await?;
        let count = moved.len();
        let mut moves = Moves::default();
        moves.moved(from, to, count);
        transaction.count(moves).await?;
        let events = moved.iter().map(|(event, _)| *event).collect();
        if is_done(to) {
            mark_idle(transaction, events).await?;
        } else if is_done(from) {
            mark_busy(transaction, events).await?;
        }
        if !(is_unfinished(from) && is_unfinished(to)) {
            let keys = moved.into_iter().filter_map(|(_, key)| Some((webhook, key?)));
            transaction.reorder(keys.collect()).await?;
        }
        if to == DeliveryState::Pending {
            transaction.notify("due", &self.webhook).await?;
        }
        Ok(Some(count))
    }
}

/// Whether such a delivery has no work left, so that its event may be pruned.
const fn is_done(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Delivered | DeliveryState::Dead)
}

/// Whether a later delivery of the same order waits for one in this state.
const fn is_unfinished(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Pending | DeliveryState::Claimed | DeliveryState::Held)
}

/// Returns the statement for the numbers of webhook `$1`'s deliveries in a state up to number `$2`, at
/// most `$3`; by an index that a delivery leaves when it changes its state, and not by their number
/// (hence the zero).
fn deliveries_in(state: DeliveryState) -> String {
    let of = "SELECT id FROM delivery WHERE webhook = $1 AND id + 0 <= $2 AND";
    let word = state.as_str();
    match state {
        DeliveryState::Pending => format!(
            "{of} state = 'pending' AND blocked = false AND owner IS NULL
            UNION ALL {of} state = 'pending' AND blocked = true LIMIT $3"
        ),
        DeliveryState::Claimed => format!("{of} owner IS NOT NULL LIMIT $3"),
        DeliveryState::Held | DeliveryState::Orphaned | DeliveryState::Dead => {
            format!("{of} state IN ('held', 'orphaned', 'dead') AND state = '{word}' LIMIT $3")
        }
        DeliveryState::Delivered => format!("{of} state = '{word}' LIMIT $3"),
    }
}

/// Makes finished deliveries due again that match, two steps at once: most of the time of a server goes
/// into indices, and it has more than one processor. Returns how many.
pub(crate) async fn replay(
    store: &impl ChangeExecutor,
    filter: &Filter,
) -> Result<u64, StoreError> {
    let upto = newest(store).await?;
    let (mut replayed, mut after) = (0, 0);
    loop {
        let found = select::replayable(filter, after, upto, FOUND);
        let found: Vec<(i64,)> = store.find(found).await?;
        let Some(&(last,)) = found.last() else { return Ok(replayed) };
        after = last;
        let ids: Vec<i64> = found.into_iter().map(|(id,)| id).collect();
        for pair in ids.chunks(2 * REPLAY_STEP) {
            let (one, other) = pair.split_at(pair.len().min(REPLAY_STEP));
            let (one, other) = tokio::try_join!(
                store.change(Replay(one.to_vec())),
                store.change(Replay(other.to_vec()))
            )?;
            replayed += (one + other) as u64;
        }
    }
}

/// A step of [`replay`]: these deliveries start from the beginning of their retry schedule.
struct Replay(Vec<i64>);

impl StoreChange for Replay {
    type Outcome = usize;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<usize, StoreError> {
        if self.0.is_empty() {
            return Ok(0);
        }
        transaction.lock_orders(&self.0).await?;
        transaction.lock_events(&self.0).await?;
        let (mut moves, mut replayed) = (Moves::default(), Vec::new());
        for from in [DeliveryState::Delivered, DeliveryState::Dead, DeliveryState::Orphaned] {
            let sql = "UPDATE delivery SET state = 'pending', due = $2, tries = 0, replay = true,
                    blocked = (order_key IS NOT NULL)
                WHERE id = ANY ($1) AND state = $3 RETURNING event, webhook, order_key";
            let values =
                vec![SqlValue::Numbers(self.0.clone()), now().into(), from.as_str().into()];
            let rows: Vec<(i64, i64, Option<String>)> = transaction.rows(sql, values).await?;
            moves.moved(from, DeliveryState::Pending, rows.len());
            replayed.extend(rows);
        }
        transaction.count(moves).await?;
        mark_busy(transaction, replayed.iter().map(|(event, ..)| *event).collect()).await?;
        let count = replayed.len();
        let orders = replayed.into_iter().filter_map(|(_, webhook, key)| Some((webhook, key?)));
        transaction.reorder(orders.collect()).await?;
        let sql = "SELECT DISTINCT w.name FROM delivery d JOIN webhook w ON w.id = d.webhook
            WHERE d.id = ANY ($1)";
        let webhooks: Vec<(String,)> =
            transaction.rows(sql, vec![SqlValue::Numbers(self.0.clone())]).await?;
        for (name,) in webhooks {
            transaction.notify("due", &name).await?;
        }
        Ok(count)
    }
}

/// Makes deliveries due earlier that were planned by a clock ahead of `now`, in steps. Returns how
/// many.
pub(crate) async fn advance_due_times(
    store: &impl ChangeExecutor,
    now: i64,
) -> Result<u64, StoreError> {
    let mut advanced = 0;
    loop {
        let step = store.change(AdvanceDueTimes(now)).await?;
        advanced += step as u64;
        if step < STEP {
            return Ok(advanced);
        }
    }
}

/// A step of [`advance_due_times`].
struct AdvanceDueTimes(i64);

impl StoreChange for AdvanceDueTimes {
    type Outcome = usize;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<usize, StoreError> {
        let far = self.0.saturating_add(clock::milliseconds(clock::TOLERANCE));
        let mut planned = Vec::new();
        for place in ["d.blocked = false AND d.owner IS NULL", "d.blocked = true"] {
            let sql = format!(
                "SELECT d.id FROM delivery d
                    LEFT JOIN attempt a ON a.delivery = d.id AND a.number = d.attempts AND d.tries > 0
                WHERE d.state = 'pending' AND {place} AND d.due > $1
                    AND (d.tries = 0 OR (a.next_at = d.due AND a.at > $1 AND a.next_at > a.at))
                LIMIT $2 FOR UPDATE OF d SKIP LOCKED"
            );
            let most = length(STEP - planned.len());
            let found: Vec<(i64,)> = transaction.rows(&sql, vec![far.into(), most.into()]).await?;
            planned.extend(found.into_iter().map(|(id,)| id));
        }
        let count = planned.len();
        let sql = "UPDATE delivery SET due = $2 + coalesce((SELECT a.next_at - a.at FROM attempt a
                WHERE a.delivery = delivery.id AND a.number = delivery.attempts AND delivery.tries > 0), 0)
            WHERE id = ANY ($1)";
        transaction.execute(sql, vec![SqlValue::Numbers(planned), self.0.into()]).await?;
        Ok(count)
    }
}

/// Records since when events have no work left, if they have none. The transaction has locked them.
async fn mark_idle<T: Transaction>(
    transaction: &mut T,
    events: BTreeSet<i64>,
) -> Result<(), StoreError> {
    let sql = "UPDATE event SET idle_since = clock_ms(), has_dead = EXISTS
            (SELECT 1 FROM delivery d WHERE d.event = event.id AND d.state = 'dead')
        WHERE id = ANY ($1) AND owner IS NULL AND NOT EXISTS (SELECT 1 FROM delivery d
            WHERE d.event = event.id AND d.state NOT IN ('delivered', 'dead'))";
    let events = SqlValue::Numbers(Vec::from_iter(events));
    transaction.execute(sql, vec![events.clone()]).await?;
    mark_payloads(transaction, events).await
}

/// Records that events have work again.
async fn mark_busy<T: Transaction>(
    transaction: &mut T,
    events: BTreeSet<i64>,
) -> Result<(), StoreError> {
    let sql = "UPDATE event SET idle_since = NULL WHERE id = ANY ($1) AND idle_since IS NOT NULL";
    let events = SqlValue::Numbers(Vec::from_iter(events));
    transaction.execute(sql, vec![events.clone()]).await?;
    mark_payloads(transaction, events).await
}

/// Records since when no delivery needs the payloads of events, or that one does. A delivery that is
/// dead, held or orphaned still needs it.
async fn mark_payloads<T: Transaction>(
    transaction: &mut T,
    events: SqlValue,
) -> Result<(), StoreError> {
    let sql = "UPDATE event SET payload_idle_since = CASE WHEN EXISTS (SELECT 1 FROM delivery d
            WHERE d.event = event.id AND d.mode = 'raw' AND d.state <> 'delivered')
            THEN NULL ELSE coalesce(payload_idle_since, clock_ms()) END
        WHERE id = ANY ($1) AND owner IS NULL AND payload_size IS NOT NULL
            AND payload_spent_at IS NULL";
    transaction.execute(sql, vec![events]).await.map(drop)
}

/// Returns the webhooks with pending deliveries, soonest first.
pub(crate) async fn due(store: &impl ChangeExecutor) -> Result<Vec<DueWebhook>, StoreError> {
    let mut due: Vec<DueWebhook> = store.select(select::due()).await?;
    due.sort_by_key(|webhook| webhook.due);
    Ok(due)
}

/// Returns the figures of the status page.
pub(crate) async fn counts(store: &impl ChangeExecutor) -> Result<Counts, StoreError> {
    let rows: Vec<(DeliveryState, u64, u64, u64, Option<i64>)> =
        store.find(select::counts()).await?;
    let number = |state| rows.iter().find(|row| row.0 == state).map_or(0, |row| row.1);
    // In SQLite claimed deliveries count as pending.
    let unfinished = number(DeliveryState::Pending) + number(DeliveryState::Claimed);
    let mut counts = Counts::default();
    for &(state, n, claimed, open, oldest_undelivered) in &rows {
        let n = match state {
            DeliveryState::Pending => unfinished.saturating_sub(claimed),
            DeliveryState::Claimed => claimed,
            _ => n,
        };
        counts.deliveries.push((state, n));
        (counts.open, counts.oldest_undelivered) = (open, oldest_undelivered);
    }
    Ok(counts)
}
