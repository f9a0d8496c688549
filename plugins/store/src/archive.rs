//! A whole store as plain rows, to move a site from one store to another. Times are milliseconds
//! since 1970.

mod migrate;

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    model::{Attempt, DeliveryState, NewDelivery, NewEvent, WebhookState},
    partner_webhook::PartnerWebhook,
    record::Record,
    store::StoreError,
};

pub use self::migrate::{MigrateError, Moved, migrate};

/// An event with everything stored about it except its deliveries.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedEvent {
    /// The store's number for it; events are archived in this order.
    pub number: i64,
    /// The event and its payload.
    pub event: NewEvent,
    /// Its outcome, if known.
    pub verdict: Option<Vec<u8>>,
    /// Set while its outcome is not known: the deliveries to make if it never is.
    pub open: Option<Vec<NewDelivery>>,
    /// Since when no work is left for it.
    pub idle_since: Option<i64>,
}

/// A delivery with its attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedDelivery {
    /// The store's number for it. Deliveries are archived in this order, in which those of one
    /// order key are made.
    pub number: i64,
    /// The event that it delivers.
    pub event: Uuid,
    /// The delivery as planned.
    pub delivery: NewDelivery,
    /// Its state; a claimed one is archived as pending.
    pub state: DeliveryState,
    /// All attempts.
    pub attempts: u32,
    /// The attempts since the last replay.
    pub tries: u32,
    /// Whether it is a replay.
    pub replay: bool,
    /// The attempts in the log, oldest first.
    pub log: Vec<ArchivedAttempt>,
}

/// An attempt, and its outcome for the delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedAttempt {
    /// The attempt.
    pub attempt: Attempt,
    /// See [`crate::AttemptRow::state`].
    pub state: DeliveryState,
    /// See [`crate::AttemptRow::next_at`].
    pub next_at: Option<i64>,
}

/// What a store keeps beside events and deliveries; small enough to be moved at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArchivedRest {
    /// The health of webhooks.
    pub webhook_states: Vec<WebhookState>,
    /// The webhooks of the config API.
    pub partner_webhooks: Vec<PartnerWebhook>,
}

/// The store that a site moves from. Nothing else may use the store meanwhile.
#[async_trait]
pub trait Export: Send + Sync {
    /// Whether another running process has the store open.
    async fn in_use(&self) -> Result<bool, StoreError>;

    /// Returns where its payload files may be, the likeliest root first.
    async fn payload_roots(&self) -> Result<Vec<std::path::PathBuf>, StoreError>;

    /// Returns up to `limit` events after number `after`.
    async fn export_events(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<ArchivedEvent>, StoreError>;

    /// Returns up to `limit` deliveries after number `after`.
    async fn export_deliveries(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<ArchivedDelivery>, StoreError>;

    /// Returns up to `limit` notes after the key `after`, in the order of their keys.
    async fn export_notes(&self, after: &str, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Returns all the rest.
    async fn export_rest(&self) -> Result<ArchivedRest, StoreError>;
}

/// The store that a site moves to. Existing rows stay as they are, so that an interrupted move can
/// be repeated; each call is one commit.
#[async_trait]
pub trait Import: Send + Sync {
    /// Writes events whose outcome is known, in their order. Returns how many were new.
    async fn import_events(&self, events: Vec<ArchivedEvent>) -> Result<u64, StoreError>;

    /// Writes deliveries, in their order. Returns how many were new.
    async fn import_deliveries(&self, deliveries: Vec<ArchivedDelivery>)
    -> Result<u64, StoreError>;

    /// Records that all events and deliveries are written: from now on payloads that none of them
    /// needs may be removed.
    async fn import_done(&self) -> Result<(), StoreError>;

    /// Writes notes.
    async fn import_notes(&self, notes: Vec<Record>) -> Result<(), StoreError>;

    /// Writes the rest.
    async fn import_rest(&self, rest: ArchivedRest) -> Result<(), StoreError>;
}
