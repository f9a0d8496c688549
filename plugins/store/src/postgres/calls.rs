//! The calls of the store: those in a message's path go through the writer, the others directly to
//! the database.

use std::{
    path::PathBuf,
    sync::{PoisonError, atomic::Ordering},
};

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{PostgresStore, queries, writer::CallResult};
use crate::{
    changes::{self, SetWebhookState},
    clock, columns,
    gateways::{GatewayChange, GatewayReport},
    group::{CallGroup, CallOutcome, ClaimCall, StoreCall},
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

/// The most events that one transaction removes.
const PRUNED: usize = 200;

#[async_trait]
impl EventStore for PostgresStore {
    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        if let CallResult::Done(CallOutcome::Written { files, pieces }) =
            self.writer.run(StoreCall::Writes(writes)).await?
        {
            self.remove_payloads(files, pieces).await;
        }
        Ok(())
    }

    async fn adopt(&self) -> Result<Vec<(StoredEvent, Vec<NewDelivery>)>, StoreError> {
        self.owner.reclaim().await?;
        if !clock::is_doubted() {
            order::end_late_places(self).await?;
        }
        self.reading.select(select::adopted(self.owner.id().into())).await
    }

    async fn event(&self, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        Ok(self.reading.select(select::event(id)).await?.pop())
    }

    async fn events(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<EventRow>, StoreError> {
        let rows = self.reading.select(select::events(filter, cursor, limit)).await?;
        Ok(Page::of(limit, rows))
    }

    async fn record(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let found = self.reading.select(select::record(&columns::key(key))).await?.pop();
        // With the key in full, as the caller passed it.
        Ok(found.map(|record| Record { key: key.to_owned(), ..record }))
    }

    async fn due_records(&self, at: i64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.reading.select(select::due_records(at, limit)).await
    }
}

#[async_trait]
impl DeliveryQueue for PostgresStore {
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
            ticket: 0,
            read_along: i64::from(i32::MAX),
        };
        match self.writer.run(StoreCall::Claim(claim)).await? {
            CallResult::Claimed(taken) => Ok(taken.keep()),
            CallResult::Done(_) => Ok(Vec::new()),
        }
    }

    async fn finish(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError> {
        let finished: Vec<_> = attempts
            .into_iter()
            .filter_map(|record| Some((self.claims.holding(record.delivery)?, record)))
            .map(|(holding, record)| (record, holding))
            .collect();
        if finished.is_empty() {
            return Ok(());
        }
        self.writer.run(StoreCall::Finish(finished)).await.map(drop)
    }

    async fn change_state(
        &self,
        webhook: &str,
        from: DeliveryState,
        to: DeliveryState,
    ) -> Result<u64, StoreError> {
        moves::change_state(self, self.generation(), webhook, from, to).await
    }

    async fn webhook_states(&self) -> Result<Vec<WebhookState>, StoreError> {
        self.reading.select(select::webhook_states()).await
    }

    async fn set_webhook_state(&self, state: WebhookState) -> Result<(), StoreError> {
        self.change(SetWebhookState(self.generation(), state)).await
    }

    async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        self.reading.select(select::set_aside()).await
    }

    async fn attempts(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<AttemptRow>, StoreError> {
        let rows = self.reading.select(select::attempts(filter, cursor, limit)).await?;
        Ok(Page::of(limit, rows))
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn newest(&self) -> Result<Option<i64>, StoreError> {
        Ok(self.reading.select(select::newest()).await?.pop().and_then(|(at,)| at))
    }

    async fn advance_due_times(&self, now: i64) -> Result<u64, StoreError> {
        moves::advance_due_times(self, now).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        moves::counts(self).await
    }

    async fn counts_of(&self, site: &str, webhooks: Vec<String>) -> Result<Counts, StoreError> {
        queries::counts_of(&self.reading, site, &webhooks).await
    }

    async fn prune(&self, what: Prune, limit: usize) -> Result<u64, StoreError> {
        retention::remove(self, what, limit, PRUNED).await
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        queries::bytes(&self.reading).await
    }

    async fn purge_payloads(
        &self,
        before: i64,
        limit: usize,
    ) -> Result<PurgedPayloads, StoreError> {
        retention::purge_payloads(self, before, limit).await
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
        let rows = self.reading.select(select::deliveries(filter, cursor, limit)).await?;
        Ok(Page::of(limit, rows))
    }

    async fn partner_webhooks(&self) -> Result<Vec<PartnerWebhook>, StoreError> {
        let mut all: Vec<PartnerWebhook> = self.reading.select(select::partner_webhooks()).await?;
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
        let total = self.reading.select(select::attempt_count(webhook)).await?.pop();
        let rows = self.reading.select(select::attempt_log(webhook, offset, limit)).await?;
        Ok(AttemptLog { total: total.map_or(0, |(total,)| total), rows })
    }

    async fn identity(&self, root: Option<String>) -> Result<StoreIdentity, StoreError> {
        queries::identity(&self.writing, root).await
    }

    async fn unnamed_payloads(&self, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, StoreError> {
        queries::unnamed_payloads(&self.reading, files).await
    }

    async fn unnamed_blobs(&self, payloads: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        queries::unnamed_pieces(&self.reading, &payloads).await
    }

    async fn report(&self, report: GatewayReport) -> Result<i64, StoreError> {
        let generation = self.change(report).await?;
        self.generation.store(generation, Ordering::Relaxed);
        Ok(generation)
    }

    async fn gateways(&self, since: i64) -> Result<Vec<GatewayReport>, StoreError> {
        self.reading.select(changes::gateways(clock::now().saturating_sub(since))).await
    }

    fn changes(&self) -> broadcast::Receiver<GatewayChange> {
        self.changes.subscribe()
    }

    fn round_trips(&self) -> Option<u64> {
        Some(Self::round_trips(self))
    }

    async fn close(&self) {
        self.writer.close().await;
        let mut senders = self.senders.lock().await;
        if senders.is_empty() {
            return;
        }
        let ended = async { while senders.join_next().await.is_some() {} };
        if tokio::time::timeout(self.wait, ended).await.is_err() {
            tracing::warn!("The store is still busy; queued writes may be lost.");
        }
        senders.abort_all();
        self.attendants.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        if let Err(error) = self.owner.release().await {
            // Its lease ends soon, and another process adopts what is left.
            let error = StoreError::from(error);
            tracing::warn!(
                %error,
                "The store could not release this process's claims; another process takes them \
                 over when the lease ends."
            );
        }
        self.writing.close();
        self.changing.close();
        self.reading.close();
        self.moving.close();
    }
}

impl PostgresStore {
    /// Performs a call outside of a message's path.
    async fn perform(&self, call: StoreCall) -> Result<CallOutcome, StoreError> {
        let group = CallGroup::of(self.owner.id().into(), call);
        self.change(group).await?.pop().unwrap_or(Err(StoreError::Closed))
    }
}
