//! The calls of both stores.

use std::{collections::HashSet, path::PathBuf, sync::atomic::Ordering};

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    backend::StoreBackend,
    changes::{self, SetWebhookState},
    clock,
    columns::key,
    gateways::{GatewayChange, GatewayReport},
    group::{CallGroup, CallOutcome, StoreCall},
    lists,
    model::{
        AttemptRecord, AuditEntry, Claimed, DeliveryState, DueWebhook, NewDelivery, SetAside,
        StoredEvent, WebhookState,
    },
    moves,
    partner_webhook::{AttemptLog, PartnerWebhook, PartnerWebhookChange, UnqueuedDelivery},
    payload::StoreIdentity,
    query::{AttemptRow, DeliveryRow, DeliveryTally, EventRow, EventTally, Filter, Page},
    record::Record,
    retention, select,
    steering::{self, DeliveryChange},
    store::{Counts, DeliveryQueue, EventStore, Prune, PurgedPayloads, Store, StoreError},
    write::Write,
};

#[async_trait]
#[allow(private_bounds, reason = "what a database does itself is no part of the interface")]
impl<B: StoreBackend> EventStore for B {
    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<String>, StoreError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let CallOutcome::Written { files, pieces, due } =
            self.perform(StoreCall::Writes(writes)).await?
        else {
            return Ok(Vec::new());
        };
        self.remove_payloads(files, pieces).await;
        Ok(due.into_iter().collect())
    }

    async fn adopt(&self) -> Result<Vec<(StoredEvent, Vec<NewDelivery>)>, StoreError> {
        self.reclaim().await?;
        if !clock::is_doubted() {
            moves::end_late_places(self).await?;
        }
        self.find(select::adopted(self.owner())).await
    }

    async fn event(&self, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        Ok(self.find(select::event(id)).await?.pop())
    }

    async fn events(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<EventRow>, StoreError> {
        lists::events(self, filter, cursor, limit).await
    }

    async fn records(&self, keys: &[String]) -> Result<Vec<Option<Record>>, StoreError> {
        let stored: Vec<_> = keys.iter().map(|name| key(name).into_owned()).collect();
        let found: Vec<Record> = self.look_up(select::records(stored.clone())).await?;
        let record = |(name, stored): (&String, _)| {
            let record = found.iter().find(|record| record.key == stored)?;
            // With the key in full, as the caller passed it.
            Some(Record { key: name.clone(), ..record.clone() })
        };
        Ok(keys.iter().zip(stored).map(record).collect())
    }

    async fn due_records(&self, at: i64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.find(select::due_records(at, limit)).await
    }
}

#[async_trait]
#[allow(private_bounds, reason = "what a database does itself is no part of the interface")]
impl<B: StoreBackend> DeliveryQueue for B {
    async fn due(&self) -> Result<Vec<DueWebhook>, StoreError> {
        moves::due(self).await
    }

    async fn claim(
        &self,
        webhook: &str,
        now: i64,
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError> {
        self.take(webhook, now, limit).await
    }

    async fn claim_next(&self, webhook: &str, limit: usize) -> Result<Vec<Claimed>, StoreError> {
        self.take_next(webhook, limit).await
    }

    async fn finish(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError> {
        let held = attempts.into_iter().filter_map(|record| {
            let holding = self.holding(record.delivery)?;
            Some((record, holding))
        });
        let finished: Vec<_> = held.collect();
        if finished.is_empty() {
            return Ok(());
        }
        self.perform(StoreCall::Finish(finished)).await.map(drop)
    }

    async fn change_state(
        &self,
        webhook: &str,
        from: DeliveryState,
        to: DeliveryState,
    ) -> Result<u64, StoreError> {
        let generation = self.generation().load(Ordering::Relaxed);
        moves::change_state(self, generation, webhook, from, to).await
    }

    async fn change_deliveries(
        &self,
        change: DeliveryChange,
        filter: &Filter,
    ) -> Result<u64, StoreError> {
        steering::change(self, change, filter).await
    }

    async fn webhook_states(&self) -> Result<Vec<WebhookState>, StoreError> {
        self.find(select::webhook_states()).await
    }

    async fn set_webhook_state(&self, state: WebhookState) -> Result<(), StoreError> {
        self.change(SetWebhookState(self.generation().load(Ordering::Relaxed), state)).await
    }

    async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        self.find(select::set_aside()).await
    }

    async fn attempts(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<AttemptRow>, StoreError> {
        Ok(Page::of(limit, self.find(select::attempts(filter, cursor, limit)).await?))
    }
}

#[async_trait]
#[allow(private_bounds, reason = "what a database does itself is no part of the interface")]
impl<B: StoreBackend> Store for B {
    async fn newest(&self) -> Result<Option<i64>, StoreError> {
        Ok(self.find(select::newest()).await?.pop().and_then(|(at,)| at))
    }

    async fn advance_due_times(&self, now: i64) -> Result<u64, StoreError> {
        moves::advance_due_times(self, now).await
    }

    async fn deliveries(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        lists::deliveries(self, filter, cursor, limit).await
    }

    async fn count_deliveries(&self, filter: &Filter, most: u64) -> Result<u64, StoreError> {
        Ok(self.find(select::count_deliveries(filter, most)).await?.pop().map_or(0, |(n,)| n))
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        moves::counts(self).await
    }

    async fn tally(&self, filter: &Filter, most: u64) -> Result<Vec<DeliveryTally>, StoreError> {
        use DeliveryState::{Claimed, Dead, Held, Orphaned, Pending};
        let states = filter
            .state
            .map_or_else(|| vec![Pending, Claimed, Dead, Held, Orphaned], |state| vec![state]);
        let mut tallies: Vec<DeliveryTally> =
            self.find(select::tally(filter, &states, most)).await?;
        tallies.retain(|tally| tally.count > 0);
        Ok(tallies)
    }

    async fn tally_events(&self, events: &[Uuid]) -> Result<Vec<EventTally>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        self.find(select::tally_events(events)).await
    }

    async fn counts_of(&self, site: &str, webhooks: Vec<String>) -> Result<Counts, StoreError> {
        moves::counts_of(self, site, webhooks).await
    }

    async fn enqueue(&self, event: Uuid, deliveries: Vec<NewDelivery>) -> Result<u64, StoreError> {
        let call = StoreCall::Enqueue(event, deliveries);
        match self.change(CallGroup::of(self.owner(), call)).await?.pop().transpose()? {
            Some(CallOutcome::Enqueued(added)) => Ok(added),
            _ => Ok(0),
        }
    }

    async fn prune(&self, what: Prune, limit: usize) -> Result<u64, StoreError> {
        let removed = retention::remove(self, what, limit).await?;
        if matches!(what, Prune::Events(_) | Prune::EventsBeyond(_)) {
            self.shrink().await?;
        }
        Ok(removed)
    }

    async fn purge_payloads(
        &self,
        before: i64,
        limit: usize,
    ) -> Result<PurgedPayloads, StoreError> {
        let purged = retention::purge_payloads(self, before, limit).await?;
        if purged.events > 0 {
            self.shrink().await?;
        }
        Ok(purged)
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        self.used_bytes().await
    }

    async fn partner_webhooks(&self) -> Result<Vec<PartnerWebhook>, StoreError> {
        let mut all: Vec<PartnerWebhook> = self.find(select::partner_webhooks()).await?;
        all.sort_by(|a, b| (&a.site, a.partner).cmp(&(&b.site, b.partner)));
        Ok(all)
    }

    async fn configure_partner_webhook(
        &self,
        change: PartnerWebhookChange,
    ) -> Result<Option<PartnerWebhook>, StoreError> {
        self.change(change).await
    }

    async fn audit(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.change(entry).await
    }

    async fn audit_log(
        &self,
        site: &str,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<AuditEntry>, StoreError> {
        Ok(Page::of(limit, self.find(select::audit_log(site, cursor, limit)).await?))
    }

    async fn log_attempt(&self, made: UnqueuedDelivery) -> Result<(), StoreError> {
        let group = CallGroup::of(self.owner(), StoreCall::Log(Box::new(made)));
        self.change(group).await?.pop().transpose().map(drop)
    }

    async fn attempt_log(
        &self,
        webhook: &str,
        offset: u64,
        limit: usize,
    ) -> Result<AttemptLog, StoreError> {
        let total = self.find(select::attempt_count(webhook)).await?.pop();
        let rows = self.find(select::attempt_log(webhook, offset, limit)).await?;
        Ok(AttemptLog { total: total.map_or(0, |(total,)| total), rows })
    }

    async fn identity(&self, root: Option<String>) -> Result<StoreIdentity, StoreError> {
        self.identify(root).await
    }

    async fn unnamed_payloads(&self, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, StoreError> {
        // No event can name a path that is not UTF-8.
        let name = |file: &PathBuf| Some(file.file_name()?.to_str()?.to_owned());
        let names = files.iter().filter_map(name).collect();
        let named: Vec<(String,)> = self.find(select::named_files(names)).await?;
        let named = HashSet::<String>::from_iter(named.into_iter().map(|(name,)| name));
        let is_named = |file: &PathBuf| name(file).is_some_and(|name| named.contains(&name));
        Ok(files.into_iter().filter(|file| !is_named(file)).collect())
    }

    async fn unnamed_blobs(&self, payloads: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        let named: Vec<(Uuid,)> = self.find(select::named_pieces(payloads.clone())).await?;
        Ok(payloads.into_iter().filter(|payload| !named.contains(&(*payload,))).collect())
    }

    async fn report(&self, report: GatewayReport) -> Result<i64, StoreError> {
        let generation = self.change(report).await?;
        self.generation().store(generation, Ordering::Relaxed);
        Ok(generation)
    }

    async fn gateways(&self, since: i64) -> Result<Vec<GatewayReport>, StoreError> {
        self.find(changes::gateways(clock::now().saturating_sub(since))).await
    }

    fn changes(&self) -> broadcast::Receiver<GatewayChange> {
        self.subscribe()
    }

    fn round_trips(&self) -> Option<u64> {
        self.trips()
    }

    async fn close(&self) {
        self.shut().await;
    }
}
