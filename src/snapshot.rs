//! One immutable snapshot of everything that can be reloaded, behind one pointer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use as2hook_webhooks::{Query, Rule, RuleSet};

use crate::{config::Config, gateway::receivers::Receivers};

/// Config, keys and rules that belong together. An exchange keeps the one it began with.
#[derive(Debug)]
pub struct Snapshot {
    /// `as2hook.yaml`, with the keys and certificates it names.
    pub config: Config,
    /// The AS2 server's addresses.
    pub receivers: Receivers,
    /// `webhooks.yaml`.
    pub rules: RuleSet,
    /// Counts reloads from 1.
    pub generation: u64,
    /// SHA-256 of the files it was made of, hex.
    pub hash: String,
}

/// The snapshot in force.
#[derive(Debug)]
pub struct Live(ArcSwap<Snapshot>);

// === impl Snapshot ===

impl Snapshot {
    /// The webhooks that are told of such an event, the most specific first.
    pub fn webhooks(&self, query: &Query<'_>) -> Vec<Arc<Rule>> {
        self.rules.matches(query).iter().cloned().collect()
    }
}

// === impl Live ===

impl Live {
    /// Puts the first snapshot in force.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts another in force; exchanges in flight finish on theirs.
    pub fn swap(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        self.0.store(snapshot.clone());
        snapshot
    }
}
