//! What the admin API asks of the gateway.
//!
//! # Layout
//! - `partner`: the webhooks of partners
//! - `admin`: webhooks, events and deliveries; replay
//! - `figures`: what metrics look up

mod admin;
mod figures;
mod partner;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use as2hook_config_api::{
    Control, GatewayView, Language, LastReload, Mistake, Refusal, Reloaded, Scope, Status,
    StoreStatus, Token, Tokens,
    admin::{DeliveryView, EventView, Page, Search, Slice, WebhookView},
    partner::{Change, Log, PartnerWebhook, Tested},
};
use as2hook_delivery::{Client, Dispatcher, Outbox};
use as2hook_store::{Counts, DeliveryState, GatewayReport, Payloads, Store, StoreError};
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};

use crate::{
    config, gateway::InFlight, partner_webhooks::Keeper, reload::Reloader, snapshot::Live,
};

/// Test deliveries under way at once.
pub const TESTS: usize = 32;

/// For a connection to our own listener.
const KNOCK: Duration = Duration::from_secs(1);

/// The running gateway, as the API sees it.
pub struct Gateway {
    /// The snapshot in force.
    pub live: Arc<Live>,
    /// Reloads it.
    pub reloader: Arc<Reloader>,
    /// Where events and deliveries are.
    pub store: Arc<dyn Store>,
    /// The way into the store.
    pub outbox: Outbox,
    /// Where payloads are.
    pub payloads: Payloads,
    /// Exchanges under way.
    pub in_flight: InFlight,
    /// What they take together.
    pub memory: crate::memory::Memory,
    /// Makes deliveries.
    pub dispatcher: Arc<Dispatcher>,
    /// Makes test deliveries.
    pub client: Arc<Client>,
    /// Keeps partners' webhooks.
    pub keeper: Arc<Keeper>,
    /// As many as [`TESTS`].
    pub tests: Semaphore,
}

#[async_trait]
impl Control for Gateway {
    fn tokens(&self) -> Tokens {
        let snapshot = self.live.load();
        Tokens {
            all: snapshot.config.api.tokens.iter().map(token).collect(),
            default_site: snapshot.config.site.clone(),
        }
    }

    async fn reload(&self) -> Result<Reloaded, Vec<Mistake>> {
        match self.reloader.reload().await {
            Ok(done) => Ok(done),
            Err(mistakes) => Err(mistakes.iter().map(mistake).collect()),
        }
    }

    async fn status(&self) -> Status {
        let snapshot = self.live.load();
        let gateways = self.gateways().await;
        Status {
            version: env!("CARGO_PKG_VERSION"),
            generation: snapshot.generation,
            hash: snapshot.hash.clone(),
            webhooks: snapshot.rules.len(),
            in_flight: self.in_flight.count(),
            last_reload: self.last_reload(),
            store: self.store_status().await,
            drift: gateways.iter().any(|gateway| gateway.drift),
            gateways,
        }
    }

    async fn unready(&self) -> Vec<String> {
        let health = self.outbox.health();
        let mut reasons = Vec::new();
        let listen = self.live.load().config.listen.clone();
        for (name, address) in listen.addresses().filter(|(name, _)| *name != "admin") {
            if !accepts(address).await {
                reasons
                    .push(format!("The {name} listener does not accept connections on {address}."));
            }
        }
        if let Some(since) = health.failing_since {
            let since = rfc3339(since).unwrap_or_default();
            let error = health.last_error.unwrap_or_default();
            reasons.push(format!("The store fails since {since}: {error}."));
        }
        let payloads = self.payloads.health();
        if let Some(since) = payloads.failing_since {
            let since = rfc3339(since).unwrap_or_default();
            let error = payloads.last_error.unwrap_or_default();
            reasons.push(format!("Large payloads cannot be kept since {since}: {error}."));
        }
        if health.held > 0 {
            reasons.push(format!("{} events wait in memory for the store.", health.held));
        }
        reasons
    }

    async fn metrics(&self) -> String {
        let look = self.look().await;
        self.live.observer().render(&look)
    }

    fn language(&self) -> Language {
        match self.live.load().config.api.language {
            config::Language::Spanish => Language::Spanish,
            config::Language::English => Language::English,
        }
    }

    async fn partner_webhook(&self, site: &str, partner: u64) -> Result<PartnerWebhook, Refusal> {
        self.shown(site, partner)
    }

    async fn configure(&self, site: &str, partner: u64, change: Change) -> Result<(), Refusal> {
        self.change(site, partner, change).await
    }

    async fn test(&self, site: &str, partner: u64) -> Result<Tested, Refusal> {
        self.try_out(site, partner).await
    }

    async fn log(
        &self,
        site: &str,
        partner: u64,
        offset: u64,
        limit: usize,
    ) -> Result<Log, Refusal> {
        self.log_of(site, partner, offset, limit).await
    }

    fn webhooks(&self, site: &str) -> Vec<WebhookView> {
        self.views(site)
    }

    async fn enable(&self, site: &str, webhook: &str) -> Result<u64, Refusal> {
        self.bring_back(site, webhook).await
    }

    async fn events(
        &self,
        site: &str,
        search: &Search,
        slice: Slice,
    ) -> Result<Page<EventView>, Refusal> {
        self.event_page(site, search, slice).await
    }

    async fn deliveries(
        &self,
        site: &str,
        search: &Search,
        slice: Slice,
    ) -> Result<Page<DeliveryView>, Refusal> {
        self.delivery_page(site, search, slice).await
    }

    async fn replay_one(&self, site: &str, delivery: i64) -> Result<(), Refusal> {
        self.make_again(site, delivery).await
    }

    async fn replay(&self, site: &str, search: &Search, to: Option<&str>) -> Result<u64, Refusal> {
        self.make_all_again(site, search, to).await
    }
}

/// The store's reasons are the operator's business, and are logged.
fn failed(error: &StoreError) -> Refusal {
    tracing::error!(%error, "The store failed under the API.");
    Refusal::Store
}

impl Gateway {
    fn last_reload(&self) -> LastReload {
        self.reloader.last()
    }

    async fn gateways(&self) -> Vec<GatewayView> {
        let neighbours = self.live.neighbours();
        let (own, rules) = (neighbours.id(), neighbours.rules());
        // That the store fails stands elsewhere in the answer.
        let alive = neighbours.alive(&*self.store).await.unwrap_or_default();
        let view = |report: GatewayReport| GatewayView {
            id: report.id.to_string(),
            is_self: report.id == own,
            host: report.host,
            pid: report.process,
            version: report.version,
            started: rfc3339(report.started_at).unwrap_or_default(),
            seen: rfc3339(report.seen_at).unwrap_or_default(),
            drift: report.rules != rules,
            rules: report.rules,
        };
        alive.into_iter().map(view).collect()
    }

    async fn store_status(&self) -> StoreStatus {
        let health = self.outbox.health();
        let counts = self.store.counts().await;
        let error = counts.as_ref().err().map(ToString::to_string).or(health.last_error.clone());
        let counts = counts.unwrap_or_default();
        StoreStatus {
            ok: health.is_healthy() && error.is_none(),
            error: if health.is_healthy() { None } else { error },
            queue_depth: count(&counts, DeliveryState::Pending)
                + count(&counts, DeliveryState::Claimed),
            dead: count(&counts, DeliveryState::Dead),
            open_exchanges: counts.open,
            oldest_undelivered: counts.oldest_undelivered.and_then(rfc3339),
            held_in_memory: health.held,
        }
    }
}

/// Whether a connection to our own listener comes about.
async fn accepts(listener: SocketAddr) -> bool {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let connect = TcpStream::connect((ip, listener.port()));
    matches!(timeout(KNOCK, connect).await, Ok(Ok(_)))
}

fn count(counts: &Counts, state: DeliveryState) -> u64 {
    counts.deliveries.iter().filter(|(of, _)| *of == state).map(|(_, n)| n).sum()
}

fn rfc3339(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(|at| at.to_string())
}

fn token(token: &config::Token) -> Token {
    let scope = |scope: &config::Scope| match scope {
        config::Scope::Read => Scope::Read,
        config::Scope::Write => Scope::Write,
        config::Scope::Admin => Scope::Admin,
    };
    Token {
        name: token.name.clone(),
        digest: token.sha256,
        scopes: token.scopes.iter().map(scope).collect(),
        site: token.site.clone(),
    }
}

fn mistake(mistake: &config::Mistake) -> Mistake {
    Mistake {
        file: mistake.file.display().to_string(),
        line: mistake.line,
        column: mistake.column,
        path: mistake.path.clone(),
        message: mistake.message.clone(),
    }
}
