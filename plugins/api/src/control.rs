//! The interface to the gateway.

use async_trait::async_trait;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admin::{DeliveryView, EventView, ListPage, Search, Slice, WebhookView},
    messages::{Language, Wrong},
    partner::{Change, Log, PartnerWebhookView, Tested},
    token::Tokens,
};

/// Implemented by the gateway.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// Returns the tokens in force.
    fn tokens(&self) -> Tokens;

    /// Loads config and rules again; on any mistake those in force stay.
    ///
    /// # Errors
    /// All mistakes.
    async fn reload(&self) -> Result<Reloaded, Vec<Mistake>>;

    /// Returns the figures of `GET /admin/status` for a token of this site.
    async fn status(&self, site: &str) -> Status;

    /// Returns why the gateway should get no traffic, one sentence each. Empty: it should.
    async fn unready(&self) -> Vec<String>;

    /// Returns what an operator should know about a gateway that may get traffic all the same, one
    /// sentence each.
    async fn remarks(&self) -> Vec<String>;

    /// Returns all figures in the text form of OpenMetrics.
    async fn metrics(&self) -> String;

    /// Returns the language of the messages.
    fn language(&self) -> Language;

    /// Returns a partner's webhook as stored.
    ///
    /// # Errors
    /// [`Refusal::UnknownPartner`] when there is no such partner in this site.
    async fn partner_webhook(
        &self,
        site: &str,
        partner: u64,
    ) -> Result<PartnerWebhookView, Refusal>;

    /// Creates or changes a partner's webhook. The change is durable, and in force for the next
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

    /// Returns the attempts of a partner's webhook, newest first.
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

    /// Returns all webhooks of a site.
    fn webhooks(&self, site: &str) -> Vec<WebhookView>;

    /// Puts a webhook back into service; returns how many held deliveries continue.
    ///
    /// # Errors
    /// [`Refusal::Unknown`].
    async fn enable(&self, site: &str, webhook: &str) -> Result<u64, Refusal>;

    /// Returns a site's events, newest first.
    ///
    /// # Errors
    /// [`Refusal::Wrong`] for an unknown event or status.
    async fn events(
        &self,
        site: &str,
        search: &Search,
        slice: Slice,
    ) -> Result<ListPage<EventView>, Refusal>;

    /// Returns a site's deliveries, newest first.
    ///
    /// # Errors
    /// [`Refusal::Wrong`] for an unknown event or status.
    async fn deliveries(
        &self,
        site: &str,
        search: &Search,
        slice: Slice,
    ) -> Result<ListPage<DeliveryView>, Refusal>;

    /// Replays a delivery.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] when the site has none of this number that is done, dead or orphaned.
    async fn replay_one(&self, site: &str, delivery: i64) -> Result<(), Refusal>;

    /// Replays all matching deliveries that are done, dead or orphaned; or delivers their events to
    /// `to`. Returns how many.
    ///
    /// # Errors
    /// [`Refusal::Wrong`], and [`Refusal::Unknown`] when the site has no webhook `to`.
    async fn replay(&self, site: &str, search: &Search, to: Option<&str>) -> Result<u64, Refusal>;
}

/// Why a request is refused.
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
    /// The secret is not a valid key.
    BadSecret,
    /// It does not exist in the token's site.
    Unknown,
    /// The delivery is still to be made, or held.
    NotOver,
    /// The request has a mistake.
    Wrong(Wrong),
    /// Too many of these requests are in progress.
    Busy,
    /// The store failed; the log has the reason.
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

/// `GET /admin/status`. A token of another site than the default one sees the figures of its own; what
/// is not separate for each site is `null` or empty there.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// Of the gateway.
    pub version: &'static str,
    /// Of the snapshot in force.
    pub generation: u64,
    /// SHA-256 of the files it was made of, hex. Of the default site alone.
    pub hash: Option<String>,
    /// Rules in force.
    pub webhooks: usize,
    /// Exchanges under way. Of the default site alone.
    pub in_flight: Option<usize>,
    /// How the last reload went.
    pub last_reload: LastReload,
    /// How the store is.
    pub store: StoreStatus,
    /// The gateways that share the store and live, this one too, the oldest first. Empty while the
    /// store does not say. Of the default site alone.
    pub gateways: Vec<GatewayView>,
    /// Whether one of them has other rules than this one.
    pub drift: bool,
    /// Whether one of them has a newer configuration than this one: then that one decides which deliveries are
    /// held or orphaned.
    pub outdated: bool,
    /// The site's webhooks out of service, and why: their deliveries are held or orphaned.
    pub out_of_service: Vec<OutOfService>,
}

/// A webhook out of service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct OutOfService {
    /// Its name.
    pub webhook: String,
    /// Why, in a sentence.
    pub reason: String,
}

/// A gateway of the same store.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GatewayView {
    /// A new one at each start.
    pub id: String,
    /// Whether it is the gateway that sent this response.
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
    /// RFC 3339; the time of its last report.
    pub seen: String,
    /// The hash of the rules in force there and of everything else that routing depends on
    /// (partners, stations, sites, secrets): equal hashes mean equal routing.
    pub rules: String,
    /// The generation of this content in the store: the gateways with the highest decide which deliveries are
    /// held or orphaned.
    pub configuration: i64,
    /// Whether they differ from those of the gateway that sent this response.
    pub drift: bool,
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

/// The health of the store.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StoreStatus {
    /// Whether the last write succeeded.
    pub ok: bool,
    /// Why it did not. Of the default site alone.
    pub error: Option<String>,
    /// Deliveries that wait or are being made.
    pub queue_depth: u64,
    /// Deliveries that used up their retries.
    pub dead: u64,
    /// Deliveries that wait until their webhook is back in service. Of the default site alone.
    pub held: Option<u64>,
    /// Deliveries of webhooks that are gone. Of the default site alone.
    pub orphaned: Option<u64>,
    /// Exchanges whose outcome is not known yet.
    pub open_exchanges: u64,
    /// RFC 3339; when the oldest event with an unmade delivery happened.
    pub oldest_undelivered: Option<String>,
    /// Events that wait in memory until the store can take them. Of the default site alone.
    pub held_in_memory: Option<usize>,
}
