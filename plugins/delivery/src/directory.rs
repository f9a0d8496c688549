//! What the dispatcher asks the gateway about the rules in force, and what it reports about
//! webhooks.

use std::sync::Arc;

use as2hook_event::{Event, Rule};
use async_trait::async_trait;
use uuid::Uuid;

/// The rules in force. Looked up for every attempt, so that a corrected URL applies to the backlog
/// too.
pub trait Directory: Send + Sync + 'static {
    /// Returns the webhook of this name, enabled or not. `None`: there is none.
    fn endpoint(&self, webhook: &str) -> Option<Arc<Rule>>;

    /// Whether no running gateway of this store is known to have newer rules. A gateway with older
    /// rules makes deliveries, but neither moves them nor records the health of webhooks: the
    /// newest rules decide.
    fn is_newest(&self) -> bool {
        true
    }

    /// Whether all gateways of this store are known to have these rules. Otherwise a webhook
    /// without a rule here may have one on another gateway, and its deliveries stay as they are.
    fn is_agreed(&self) -> bool {
        true
    }

    /// Returns a webhook's URL in the form to store, since it may hold a token.
    fn at_rest(&self, _webhook: &str, url: String) -> String {
        url
    }

    /// Returns keys for the beginning of its JSON bodies (those of webhooks set over the config
    /// API).
    fn leading(&self, _rule: &Rule, _event: &Event) -> Vec<(&'static str, serde_json::Value)> {
        Vec::new()
    }

    /// Returns the `traceparent` of an attempt (W3C Trace Context), where deliveries are traced.
    /// Arguments: the event, [`Claimed::id`](as2hook_store::Claimed::id), and the number of the
    /// attempt.
    fn trace_parent(&self, _event: Uuid, _delivery: i64, _attempt: u32) -> Option<String> {
        None
    }
}

/// Receives what becomes of webhooks; the gateway makes events of it.
#[async_trait]
pub trait Notices: Send + Sync + 'static {
    /// Called once for each change of a webhook, and of a disabled one after the state is stored.
    async fn notice(&self, notice: Notice);

    /// Called after each attempt. Runs in the webhook's worker: it must not block.
    fn attempted(&self, _attempt: &Attempted<'_>) {}
}

/// An attempt that was made, for metrics and traces.
#[derive(Clone, Copy, Debug)]
pub struct Attempted<'a> {
    /// The webhook's name.
    pub webhook: &'a str,
    /// See [`as2hook_store::NewDelivery::webhook_id`].
    pub webhook_id: &'a str,
    /// The store's number for the delivery.
    pub delivery: i64,
    /// The event that was delivered.
    pub event: Uuid,
    /// Counts from 1.
    pub number: u32,
    /// Whether the delivery is a replay.
    pub replay: bool,
    /// When it began.
    pub began: std::time::Instant,
    /// The endpoint's HTTP status, where there is one.
    pub http_code: Option<u16>,
    /// The outcome for the delivery.
    pub outcome: as2hook_store::DeliveryOutcome,
}

/// Something that is reported of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its name.
    pub webhook: String,
    /// Its tenant.
    pub site: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// What.
    pub what: WebhookChange,
}

/// What became of a webhook. `failing_since` is the time of the first failure without a success since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookChange {
    /// It was disabled.
    Disabled {
        /// The reason, as a sentence.
        reason: String,
        /// See above.
        failing_since: Option<i64>,
    },
    /// It keeps failing.
    Failing {
        /// Failures in a row.
        failures: u32,
        /// The last error.
        error: String,
        /// See above.
        failing_since: Option<i64>,
    },
    /// The first success after it kept failing.
    Recovered {
        /// Failures in a row before.
        failures: u32,
        /// See above.
        failing_since: Option<i64>,
    },
    /// Deliveries are dead.
    Dead {
        /// How many since the last notice.
        count: u64,
        /// The last one.
        last: DeadDelivery,
    },
}

/// A delivery that used up its retries, or could not be made at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadDelivery {
    /// See [`as2hook_store::NewDelivery::webhook_id`].
    pub webhook_id: String,
    /// Its event.
    pub event: Uuid,
    /// All attempts.
    pub attempts: u32,
    /// The error of the last one.
    pub error: String,
}
