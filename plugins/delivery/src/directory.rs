//! What the dispatcher asks the gateway about the rules in force, and what it reports about
//! webhooks.

use std::sync::Arc;

use as2hook_event::{Event, Rule};
use async_trait::async_trait;

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
}

/// Receives the changes of webhooks; the gateway makes events of them.
#[async_trait]
pub trait Notices: Send + Sync + 'static {
    /// Called once each time a webhook is disabled, after the state is stored.
    async fn disabled(&self, notice: Disabled);

    /// Called after each attempt. Runs in the webhook's worker: it must not block.
    fn attempted(&self, _attempt: &Attempted<'_>) {}
}

/// An attempt that was made, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct Attempted<'a> {
    /// The webhook's name.
    pub webhook: &'a str,
    /// The event that was delivered.
    pub event: uuid::Uuid,
    /// Counts from 1.
    pub number: u32,
    /// Whether the delivery is a replay.
    pub replay: bool,
    /// When it began.
    pub began: std::time::Instant,
    /// The outcome for the delivery.
    pub outcome: as2hook_store::DeliveryOutcome,
}

/// A webhook that was disabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// Its name.
    pub webhook: String,
    /// Its tenant.
    pub site: String,
    /// The reason, as a sentence.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The time of the first failure without a success since.
    pub failing_since: Option<i64>,
}
