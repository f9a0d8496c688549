//! The calls of the store: each goes to the writing thread or to a reading connection.

use std::{path::PathBuf, sync::atomic::Ordering};

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{SqliteStore, identity, prune, queries, transaction};
use crate::{
    changes::{self, SetWebhookState},
    clock,
    gateways::{GatewayChange, GatewayReport},
    group::{CallGroup, CallOutcome, ClaimCall, ClaimHolding, StoreCall},
    model::{
        AttemptRecord, Claimed, DeliveryState, DueWebhook, NewDelivery, SetAside, StoredEvent,
        WebhookState,
    },
    moves, order,
    partner_webhook::{AttemptLog, PartnerWebhook, PartnerWebhookChange, UnqueuedDelivery},
    payload::StoreIdentity,
    query::{AttemptRow, DeliveryRow, EventRow, Filter, Page},
    record::Record,
    retention, select,
    store::{
        Counts, DeliveryQueue, EventStore, Prune, PurgedPayloads, Store, StoreError, replay_share,
    },
    transaction::ChangeExecutor as _,
    write::Write,
};

/// Bodies and payloads up to this many bytes are read with the claim, by the thread that all writes
/// wait for; larger ones are read by another.
const READ_ALONG: i64 = 32 * 1024;

#[async_trait]
impl EventStore for SqliteStore {
    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if let CallOutcome::Written { files, pieces } =
            self.perform(StoreCall::Writes(writes)).await?
        {
            self.remove_payloads(files, pieces).await;
        }
        Ok(())
    }

    async fn adopt(&self) -> Result<Vec<(StoredEvent, Vec<NewDelivery>)>, StoreError> {
        let (owners, own) = (self.owners.clone(), self.owner);
        let dead = self.readers.run(move |connection| owners.find_dead(connection, own)).await?;
        if !dead.is_empty() {
            // Their locks end with the work, whatever its result.
            self.writer
                .run(move |connection| {
                    dead.iter().try_for_each(|dead| dead.reclaim(connection, own))
                })
                .await?;
        }
        if !clock::is_doubted() {
            order::end_late_places(self).await?;
        }
        self.readers.select(select::adopted(own)).await
    }

    async fn event(&self, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        Ok(self.readers.select(select::event(id)).await?.pop())
    }

    async fn events(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<EventRow>, StoreError> {
        let rows = self.readers.select(select::events(filter, cursor, limit)).await?;
        Ok(Page::of(limit, rows))
    }

    async fn record(&self, key: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.readers.select(select::record(key)).await?.pop())
    }

    async fn due_records(&self, at: i64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.readers.select(select::due_records(at, limit)).await
    }
}

#[async_trait]
impl DeliveryQueue for SqliteStore {
    async fn due(&self) -> Result<Vec<DueWebhook>, StoreError> {
        moves::due(self).await
    }

    async fn claim(
        &self,
        webhook: &str,
        now: i64,
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError> {
        let claim = ClaimCall {
            webhook: webhook.to_owned(),
            now,
            limit,
            share: replay_share(limit),
            ticket: self.ticket.fetch_add(1, Ordering::Relaxed) + 1,
            read_along: READ_ALONG,
        };
        let group = CallGroup::of(self.owner, StoreCall::Claim(claim));
        let taken = self
            .writer
            .take(move |connection| match transaction::make(connection, &group)?.pop() {
                Some(Ok(CallOutcome::Claimed(taken))) => Ok(taken),
                _ => Ok(Vec::new()),
            })
            .await?;
        if !taken.is_partial() {
            return Ok(taken.keep());
        }
        Ok(self.readers.run(move |connection| taken.fill(connection)).await?.keep())
    }

    async fn finish(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError> {
        let holding = ClaimHolding { owner: self.owner, ticket: None };
        let finished = attempts.into_iter().map(|record| (record, holding)).collect();
        self.perform(StoreCall::Finish(finished)).await.map(drop)
    }

    async fn change_state(
        &self,
        webhook: &str,
        from: DeliveryState,
        to: DeliveryState,
    ) -> Result<u64, StoreError> {
        moves::change_state(self, self.generation.load(Ordering::Relaxed), webhook, from, to).await
    }

    async fn webhook_states(&self) -> Result<Vec<WebhookState>, StoreError> {
        self.readers.select(select::webhook_states()).await
    }

    async fn set_webhook_state(&self, state: WebhookState) -> Result<(), StoreError> {
        self.change(SetWebhookState(self.generation.load(Ordering::Relaxed), state)).await
    }

    async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        self.readers.select(select::set_aside()).await
    }

    async fn attempts(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<AttemptRow>, StoreError> {
        let rows = self.readers.select(select::attempts(filter, cursor, limit)).await?;
        Ok(Page::of(limit, rows))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn newest(&self) -> Result<Option<i64>, StoreError> {
        Ok(self.readers.select(select::newest()).await?.pop().and_then(|(at,)| at))
    }

    async fn advance_due_times(&self, now: i64) -> Result<u64, StoreError> {
        moves::advance_due_times(self, now).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        moves::counts(self).await
    }

    async fn counts_of(&self, site: &str, webhooks: Vec<String>) -> Result<Counts, StoreError> {
        let site = site.to_owned();
        self.readers.run(move |connection| queries::counts_of(connection, &site, &webhooks)).await
    }

    async fn prune(&self, what: Prune, limit: usize) -> Result<u64, StoreError> {
        let is_events = matches!(what, Prune::Events(_) | Prune::EventsBeyond(_));
        let removed = retention::remove(self, what, limit, prune::EVENTS).await?;
        if is_events {
            prune::shrink_file(&self.readers, &self.writer).await?;
        }
        Ok(removed)
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        self.readers.run(queries::bytes).await
    }

    async fn purge_payloads(
        &self,
        before: i64,
        limit: usize,
    ) -> Result<PurgedPayloads, StoreError> {
        let purged = retention::purge_payloads(self, before, limit).await?;
        if purged.events > 0 {
            self.writer.run(prune::shrink).await?;
        }
        Ok(purged)
    }

    async fn enqueue(&self, event: Uuid, deliveries: Vec<NewDelivery>) -> Result<u64, StoreError> {
        match self.perform(StoreCall::Enqueue(event, deliveries)).await? {
            CallOutcome::Enqueued(added) => Ok(added),
            _ => Ok(0),
        }
    }

    async fn replay(&self, filter: &Filter) -> Result<u64, StoreError> {
        moves::replay(self, filter).await
    }

    async fn deliveries(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        let rows = self.readers.select(select::deliveries(filter, cursor, limit)).await?;
        Ok(Page::of(limit, rows))
    }

    async fn partner_webhooks(&self) -> Result<Vec<PartnerWebhook>, StoreError> {
        let mut all: Vec<PartnerWebhook> = self.readers.select(select::partner_webhooks()).await?;
        all.sort_by(|a, b| (&a.site, a.partner).cmp(&(&b.site, b.partner)));
        Ok(all)
    }

    async fn configure_partner_webhook(
        &self,
        change: PartnerWebhookChange,
    ) -> Result<Option<PartnerWebhook>, StoreError> {
        self.change(change).await
    }

    async fn log_attempt(&self, made: UnqueuedDelivery) -> Result<(), StoreError> {
        self.perform(StoreCall::Log(made)).await.map(drop)
    }

    async fn attempt_log(
        &self,
        webhook: &str,
        offset: u64,
        limit: usize,
    ) -> Result<AttemptLog, StoreError> {
        let total = self.readers.select(select::attempt_count(webhook)).await?.pop();
        let rows = self.readers.select(select::attempt_log(webhook, offset, limit)).await?;
        Ok(AttemptLog { total: total.map_or(0, |(total,)| total), rows })
    }

    async fn identity(&self, root: Option<String>) -> Result<StoreIdentity, StoreError> {
        let path = self.path.clone();
        self.writer
            .run(move |connection| identity::identity(connection, &path, root.as_deref()))
            .await
    }

    async fn unnamed_payloads(&self, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, StoreError> {
        self.readers.run(move |connection| queries::unnamed_payloads(connection, files)).await
    }

    async fn unnamed_blobs(&self, payloads: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        self.readers.run(move |connection| queries::unnamed_pieces(connection, &payloads)).await
    }

    async fn report(&self, report: GatewayReport) -> Result<i64, StoreError> {
        let generation = self.change(report).await?;
        self.generation.store(generation, Ordering::Relaxed);
        Ok(generation)
    }

    async fn gateways(&self, since: i64) -> Result<Vec<GatewayReport>, StoreError> {
        self.readers.select(changes::gateways(clock::now().saturating_sub(since))).await
    }

    fn changes(&self) -> broadcast::Receiver<GatewayChange> {
        self.changes.subscribe()
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close();
    }
}

impl SqliteStore {
    /// Performs a call in a message's path.
    async fn perform(&self, call: StoreCall) -> Result<CallOutcome, StoreError> {
        let mut outcomes = self.change(CallGroup::of(self.owner, call)).await?;
        outcomes.pop().unwrap_or(Err(StoreError::Closed))
    }
}
