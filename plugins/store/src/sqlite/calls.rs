//! The store's calls, each handed to the thread that writes or to a connection that reads.

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{
    SqliteStore, deliveries, events, gateways, lists, notes, owner::DeadOwner, partner_webhooks,
    queries, steps, tally,
};
use crate::{
    gateways::{Change, GatewayReport},
    model::{
        AttemptRecord, Claimed, DeliveryState, DueWebhook, NewDelivery, NewEvent, Settlement,
        StoredEvent, WebhookState,
    },
    note::{Note, Write},
    partner_webhook::{AttemptLog, Made, PartnerWebhook, PartnerWebhookChange},
    query::{AttemptRow, DeliveryRow, EventRow, Filter, Page},
    store::{Counts, Spent, Store, StoreError},
};

#[async_trait]
impl Store for SqliteStore {
    async fn open(&self, event: NewEvent, if_unknown: Vec<NewDelivery>) -> Result<(), StoreError> {
        let owner = Some(self.owner);
        self.writer
            .run(move |connection| {
                events::insert(connection, &event, owner, &if_unknown).map(|_| ())
            })
            .await
    }

    async fn settle(&self, settlement: Settlement) -> Result<(), StoreError> {
        self.writer.run(move |connection| events::settle(connection, &settlement)).await
    }

    async fn discard(&self, event: Uuid) -> Result<(), StoreError> {
        let file = self.writer.run(move |connection| events::discard(connection, event)).await?;
        crate::payload::remove_files(file.into_iter().collect()).await;
        Ok(())
    }

    async fn publish(
        &self,
        event: NewEvent,
        deliveries: Vec<NewDelivery>,
    ) -> Result<(), StoreError> {
        self.writer.run(move |connection| events::publish(connection, &event, &deliveries)).await
    }

    async fn apply(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let owner = self.owner;
        self.writer
            .run(move |connection| {
                writes.iter().try_for_each(|write| notes::apply(connection, owner, write))
            })
            .await
    }

    async fn note(&self, key: &str) -> Result<Option<Note>, StoreError> {
        let key = key.to_owned();
        self.readers.run(move |connection| notes::read(connection, &key)).await
    }

    async fn due_notes(&self, at: i64, limit: usize) -> Result<Vec<Note>, StoreError> {
        self.readers.run(move |connection| notes::due(connection, at, limit)).await
    }

    async fn forget_notes(&self, at: i64, limit: usize) -> Result<u64, StoreError> {
        self.writer.run(move |connection| notes::forget(connection, at, limit)).await
    }

    async fn adopt(&self) -> Result<Vec<(StoredEvent, Vec<NewDelivery>)>, StoreError> {
        let (path, own) = (self.path.clone(), self.owner);
        let dead =
            self.readers.run(move |connection| DeadOwner::find(&path, connection, own)).await?;
        if !dead.is_empty() {
            // Their locks go with the work, whatever becomes of it.
            self.writer
                .run(move |connection| dead.iter().try_for_each(|dead| dead.bury(connection, own)))
                .await?;
        }
        self.readers.run(move |connection| events::adopted(connection, own)).await
    }

    async fn due(&self) -> Result<Vec<DueWebhook>, StoreError> {
        self.readers.run(queries::due).await
    }

    async fn claim(
        &self,
        webhook: &str,
        now: i64,
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError> {
        let (owner, webhook) = (self.owner, webhook.to_owned());
        let taken = self
            .writer
            .take(move |connection| deliveries::claim(connection, owner, &webhook, now, limit))
            .await?;
        if !taken.is_partial() {
            return Ok(taken.keep());
        }
        Ok(self.readers.run(move |connection| taken.fill(connection)).await?.keep())
    }

    async fn finish(&self, attempts: Vec<AttemptRecord>) -> Result<(), StoreError> {
        let owner = self.owner;
        self.writer.run(move |connection| deliveries::finish(connection, owner, &attempts)).await
    }

    async fn shift(
        &self,
        webhook: &str,
        from: DeliveryState,
        to: DeliveryState,
    ) -> Result<u64, StoreError> {
        steps::shift(&self.readers, &self.writer, webhook, from, to).await
    }

    async fn webhook_states(&self) -> Result<Vec<WebhookState>, StoreError> {
        self.readers.run(queries::webhook_states).await
    }

    async fn set_webhook_state(&self, state: WebhookState) -> Result<(), StoreError> {
        self.writer.run(move |connection| queries::set_webhook_state(connection, &state)).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.readers.run(tally::counts).await
    }

    async fn prune(&self, before: i64, limit: usize) -> Result<u64, StoreError> {
        steps::prune(&self.readers, &self.writer, before, limit).await
    }

    async fn prune_beyond(&self, keep: u64, limit: usize) -> Result<u64, StoreError> {
        steps::prune_beyond(&self.readers, &self.writer, keep, limit).await
    }

    async fn prune_attempts(&self, before: i64, limit: usize) -> Result<u64, StoreError> {
        steps::prune_attempts(&self.writer, before, limit).await
    }

    async fn spend(&self, before: i64, limit: usize) -> Result<Spent, StoreError> {
        steps::spend(&self.writer, before, limit).await
    }

    async fn tell(&self, event: Uuid, deliveries: Vec<NewDelivery>) -> Result<u64, StoreError> {
        self.writer.run(move |connection| events::tell(connection, event, &deliveries)).await
    }

    async fn replay(&self, filter: &Filter) -> Result<u64, StoreError> {
        steps::replay(&self.readers, &self.writer, filter).await
    }

    async fn event(&self, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        self.readers.run(move |connection| events::read(connection, id)).await
    }

    async fn events(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<EventRow>, StoreError> {
        let filter = filter.clone();
        self.readers.run(move |connection| lists::events(connection, &filter, cursor, limit)).await
    }

    async fn deliveries(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<DeliveryRow>, StoreError> {
        let filter = filter.clone();
        self.readers
            .run(move |connection| lists::deliveries(connection, &filter, cursor, limit))
            .await
    }

    async fn attempts(
        &self,
        filter: &Filter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Page<AttemptRow>, StoreError> {
        let filter = filter.clone();
        self.readers
            .run(move |connection| lists::attempts(connection, &filter, cursor, limit))
            .await
    }

    async fn partner_webhooks(&self) -> Result<Vec<PartnerWebhook>, StoreError> {
        self.readers.run(partner_webhooks::all).await
    }

    async fn configure_partner_webhook(
        &self,
        change: PartnerWebhookChange,
    ) -> Result<Option<PartnerWebhook>, StoreError> {
        self.writer.run(move |connection| partner_webhooks::configure(connection, &change)).await
    }

    async fn record(&self, made: Made) -> Result<(), StoreError> {
        self.writer.run(move |connection| partner_webhooks::record(connection, &made)).await
    }

    async fn attempt_log(
        &self,
        webhook: &str,
        offset: u64,
        limit: usize,
    ) -> Result<AttemptLog, StoreError> {
        let webhook = webhook.to_owned();
        self.readers
            .run(move |connection| partner_webhooks::log(connection, &webhook, offset, limit))
            .await
    }

    async fn unnamed_payloads(&self, files: Vec<PathBuf>) -> Result<Vec<PathBuf>, StoreError> {
        self.readers.run(move |connection| events::unnamed_payloads(connection, files)).await
    }

    async fn unnamed_pieces(&self, payloads: Vec<Uuid>) -> Result<Vec<Uuid>, StoreError> {
        self.readers.run(move |connection| events::unnamed_pieces(connection, &payloads)).await
    }

    async fn report(&self, report: GatewayReport) -> Result<(), StoreError> {
        self.writer.run(move |connection| gateways::report(connection, &report)).await
    }

    async fn gateways(&self, since: i64) -> Result<Vec<GatewayReport>, StoreError> {
        self.readers.run(move |connection| gateways::list(connection, since)).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close();
    }
}
