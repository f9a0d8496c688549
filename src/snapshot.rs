//! One immutable snapshot of everything that can be reloaded, behind one pointer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use as2hook_delivery::Target;
use as2hook_webhooks::{Order, Query, Rule, RuleSet};

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
    /// Who is told of this event, the most specific rule first.
    pub fn targets(&self, query: &Query<'_>) -> Vec<Target> {
        self.rules.matches(query).iter().map(|rule| target(rule, query)).collect()
    }
}

fn target(rule: &Rule, query: &Query<'_>) -> Target {
    let order_key = (rule.endpoint.order == Order::Partner).then(|| {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        let (partner, station) = (query.partner.unwrap_or(""), query.station.unwrap_or(""));
        format!("{}:{partner}{station}", partner.len())
    });
    Target { webhook: rule.name.clone(), mode: rule.endpoint.payload, order_key }
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
