//! A whole store as plain rows, to move a site from one store to another. Times are milliseconds
//! since 1970.

mod migrate;

use uuid::Uuid;

use crate::{
    model::{Attempt, DeliveryState, NewDelivery, NewEvent, WebhookState},
    partner_webhook::PartnerWebhook,
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
