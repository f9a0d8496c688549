//! What the API works on.

use std::sync::Arc;

use as2hook_config::{Config, ConfigDiagnostic};
use as2hook_delivery::{Directory, Dispatcher, Outbox};
use as2hook_event::Rule;
use as2hook_sink::Client;
use as2hook_store::{PartnerWebhookChange, Store, StoreError, secret_key::SecretKey};
use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    partner_webhooks::PartnerWebhookView,
    status::{LastReload, Reloaded},
};

/// What the API works on. Clones share it.
#[derive(Clone)]
pub struct Handles {
    /// Has events and deliveries.
    pub store: Arc<dyn Store>,
    /// The way into the store.
    pub outbox: Outbox,
    /// Makes deliveries.
    pub dispatcher: Arc<Dispatcher>,
    /// Makes test deliveries.
    pub client: Arc<Client>,
    /// The webhooks in force, by name.
    pub directory: Arc<dyn Directory>,
    /// The rest.
    pub gateway: Arc<dyn GatewayControl>,
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

    /// Returns the figures of this process.
    fn figures(&self) -> GatewayFigures;

    /// Loads config and rules again; on any mistake those in force stay.
    ///
    /// # Errors
    /// All mistakes.
    async fn reload(&self) -> Result<Reloaded, Vec<ConfigDiagnostic>>;

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
    /// The gateway's id in the store.
    pub id: Uuid,
    /// The hash of its rules, for comparison with other gateways.
    pub rules: String,
}
