//! The calls of the outbox and the dispatcher on a store in memory. Other calls are not
//! implemented.

use std::{path::PathBuf, sync::atomic::Ordering, time::Duration};

use as2hook_store::{
    AttemptLog, AttemptRecord, AttemptRow, Claimed, Counts, DeliveryOutcome, DeliveryRow,
    DeliveryState, DueWebhook, EventRow, Filter, GatewayChange, GatewayReport, Made, NewDelivery,
    NewEvent, Page, PartnerWebhook, PartnerWebhookChange, PurgedPayloads, Record, SetAside,
    Settlement, Store, StoreError, StoreIdentity, StoredEvent, WebhookState, Write,
};
use async_trait::async_trait;
use uuid::Uuid;

use super::{MemoryStore, rows::Event};

#[async_trait]
impl Store for MemoryStore {
    async fn open(&self, event: NewEvent, if_unknown: Vec<NewDelivery>) -> Result<(), StoreError> {
        self.write(Some(event.id)).await?;
        let id = event.id;
        let stored = Event { row: event, verdict: None, open: Some(if_unknown), left: false };
        self.rows.lock().unwrap().events.insert(id, stored);
        if self.committing_unseen.load(Ordering::SeqCst) {
            return Err(StoreError::Slow(Duration::from_secs(10)));
        }
        Ok(())
    }

    async fn settle(&self, settlement: Settlement) -> Result<(), StoreError> {
        self.write(Some(settlement.event)).await?;
        let mut rows = self.rows.lock().unwrap();
        let Some(event) = rows.events.get_mut(&settlement.event) else {
            return Err(StoreError::UnknownEvent(settlement.event));
        };
        if event.open.take().is_none() {
            return Ok(());
        }
        event.verdict = Some(settlement.verdict);
        event.row.kind = settlement.kind;
        for new in settlement.deliveries {
            rows.add(settlement.event, new);
        }
        Ok(())
    }

    async fn discard(&self, event: Uuid) -> Result<(), StoreError> {
        self.write(Some(event)).await?;
        self.rows.lock().unwrap().events.remove(&event);
        Ok(())
    }

    async fn publish(&self, event: NewEvent, new: Vec<NewDelivery>) -> Result<(), StoreError> {
        self.write(Some(event.id)).await?;
        let mut rows = self.rows.lock().unwrap();
        let id = event.id;
        rows.events.insert(id, Event { row: event, verdict: None, open: None, left: false });
        for new in new {
            rows.add(id, new);
        }
        Ok(())
    }

    async fn apply(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        for write in writes {
            match write {
                Write::Open(event, if_unknown) => self.open(event, if_unknown).await?,
                Write::Settle(settlement) => self.settle(settlement).await?,
                Write::Publish(event, new) | Write::Once(_, event, new) => {
                    self.publish(event, new).await?;
                }
                Write::Replace(event) => {
                    let mut rows = self.rows.lock().unwrap();
                    if let Some(there) = rows.events.get_mut(&event.id)
                        && there.open.is_some()
                    {
                        there.row = event;
                    }
                }
                Write::Record(_) | Write::Reserve(..) => {}
            }
        }
        Ok(())
    }

    async fn note(&self, _key: &str) -> Result<Option<Record>, StoreError> {
        Ok(None)
    }

    async fn due_records(&self, _at: i64, _limit: usize) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }

    async fn remove_expired_records(&self, _at: i64, _limit: usize) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn trim_records(&self, _keep: u64, _limit: usize) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn adopt(&self) -> Result<Vec<(StoredEvent, Vec<NewDelivery>)>, StoreError> {
        self.write(None).await?;
        let rows = self.rows.lock().unwrap();
        let left = rows.events.values().filter(|event| event.left);
        Ok(left.filter_map(|event| Some((stored(event), event.open.clone()?))).collect())
    }

    async fn newest(&self) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }

    async fn advance_due_times(&self, _now: i64) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn due(&self) -> Result<Vec<DueWebhook>, StoreError> {
        self.write(None).await?;
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
        self.write(None).await?;
        let mut rows = self.rows.lock().unwrap();
        let Some(pending) = rows.pending.get(webhook) else { return Ok(Vec::new()) };
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
                replay: false,
                event: stored(&rows.events[&delivery.event]),
            });
        }
        self.most_claimed.fetch_max(rows.claimed, Ordering::SeqCst);
        Ok(claimed)
    }

    async fn finish(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError> {
        self.write(None).await?;
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
            let (state, due) = match record.fate {
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
                rows.deliveries[index].tries += 1;
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
        self.write(None).await?;
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

    async fn webhook_states(&self) -> Result<Vec<WebhookState>, StoreError> {
        Ok(self.rows.lock().unwrap().states.values().cloned().collect())
    }

    async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        let aside = [DeliveryState::Held, DeliveryState::Orphaned];
        let rows = self.rows.lock().unwrap();
        let aside = rows.deliveries.iter().filter(|delivery| aside.contains(&delivery.state));
        Ok(aside.map(|it| SetAside { webhook: it.new.webhook.clone(), state: it.state }).collect())
    }

    async fn set_webhook_state(&self, state: WebhookState) -> Result<(), StoreError> {
        self.write(None).await?;
        self.rows.lock().unwrap().states.insert(state.webhook.clone(), state);
        Ok(())
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        Ok(Counts::default())
    }

    async fn counts_of(&self, _site: &str, _webhooks: Vec<String>) -> Result<Counts, StoreError> {
        Ok(Counts::default())
    }

    async fn purge_payloads(
        &self,
        _before: i64,
        _limit: usize,
    ) -> Result<PurgedPayloads, StoreError> {
        Ok(PurgedPayloads::default())
    }

    async fn prune(&self, _before: i64, _limit: usize) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn prune_beyond(&self, _keep: u64, _limit: usize) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn prune_attempts(&self, _before: i64, _limit: usize) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn enqueue(&self, _event: Uuid, _new: Vec<NewDelivery>) -> Result<u64, StoreError> {
        Err(StoreError::Closed)
    }

    async fn replay(&self, _filter: &Filter) -> Result<u64, StoreError> {
        Err(StoreError::Closed)
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

    async fn deliveries(
        &self,
        _filter: &Filter,
        _cursor: Option<i64>,
        _limit: usize,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn attempts(
        &self,
        _filter: &Filter,
        _cursor: Option<i64>,
        _limit: usize,
    ) -> Result<Page<AttemptRow>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn partner_webhooks(&self) -> Result<Vec<PartnerWebhook>, StoreError> {
        Ok(Vec::new())
    }

    async fn configure_partner_webhook(
        &self,
        _change: PartnerWebhookChange,
    ) -> Result<Option<PartnerWebhook>, StoreError> {
        Err(StoreError::Closed)
    }

    async fn record(&self, _made: Made) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn attempt_log(
        &self,
        _webhook: &str,
        _offset: u64,
        _limit: usize,
    ) -> Result<AttemptLog, StoreError> {
        Err(StoreError::Closed)
    }

    async fn identity(&self, _root: Option<String>) -> Result<StoreIdentity, StoreError> {
        Err(StoreError::Closed)
    }

    async fn unnamed_payloads(&self, _files: Vec<PathBuf>) -> Result<Vec<PathBuf>, StoreError> {
        Ok(Vec::new())
    }

    async fn unnamed_pieces(&self, _payloads: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        Ok(Vec::new())
    }

    async fn report(&self, _report: GatewayReport) -> Result<i64, StoreError> {
        Ok(1)
    }

    async fn gateways(&self, _since: i64) -> Result<Vec<GatewayReport>, StoreError> {
        Ok(Vec::new())
    }

    fn changes(&self) -> tokio::sync::broadcast::Receiver<GatewayChange> {
        tokio::sync::broadcast::channel(1).1
    }

    async fn close(&self) {}
}

fn stored(event: &Event) -> StoredEvent {
    StoredEvent {
        id: event.row.id,
        body: event.row.body.clone(),
        verdict: event.verdict.clone(),
        payload: event.row.payload.clone(),
    }
}
