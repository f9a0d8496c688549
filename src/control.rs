//! What the API asks of the running gateway, and what metrics look up.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use as2hook_api::{
    GatewayControl, GatewayFigures, PartnerWebhookSettings, PartnerWebhookView, Reloaded,
};
use as2hook_config::{Config, ConfigDiagnostic};
use as2hook_delivery::{Dispatcher, HealthState, Outbox};
use as2hook_event::Rule;
use as2hook_store::{DeliveryState, Payloads, Store, StoreError, clock};
use async_trait::async_trait;
use jiff::Timestamp;
use openssl::{asn1::Asn1Time, x509::X509Ref};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    front::InFlight, memory::Memory, observe::Look, partner_webhooks::PartnerWebhookLoader,
    reload::Reloader, snapshot::Live, timers,
};

/// The limit of a connection to a listener of this process.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The running gateway, as the API sees it.
pub struct RunningGateway {
    /// The snapshot in force.
    pub live: Arc<Live>,
    /// Reloads it.
    pub reloader: Arc<Reloader>,
    /// Has events and deliveries.
    pub store: Arc<dyn Store>,
    /// The way into the store.
    pub outbox: Outbox,
    /// Has payloads.
    pub payloads: Payloads,
    /// Exchanges under way.
    pub in_flight: InFlight,
    /// The memory that they use.
    pub memory: Memory,
    /// Makes deliveries.
    pub dispatcher: Arc<Dispatcher>,
    /// Keeps partners' webhooks.
    pub keeper: Arc<PartnerWebhookLoader>,
}

#[async_trait]
impl GatewayControl for RunningGateway {
    fn config(&self) -> Arc<Config> {
        self.live.load().config.clone()
    }

    fn webhooks(&self) -> Vec<Arc<Rule>> {
        let snapshot = self.live.load();
        snapshot.rules.iter().chain(snapshot.partner_rules.iter()).cloned().collect()
    }

    fn partner_webhook(&self, site: &str, partner: u64) -> Option<PartnerWebhookView> {
        self.live.load().partner_webhooks.view(site, partner)
    }

    async fn configure(
        &self,
        site: &str,
        partner: u64,
        settings: PartnerWebhookSettings,
    ) -> Result<bool, StoreError> {
        self.keeper.configure(site, partner, settings).await
    }

    fn unsealed_url(&self, webhook: &str, sealed: &str) -> String {
        self.keeper.key().unseal_url(webhook, sealed).unwrap_or_default()
    }

    fn figures(&self) -> GatewayFigures {
        let snapshot = self.live.load();
        GatewayFigures {
            generation: snapshot.generation,
            hash: snapshot.hash.clone(),
            last_reload: self.reloader.last(),
            in_flight: self.in_flight.count(),
            id: self.live.peers().id(),
            rules: self.live.peers().rules(),
        }
    }

    async fn reload(&self) -> Result<Reloaded, Vec<ConfigDiagnostic>> {
        self.reloader.reload().await
    }

    async fn readiness(&self) -> Result<Vec<String>, Vec<String>> {
        let reasons = self.reasons_against_traffic().await;
        if reasons.is_empty() { Ok(self.remarks().await) } else { Err(reasons) }
    }

    async fn metrics(&self) -> String {
        let look = self.look().await;
        self.live.observer().render(&look)
    }
}

impl RunningGateway {
    async fn reasons_against_traffic(&self) -> Vec<String> {
        let health = self.outbox.health();
        let mut reasons = Vec::new();
        let listen = self.live.load().config.listen.clone();
        for (name, address) in listen.addresses().filter(|(name, _)| *name != "admin") {
            if !accepts(address).await {
                reasons
                    .push(format!("The {name} listener does not accept connections on {address}."));
            }
        }
        let (since, error) = (health.failing_since, health.last_error);
        reasons.extend(failure("The store fails", since, error));
        let payloads = self.payloads.health();
        let (since, error) = (payloads.failing_since, payloads.last_error);
        reasons.extend(failure("Large payloads cannot be kept", since, error));
        if health.held > 0 {
            reasons.push(format!("{} events wait in memory for the store.", health.held));
        }
        reasons
    }

    async fn remarks(&self) -> Vec<String> {
        let doubt = clock::doubt().and_then(timers::in_words);
        let mut remarks: Vec<_> = doubt.into_iter().collect();
        let deliveries = self.store.counts().await.unwrap_or_default().deliveries;
        let count = |of| deliveries.iter().filter(|(state, _)| *state == of).map(|(_, n)| n).sum();
        let (held, orphaned): (u64, u64) =
            (count(DeliveryState::Held), count(DeliveryState::Orphaned));
        if held + orphaned > 0 {
            let healths = self.dispatcher.healths();
            let webhooks = healths.iter().filter(|it| !is_in_service(&it.health_state)).count();
            remarks.push(format!(
                "{held} deliveries are held and {orphaned} orphaned; {webhooks} webhooks are out of \
                 service (GET /admin/status names them, and why)."
            ));
        }
        if deliveries.iter().any(|(_, n)| *n > 0) && !self.live.peers().is_newest() {
            remarks.push(
                "Another gateway of this store has a newer configuration, which decides which \
                 deliveries are held."
                    .to_owned(),
            );
        }
        remarks
    }

    async fn look(&self) -> Look {
        let snapshot = self.live.load();
        let health = self.outbox.health();
        let counts = self.store.counts().await;
        let readable = counts.is_ok();
        let counts = counts.unwrap_or_default();
        let now = clock::now();
        let oldest = counts.oldest_undelivered.map_or(0, |then| now.saturating_sub(then));
        let healths = self.dispatcher.healths().into_iter();
        Look {
            queue: counts.deliveries.iter().map(|(state, n)| (state.as_str(), *n)).collect(),
            oldest: Duration::from_millis(u64::try_from(oldest).unwrap_or(0)),
            held_events: health.held,
            held_bytes: health.held_bytes,
            dropped: health.dropped,
            store_up: readable && health.failing_since.is_none(),
            payloads_up: self.payloads.health().failing_since.is_none(),
            round_trips: self.store.round_trips(),
            in_flight: self.in_flight.count(),
            memory: self.memory.used(),
            generation: snapshot.generation,
            certificates: certificates(&snapshot.config),
            gateways: self.live.peers().count(),
            webhooks: healths.map(|it| (it.webhook, is_in_service(&it.health_state))).collect(),
        }
    }
}

/// Whether a listener of this process accepts a connection.
async fn accepts(listener: SocketAddr) -> bool {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let connect = TcpStream::connect((ip, listener.port()));
    matches!(timeout(CONNECT_TIMEOUT, connect).await, Ok(Ok(_)))
}

/// Returns the sentence about what fails since a time.
fn failure(what: &str, since: Option<i64>, error: Option<String>) -> Option<String> {
    let since = Timestamp::from_millisecond(since?).unwrap_or_default();
    Some(format!("{what} since {since}: {}.", error.unwrap_or_default()))
}

fn is_in_service(state: &HealthState) -> bool {
    matches!(state, HealthState::Healthy | HealthState::Retrying)
}

/// Returns each certificate's owner and serial number, and the seconds until it expires.
fn certificates(config: &Config) -> Vec<(String, String, i64)> {
    let stations = config
        .stations
        .iter()
        .flat_map(|station| station.keys.iter().map(|key| (&station.as2_id, &*key.certificate)));
    let partners = config.partners.iter().flat_map(|partner| {
        partner.certificates.iter().map(|certificate| (&partner.as2_id, &**certificate))
    });
    let expiry = |(owner, certificate): (&String, &X509Ref)| {
        let serial = certificate.serial_number().to_bn().ok()?.to_hex_str().ok()?.to_string();
        Some((owner.clone(), serial, seconds_left(certificate)?))
    };
    stations.chain(partners).filter_map(expiry).collect()
}

fn seconds_left(certificate: &X509Ref) -> Option<i64> {
    let left = Asn1Time::days_from_now(0).ok()?.diff(certificate.not_after()).ok()?;
    Some(i64::from(left.days) * 24 * 3600 + i64::from(left.secs))
}
