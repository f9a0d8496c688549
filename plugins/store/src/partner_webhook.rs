//! The webhook that a partner has over the config API. Times are milliseconds since 1970.

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
    /// Where it goes.
    pub url: String,
    /// What signs it, sealed by the caller; the store never sees it open. Empty: nothing does.
    pub sealed_secret: Vec<u8>,
    /// Whether it is told of anything.
    pub enabled: bool,
    /// The names of its events. Empty: none was chosen.
    pub events: Vec<String>,
    /// When it was last changed.
    pub changed_at: i64,
}

/// What changes about a [`PartnerWebhook`]; what is `None` stays as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct PartnerWebhookChange {
    /// The tenant.
    pub site: String,
    /// The partner's number.
    pub partner: u64,
    /// Needed when the partner has no webhook yet.
    pub url: Option<String>,
    /// Sealed; empty takes it away.
    pub sealed_secret: Option<Vec<u8>>,
    /// A new webhook is enabled.
    pub enabled: Option<bool>,
    /// A new webhook has none.
    pub events: Option<Vec<String>>,
}

/// A delivery that was made besides the queue, such as a test: written down when it is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// What was told.
    pub event: NewEvent,
    /// To whom.
    pub delivery: NewDelivery,
    /// The one attempt.
    pub attempt: Attempt,
    /// How it ended: delivered, or dead.
    pub state: DeliveryState,
}

/// Some of a webhook's attempts, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptLog {
    /// How many there are in all.
    pub total: u64,
    /// Those that were asked for.
    pub rows: Vec<AttemptRow>,
}

// Sealed or not, a secret is nobody's business.
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
