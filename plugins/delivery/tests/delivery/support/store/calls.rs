//! What the outbox and the dispatcher call, on a store in memory.

use std::{sync::atomic::Ordering, time::Duration};

use as2hook_store::{
    AttemptRecord, AttemptRow, Claimed, DeliveryChange, DeliveryOutcome, DeliveryQueue,
    DeliveryState, DueWebhook, EventRow, EventStore, Filter, NewDelivery, Page, Record, SetAside,
    StoreError, StoredEvent, WebhookState, Write,
};
use async_trait::async_trait;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    MemoryStore,
    rows::{Event, Rows},
};

#[async_trait]
impl EventStore for MemoryStore {
    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<String>, StoreError> {
        let due = writes.iter().flat_map(Write::deliveries);
        let mut due: Vec<_> = due.map(|delivery| delivery.webhook.clone()).collect();
        let events: Vec<_> = writes.iter().filter_map(Write::event).collect();
        self.write(&events).await?;
        let mut rows = self.rows.lock().unwrap();
        let opens = writes.iter().any(|write| matches!(write, Write::Open(..)));
        writes.into_iter().try_for_each(|write| rows.write(write))?;
        if opens && self.committing_unseen.load(Ordering::SeqCst) {
            return Err(StoreError::Slow(Duration::from_secs(10)));
        }
        due.retain(|webhook| !self.claim_for_waiting(&mut rows, webhook));
        Ok(due)
    }

    async fn adopt(&self) -> Result<Vec<(StoredEvent, Vec<NewDelivery>)>, StoreError> {
        self.write(&[]).await?;
        let rows = self.rows.lock().unwrap();
        let left = rows.events.values().filter(|event| event.left);
        Ok(left.filter_map(|event| Some((stored(event), event.open.clone()?))).collect())
    }

    async fn event(&self, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        Ok(self.rows.lock().unwrap().events.get(&id).map(stored))
    }

    async fn events(
        &self,
        _filter: &Filter,
        _cursor: Option<i64>,
        _limit: usize,
    ) -> Result<Page<EventRow>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn records(&self, keys: &[String]) -> Result<Vec<Option<Record>>, StoreError> {
        Ok(vec![None; keys.len()])
    }

    async fn due_records(&self, _at: i64, _limit: usize) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl DeliveryQueue for MemoryStore {
    async fn due(&self) -> Result<Vec<DueWebhook>, StoreError> {
        self.write(&[]).await?;
        let rows = self.rows.lock().unwrap();
        let mut due: Vec<_> = rows
            .pending
            .iter()
            .filter_map(|(webhook, pending)| {
                let (due, _) = pending.first()?;
                Some(DueWebhook { webhook: webhook.clone(), due: *due })
            })
            .collect();
        due.sort_by_key(|due| due.due);
        Ok(due)
    }

    async fn claim(
        &self,
        webhook: &str,
        now: i64,
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError> {
        self.write(&[]).await?;
        let mut rows = self.rows.lock().unwrap();
        Ok(self.claim_due(&mut rows, webhook, now, limit))
    }

    async fn claim_next(&self, webhook: &str, limit: usize) -> Result<Vec<Claimed>, StoreError> {
        let (waiting, claimed) = oneshot::channel();
        if !self.is_shared.load(Ordering::SeqCst) {
            self.waiting.lock().unwrap().insert(webhook.to_owned(), (limit, waiting));
        }
        match claimed.await {
            Ok(claimed) => Ok(claimed),
            Err(_) => std::future::pending().await,
        }
    }

    async fn finish(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError> {
        self.write(&[]).await?;
        let unlogged = self.unlogged.lock().unwrap().clone();
        let refused = |record: &AttemptRecord| {
            record.attempt.is_some() && unlogged.contains(&record.delivery)
        };
        if attempts.iter().any(refused) {
            return Err(StoreError::Database("invalid byte sequence".into()));
        }
        let mut rows = self.rows.lock().unwrap();
        for record in attempts {
            let index = usize::try_from(record.delivery).unwrap();
            let due = rows.deliveries[index].new.due;
            let (state, due) = match record.outcome {
                DeliveryOutcome::Delivered => (DeliveryState::Delivered, due),
                DeliveryOutcome::Retry(at) | DeliveryOutcome::Released(at) => {
                    (DeliveryState::Pending, at)
                }
                DeliveryOutcome::Dead => (DeliveryState::Dead, due),
                DeliveryOutcome::Held => (DeliveryState::Held, due),
                DeliveryOutcome::Orphaned => (DeliveryState::Orphaned, due),
            };
            rows.set(index, state, due);
            if record.attempt.is_some() {
                rows.deliveries[index].attempts += 1;
                let asked = std::mem::take(&mut rows.deliveries[index].asked);
                rows.deliveries[index].tries += u32::from(!asked);
            }
            rows.attempts.push(record);
        }
        Ok(())
    }

    async fn change_state(
        &self,
        webhook: &str,
        from: DeliveryState,
        to: DeliveryState,
    ) -> Result<u64, StoreError> {
        self.write(&[]).await?;
        let mut rows = self.rows.lock().unwrap();
        let indexes: Vec<usize> = (0..rows.deliveries.len())
            .filter(|i| {
                rows.deliveries[*i].state == from && rows.deliveries[*i].new.webhook == webhook
            })
            .collect();
        for index in &indexes {
            rows.set(*index, to, 0);
        }
        Ok(indexes.len() as u64)
    }

    async fn change_deliveries(
        &self,
        change: DeliveryChange,
        filter: &Filter,
    ) -> Result<u64, StoreError> {
        assert_eq!(change, DeliveryChange::Recover, "what the dispatcher asks for");
        let mut rows = self.rows.lock().unwrap();
        let waiting: Vec<usize> = (0..rows.deliveries.len())
            .filter(|i| {
                let delivery = &rows.deliveries[*i];
                delivery.state == DeliveryState::Pending
                    && filter.webhook.as_ref() == Some(&delivery.new.webhook)
                    && delivery.new.due > now()
            })
            .collect();
        for index in &waiting {
            rows.set(*index, DeliveryState::Pending, now());
            rows.deliveries[*index].asked = true;
        }
        Ok(waiting.len() as u64)
    }

    async fn webhook_states(&self) -> Result<Vec<WebhookState>, StoreError> {
        Ok(self.rows.lock().unwrap().states.values().cloned().collect())
    }

    async fn set_webhook_state(&self, state: WebhookState) -> Result<(), StoreError> {
        self.write(&[]).await?;
        self.rows.lock().unwrap().states.insert(state.webhook.clone(), state);
        Ok(())
    }

    async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        let aside = [DeliveryState::Held, DeliveryState::Orphaned];
        let rows = self.rows.lock().unwrap();
        let aside = rows.deliveries.iter().filter(|delivery| aside.contains(&delivery.state));
        Ok(aside.map(|it| SetAside { webhook: it.new.webhook.clone(), state: it.state }).collect())
    }

    async fn attempts(
        &self,
        _filter: &Filter,
        _cursor: Option<i64>,
        _limit: usize,
    ) -> Result<Page<AttemptRow>, StoreError> {
        Err(StoreError::Closed)
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn stored(event: &Event) -> StoredEvent {
    StoredEvent {
        id: event.row.id,
        body: event.row.body.clone(),
        verdict: event.verdict.clone(),
        payload: event.row.payload.clone(),
    }
}

impl MemoryStore {
    fn claim_due(&self, rows: &mut Rows, webhook: &str, now: i64, limit: usize) -> Vec<Claimed> {
        let Some(pending) = rows.pending.get(webhook) else { return Vec::new() };
        let due = pending.iter().take_while(|(due, _)| *due <= now);
        let ids: Vec<usize> = due
            .map(|(_, id)| usize::try_from(*id).unwrap())
            .filter(|index| !rows.blocked(*index))
            .take(limit)
            .collect();
        let mut claimed = Vec::new();
        for index in ids {
            let due = rows.deliveries[index].new.due;
            rows.set(index, DeliveryState::Claimed, due);
            let delivery = &rows.deliveries[index];
            claimed.push(Claimed {
                id: delivery.id,
                webhook_id: delivery.new.webhook_id.clone(),
                webhook: webhook.into(),
                mode: delivery.new.mode.clone(),
                attempts: delivery.attempts,
                tries: delivery.tries,
                asked: delivery.asked,
                extra: delivery.attempts - delivery.tries,
                replay: false,
                event: stored(&rows.events[&delivery.event]),
            });
        }
        self.most_claimed.fetch_max(rows.claimed, Ordering::SeqCst);
        claimed
    }

    /// Claims for the call that waits for this webhook. Returns whether there is one.
    fn claim_for_waiting(&self, rows: &mut Rows, webhook: &str) -> bool {
        let Some((limit, waiting)) = self.waiting.lock().unwrap().remove(webhook) else {
            return false;
        };
        if waiting.is_closed() {
            return false;
        }
        let claimed = self.claim_due(rows, webhook, now(), limit);
        let Err(claimed) = waiting.send(claimed) else { return true };
        for claimed in claimed {
            rows.set(usize::try_from(claimed.id).unwrap(), DeliveryState::Pending, 0);
        }
        false
    }
}
