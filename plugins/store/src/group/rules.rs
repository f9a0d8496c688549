//! The rules of a message's path, over what is loaded. Each call sees what the calls before it in its
//! group have changed.

mod finish;

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    CallOutcome, StoreCall,
    load::{LoadedEvent, LoadedRows},
    statements::{
        DeliveryColumns, IdleTimes, codes, insert_delivery, insert_event, log_attempt_of,
        replace_event,
    },
};
use crate::{
    clock::now,
    columns::{PayloadColumns, key},
    model::{DeliveryState, NewDelivery, NewEvent, Settlement},
    moves,
    order::reorder,
    partner_webhook::UnqueuedDelivery,
    record::{Before, RecordChange},
    rows::SqlValue,
    store::{RAW, StoreError},
    transaction::{Moves, Statement},
    write::{OrderPlace, Write},
};

/// The rows of a group, and what its calls changed.
pub(super) struct GroupRules {
    owner: i64,
    now: i64,
    loaded: LoadedRows,
    statements: Vec<Statement>,
    /// Orders in which another delivery may be the first now.
    orders: BTreeSet<(i64, String)>,
    /// Events of deliveries that have no work left.
    done: BTreeSet<i64>,
    /// Events whose payload may be needed no more, or again.
    payloads: BTreeSet<i64>,
    moves: Moves,
}

// === impl GroupRules ===

impl GroupRules {
    pub(super) fn new(owner: i64, loaded: LoadedRows) -> Self {
        Self {
            owner,
            now: now(),
            loaded,
            statements: Vec::new(),
            orders: BTreeSet::new(),
            done: BTreeSet::new(),
            payloads: BTreeSet::new(),
            moves: Moves::default(),
        }
    }

    /// Performs a call. One that fails changes nothing. Claims are read when all is saved.
    pub(super) fn apply(&mut self, call: &StoreCall) -> Result<CallOutcome, StoreError> {
        match call {
            StoreCall::Writes(writes) => self.writes(writes, call.due()),
            StoreCall::Finish(records) => Ok(CallOutcome::Finished { held: self.finish(records) }),
            StoreCall::Claim(_) => Ok(CallOutcome::Claimed(Vec::new())),
            StoreCall::Enqueue(event, deliveries) => self.enqueue(*event, deliveries),
            StoreCall::Log(made) => self.log(made),
        }
    }

    fn push(&mut self, sql: &'static str, values: impl IntoIterator<Item = SqlValue>) {
        self.statements.push(Statement::new(sql, values));
    }

    /// Returns the statements that save all changes.
    pub(super) fn saved(self) -> Vec<Statement> {
        let Self { mut statements, orders, done, payloads, moves, .. } = self;
        statements.extend(reorder(orders));
        statements.extend(moves::mark_idle(done));
        statements.extend(moves::mark_payloads(payloads));
        statements.extend(moves.statements());
        statements
    }

    fn writes(
        &mut self,
        writes: &[Write],
        due: BTreeSet<String>,
    ) -> Result<CallOutcome, StoreError> {
        self.check(writes)?;
        let (mut files, mut pieces) = (Vec::new(), Vec::new());
        for write in writes {
            match write {
                Write::Open(event, planned) => self.open(event, planned)?,
                Write::Reserve(event, places) => self.reserve(*event, places),
                Write::Settle(settlement) => self.settle(settlement),
                Write::Discard(event) => {
                    let discarded = self.discard(*event);
                    files.extend(
                        discarded.as_ref().and_then(|event| Some(event.file.as_ref()?.into())),
                    );
                    pieces.extend(discarded.and_then(|event| event.pieces));
                }
                Write::Replace(event) => self.replace(event)?,
                Write::Publish(event, planned) => self.publish(event, planned)?,
                Write::Record(change) => {
                    self.record(change);
                }
                Write::Once(change, event, planned) => {
                    if self.record(change) {
                        self.publish(event, planned)?;
                    }
                }
            }
        }
        Ok(CallOutcome::Written { files, pieces, due })
    }

    /// Fails when one of the writes cannot be performed: an event to be settled is neither stored nor
    /// opened before, or a payload cannot be named.
    fn check(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut opened = BTreeSet::new();
        for write in writes {
            match write {
                Write::Open(event, _) | Write::Publish(event, _) | Write::Once(_, event, _) => {
                    PayloadColumns::of(&event.payload)?;
                    opened.insert(event.id);
                }
                Write::Replace(event) => PayloadColumns::of(&event.payload).map(drop)?,
                Write::Settle(Settlement { event, .. })
                    if !opened.contains(event) && !self.loaded.events.contains_key(event) =>
                {
                    return Err(StoreError::UnknownEvent(*event));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn open(&mut self, event: &NewEvent, planned: &[NewDelivery]) -> Result<(), StoreError> {
        let planned = serde_json::to_vec(planned);
        let planned = planned.map_err(|error| StoreError::Database(error.to_string()))?;
        self.add_event(event, Some((self.owner, planned)), IdleTimes::default()).map(drop)
    }

    /// Returns the number of a new event, `None` when it exists already.
    fn add_event(
        &mut self,
        event: &NewEvent,
        open: Option<(i64, Vec<u8>)>,
        times: IdleTimes,
    ) -> Result<Option<i64>, StoreError> {
        if self.loaded.events.contains_key(&event.id) {
            return Ok(None);
        }
        let Some(number) = self.loaded.numbers.next() else { return Ok(None) };
        let stored = LoadedEvent::new(number, event, open.is_some())?;
        self.statements.extend(insert_event(number, event, open, times)?);
        self.loaded.events.insert(event.id, stored);
        Ok(Some(number))
    }

    fn reserve(&mut self, event: Uuid, places: &[OrderPlace]) {
        let stored = self.loaded.events.get(&event).filter(|stored| stored.is_open);
        let Some(number) = stored.map(|stored| stored.number) else { return };
        for place in places {
            let order_key = key(&place.order_key).into_owned();
            let Some(&webhook) = self.loaded.webhooks.get(&place.webhook) else { continue };
            let sql = "INSERT INTO order_place (webhook, order_key, event, until)
                VALUES ($1, $2, $3, $4) ON CONFLICT (webhook, order_key, event) DO NOTHING";
            let until = self.now.saturating_add(OrderPlace::KEPT_MS);
            let values = [webhook.into(), order_key.as_str().into(), number.into(), until.into()];
            self.push(sql, values);
            self.loaded.places.entry(event).or_default().push((webhook, order_key));
        }
    }

    fn settle(&mut self, settlement: &Settlement) {
        let Settlement { event, kind, verdict, errors, deliveries } = settlement;
        let Some(stored) = self.loaded.events.get_mut(event).filter(|stored| stored.is_open) else {
            return;
        };
        stored.is_open = false;
        let stored = stored.clone();
        let times = self.times(deliveries, stored.has_payload);
        let sql = "UPDATE event SET kind = $2, verdict = $3, owner = NULL, adopted = false,
                planned = NULL, idle_since = $4, payload_idle_since = $5 WHERE id = $1";
        self.push(
            sql,
            [
                stored.number.into(),
                kind.as_str().into(),
                SqlValue::Bytes(verdict.clone()),
                times.idle_since.into(),
                times.payload_idle_since.into(),
            ],
        );
        // Rare, and their index is left alone otherwise.
        if let Some(codes) = codes(errors) {
            let sql = "UPDATE event SET errors = coalesce(errors || $2, $2) WHERE id = $1";
            self.push(sql, [stored.number.into(), codes.as_str().into()]);
        }
        self.add_deliveries(&stored, deliveries);
        self.end_places(*event, stored.number);
    }

    /// Returns the removed event, if it was open.
    fn discard(&mut self, event: Uuid) -> Option<LoadedEvent> {
        self.loaded.events.get(&event).filter(|stored| stored.is_open)?;
        let stored = self.loaded.events.remove(&event)?;
        for sql in ["DELETE FROM content WHERE event = $1", "DELETE FROM event WHERE id = $1"] {
            self.push(sql, [stored.number.into()]);
        }
        self.end_places(event, stored.number);
        Some(stored)
    }

    /// Ends the places of an event that is settled or discarded.
    fn end_places(&mut self, event: Uuid, number: i64) {
        let places = self.loaded.places.remove(&event).unwrap_or_default();
        if !places.is_empty() {
            let sql = "DELETE FROM order_place WHERE event = $1";
            self.push(sql, [number.into()]);
            self.orders.extend(places);
        }
    }

    fn replace(&mut self, event: &NewEvent) -> Result<(), StoreError> {
        if let Some(stored) = self.loaded.events.get_mut(&event.id).filter(|stored| stored.is_open)
        {
            let occurred_at = stored.occurred_at;
            *stored = LoadedEvent { occurred_at, ..LoadedEvent::new(stored.number, event, true)? };
            self.statements.extend(replace_event(stored.number, event)?);
        }
        Ok(())
    }

    fn publish(&mut self, event: &NewEvent, planned: &[NewDelivery]) -> Result<(), StoreError> {
        let has_payload = PayloadColumns::of(&event.payload)?.size.is_some();
        let times = self.times(planned, has_payload);
        if self.add_event(event, None, times)?.is_some()
            && let Some(stored) = self.loaded.events.get(&event.id).cloned()
        {
            self.add_deliveries(&stored, planned);
        }
        Ok(())
    }

    /// Returns the columns of an event that gets these as its first deliveries.
    fn times(&self, deliveries: &[NewDelivery], has_payload: bool) -> IdleTimes {
        let mut new = deliveries.iter().filter(|delivery| !self.is_stored(delivery)).peekable();
        IdleTimes {
            idle_since: new.peek().is_none().then_some(self.now),
            payload_idle_since: (has_payload && new.all(|delivery| delivery.mode != RAW))
                .then_some(self.now),
        }
    }

    fn is_stored(&self, delivery: &NewDelivery) -> bool {
        self.loaded.webhook_ids.contains(&*key(&delivery.webhook_id))
    }

    /// Adds an event's deliveries; existing webhook ids are skipped. Returns how many are new.
    fn add_deliveries(&mut self, event: &LoadedEvent, deliveries: &[NewDelivery]) -> usize {
        let added = deliveries.iter().filter(|delivery| {
            let pending = DeliveryState::Pending;
            self.add_delivery(event, delivery, pending, 0).is_some()
        });
        added.count()
    }

    /// Returns the webhook's number, `None` when the delivery exists already.
    fn add_delivery(
        &mut self,
        event: &LoadedEvent,
        delivery: &NewDelivery,
        state: DeliveryState,
        attempts: u32,
    ) -> Option<i64> {
        let webhook = *self.loaded.webhooks.get(&delivery.webhook)?;
        if !self.loaded.webhook_ids.insert(key(&delivery.webhook_id).into_owned()) {
            return None;
        }
        let order_key = delivery.order_key.as_deref().filter(|_| state == DeliveryState::Pending);
        // Until it is known which delivery is the first of its order.
        self.orders.extend(order_key.map(|order| (webhook, key(order).into_owned())));
        let columns = DeliveryColumns {
            event: event.number,
            occurred_at: event.occurred_at,
            webhook,
            state,
            attempts,
            tries: attempts,
            replay: false,
            blocked: order_key.is_some(),
        };
        self.statements.push(insert_delivery(delivery, &columns));
        self.moves.added(state, 1);
        Some(webhook)
    }

    fn enqueue(
        &mut self,
        event: Uuid,
        deliveries: &[NewDelivery],
    ) -> Result<CallOutcome, StoreError> {
        let stored = self.loaded.events.get(&event).filter(|stored| !stored.is_open).cloned();
        let stored = stored.ok_or(StoreError::UnknownEvent(event))?;
        let added = self.add_deliveries(&stored, deliveries);
        // An event that has delivered before keeps its idle time unless there is work again.
        if added > 0 {
            self.statements.extend(moves::mark_busy([stored.number]));
            let webhooks = deliveries.iter().map(|delivery| delivery.webhook.as_str());
            let webhooks = BTreeSet::from_iter(webhooks);
            let notices = webhooks.into_iter().map(|webhook| Statement::notify("due", webhook));
            self.statements.extend(notices);
        }
        Ok(CallOutcome::Enqueued(added as u64))
    }

    /// Stores a delivery that was made outside the queue.
    fn log(&mut self, made: &UnqueuedDelivery) -> Result<CallOutcome, StoreError> {
        let UnqueuedDelivery { event, delivery, attempt, state } = made;
        // Nothing is left to do where it failed, so that it is not among those that need a person.
        let kept = if *state == DeliveryState::Dead { DeliveryState::Cancelled } else { *state };
        if !self.is_stored(delivery)
            && let Some(number) = self.add_event(event, None, IdleTimes::default())?
            && let Some(stored) = self.loaded.events.get(&event.id).cloned()
            && let Some(webhook) = self.add_delivery(&stored, delivery, kept, 1)
        {
            self.statements.push(log_attempt_of(
                &delivery.webhook_id,
                webhook,
                attempt,
                *state,
                None,
            ));
            self.done.insert(number);
            self.payloads.insert(number);
        }
        Ok(CallOutcome::Written { files: Vec::new(), pieces: Vec::new(), due: BTreeSet::new() })
    }

    /// Returns whether it was written.
    fn record(&mut self, change: &RecordChange) -> bool {
        let record = &change.record;
        let key = key(&record.key).into_owned();
        let stored = self.loaded.records.get(&key);
        let holds = match &change.before {
            Before::Any => true,
            Before::Absent => stored.is_none_or(|(_, expires)| *expires <= self.now),
            Before::Body(body) => stored.is_some_and(|(stored, _)| stored == body),
        };
        if holds {
            let sql = "INSERT INTO note (key, body, due, expires) VALUES ($1, $2, $3, $4)
                ON CONFLICT (key) DO UPDATE
                    SET body = excluded.body, due = excluded.due, expires = excluded.expires";
            self.push(
                sql,
                [
                    key.as_str().into(),
                    SqlValue::Bytes(record.body.clone()),
                    record.due.into(),
                    record.expires.into(),
                ],
            );
            self.loaded.records.insert(key, (record.body.clone(), record.expires));
        }
        holds
    }
}
