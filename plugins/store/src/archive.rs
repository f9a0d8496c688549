//! A whole store as plain rows: how a site moves from one store to another. Times are milliseconds
//! since 1970.

mod migrate;

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    model::{Attempt, DeliveryState, NewDelivery, NewEvent, WebhookState},
    note::Note,
    partner_webhook::PartnerWebhook,
    store::StoreError,
};

pub use self::migrate::{MigrateError, Moved, migrate};

/// An event with all that is known of it but its deliveries.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedEvent {
    /// The store's number for it; events are archived in this order.
    pub number: i64,
    /// The event and its payload.
    pub event: NewEvent,
    /// Its outcome, where it has one.
    pub verdict: Option<Vec<u8>>,
    /// Set while its outcome is not known: who is told if it never is.
    pub open: Option<Vec<NewDelivery>>,
    /// Since when nothing is left to do for it.
    pub idle_since: Option<i64>,
}

/// A delivery with its attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedDelivery {
    /// The store's number for it; deliveries are archived in this order, which is the order in which
    /// those of one order key are made.
    pub number: i64,
    /// The event that it tells.
    pub event: Uuid,
    /// What was asked for.
    pub delivery: NewDelivery,
    /// Where it stands; one that a process had claimed is pending.
    pub state: DeliveryState,
    /// Attempts ever made.
    pub attempts: u32,
    /// Attempts made since the last replay.
    pub tries: u32,
    /// Whether somebody asked for it again.
    pub replay: bool,
    /// The attempts that are still logged, oldest first.
    pub log: Vec<ArchivedAttempt>,
}

/// An attempt, and what became of the delivery by it.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedAttempt {
    /// The attempt.
    pub attempt: Attempt,
    /// See [`crate::AttemptRow::state`].
    pub state: DeliveryState,
    /// See [`crate::AttemptRow::next_at`].
    pub next_at: Option<i64>,
}

/// What a store keeps besides events and deliveries; little enough to be moved at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArchivedRest {
    /// The health of webhooks.
    pub webhook_states: Vec<WebhookState>,
    /// The webhooks of the config API.
    pub partner_webhooks: Vec<PartnerWebhook>,
}

/// Where a site moves from. Nothing else may use the store meanwhile.
#[async_trait]
pub trait Export: Send + Sync {
    /// Whether another living process has the store open.
    async fn in_use(&self) -> Result<bool, StoreError>;

    /// Up to `limit` events behind number `after`.
    async fn export_events(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<ArchivedEvent>, StoreError>;

    /// Up to `limit` deliveries behind number `after`.
    async fn export_deliveries(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<ArchivedDelivery>, StoreError>;

    /// Up to `limit` notes behind the key `after`, in the order of their keys.
    async fn export_notes(&self, after: &str, limit: usize) -> Result<Vec<Note>, StoreError>;

    /// All the rest.
    async fn export_rest(&self) -> Result<ArchivedRest, StoreError>;
}

/// Where a site moves to. What is there already stays as it is, so that a move that was interrupted is
/// begun again; each call is one commit.
#[async_trait]
pub trait Import: Send + Sync {
    /// Writes events whose outcome is known, in their order. Returns how many were not there.
    async fn import_events(&self, events: Vec<ArchivedEvent>) -> Result<u64, StoreError>;

    /// Writes deliveries, in their order. Returns how many were not there.
    async fn import_deliveries(&self, deliveries: Vec<ArchivedDelivery>)
    -> Result<u64, StoreError>;

    /// Says that all events and deliveries are written: payloads that none of them needs may go in their
    /// time.
    async fn import_done(&self) -> Result<(), StoreError>;

    /// Writes notes.
    async fn import_notes(&self, notes: Vec<Note>) -> Result<(), StoreError>;

    /// Writes the rest.
    async fn import_rest(&self, rest: ArchivedRest) -> Result<(), StoreError>;
}
