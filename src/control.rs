//! What the API asks of the running gateway, and what metrics look up.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use as2hook_api::{Activity, GatewayControl, GatewayFigures, PartnerWebhookView, Reloaded};
use as2hook_config::{Config, ConfigDiagnostic};
use as2hook_delivery::{Dispatcher, HealthState, Outbox};
use as2hook_event::Rule;
use as2hook_store::{DeliveryState, PartnerWebhookChange, Payloads, Store, StoreError, clock};
use async_trait::async_trait;
use openssl::x509::X509Ref;
use prometheus_client::{
    metrics::{
        counter::ConstCounter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::{Registry, Unit},
};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    front::InFlight,
    log,
    memory::Memory,
    observe::{Labels, labels},
    partner_webhooks::loader::PartnerWebhookLoader,
    reload::Reloader,
    secret_key::SecretKey,
    snapshot::Live,
    tap::storage,
    timers,
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

    async fn configure(&self, change: PartnerWebhookChange) -> Result<bool, StoreError> {
        self.keeper.configure(change).await
    }

    fn key(&self) -> &SecretKey {
        self.live.key()
    }

    fn activity(&self) -> &Activity {
        self.live.activity()
    }

    fn figures(&self) -> GatewayFigures {
        let snapshot = self.live.load();
        GatewayFigures {
            generation: snapshot.generation,
            hash: snapshot.hash.clone(),
            last_reload: self.reloader.last(),
            in_flight: self.in_flight.count(),
            receiver_failure: self.live.receiver().remark(),
            receiver_reached: self.live.receiver().was_reached(),
            host: self.live.peers().host().to_owned(),
            id: self.live.peers().id(),
            rules: self.live.peers().rules(),
        }
    }

    async fn reload(&self) -> Result<Reloaded, Vec<ConfigDiagnostic>> {
        self.reloader.reload().await
    }

    fn mistakes(&self) -> Vec<ConfigDiagnostic> {
        self.reloader.files.mistakes()
    }

    async fn readiness(&self) -> Result<Vec<String>, Vec<String>> {
        let reasons = self.reasons_against_traffic().await;
        if reasons.is_empty() { Ok(self.remarks().await) } else { Err(reasons) }
    }

    async fn metrics(&self) -> String {
        let observer = self.live.observer();
        let counts = self.store.counts().await;
        let readable = counts.is_ok();
        let counts = counts.unwrap_or_default();
        observer.webhooks(self.webhooks().iter().map(|rule| rule.name.as_str()));
        observer.queue(counts.deliveries.iter().map(|(state, n)| (state.as_str(), *n)));
        observer.render(&self.look_up(counts.oldest_undelivered, readable))
    }
}

impl RunningGateway {
    async fn reasons_against_traffic(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let listen = self.live.load().config.listen.clone();
        for (name, address) in listen.addresses().filter(|(name, _)| *name != "admin") {
            if !accepts(address).await {
                reasons
                    .push(format!("The {name} listener does not accept connections on {address}."));
            }
        }
        reasons.extend(storage::failures(&self.outbox, &self.payloads));
        reasons
    }

    async fn remarks(&self) -> Vec<String> {
        let doubt = clock::doubt().and_then(timers::in_words);
        let receiver = self.live.receiver().remark();
        let mut remarks: Vec<_> = doubt.into_iter().chain(receiver).collect();
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

    /// The figures that are looked up for each scrape.
    fn look_up(&self, oldest_undelivered: Option<i64>, is_store_readable: bool) -> Registry {
        let snapshot = self.live.load();
        let health = self.outbox.health();
        let payloads_up = self.payloads.health().failing_since.is_none();
        let store_up = is_store_readable && health.failing_since.is_none();
        let oldest = oldest_undelivered.map_or(0, |then| clock::now().saturating_sub(then));
        let oldest = Duration::from_millis(u64::try_from(oldest).unwrap_or(0)).as_secs_f64();
        let (gateways, drift) = self.live.peers().count();
        let certificates = Family::<Labels, Gauge>::default();
        for (owner, serial, seconds) in certificates_of(&snapshot.config) {
            let labels = labels([("owner", &owner), ("serial", &serial)]);
            certificates.get_or_create(&labels).set(seconds);
        }
        let webhooks = Family::<Labels, Gauge>::default();
        for rule in self.webhooks() {
            webhooks.get_or_create(&labels([("webhook", &rule.name)])).set(i64::from(rule.enabled));
        }
        for it in self.dispatcher.healths() {
            let up = i64::from(is_in_service(&it.health_state));
            webhooks.get_or_create(&labels([("webhook", &it.webhook)])).set(up);
        }
        let mut registry = Registry::with_prefix("as2hook");
        let mut add = |name, help, value| registry.register(name, help, ConstGauge::new(value));
        add("held_events", "Events in memory until the store is back", whole(health.held));
        add("dropped_events", "Events lost since the start", whole(health.dropped));
        // Its family has the gauge's name in OpenMetrics, so it is no counter there.
        add("dropped_events_total", "Events lost since the start", whole(health.dropped));
        add("store_up", "Whether the store takes events", i64::from(store_up));
        add("payloads_up", "Whether large payloads can be kept", i64::from(payloads_up));
        let round_trips = whole(self.store.round_trips().unwrap_or(0));
        add(
            "store_round_trips",
            "Round trips to the store's database since the start",
            round_trips,
        );
        add("in_flight", "Exchanges under way", whole(self.in_flight.count()));
        add("generation", "Of the config in force", whole(snapshot.generation));
        add("gateways", "Gateways of this store that live", whole(gateways));
        add("gateway_drift", "Those of them with other rules", whole(drift));
        let help = "Log lines that were not written, since stderr was not read";
        registry.register("log_lines_dropped", help, ConstCounter::new(log::dropped()));
        #[cfg(feature = "otel")]
        if let Some(traces) = self.live.traces() {
            let help = "Spans that were not exported";
            registry.register("dropped_spans", help, ConstCounter::new(traces.dropped()));
        }
        registry.register("webhook_up", "Whether a webhook is in service", webhooks);
        let help = "Age of the oldest event with an unmade delivery";
        registry.register_with_unit(
            "oldest_undelivered",
            help,
            Unit::Seconds,
            ConstGauge::new(oldest),
        );
        let help = "Until a configured certificate expires";
        registry.register_with_unit("certificate_expiry", help, Unit::Seconds, certificates);
        let mut add = |name, help, value| {
            registry.register_with_unit(name, help, Unit::Bytes, ConstGauge::new(value));
        };
        add("held", "Memory of events until the store is back", whole(health.held_bytes));
        let help = "Memory that exchanges under way may take, as it is counted";
        add("exchange_memory", help, whole(self.memory.used()));
        add("memory_resident", "Memory of the process", resident().unwrap_or(0));
        registry
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

fn is_in_service(state: &HealthState) -> bool {
    matches!(state, HealthState::Healthy | HealthState::Retrying)
}

fn whole(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// Resident memory in bytes, where the system reports it.
fn resident() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Returns each certificate's owner and serial number, and the seconds until it expires.
fn certificates_of(config: &Config) -> Vec<(String, String, i64)> {
    let stations = config
        .stations
        .iter()
        .flat_map(|station| station.keys.iter().map(|key| (&station.as2_id, &*key.certificate)));
    let partners = config.partners.iter().flat_map(|partner| {
        partner.certificates.iter().map(|certificate| (&partner.as2_id, &**certificate))
    });
    let expiry = |(owner, certificate): (&String, &X509Ref)| {
        let serial = certificate.serial_number().to_bn().ok()?.to_hex_str().ok()?.to_string();
        let left = timers::expiry(certificate)? - clock::now().div_euclid(1000);
        Some((owner.clone(), serial, left))
    };
    stations.chain(partners).filter_map(expiry).collect()
}
