//! One immutable snapshot of everything that can be reloaded, behind one pointer.

use std::{ops::Deref, sync::Arc};

use arc_swap::ArcSwap;
use as2hook_api::{Activity, leading_keys};
use as2hook_delivery::{Attempted, Directory};
use as2hook_event::{Event, EventKind, Rule, clock};
use as2hook_store::{DeliveryOutcome, Store, StoreError};
use parking_lot::Mutex;
use uuid::Uuid;

#[cfg(feature = "otel")]
use crate::traces::Traces;
use crate::{
    observe::Observer,
    partner_webhooks::PartnerWebhooks,
    peers::PeerGateways,
    proxy::receivers::Receivers,
    receiver_health::ReceiverHealth,
    secret_key::SecretKey,
    tap::{TapHost, TapRules},
};

/// Config, keys and rules that belong together. An exchange keeps the one it began with.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// `as2hook.yaml`, with the keys and certificates it names, and the rules.
    pub tap: Arc<TapRules>,
    /// The AS2 server's addresses.
    pub receivers: Arc<Receivers>,
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
    activity: Activity,
    receiver: ReceiverHealth,
    peers: PeerGateways,
    key: SecretKey,
    #[cfg(feature = "otel")]
    traces: Option<Traces>,
}

// === impl Snapshot ===

impl Snapshot {
    fn with(&self, partner_webhooks: PartnerWebhooks) -> Self {
        let partner_rules = Arc::new(partner_webhooks.rules(&self.config));
        let tap = Arc::new(TapRules { partner_rules, ..(*self.tap).clone() });
        Self { tap, partner_webhooks, ..self.clone() }
    }
}

impl Deref for Snapshot {
    type Target = TapRules;

    fn deref(&self) -> &TapRules {
        &self.tap
    }
}

// === impl Live ===

impl Live {
    /// Puts the first snapshot in force.
    pub fn new(snapshot: Snapshot, key: SecretKey) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            changing: Mutex::new(()),
            observer: Observer::default(),
            activity: Activity::default(),
            receiver: ReceiverHealth::default(),
            peers: PeerGateways::default(),
            key,
            #[cfg(feature = "otel")]
            traces: None,
        }
    }

    /// Exports traces, too.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn with_traces(self, traces: Option<Traces>) -> Self {
        Self { traces, ..self }
    }

    /// Where spans go, if anywhere.
    #[cfg(feature = "otel")]
    pub(crate) fn traces(&self) -> Option<&Traces> {
        self.traces.as_ref()
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts another in force, with the partners' webhooks as they are now; exchanges in flight finish
    /// on theirs.
    pub fn swap(&self, snapshot: &Snapshot) -> Arc<Snapshot> {
        let _changing = self.changing.lock();
        let partner_webhooks = self.load().partner_webhooks.clone();
        let snapshot = Arc::new(snapshot.with(partner_webhooks));
        self.snapshot.store(snapshot.clone());
        snapshot
    }

    /// Puts other partners' webhooks in force.
    pub fn set_partner_webhooks(&self, partner_webhooks: PartnerWebhooks) {
        let _changing = self.changing.lock();
        self.snapshot.store(Arc::new(self.load().with(partner_webhooks)));
    }

    /// The key that seals secrets and URLs at rest.
    pub fn key(&self) -> &SecretKey {
        &self.key
    }

    /// The gateways of the same store.
    pub fn peers(&self) -> &PeerGateways {
        &self.peers
    }

    /// Reports to the gateways of the same store, and hears of them.
    ///
    /// # Errors
    /// As [`PeerGateways::look`].
    pub async fn report(&self, store: &dyn Store) -> Result<(), StoreError> {
        let Snapshot { generation, tap, .. } = &*self.load();
        self.peers.look(*generation, tap.clone(), store).await
    }

    /// Whether the AS2 server can be reached.
    pub(crate) fn receiver(&self) -> &ReceiverHealth {
        &self.receiver
    }

    /// How much goes on, for the console.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Where what happens is counted and logged.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }
}

impl TapHost for Live {
    fn rules(&self) -> Arc<TapRules> {
        self.snapshot.load().tap.clone()
    }

    fn event(&self, id: Uuid, _site: &str, kind: EventKind) {
        self.observer.event(id, kind);
    }

    fn exchange(&self, site: &str, kind: EventKind, errors: &[u16]) {
        self.activity.exchange(site, kind, errors);
    }

    fn decoded(&self, event: &Event) {
        self.observer.decoded(event);
    }

    fn late_decode(&self) {
        self.observer.late_decode();
    }

    fn attempted(&self, attempt: &Attempted<'_>) {
        self.observer.attempted(attempt);
        #[cfg(feature = "otel")]
        if let Some(traces) = &self.traces {
            traces.attempted(attempt);
        }
        if !matches!(attempt.outcome, DeliveryOutcome::Orphaned | DeliveryOutcome::Released(_)) {
            let is_delivered = attempt.outcome == DeliveryOutcome::Delivered;
            self.activity.attempt(attempt.webhook, is_delivered);
        }
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

    fn at_rest(&self, webhook: &str, url: String) -> String {
        // Better none than an open one.
        self.key.seal_url(webhook, &url).unwrap_or_default()
    }

    fn leading(&self, rule: &Rule, event: &Event) -> Vec<(&'static str, serde_json::Value)> {
        leading_keys(rule, event.kind)
    }

    #[cfg(feature = "otel")]
    fn trace_parent(&self, event: Uuid, delivery: i64, attempt: u32) -> Option<String> {
        self.traces.as_ref().map(|traces| traces.parent(event, delivery, attempt))
    }
}
