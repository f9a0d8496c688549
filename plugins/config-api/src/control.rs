//! What the gateway does for the API.

use async_trait::async_trait;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admin::{DeliveryView, EventView, Page, Search, Slice, WebhookView},
    messages::{Language, Wrong},
    partner::{Change, Log, PartnerWebhook, Tested},
    token::Tokens,
};

/// Implemented by the gateway.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// The tokens in force.
    fn tokens(&self) -> Tokens;

    /// Loads config and rules again; on any mistake what is in force stays.
    ///
    /// # Errors
    /// Every mistake that was found.
    async fn reload(&self) -> Result<Reloaded, Vec<Mistake>>;

    /// The figures of `GET /admin/status`.
    async fn status(&self) -> Status;

    /// Why the gateway should get no traffic, a sentence each. Empty: it should.
    async fn unready(&self) -> Vec<String>;

    /// Every figure, in the text form of OpenMetrics.
    async fn metrics(&self) -> String;

    /// Of the messages.
    fn language(&self) -> Language;

    /// A partner's webhook as it is kept.
    ///
    /// # Errors
    /// [`Refusal::UnknownPartner`] when there is no such partner in this site.
    async fn partner_webhook(&self, site: &str, partner: u64) -> Result<PartnerWebhook, Refusal>;

    /// Makes or changes a partner's webhook. What is configured is durable, and in force on the next
    /// exchange.
    ///
    /// # Errors
    /// [`Refusal::UnknownPartner`], [`Refusal::UrlMissing`], [`Refusal::PrivateUrl`],
    /// [`Refusal::BadSecret`].
    async fn configure(&self, site: &str, partner: u64, change: Change) -> Result<(), Refusal>;

    /// Makes a test delivery to a partner's webhook, and waits for it at most 15 s.
    ///
    /// # Errors
    /// [`Refusal::UnknownPartner`], [`Refusal::Inactive`], [`Refusal::Busy`].
    async fn test(&self, site: &str, partner: u64) -> Result<Tested, Refusal>;

    /// The attempts of a partner's webhook, newest first.
    ///
    /// # Errors
    /// [`Refusal::UnknownPartner`].
    async fn log(
        &self,
        site: &str,
        partner: u64,
        offset: u64,
        limit: usize,
    ) -> Result<Log, Refusal>;

    /// Every webhook of a site.
    fn webhooks(&self, site: &str) -> Vec<WebhookView>;

    /// Puts a webhook back into service; returns how many held deliveries go on.
    ///
    /// # Errors
    /// [`Refusal::Unknown`].
    async fn enable(&self, site: &str, webhook: &str) -> Result<u64, Refusal>;

    /// A site's events, newest first.
    ///
    /// # Errors
    /// [`Refusal::Wrong`] for an event or a status that there is not.
    async fn events(
        &self,
        site: &str,
        search: &Search,
        slice: Slice,
    ) -> Result<Page<EventView>, Refusal>;

    /// A site's deliveries, newest first.
    ///
    /// # Errors
    /// [`Refusal::Wrong`] for an event or a status that there is not.
    async fn deliveries(
        &self,
        site: &str,
        search: &Search,
        slice: Slice,
    ) -> Result<Page<DeliveryView>, Refusal>;

    /// Makes a delivery again.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] when the site has none of this number that is done, dead or orphaned.
    async fn replay_one(&self, site: &str, delivery: i64) -> Result<(), Refusal>;

    /// Makes all deliveries again that match and are done, dead or orphaned; or tells `to` of their
    /// events. Returns how many.
    ///
    /// # Errors
    /// [`Refusal::Wrong`], and [`Refusal::Unknown`] when the site has no webhook `to`.
    async fn replay(&self, site: &str, search: &Search, to: Option<&str>) -> Result<u64, Refusal>;
}

/// Why something asked for is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No such partner in the token's site.
    UnknownPartner,
    /// The partner's webhook is off, or was never configured.
    Inactive,
    /// The partner has no webhook yet, and no URL was sent.
    UrlMissing,
    /// The URL points where the config API may not (`api.allow_networks`).
    PrivateUrl,
    /// The secret cannot be a key.
    BadSecret,
    /// There is no such thing in the token's site.
    Unknown,
    /// The delivery is still to be made, or held.
    NotOver,
    /// Something in the request is wrong.
    Wrong(Wrong),
    /// Too much of it goes on already.
    Busy,
    /// The store failed; the log says why.
    Store,
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Counts reloads from 1.
    pub generation: u64,
    /// Names of new webhooks.
    pub added: Vec<String>,
    /// Names of webhooks that differ.
    pub changed: Vec<String>,
    /// Names of webhooks that are gone.
    pub removed: Vec<String>,
}

/// A mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Mistake {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// Where in the document, such as `webhooks[2].url`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// `GET /admin/status`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// Of the gateway.
    pub version: &'static str,
    /// Of the snapshot in force.
    pub generation: u64,
    /// SHA-256 of the files it was made of, hex.
    pub hash: String,
    /// Rules in force.
    pub webhooks: usize,
    /// Exchanges under way.
    pub in_flight: usize,
    /// How the last reload went.
    pub last_reload: LastReload,
    /// How the store is.
    pub store: StoreStatus,
    /// The gateways that share the store and live, this one too, the oldest first. Empty while the
    /// store does not say.
    pub gateways: Vec<GatewayView>,
    /// Whether one of them has other rules than this one.
    pub drift: bool,
}

/// A gateway of the same store.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GatewayView {
    /// Made anew at each start.
    pub id: String,
    /// Whether it is the one that answers.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// The machine's name.
    pub host: String,
    /// The process's number there.
    pub pid: u32,
    /// Of as2hook.
    pub version: String,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339; when it last said that it lives.
    pub seen: String,
    /// The hash of the rules in force there; the same for the same rules, secrets included.
    pub rules: String,
    /// Whether they are others than those of the gateway that answers.
    pub drift: bool,
}

/// How the last reload went.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LastReload {
    /// RFC 3339.
    pub at: String,
    /// Whether its files are in force.
    pub ok: bool,
    /// Its first mistake.
    pub error: Option<String>,
}

/// How the store is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StoreStatus {
    /// Whether the last write succeeded.
    pub ok: bool,
    /// Why it did not.
    pub error: Option<String>,
    /// Deliveries that wait or are being made.
    pub queue_depth: u64,
    /// Deliveries that used up their retries.
    pub dead: u64,
    /// Exchanges whose outcome is not known yet.
    pub open_exchanges: u64,
    /// RFC 3339; when the oldest event with an unmade delivery happened.
    pub oldest_undelivered: Option<String>,
    /// Events that wait in memory until the store can take them.
    pub held_in_memory: usize,
}
