//! The gateways that share a store: what each reports about itself. Times are milliseconds since
//! 1970.

use uuid::Uuid;

use crate::model::DeliveryState;

/// The periodic report of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayReport {
    /// A new one at each start.
    pub id: Uuid,
    /// The machine's name.
    pub host: String,
    /// The process id there.
    pub process: u32,
    /// The version of as2hook.
    pub version: String,
    /// When it started.
    pub started_at: i64,
    /// When it reported, by the clock of the store, if that has one of its own. 0: it has
    /// terminated.
    pub seen_at: i64,
    /// The hash of all that its routing depends on: gateways with different hashes notify different
    /// webhooks.
    pub rules: String,
    /// The order of configurations; see [`crate::Store::report`]. 0: the configuration is new since
    /// the last report.
    pub generation: i64,
}

// === impl GatewayReport ===

impl GatewayReport {
    /// A gateway without a report for so long, in milliseconds, has terminated. The statements of
    /// both stores contain this number.
    pub const ALIVE_MS: i64 = 30_000;

    /// Returns the generation to check a move of deliveries against; 0 is not checked. Any gateway
    /// with the webhook's rule may bring back what a gateway without it orphaned.
    pub(crate) fn moving(generation: i64, from: DeliveryState, to: DeliveryState) -> i64 {
        match (from, to) {
            (DeliveryState::Orphaned, DeliveryState::Pending) => 0,
            _ => generation,
        }
    }
}

/// A change by another gateway that this one has to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayChange {
    /// A partner's webhook was configured.
    PartnerWebhooks,
    /// A webhook's health was stored: it was disabled, or is back in service.
    WebhookState(String),
    /// Deliveries of a webhook may be due.
    Due(String),
    /// Changes were missed while the connection was lost: everything is to be checked.
    All,
}
