//! The calls of the store: those in a message's path go through the writer, the others directly to
//! the database.

use std::{
    path::PathBuf,
    sync::{PoisonError, atomic::Ordering},
};

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{
    PostgresStore, deliveries, events, gateways, lists, notes, partner_webhooks, pieces, queries,
    rows,
    writer::{CallResult, StoreCall},
};
use crate::{
    clock,
    gateways::{GatewayChange, GatewayReport},
    model::{
        AttemptRecord, Claimed, DeliveryState, DueWebhook, NewDelivery, SetAside, StoredEvent,
        WebhookState,
    },
    partner_webhook::{AttemptLog, PartnerWebhook, PartnerWebhookChange, UnqueuedDelivery},
    payload::StoreIdentity,
    query::{AttemptRow, DeliveryRow, EventRow, Filter, Page},
    record::Record,
    store::{Counts, DeliveryQueue, EventStore, Prune, PurgedPayloads, Store, StoreError},
    write::Write,
};

#[async_trait]
impl EventStore for PostgresStore {
    async fn commit(&self, mut writes: Vec<Write>) -> Result<(), StoreError> {
        // Each is a call of its own, since it returns what is to be removed after its commit.
        let discarded: Vec<_> =
            writes.extract_if(.., |write| matches!(write, Write::Discard(_))).collect();
        for event in discarded.iter().filter_map(Write::event) {
            self.discard(event).await?;
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.writer.run(StoreCall::Writes(writes)).await.map(drop)
    }

    async fn adopt(&self) -> Result<Vec<(StoredEvent, Vec<NewDelivery>)>, StoreError> {
        self.owner.reclaim().await?;
        if !clock::is_doubted() {
            self.writing.query("SELECT leave_late_places($1)", &[&clock::now()]).await?;
        }
        let sql = "SELECT e.uuid, c.body, e.planned FROM event e JOIN content c ON c.event = e.id
            WHERE e.owner = $1 AND e.adopted ORDER BY e.id";
        let rows = self.reading.query(sql, &[&self.owner.id()]).await?;
        rows.iter().map(rows::open_event).collect()
    }

    async fn event(&self, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        events::read(&self.reading, id).await
    }

    async fn events(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<EventRow>, StoreError> {
        Ok(lists::events(&self.reading, filter, cursor, limit).await?)
    }

    async fn record(&self, key: &str) -> Result<Option<Record>, StoreError> {
        notes::read(&self.reading, key).await
    }

    async fn due_records(&self, at: i64, limit: usize) -> Result<Vec<Record>, StoreError> {
        notes::due(&self.reading, at, limit).await
    }
}

#[async_trait]
impl DeliveryQueue for PostgresStore {
    async fn due(&self) -> Result<Vec<DueWebhook>, StoreError> {
        queries::due(&self.writing).await
    }

    async fn claim(
        &self,
        webhook: &str,
        now: i64,
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError> {
        let work = StoreCall::Claim { webhook: webhook.to_owned(), now, limit };
        match self.writer.run(work).await? {
            CallResult::Claimed(taken) => Ok(taken.keep()),
            CallResult::Done | CallResult::Discarded(_) => Ok(Vec::new()),
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
        self.writer.run(StoreCall::Finish(finished)).await.map(|_| ())
    }

    async fn change_state(
        &self,
        webhook: &str,
        from: DeliveryState,
        to: DeliveryState,
    ) -> Result<u64, StoreError> {
        let generation = GatewayReport::moving(self.generation(), from, to);
        deliveries::change_state(&self.writing, generation, webhook, from, to).await
    }

    async fn webhook_states(&self) -> Result<Vec<WebhookState>, StoreError> {
        queries::webhook_states(&self.reading).await
    }

    async fn set_webhook_state(&self, state: WebhookState) -> Result<(), StoreError> {
        queries::set_webhook_state(&self.writing, self.generation(), &state).await
    }

    async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        queries::set_aside(&self.reading).await
    }

    async fn attempts(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<AttemptRow>, StoreError> {
        Ok(lists::attempts(&self.reading, filter, cursor, limit).await?)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn newest(&self) -> Result<Option<i64>, StoreError> {
        queries::newest(&self.reading).await
    }

    async fn advance_due_times(&self, now: i64) -> Result<u64, StoreError> {
        deliveries::advance_due_times(&self.writing, now).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        queries::counts(&self.reading).await
    }

    async fn counts_of(&self, site: &str, webhooks: Vec<String>) -> Result<Counts, StoreError> {
        queries::counts_of(&self.reading, site, &webhooks).await
    }

    async fn prune(&self, what: Prune, limit: usize) -> Result<u64, StoreError> {
        match what {
            Prune::Events(before) => deliveries::prune(self.removal(), before, limit).await,
            Prune::EventsBeyond(keep) => {
                deliveries::prune_beyond(self.removal(), keep, limit).await
            }
            Prune::Attempts(before) => {
                deliveries::prune_attempts(&self.writing, before, limit).await
            }
            Prune::Records(at) => notes::forget(&self.writing, at, limit).await,
            Prune::RecordsBeyond(keep) => notes::trim(&self.writing, keep, limit).await,
        }
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        queries::bytes(&self.reading).await
    }

    async fn purge_payloads(
        &self,
        before: i64,
        limit: usize,
    ) -> Result<PurgedPayloads, StoreError> {
        deliveries::purge_payloads(self.removal(), before, limit).await
    }

    async fn enqueue(&self, event: Uuid, deliveries: Vec<NewDelivery>) -> Result<u64, StoreError> {
        events::add_deliveries(&self.writing, event, &deliveries).await
    }

    async fn replay(&self, filter: &Filter) -> Result<u64, StoreError> {
        deliveries::replay(&self.reading, &self.writing, filter).await
    }

    async fn deliveries(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        Ok(lists::deliveries(&self.reading, filter, cursor, limit).await?)
    }

    async fn partner_webhooks(&self) -> Result<Vec<PartnerWebhook>, StoreError> {
        partner_webhooks::all(&self.reading).await
    }

    async fn configure_partner_webhook(
        &self,
        change: PartnerWebhookChange,
    ) -> Result<Option<PartnerWebhook>, StoreError> {
        partner_webhooks::configure(&self.writing, &change).await
    }

    async fn log_attempt(&self, made: UnqueuedDelivery) -> Result<(), StoreError> {
        partner_webhooks::record(&self.writing, &made).await
    }

    async fn attempt_log(
        &self,
        webhook: &str,
        offset: u64,
        limit: usize,
    ) -> Result<AttemptLog, StoreError> {
        partner_webhooks::log(&self.reading, webhook, offset, limit).await
    }

    async fn identity(&self, root: Option<String>) -> Result<StoreIdentity, StoreError> {
        events::identity(&self.writing, root).await
    }

    async fn unnamed_payloads(&self, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, StoreError> {
        events::unnamed_payloads(&self.reading, files).await
    }

    async fn unnamed_blobs(&self, payloads: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        events::unnamed_pieces(&self.reading, &payloads).await
    }

    async fn report(&self, report: GatewayReport) -> Result<i64, StoreError> {
        let generation = gateways::report(&self.writing, &report).await?;
        self.generation.store(generation, Ordering::Relaxed);
        Ok(generation)
    }

    async fn gateways(&self, since: i64) -> Result<Vec<GatewayReport>, StoreError> {
        gateways::list(&self.reading, since).await
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
        self.reading.close();
        self.moving.close();
    }
}

impl PostgresStore {
    async fn discard(&self, event: Uuid) -> Result<(), StoreError> {
        if let CallResult::Discarded(left) = self.writer.run(StoreCall::Discard(event)).await? {
            let file = left.file.into_iter().collect();
            crate::payload::remove_files(self.payload_root.as_deref(), file).await;
            pieces::remove_all(&self.moving, left.pieces).await;
        }
        Ok(())
    }
}
