//! What the API works on, and what the gateway reports to it.

use std::{ops::Deref, sync::Arc};

use as2hook_config::{Config, ConfigDiagnostic};
use as2hook_delivery::{Directory, Dispatcher, Outbox};
use as2hook_event::{Rule, RuleSet};
use as2hook_store::{PartnerWebhookChange, Payloads, Store, StoreError, secret_key::SecretKey};
use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{activity::Activity, console::LiveHub, throttle::Throttle};

/// What the API works on. Clones share it.
#[derive(Clone)]
pub struct Handles {
    /// Has events and deliveries.
    pub store: Arc<dyn Store>,
    /// The way into the store.
    pub outbox: Outbox,
    /// Has large payloads.
    pub payloads: Payloads,
    /// Makes deliveries.
    pub dispatcher: Arc<Dispatcher>,
    /// The webhooks in force, by name.
    pub directory: Arc<dyn Directory>,
    /// The rest.
    pub gateway: Arc<dyn GatewayControl>,
}

/// The state of every route.
#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) handles: Handles,
    pub(crate) throttle: Arc<Throttle>,
    /// What the console's pages are sent.
    pub(crate) live: Arc<LiveHub>,
    /// Test deliveries under way at once.
    pub(crate) tests: Arc<Semaphore>,
}

/// What only the running gateway knows.
#[async_trait]
pub trait GatewayControl: Send + Sync + 'static {
    /// Returns the config in force.
    fn config(&self) -> Arc<Config>;

    /// Returns all webhooks in force: rules, and webhooks of partners.
    fn webhooks(&self) -> Vec<Arc<Rule>>;

    /// Returns a partner's webhook as stored. `None`: it was never configured.
    fn partner_webhook(&self, site: &str, partner: u64) -> Option<PartnerWebhookView>;

    /// Creates or changes a partner's webhook. The change is durable, and in force for the next
    /// exchange. False: the partner has no webhook yet, and the change has no URL.
    ///
    /// # Errors
    /// When the store does not accept it; nothing has changed then.
    async fn configure(&self, change: PartnerWebhookChange) -> Result<bool, StoreError>;

    /// Returns the key that secrets and URLs are sealed with at rest.
    fn key(&self) -> &SecretKey;

    /// Returns how much goes on.
    fn activity(&self) -> &Activity;

    /// Returns the figures of this process.
    fn figures(&self) -> GatewayFigures;

    /// Loads config and rules again; on any mistake those in force stay.
    ///
    /// # Errors
    /// All mistakes.
    async fn reload(&self) -> Result<Reloaded, Vec<ConfigDiagnostic>>;

    /// Returns the first mistakes of the last reload; none when its files are in force.
    fn mistakes(&self) -> Vec<ConfigDiagnostic>;

    /// Returns what an operator should know about a gateway that should get traffic, one sentence
    /// each.
    ///
    /// # Errors
    /// Why it should get none, one sentence each.
    async fn readiness(&self) -> Result<Vec<String>, Vec<String>>;

    /// Returns all figures in the text form of OpenMetrics.
    async fn metrics(&self) -> String;
}

/// The figures of this process.
#[derive(Clone, Debug)]
pub struct GatewayFigures {
    /// Counts reloads from 1.
    pub generation: u64,
    /// SHA-256 of the files in force, hex.
    pub hash: String,
    /// How the last reload went.
    pub last_reload: LastReload,
    /// Exchanges under way.
    pub in_flight: usize,
    /// Why the AS2 server cannot be reached, as a sentence; `None` while it can.
    pub receiver_failure: Option<String>,
    /// Whether an exchange has reached the AS2 server since the start.
    pub receiver_reached: bool,
    /// The machine's name.
    pub host: String,
    /// The gateway's id in the store.
    pub id: Uuid,
    /// The hash of its rules, for comparison with other gateways.
    pub rules: String,
}

/// The result of the last reload.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LastReload {
    /// RFC 3339.
    pub at: String,
    /// Whether its files are in force.
    pub ok: bool,
    /// Its first mistake. Of the default site alone: it may be about another's rules.
    pub error: Option<String>,
}

/// The files are in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ReloadDone)]
#[expect(missing_docs, reason = "the names say it, and doc comments change the description")]
pub struct Reloaded {
    #[schema(example = "ok")]
    pub status: &'static str,
    pub generation: u64,
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
}

/// A partner's webhook as `get` shows it. The secret never leaves the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PartnerWebhook)]
pub struct PartnerWebhookView {
    /// The partner's number.
    pub partner_id: u64,
    /// Its URL. `None`: it was never configured.
    pub webhook_url: Option<String>,
    /// Whether events are delivered to it.
    pub webhook_enabled: bool,
    /// The subscribed events; empty when none was chosen, which means `message.received`.
    pub webhook_events: Vec<String>,
    /// Whether deliveries are signed.
    pub webhook_secret_set: bool,
}

// === impl ApiState ===

impl Deref for ApiState {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.handles
    }
}

// === impl Reloaded ===

impl Reloaded {
    /// Says what changed between the rules that were in force and those that are.
    pub fn new(generation: u64, old: &RuleSet, new: &RuleSet) -> Self {
        let named = |rules: &RuleSet, keep: &dyn Fn(&Rule) -> bool| {
            let mut names: Vec<_> =
                rules.iter().filter(|rule| keep(rule)).map(|rule| rule.name.clone()).collect();
            names.sort();
            names
        };
        Self {
            status: "ok",
            generation,
            added: named(new, &|rule| old.get(&rule.name).is_none()),
            changed: named(new, &|rule| {
                old.get(&rule.name).is_some_and(|before| **before != *rule)
            }),
            removed: named(old, &|rule| new.get(&rule.name).is_none()),
        }
    }
}
