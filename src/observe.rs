//! What happens is counted here, and what no other part logs is logged: each thing that can be observed
//! is one call.
//!
//! Names follow OpenMetrics; `docs/operating.md` says what each figure means and what to do about it.
//!
//! # Layout
//! - `names`: what each figure is called
//! - `response_times`: when exchanges ended whose deliveries are timed

mod names;
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
    registry::Registry,
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
        let mut observer = Self {
            registry: Registry::with_prefix("as2hook"),
            exchanges: Family::default(),
            refusals: Family::default(),
            decode_errors: Family::default(),
            late_decodes: Counter::default(),
            events: Family::default(),
            attempts: Family::default(),
            latency: Histogram::new(LATENCIES),
            reloads: Family::default(),
            queue: Family::default(),
            oldest: Gauge::default(),
            held_events: Gauge::default(),
            held_bytes: Gauge::default(),
            dropped: Gauge::default(),
            store_up: Gauge::default(),
            in_flight: Gauge::default(),
            connections: Family::default(),
            handshakes: Family::default(),
            memory: Gauge::default(),
            generation: Gauge::default(),
            resident: Gauge::default(),
            certificates: Family::default(),
            webhooks: Family::default(),
            payloads_up: Gauge::default(),
            round_trips: Gauge::default(),
            gateways: Gauge::default(),
            drift: Gauge::default(),
            log_lines_dropped: Counter::default(),
            response_times: ResponseTimes::default(),
        };
        observer.register();
        observer
    }

    /// An exchange is over; `status` is what the other side got.
    pub fn exchange(&self, listener: &'static str, status: Option<u16>, failed: bool) {
        let result = match status {
            Some(status) if !failed => format!("{}xx", status / 100),
            Some(status) => format!("failed_{}xx", status / 100),
            None => "aborted".to_owned(),
        };
        let labels = vec![("listener", listener.to_owned()), ("result", result)];
        self.exchanges.get_or_create(&labels).inc();
    }

    /// The gateway gave a response of its own, for this reason.
    pub fn refused(&self, listener: &'static str, reason: &'static str) {
        let labels = vec![("listener", listener.to_owned()), ("reason", reason.to_owned())];
        self.refusals.get_or_create(&labels).inc();
    }

    /// A connection is open on this listener, until what this returns is dropped.
    #[must_use]
    pub fn connection(&self, listener: &'static str) -> CountedConnection {
        let open = self.connections.get_or_create_owned(&vec![("listener", listener.to_owned())]);
        open.inc();
        CountedConnection(open)
    }

    /// A TLS handshake is under way on this listener, until what this returns is dropped.
    #[must_use]
    pub fn handshake(&self, listener: &'static str) -> CountedConnection {
        let open = self.handshakes.get_or_create_owned(&vec![("listener", listener.to_owned())]);
        open.inc();
        CountedConnection(open)
    }

    /// What the decoder found wrong with a message.
    pub fn decoded(&self, event: &Event) {
        for error in event.processing_errors() {
            let labels = vec![("code", error.code.number().to_string())];
            self.decode_errors.get_or_create(&labels).inc();
        }
    }

    /// A message was still being decoded when its traffic went on.
    pub fn late_decode(&self) {
        self.late_decodes.inc();
    }

    /// An event came of an exchange, and its response is over.
    pub fn event(&self, id: Uuid, kind: EventKind) {
        self.events.get_or_create(&vec![("event", kind.as_str().to_owned())]).inc();
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
        let labels = vec![("webhook", attempt.webhook.to_owned()), ("result", result.to_owned())];
        self.attempts.get_or_create(&labels).inc();
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
        let result = if ok { "ok" } else { "refused" };
        self.reloads.get_or_create(&vec![("result", result.to_owned())]).inc();
    }

    /// Everything, in the text form of OpenMetrics.
    pub fn render(&self, look: &Look) -> String {
        let whole = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        for (state, n) in &look.queue {
            self.queue.get_or_create(&vec![("state", (*state).to_owned())]).set(signed(*n));
        }
        self.oldest.set(look.oldest.as_secs_f64());
        self.held_events.set(whole(look.held_events));
        self.held_bytes.set(whole(look.held_bytes));
        self.dropped.set(signed(look.dropped));
        self.store_up.set(i64::from(look.store_up));
        self.payloads_up.set(i64::from(look.payloads_up));
        if let Some(round_trips) = look.round_trips {
            self.round_trips.set(signed(round_trips));
        }
        self.in_flight.set(whole(look.in_flight));
        self.memory.set(i64::try_from(look.memory).unwrap_or(i64::MAX));
        self.generation.set(signed(look.generation));
        self.gateways.set(whole(look.gateways.0));
        self.drift.set(whole(look.gateways.1));
        self.resident.set(resident().unwrap_or(0));
        self.log_lines_dropped.inner().store(log::dropped(), Ordering::Relaxed);
        // What is gone from the config is gone from the figures.
        self.certificates.clear();
        for (owner, serial, seconds) in &look.certificates {
            let labels = vec![("owner", owner.clone()), ("serial", serial.clone())];
            self.certificates.get_or_create(&labels).set(*seconds);
        }
        self.webhooks.clear();
        for (webhook, up) in &look.webhooks {
            self.webhooks.get_or_create(&vec![("webhook", webhook.clone())]).set(i64::from(*up));
        }
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
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

/// Resident memory in bytes, where the system tells.
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
