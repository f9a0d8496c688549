//! The gateways that share a store: what each says of itself, and what one hears of the others. Times
//! are milliseconds since 1970.

use uuid::Uuid;

/// What a gateway says of itself, now and then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayReport {
    /// Made anew at each start.
    pub id: Uuid,
    /// The machine's name.
    pub host: String,
    /// The process's number there.
    pub process: u32,
    /// The version of as2hook.
    pub version: String,
    /// When it started.
    pub started_at: i64,
    /// When it said this, by the clock of the store, where that has one of its own. 0: it is gone.
    pub seen_at: i64,
    /// The hash of the rules in force there: gateways whose hashes differ tell different webhooks.
    pub rules: String,
}

/// What another gateway did that this one is to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A partner's webhook was configured.
    PartnerWebhooks,
    /// A webhook's health was written down: it was disabled, or is back in service.
    WebhookState(String),
    /// Deliveries of a webhook may be due.
    Due(String),
    /// Some of this was missed, since the connection was lost: all of it is to be looked at.
    All,
}
