//! The webhook that a partner configures over the config API. Times are milliseconds since 1970.

use std::fmt;

use crate::{
    model::{Attempt, DeliveryState, NewDelivery, NewEvent},
    query::AttemptRow,
};

/// A webhook of the config API, one for each partner of a site.
#[derive(Clone, PartialEq, Eq)]
pub struct PartnerWebhook {
    /// The tenant.
    pub site: String,
    /// The partner's number.
    pub partner: u64,
    /// Its URL.
    pub url: String,
    /// The signing secret, sealed by the caller: the store never sees the plain one. Empty:
    /// requests are not signed.
    pub sealed_secret: Vec<u8>,
    /// Whether events are delivered to it.
    pub enabled: bool,
    /// The names of its events. Empty: none was chosen.
    pub events: Vec<String>,
    /// When it was last changed.
    pub changed_at: i64,
}

/// A change of a [`PartnerWebhook`]; fields that are `None` stay as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct PartnerWebhookChange {
    /// The tenant.
    pub site: String,
    /// The partner's number.
    pub partner: u64,
    /// Required when the partner has no webhook yet.
    pub url: Option<String>,
    /// Sealed; empty removes the secret.
    pub sealed_secret: Option<Vec<u8>>,
    /// A new webhook is enabled.
    pub enabled: Option<bool>,
    /// A new webhook has none.
    pub events: Option<Vec<String>>,
}

/// A delivery made outside the queue, such as a test. Stored when it has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct UnqueuedDelivery {
    /// Its event.
    pub event: NewEvent,
    /// The delivery.
    pub delivery: NewDelivery,
    /// Its only attempt.
    pub attempt: Attempt,
    /// The outcome of the attempt: delivered, or dead. A delivery that failed so is kept as cancelled.
    pub state: DeliveryState,
}

/// A part of a webhook's attempts, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptLog {
    /// The number of all attempts.
    pub total: u64,
    /// The requested ones.
    pub rows: Vec<AttemptRow>,
}

// Leaves the secret out, even sealed.
impl fmt::Debug for PartnerWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartnerWebhook")
            .field("site", &self.site)
            .field("partner", &self.partner)
            .field("enabled", &self.enabled)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PartnerWebhookChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartnerWebhookChange")
            .field("site", &self.site)
            .field("partner", &self.partner)
            .field("enabled", &self.enabled)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}
