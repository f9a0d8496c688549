//! What happens is counted here, and what no other part logs is logged: each thing that can be observed
//! is one call.
//!
//! Names follow OpenMetrics; `docs/operating.md` says what each figure means and what to do about it.
//!
//! # Layout
//! - `response_times`: when exchanges ended whose deliveries are timed

mod response_times;

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use as2hook_delivery::Attempted;
use as2hook_event::{Event, EventKind};
use as2hook_store::DeliveryOutcome;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry, Unit},
};
use uuid::Uuid;

use self::response_times::ResponseTimes;
use crate::log;

/// Counters since the start, and the figures of the last look.
#[derive(Debug)]
pub struct Observer {
    registry: Registry,
    exchanges: Family<Labels, Counter>,
    refusals: Family<Labels, Counter>,
    decode_errors: Family<Labels, Counter>,
    late_decodes: Counter,
    events: Family<Labels, Counter>,
    attempts: Family<Labels, Counter>,
    latency: Histogram,
    reloads: Family<Labels, Counter>,
    queue: Family<Labels, Gauge>,
    oldest: Gauge<f64, AtomicU64>,
    held_events: Gauge,
    held_bytes: Gauge,
    dropped: Gauge,
    store_up: Gauge,
    in_flight: Gauge,
    connections: Family<Labels, Gauge>,
    handshakes: Family<Labels, Gauge>,
    memory: Gauge,
    generation: Gauge,
    resident: Gauge,
    certificates: Family<Labels, Gauge>,
    webhooks: Family<Labels, Gauge>,
    payloads_up: Gauge,
    round_trips: Gauge,
    gateways: Gauge,
    drift: Gauge,
    log_lines_dropped: Counter,
    response_times: ResponseTimes,
}

/// What is looked up for each scrape.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Deliveries by state.
    pub queue: Vec<(&'static str, u64)>,
    /// Age of the oldest event with an unmade delivery.
    pub oldest: Duration,
    /// Events in memory that wait for the store.
    pub held_events: usize,
    /// The memory they take.
    pub held_bytes: usize,
    /// Events that found no room in memory.
    pub dropped: u64,
    /// Whether the store takes events.
    pub store_up: bool,
    /// Whether large payloads can be kept.
    pub payloads_up: bool,
    /// Round trips to the store's database, where it has one.
    pub round_trips: Option<u64>,
    /// Exchanges under way.
    pub in_flight: usize,
    /// Bytes of memory that they may take.
    pub memory: u64,
    /// Of the snapshot in force.
    pub generation: u64,
    /// Whose certificate, its serial number, and the seconds until it expires.
    pub certificates: Vec<(String, String, i64)>,
    /// Webhooks and whether they are in service.
    pub webhooks: Vec<(String, bool)>,
    /// Gateways of the store that live, and those of them that have other rules.
    pub gateways: (usize, usize),
}

/// A connection that is counted.
#[derive(Debug)]
pub struct CountedConnection(Gauge);

type Labels = Vec<(&'static str, String)>;

const LATENCIES: [f64; 14] =
    [0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

// === impl Observer ===

impl Observer {
    /// All figures at nought.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("as2hook");
        let to = &mut registry;
        // Figures are shown in this order.
        Self {
            exchanges: add(to, "exchanges", "Exchanges by listener and result"),
            refusals: add(to, "refusals", "Responses of the gateway's own by listener and reason"),
            connections: add(to, "connections", "Open connections by listener"),
            handshakes: add(to, "handshakes", "TLS handshakes under way by listener"),
            decode_errors: add(to, "decode_errors", "Processing errors by code"),
            late_decodes: add(
                to,
                "late_decodes",
                "Messages still being decoded when their traffic went on",
            ),
            events: add(to, "events", "Events by type"),
            attempts: add(to, "deliveries", "Attempts by webhook and result"),
            reloads: add(to, "reloads", "Reloads by result"),
            queue: add(to, "queue", "Deliveries by state"),
            held_events: add(to, "held_events", "Events in memory until the store is back"),
            dropped: add(to, "dropped_events", "Events lost since the start"),
            store_up: add(to, "store_up", "Whether the store takes events"),
            payloads_up: add(to, "payloads_up", "Whether large payloads can be kept"),
            round_trips: add(
                to,
                "store_round_trips",
                "Round trips to the store's database since the start",
            ),
            in_flight: add(to, "in_flight", "Exchanges under way"),
            log_lines_dropped: add(
                to,
                "log_lines_dropped",
                "Log lines that were not written, since stderr was not read",
            ),
            generation: add(to, "generation", "Of the config in force"),
            gateways: add(to, "gateways", "Gateways of this store that live"),
            drift: add(to, "gateway_drift", "Those of them with other rules"),
            webhooks: add(to, "webhook_up", "Whether a webhook is in service"),
            latency: add_in(
                to,
                Unit::Seconds,
                "delivery_latency",
                "From the response's end to the first attempt",
                Histogram::new(LATENCIES),
            ),
            oldest: add_in(
                to,
                Unit::Seconds,
                "oldest_undelivered",
                "Age of the oldest event with an unmade delivery",
                Gauge::default(),
            ),
            certificates: add_in(
                to,
                Unit::Seconds,
                "certificate_expiry",
                "Until a configured certificate expires",
                Family::default(),
            ),
            held_bytes: add_in(
                to,
                Unit::Bytes,
                "held",
                "Memory of events until the store is back",
                Gauge::default(),
            ),
            memory: add_in(
                to,
                Unit::Bytes,
                "exchange_memory",
                "Memory that exchanges under way may take, as it is counted",
                Gauge::default(),
            ),
            resident: add_in(
                to,
                Unit::Bytes,
                "memory_resident",
                "Memory of the process",
                Gauge::default(),
            ),
            response_times: ResponseTimes::default(),
            registry,
        }
    }

    /// An exchange is over; `status` is what the other side got.
    pub fn exchange(&self, listener: &'static str, status: Option<u16>, failed: bool) {
        let result = match status {
            Some(status) if !failed => format!("{}xx", status / 100),
            Some(status) => format!("failed_{}xx", status / 100),
            None => "aborted".to_owned(),
        };
        count(&self.exchanges, [("listener", listener), ("result", &result)]);
    }

    /// The gateway gave a response of its own, for this reason.
    pub fn refused(&self, listener: &'static str, reason: &'static str) {
        count(&self.refusals, [("listener", listener), ("reason", reason)]);
    }

    /// A connection is open on this listener, until what this returns is dropped.
    #[must_use]
    pub fn connection(&self, listener: &'static str) -> CountedConnection {
        CountedConnection::new(&self.connections, listener)
    }

    /// A TLS handshake is under way on this listener, until what this returns is dropped.
    #[must_use]
    pub fn handshake(&self, listener: &'static str) -> CountedConnection {
        CountedConnection::new(&self.handshakes, listener)
    }

    /// What the decoder found wrong with a message.
    pub fn decoded(&self, event: &Event) {
        for error in event.processing_errors() {
            count(&self.decode_errors, [("code", &error.code.number().to_string())]);
        }
    }

    /// A message was still being decoded when its traffic went on.
    pub fn late_decode(&self) {
        self.late_decodes.inc();
    }

    /// An event came of an exchange, and its response is over.
    pub fn event(&self, id: Uuid, kind: EventKind) {
        count(&self.events, [("event", kind.as_str())]);
        self.response_times.note(id, Instant::now());
    }

    /// A delivery was attempted.
    pub fn attempted(&self, attempt: &Attempted<'_>) {
        let result = match attempt.outcome {
            DeliveryOutcome::Delivered => "delivered",
            DeliveryOutcome::Retry(_) => "retried",
            DeliveryOutcome::Dead => "dead",
            DeliveryOutcome::Held => "held",
            DeliveryOutcome::Orphaned | DeliveryOutcome::Released(_) => "given_back",
        };
        count(&self.attempts, [("webhook", attempt.webhook), ("result", result)]);
        if attempt.number == 1
            && !attempt.replay
            && let Some(responded) = self.response_times.of(attempt.event)
        {
            let waited = attempt.began.saturating_duration_since(responded);
            self.latency.observe(waited.as_secs_f64());
        }
    }

    /// Files were loaded again.
    pub fn reloaded(&self, ok: bool) {
        count(&self.reloads, [("result", if ok { "ok" } else { "refused" })]);
    }

    /// Everything, in the text form of OpenMetrics.
    pub fn render(&self, look: &Look) -> String {
        for (state, n) in &look.queue {
            self.queue.get_or_create(&labels([("state", state)])).set(whole(*n));
        }
        self.oldest.set(look.oldest.as_secs_f64());
        self.held_events.set(whole(look.held_events));
        self.held_bytes.set(whole(look.held_bytes));
        self.dropped.set(whole(look.dropped));
        self.store_up.set(i64::from(look.store_up));
        self.payloads_up.set(i64::from(look.payloads_up));
        if let Some(round_trips) = look.round_trips {
            self.round_trips.set(whole(round_trips));
        }
        self.in_flight.set(whole(look.in_flight));
        self.memory.set(whole(look.memory));
        self.generation.set(whole(look.generation));
        self.gateways.set(whole(look.gateways.0));
        self.drift.set(whole(look.gateways.1));
        self.resident.set(resident().unwrap_or(0));
        self.log_lines_dropped.inner().store(log::dropped(), Ordering::Relaxed);
        // What is gone from the config is gone from the figures.
        self.certificates.clear();
        for (owner, serial, seconds) in &look.certificates {
            let labels = labels([("owner", owner), ("serial", serial)]);
            self.certificates.get_or_create(&labels).set(*seconds);
        }
        self.webhooks.clear();
        for (webhook, up) in &look.webhooks {
            self.webhooks.get_or_create(&labels([("webhook", webhook)])).set(i64::from(*up));
        }
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

// === impl CountedConnection ===

impl CountedConnection {
    fn new(open: &Family<Labels, Gauge>, listener: &'static str) -> Self {
        let open = open.get_or_create_owned(&labels([("listener", listener)]));
        open.inc();
        Self(open)
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Observer {
    fn default() -> Self {
        Self::new()
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn add_in<M: Metric + Clone>(
    registry: &mut Registry,
    unit: Unit,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}

fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name, value.to_owned())).to_vec()
}

fn count<const N: usize>(family: &Family<Labels, Counter>, pairs: [(&'static str, &str); N]) {
    family.get_or_create(&labels(pairs)).inc();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_events_are_exported() {
        let observer = Observer::new();
        let event = Uuid::now_v7();
        observer.exchange("inbound", Some(200), false);
        observer.event(event, EventKind::MessageReceived);
        let attempt = Attempted {
            webhook: "orders \"a\"",
            event,
            number: 1,
            replay: false,
            began: Instant::now(),
            outcome: DeliveryOutcome::Delivered,
        };
        observer.attempted(&attempt);
        observer.reloaded(false);
        let look = Look { queue: vec![("dead", 3)], store_up: true, ..Look::default() };
        let text = observer.render(&look);
        for line in [
            "as2hook_exchanges_total{listener=\"inbound\",result=\"2xx\"} 1",
            "as2hook_events_total{event=\"message.received\"} 1",
            "as2hook_deliveries_total{webhook=\"orders \\\"a\\\"\",result=\"delivered\"} 1",
            "as2hook_delivery_latency_seconds_count 1",
            "as2hook_reloads_total{result=\"refused\"} 1",
            "as2hook_queue{state=\"dead\"} 3",
            "as2hook_store_up 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
}
