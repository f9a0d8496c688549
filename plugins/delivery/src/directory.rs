//! What the gateway tells us of the rules in force, and what we tell it of webhooks.

use std::sync::Arc;

use as2hook_webhooks::{Event, Rule};
use async_trait::async_trait;

use crate::guard::Guard;

/// The rules in force. Asked anew for every attempt, so that a corrected URL takes the backlog along.
pub trait Directory: Send + Sync + 'static {
    /// The webhook of this name, switched off or not. `None`: there is none.
    fn endpoint(&self, webhook: &str) -> Option<Arc<Rule>>;

    /// Whether all gateways of this store have these rules, as far as is known. While they have not, a
    /// webhook that has no rule here may have one there, and its deliveries are left alone.
    fn is_agreed(&self) -> bool {
        true
    }

    /// Which addresses it may point at.
    fn guard(&self, _rule: &Rule) -> Guard {
        Guard::Open
    }

    /// Keys that its JSON bodies begin with (those of webhooks set over the config API).
    fn leading(&self, _rule: &Rule, _event: &Event) -> Vec<(&'static str, serde_json::Value)> {
        Vec::new()
    }
}

/// Hears what becomes of webhooks; the gateway makes events of it.
#[async_trait]
pub trait Notices: Send + Sync + 'static {
    /// A webhook was disabled. Called once for each time, after it is written down.
    async fn disabled(&self, notice: Disabled);

    /// An attempt was made. Called on the lane's way: it must not wait.
    fn attempted(&self, _attempt: &Attempted<'_>) {}
}

/// An attempt that was made, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct Attempted<'a> {
    /// The webhook's name.
    pub webhook: &'a str,
    /// What was told of.
    pub event: uuid::Uuid,
    /// From 1.
    pub number: u32,
    /// Whether somebody asked for it again.
    pub replay: bool,
    /// When it began.
    pub began: std::time::Instant,
    /// What became of the delivery by it.
    pub fate: as2hook_store::Fate,
}

/// A webhook that was disabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// Its name.
    pub webhook: String,
    /// Its tenant.
    pub site: String,
    /// Why, in a sentence.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Since when it failed without a success between.
    pub failing_since: Option<i64>,
}
