//! One immutable snapshot of everything that can be reloaded, behind one pointer.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use as2hook_delivery::Directory;
use as2hook_event::{Event, Findings, Query, Rule, RuleSet};
use as2hook_sink::Guard;
use as2hook_store::clock;

use crate::{
    observe::Observer,
    partner_webhooks::{self, PartnerWebhooks},
    peers::PeerGateways,
    proxy::receivers::Receivers,
    secret_key::SecretKey,
};
use as2hook_config::Config;

/// Config, keys and rules that belong together. An exchange keeps the one it began with.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// `as2hook.yaml`, with the keys and certificates it names.
    pub config: Arc<Config>,
    /// The AS2 server's addresses.
    pub receivers: Arc<Receivers>,
    /// `webhooks.yaml`.
    pub rules: Arc<RuleSet>,
    /// What was configured over the API.
    pub partner_webhooks: PartnerWebhooks,
    /// Counts reloads from 1.
    pub generation: u64,
    /// SHA-256 of the files it was made of, hex.
    pub hash: String,
}

/// The snapshot in force, and what outlives it.
#[derive(Debug)]
pub struct Live {
    snapshot: ArcSwap<Snapshot>,
    /// Held while another is made of the one in force.
    changing: Mutex<()>,
    observer: Observer,
    peers: PeerGateways,
    /// Seals URLs at rest, from the start of the gateway on.
    key: OnceLock<Arc<SecretKey>>,
}

// === impl Snapshot ===

impl Snapshot {
    /// The webhooks that get such an event, the most specific first; the partner's own last.
    pub fn webhooks(&self, query: &Query<'_>, findings: &Findings) -> Vec<Arc<Rule>> {
        let rules = self.rules.matches(query, findings);
        rules.iter().chain(self.partner_webhooks.matching(query)).cloned().collect()
    }

    /// The webhooks that such an event can be reported to, whatever its signature and errors turn out to be.
    pub fn candidates(&self, query: &Query<'_>) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.candidates(query).into_iter().chain(self.partner_webhooks.matching(query))
    }

    /// The webhook of this name, of the rules or of the API.
    pub fn webhook(&self, name: &str) -> Option<&Arc<Rule>> {
        self.rules.get(name).or_else(|| self.partner_webhooks.get(name))
    }
}

// === impl Live ===

impl Live {
    /// Puts the first snapshot in force.
    pub fn new(snapshot: Snapshot) -> Self {
        let partner_webhooks = snapshot.partner_webhooks.under(&snapshot.config);
        let snapshot = Snapshot { partner_webhooks, ..snapshot };
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            changing: Mutex::new(()),
            observer: Observer::new(),
            peers: PeerGateways::new(),
            key: OnceLock::new(),
        }
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts another in force, with the partners' webhooks as they are now; exchanges in flight finish
    /// on theirs.
    pub fn swap(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let partner_webhooks = self.load().partner_webhooks.under(&snapshot.config);
        let snapshot = Arc::new(Snapshot { partner_webhooks, ..snapshot });
        self.snapshot.store(snapshot.clone());
        snapshot
    }

    /// Puts other partners' webhooks in force, made for the config in force.
    pub fn set_partner_webhooks(&self, make: impl FnOnce(&Config) -> PartnerWebhooks) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.load();
        let partner_webhooks = make(&snapshot.config);
        self.snapshot.store(Arc::new(Snapshot { partner_webhooks, ..(*snapshot).clone() }));
    }

    /// Seals URLs at rest with this key from now on.
    pub fn seal_urls(&self, key: Arc<SecretKey>) {
        // There is one for the life of the process.
        let _ = self.key.set(key);
    }

    /// The gateways of the same store.
    pub fn peers(&self) -> &PeerGateways {
        &self.peers
    }

    /// Where what happens is counted and logged.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }
}

/// What the dispatcher asks of the snapshot in force, at each attempt.
impl Directory for Live {
    fn endpoint(&self, webhook: &str) -> Option<Arc<Rule>> {
        self.load().webhook(webhook).cloned()
    }

    fn is_newest(&self) -> bool {
        self.peers().is_newest()
    }

    fn is_agreed(&self) -> bool {
        // Which gateways live is not known while the clock is in doubt.
        clock::doubt().is_none() && self.peers().count().1 == 0
    }

    fn guard(&self, rule: &Rule) -> Guard {
        if partner_webhooks::is_api(rule) {
            self.load().partner_webhooks.guard()
        } else {
            Guard::Open
        }
    }

    fn at_rest(&self, webhook: &str, url: String) -> String {
        let Some(key) = self.key.get() else { return url };
        // Better none than an open one.
        key.seal_url(webhook, &url).unwrap_or_default()
    }

    fn leading(&self, rule: &Rule, event: &Event) -> Vec<(&'static str, serde_json::Value)> {
        partner_webhooks::leading(self, rule, event)
    }
}
