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

use as2hook_api::{
    Control, GatewayView, Language, LastReload, Mistake, OutOfService, Refusal, Reloaded, Scope,
    Status, StoreStatus, Token, Tokens,
    admin::{DeliveryView, EventView, ListPage, Search, Slice, WebhookView},
    partner::{Change, Log, PartnerWebhookView, Tested},
};
use as2hook_delivery::{Dispatcher, HealthState, Outbox};
use as2hook_sink::Client;
use as2hook_store::{Counts, DeliveryState, GatewayReport, Payloads, Store, StoreError, clock};
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};

use crate::{
    front::InFlight,
    partner_webhooks::PartnerWebhookLoader,
    reload::Reloader,
    snapshot::{Live, Snapshot},
    timers,
};
use as2hook_config as config;

/// Test deliveries under way at once.
pub const TESTS: usize = 32;

/// For a connection to our own listener.
const KNOCK: Duration = Duration::from_secs(1);

/// The running gateway, as the API sees it.
pub struct RunningGateway {
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
    pub keeper: Arc<PartnerWebhookLoader>,
    /// As many as [`TESTS`].
    pub tests: Semaphore,
}

#[async_trait]
impl Control for RunningGateway {
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

    async fn status(&self, site: &str) -> Status {
        let snapshot = self.live.load();
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            generation: snapshot.generation,
            hash: None,
            webhooks: 0,
            in_flight: None,
            last_reload: self.last_reload(),
            store: self.store_status(site, &snapshot).await,
            gateways: Vec::new(),
            drift: false,
            outdated: false,
            out_of_service: self.out_of_service(Some(site)),
        };
        if site != snapshot.config.site {
            return Status {
                webhooks: snapshot.rules.iter().filter(|rule| rule.site == site).count(),
                last_reload: LastReload { error: None, ..status.last_reload },
                ..status
            };
        }
        let gateways = self.gateways().await;
        Status {
            hash: Some(snapshot.hash.clone()),
            webhooks: snapshot.rules.len(),
            in_flight: Some(self.in_flight.count()),
            drift: gateways.iter().any(|gateway| gateway.drift),
            outdated: !self.live.peers().is_newest(),
            gateways,
            ..status
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

    async fn remarks(&self) -> Vec<String> {
        let doubt = clock::doubt().and_then(timers::in_words);
        let mut remarks: Vec<_> = doubt.into_iter().collect();
        let counts = self.store.counts().await.unwrap_or_default();
        let (held, orphaned) =
            (count(&counts, DeliveryState::Held), count(&counts, DeliveryState::Orphaned));
        if held + orphaned > 0 {
            let webhooks = self.out_of_service(None).len();
            remarks.push(format!(
                "{held} deliveries are held and {orphaned} orphaned; {webhooks} webhooks are out of \
                 service (GET /admin/status names them, and why)."
            ));
        }
        if counts.deliveries.iter().any(|(_, n)| *n > 0) && !self.live.peers().is_newest() {
            remarks.push(
                "Another gateway of this store has a newer configuration, which decides which \
                 deliveries are held."
                    .to_owned(),
            );
        }
        remarks
    }

    async fn metrics(&self) -> String {
        let look = self.look().await;
        self.live.observer().render(&look)
    }

    fn language(&self) -> Language {
        match self.live.load().config.api.language {
            config::ApiLanguage::Spanish => Language::Spanish,
            config::ApiLanguage::English => Language::English,
        }
    }

    async fn partner_webhook(
        &self,
        site: &str,
        partner: u64,
    ) -> Result<PartnerWebhookView, Refusal> {
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
    ) -> Result<ListPage<EventView>, Refusal> {
        self.event_page(site, search, slice).await
    }

    async fn deliveries(
        &self,
        site: &str,
        search: &Search,
        slice: Slice,
    ) -> Result<ListPage<DeliveryView>, Refusal> {
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

impl RunningGateway {
    fn last_reload(&self) -> LastReload {
        self.reloader.last()
    }

    /// The webhooks that nothing is delivered to: those of a site, or all.
    fn out_of_service(&self, site: Option<&str>) -> Vec<OutOfService> {
        let snapshot = self.live.load();
        let is_of_site = |webhook: &str| match (site, snapshot.webhook(webhook)) {
            (None, _) => true,
            (Some(site), Some(rule)) => rule.site == site,
            // Nothing says whose it was.
            (Some(site), None) => site == snapshot.config.site,
        };
        let reason = |health_state| match health_state {
            HealthState::Disabled { reason } => Some(reason),
            HealthState::Orphaned => Some("no rule has this name any more".to_owned()),
            HealthState::Healthy | HealthState::Retrying => None,
        };
        let mut all: Vec<_> = self
            .dispatcher
            .healths()
            .into_iter()
            .filter(|health| is_of_site(&health.webhook))
            .filter_map(|it| {
                Some(OutOfService { reason: reason(it.health_state)?, webhook: it.webhook })
            })
            .collect();
        all.sort_by(|a, b| a.webhook.cmp(&b.webhook));
        all
    }

    async fn gateways(&self) -> Vec<GatewayView> {
        let peers = self.live.peers();
        let (own, rules) = (peers.id(), peers.rules());
        // That the store fails stands elsewhere in the response.
        let alive = peers.alive(&*self.store).await.unwrap_or_default();
        let view = |report: GatewayReport| GatewayView {
            id: report.id.to_string(),
            is_self: report.id == own,
            host: report.host,
            pid: report.process,
            version: report.version,
            started: rfc3339(report.started_at).unwrap_or_default(),
            seen: rfc3339(report.seen_at).unwrap_or_default(),
            drift: report.rules != rules,
            configuration: report.generation,
            rules: report.rules,
        };
        alive.into_iter().map(view).collect()
    }

    /// As a token of this site sees it.
    async fn store_status(&self, site: &str, snapshot: &Snapshot) -> StoreStatus {
        let health = self.outbox.health();
        let everything = site == snapshot.config.site;
        let counts = if everything {
            self.store.counts().await
        } else {
            let all = snapshot.rules.iter().chain(snapshot.partner_rules.iter());
            let own = all.filter(|rule| rule.site == site).map(|rule| rule.name.clone());
            self.store.counts_of(site, own.collect()).await
        };
        // What it said last is of no interest once it is well again.
        let said = health.failing_since.and(health.last_error.clone());
        let error = counts.as_ref().err().map(ToString::to_string).or(said);
        let counts = counts.unwrap_or_default();
        StoreStatus {
            ok: health.is_healthy() && error.is_none(),
            error: error.filter(|_| everything),
            queue_depth: count(&counts, DeliveryState::Pending)
                + count(&counts, DeliveryState::Claimed),
            dead: count(&counts, DeliveryState::Dead),
            held: everything.then(|| count(&counts, DeliveryState::Held)),
            orphaned: everything.then(|| count(&counts, DeliveryState::Orphaned)),
            open_exchanges: counts.open,
            oldest_undelivered: counts.oldest_undelivered.and_then(rfc3339),
            held_in_memory: everything.then_some(health.held),
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

fn token(token: &config::TokenConfig) -> Token {
    let scope = |scope: &config::TokenScope| match scope {
        config::TokenScope::Read => Scope::Read,
        config::TokenScope::Write => Scope::Write,
        config::TokenScope::Admin => Scope::Admin,
    };
    Token {
        name: token.name.clone(),
        digest: token.sha256,
        scopes: token.scopes.iter().map(scope).collect(),
        site: token.site.clone(),
    }
}

fn mistake(mistake: &config::ConfigDiagnostic) -> Mistake {
    Mistake {
        file: mistake.file.display().to_string(),
        line: mistake.line,
        column: mistake.column,
        path: mistake.path.clone(),
        message: mistake.message.clone(),
    }
}
