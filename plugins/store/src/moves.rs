//! Moves deliveries from state to state, outside of a message's path, and counts them.

use std::collections::BTreeSet;

use crate::{
    backend::StoreBackend,
    changes::check_newest,
    clock::{self, now},
    columns::length,
    gateways::GatewayReport,
    model::{DeliveryState, DueWebhook},
    order::{Locks, reorder},
    rows::SqlValue,
    select,
    store::{Counts, StoreError},
    transaction::{Moves, Statement, StoreChange, Transaction},
};

/// The most deliveries that one transaction moves, and the most places that one ends.
const STEP: usize = 200;

/// Moves all of a webhook's deliveries from one state to another, in steps, while the configuration of
/// this generation is the newest. Returns how many.
pub(crate) async fn change_state(
    store: &impl StoreBackend,
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
pub(crate) async fn newest(store: &impl StoreBackend) -> Result<i64, StoreError> {
    let last = Statement::new("SELECT coalesce(max(id), 0) FROM delivery", []);
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
        check_newest(transaction, self.generation).await?;
        let sql = "SELECT id FROM webhook WHERE name = $1";
        let webhook = transaction.rows(sql, vec![self.webhook.as_str().into()]).await?.pop();
        let Some((webhook,)) = webhook.filter(|_| from != to) else { return Ok(None) };
        let webhook: i64 = webhook;
        let values = vec![webhook.into(), self.upto.into(), length(STEP).into()];
        let found = transaction.ask(Statement::new(deliveries_in(from), values)).await?;
        let found: Vec<(i64,)> = found.read()?;
        if found.is_empty() {
            return Ok(None);
        }
        let ids: Vec<i64> = found.into_iter().map(|(id,)| id).collect();
        let mut statements = Vec::from_iter(Locks::of(&ids));
        if is_done(from) || is_done(to) {
            statements.push(lock_events(&ids));
        }
        let sql = "UPDATE delivery SET state = $2, owner = NULL,
                due = CASE WHEN $2 = 'pending' AND due > $3 THEN $3 ELSE due END
            WHERE id = ANY ($1) AND CASE WHEN owner IS NULL THEN state ELSE 'claimed' END = $4
            RETURNING event, order_key";
        let values =
            [SqlValue::Numbers(ids), to.as_str().into(), now().into(), from.as_str().into()];
        statements.push(Statement::new(sql, values));
        let moved = transaction.send(statements).await?.pop().unwrap_or_default();
        let moved: Vec<(i64, Option<String>)> = moved.read()?;
        let count = moved.len();
        let mut moves = Moves::default();
        moves.moved(from, to, count);
        let mut statements = Vec::from_iter(moves.statements());
        let events: BTreeSet<i64> = moved.iter().map(|(event, _)| *event).collect();
        if is_done(to) {
            statements.extend(mark_idle(events.clone()));
            statements.extend(mark_payloads(events));
        } else if is_done(from) {
            statements.extend(mark_busy(events));
        }
        if !(is_unfinished(from) && is_unfinished(to)) {
            let keys = moved.into_iter().filter_map(|(_, key)| Some((webhook, key?)));
            statements.extend(reorder(BTreeSet::from_iter(keys)));
        }
        if to == DeliveryState::Pending {
            statements.push(Statement::notify("due", &self.webhook));
        }
        transaction.end(statements).await?;
        Ok(Some(count))
    }
}

/// Whether such a delivery has no work left, so that its event may be pruned.
pub(crate) const fn is_done(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Delivered | DeliveryState::Dead | DeliveryState::Cancelled)
}

/// Whether a later delivery of the same order waits for one in this state.
pub(crate) const fn is_unfinished(state: DeliveryState) -> bool {
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
        DeliveryState::Delivered | DeliveryState::Cancelled => {
            format!("{of} state = '{word}' LIMIT $3")
        }
    }
}

/// Makes deliveries due earlier that were planned by a clock ahead of `now`, in steps. Returns how
/// many.
pub(crate) async fn advance_due_times(
    store: &impl StoreBackend,
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
            let found = transaction.ask(Statement::new(sql, [far.into(), most.into()])).await?;
            let found: Vec<(i64,)> = found.read()?;
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

/// Ends the places whose time is over.
pub(crate) async fn end_late_places(store: &impl StoreBackend) -> Result<(), StoreError> {
    let now = now();
    loop {
        let late = "SELECT 1 FROM order_place WHERE until < $1 LIMIT 1";
        let late: Vec<(i64,)> = store.select(Statement::new(late, [now.into()])).await?;
        if late.is_empty() || store.change(EndLatePlaces(now)).await? < STEP {
            return Ok(());
        }
    }
}

/// Ends up to [`STEP`] places whose time is over. Returns how many.
struct EndLatePlaces(i64);

impl StoreChange for EndLatePlaces {
    type Outcome = usize;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<usize, StoreError> {
        let sql = "SELECT webhook, order_key, event FROM order_place WHERE until < $1
            ORDER BY webhook, order_key, event LIMIT $2";
        let late: Vec<(i64, String, i64)> =
            transaction.rows(sql, vec![self.0.into(), length(STEP).into()]).await?;
        let orders: BTreeSet<_> = late.iter().map(|(hook, key, _)| (*hook, key.clone())).collect();
        let keys = orders.iter().map(|(_, key)| key.clone()).collect();
        let mut statements = Vec::from_iter(Locks { orders: keys, ..Locks::default() }.statement());
        for (webhook, key, event) in &late {
            let sql =
                "DELETE FROM order_place WHERE webhook = $1 AND order_key = $2 AND event = $3";
            let values = [(*webhook).into(), key.as_str().into(), (*event).into()];
            statements.push(Statement::new(sql, values));
        }
        statements.extend(reorder(orders));
        transaction.end(statements).await?;
        Ok(late.len())
    }
}

/// Waits until no other transaction changes the events of these deliveries: two that finish the last two
/// deliveries of an event at once must not both see the other's as unfinished.
pub(crate) fn lock_events(deliveries: &[i64]) -> Statement {
    let sql = "SELECT 1 FROM event WHERE id IN (SELECT event FROM delivery WHERE id = ANY ($1))
        ORDER BY id FOR NO KEY UPDATE";
    Statement::postgres(sql, [SqlValue::Numbers(deliveries.to_vec())])
}

/// Records since when events have no work left, if they have none. The transaction has locked them.
pub(crate) fn mark_idle(events: BTreeSet<i64>) -> Option<Statement> {
    let sql = "UPDATE event SET idle_since = clock_ms(), has_dead = EXISTS
            (SELECT 1 FROM delivery d WHERE d.event = event.id AND d.state = 'dead')
        WHERE id = ANY ($1) AND owner IS NULL AND NOT EXISTS (SELECT 1 FROM delivery d
            WHERE d.event = event.id AND d.state NOT IN ('delivered', 'dead', 'cancelled'))";
    of_events(sql, events)
}

/// Records that events have work again.
pub(crate) fn mark_busy(events: impl IntoIterator<Item = i64>) -> impl Iterator<Item = Statement> {
    let events = BTreeSet::from_iter(events);
    let sql = "UPDATE event SET idle_since = NULL WHERE id = ANY ($1) AND idle_since IS NOT NULL";
    of_events(sql, events.clone()).into_iter().chain(mark_payloads(events))
}

/// Records since when no delivery needs the payloads of events, or that one does. A delivery that is
/// dead, held, orphaned or cancelled still needs it, since it may be made yet.
pub(crate) fn mark_payloads(events: BTreeSet<i64>) -> Option<Statement> {
    let sql = "UPDATE event SET payload_idle_since = CASE WHEN EXISTS (SELECT 1 FROM delivery d
            WHERE d.event = event.id AND d.mode = 'raw' AND d.state <> 'delivered')
            THEN NULL ELSE coalesce(payload_idle_since, clock_ms()) END
        WHERE id = ANY ($1) AND owner IS NULL AND payload_size IS NOT NULL
            AND payload_spent_at IS NULL";
    of_events(sql, events)
}

fn of_events(sql: &'static str, events: BTreeSet<i64>) -> Option<Statement> {
    let any = !events.is_empty();
    any.then(|| Statement::new(sql, [SqlValue::Numbers(events.into_iter().collect())]))
}

/// Returns the webhooks with pending deliveries, soonest first.
pub(crate) async fn due(store: &impl StoreBackend) -> Result<Vec<DueWebhook>, StoreError> {
    let mut due: Vec<DueWebhook> = store.select(select::due()).await?;
    due.sort_by_key(|webhook| webhook.due);
    Ok(due)
}

/// Returns the figures of the status page.
pub(crate) async fn counts(store: &impl StoreBackend) -> Result<Counts, StoreError> {
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

/// Returns the figures of one site with these webhooks.
pub(crate) async fn counts_of(
    store: &impl StoreBackend,
    site: &str,
    webhooks: Vec<String>,
) -> Result<Counts, StoreError> {
    let found = store.find(select::counts_of(site, webhooks)).await?.pop();
    let (pending, dead, open, oldest_undelivered) = found.unwrap_or_default();
    let deliveries = vec![(DeliveryState::Pending, pending), (DeliveryState::Dead, dead)];
    Ok(Counts { deliveries, open, oldest_undelivered })
}
