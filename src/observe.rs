//! What happens is counted here, and what no other part logs is logged: each thing that can be observed
//! is one call.
//!
//! Names follow OpenMetrics; `docs/operating.md` says what each figure means and what to do about it.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use as2hook_as2::ErrorCode;
use as2hook_delivery::Attempted;
use as2hook_event::{Event, EventKind};
use as2hook_store::{DeliveryOutcome, DeliveryState};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry, Unit},
};
use uuid::Uuid;

/// Counters since the start.
#[derive(Debug)]
pub struct Observer {
    registry: Registry,
    exchanges: Family<Labels, Counter>,
    refusals: Family<Labels, Counter>,
    connections: Family<Labels, Gauge>,
    handshakes: Family<Labels, Gauge>,
    decode_errors: Family<Labels, Counter>,
    late_decodes: Counter,
    events: Family<Labels, Counter>,
    attempts: Family<Labels, Counter>,
    reloads: Family<Labels, Counter>,
    queue: Family<Labels, Gauge>,
    latency: Histogram,
    response_times: Mutex<ResponseTimes>,
}

/// A connection that is counted.
#[derive(Debug)]
pub struct CountedConnection(Gauge);

/// When the responses ended of exchanges whose first deliveries are still to be timed, the oldest first. What
/// adding one costs does not depend on how many there are.
#[derive(Debug, Default)]
struct ResponseTimes {
    at: HashMap<Uuid, Instant>,
    order: VecDeque<Uuid>,
}

/// The labels of a figure, with their values.
pub type Labels = Vec<(&'static str, String)>;

/// Why the gateway gives a response of its own.
pub const REFUSALS: [&str; 16] = [
    "malformed",
    "header",
    "body",
    "slow",
    "gave_way",
    "in_flight",
    "memory",
    "connections",
    "connections_per_address",
    "not_stored",
    "unreachable",
    "no_answer",
    "bad_answer",
    "no_partner",
    "forbidden",
    "internal",
];

const LATENCIES: [f64; 14] =
    [0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

// === impl Observer ===

impl Default for Observer {
    /// All figures at nought, those with labels too.
    fn default() -> Self {
        let mut registry = Registry::with_prefix("as2hook");
        let to = &mut registry;
        let latency = Histogram::new(LATENCIES);
        let help = "From the response's end to the first attempt";
        to.register_with_unit("delivery_latency", help, Unit::Seconds, latency.clone());
        let observer = Self {
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
            latency,
            response_times: Mutex::default(),
            registry,
        };
        observer.begin_series();
        observer
    }
}

impl Observer {
    /// A series that begins with its first event would hide that event from the rate of an alert.
    fn begin_series(&self) {
        for listener in ["inbound", "outbound"] {
            for result in ["2xx", "3xx", "4xx", "5xx", "failed_5xx", "aborted"] {
                begin(&self.exchanges, [("listener", listener), ("result", result)]);
            }
            for reason in REFUSALS {
                begin(&self.refusals, [("listener", listener), ("reason", reason)]);
            }
            begin(&self.connections, [("listener", listener)]);
            begin(&self.handshakes, [("listener", listener)]);
        }
        for code in ErrorCode::ALL {
            begin(&self.decode_errors, [("code", &code.number().to_string())]);
        }
        for kind in EventKind::ALL {
            begin(&self.events, [("event", kind.as_str())]);
        }
        for result in ["ok", "refused"] {
            begin(&self.reloads, [("result", result)]);
        }
        for state in DeliveryState::ALL {
            begin(&self.queue, [("state", state.as_str())]);
        }
    }

    /// These webhooks are in force.
    pub fn webhooks<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        for webhook in names {
            for result in ["delivered", "retried", "dead", "held", "given_back"] {
                begin(&self.attempts, [("webhook", webhook), ("result", result)]);
            }
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
        debug_assert!(REFUSALS.contains(&reason), "{reason}");
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
        self.response_times.lock().note(id, Instant::now());
    }

    /// A delivery was attempted.
    pub fn attempted(&self, attempt: &Attempted<'_>) {
        let result = attempt_result(attempt.outcome);
        count(&self.attempts, [("webhook", attempt.webhook), ("result", result)]);
        if attempt.number == 1
            && !attempt.replay
            && let Some(responded) = self.response_times.lock().at.get(&attempt.event).copied()
        {
            let waited = attempt.began.saturating_duration_since(responded);
            self.latency.observe(waited.as_secs_f64());
        }
    }

    /// Files were loaded again.
    pub fn reloaded(&self, ok: bool) {
        count(&self.reloads, [("result", if ok { "ok" } else { "refused" })]);
    }

    /// Deliveries in the store by state, as they were when it last said so.
    pub fn queue<'a>(&self, states: impl IntoIterator<Item = (&'a str, u64)>) {
        for (state, n) in states {
            let n = i64::try_from(n).unwrap_or(i64::MAX);
            self.queue.get_or_create(&labels([("state", state)])).set(n);
        }
    }

    /// Everything, in the text form of OpenMetrics; `looked_up` is what is looked up for each scrape.
    pub fn render(&self, looked_up: &Registry) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, looked_up))
            .and_then(|()| encode_eof(&mut text));
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

// === impl ResponseTimes ===

impl ResponseTimes {
    /// So many at most; beyond it the oldest are not timed.
    const MOST: usize = 16_384;
    /// After so long a first attempt says more about the endpoint's queue than about us.
    const KEPT_FOR: Duration = Duration::from_secs(60);

    /// The response of this event's exchange has ended now.
    fn note(&mut self, event: Uuid, now: Instant) {
        while let Some(oldest) = self.order.front()
            && (self.order.len() >= Self::MOST || self.is_over(oldest, now))
        {
            self.at.remove(oldest);
            self.order.pop_front();
        }
        if self.at.insert(event, now).is_none() {
            self.order.push_back(event);
        }
    }

    fn is_over(&self, event: &Uuid, now: Instant) -> bool {
        self.at.get(event).is_none_or(|at| now.saturating_duration_since(*at) >= Self::KEPT_FOR)
    }
}

/// What an attempt came to, as metrics and traces name it.
pub(crate) fn attempt_result(outcome: DeliveryOutcome) -> &'static str {
    match outcome {
        DeliveryOutcome::Delivered => "delivered",
        DeliveryOutcome::Retry(_) => "retried",
        DeliveryOutcome::Dead => "dead",
        DeliveryOutcome::Held => "held",
        DeliveryOutcome::Orphaned | DeliveryOutcome::Released(_) => "given_back",
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Labels with their values.
pub fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// Begins a series at 0.
fn begin<const N: usize, M: Default + Clone>(
    family: &Family<Labels, M>,
    pairs: [(&'static str, &str); N],
) {
    drop(family.get_or_create(&labels(pairs)));
}

fn count<const N: usize>(family: &Family<Labels, Counter>, pairs: [(&'static str, &str); N]) {
    family.get_or_create(&labels(pairs)).inc();
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::ConstGauge;

    use super::*;

    #[test]
    fn counted_events_are_exported() {
        let observer = Observer::default();
        let event = Uuid::now_v7();
        observer.exchange("inbound", Some(200), false);
        observer.event(event, EventKind::MessageReceived);
        let attempt = Attempted {
            webhook: "orders \"a\"",
            webhook_id: "msg_1",
            delivery: 1,
            event,
            number: 1,
            replay: false,
            began: Instant::now(),
            http_code: Some(200),
            outcome: DeliveryOutcome::Delivered,
        };
        observer.attempted(&attempt);
        observer.reloaded(false);
        observer.queue([("dead", 3)]);
        let mut looked_up = Registry::with_prefix("as2hook");
        looked_up.register("store_up", "Whether the store takes events", ConstGauge::new(1));
        let text = observer.render(&looked_up);
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

    #[test]
    fn the_oldest_make_room() {
        const MOST: usize = ResponseTimes::MOST;
        let (mut times, start) = (ResponseTimes::default(), Instant::now());
        let events: Vec<_> = (0..=MOST as u128).map(Uuid::from_u128).collect();
        for event in &events {
            times.note(*event, start);
        }
        assert_eq!((times.at.get(&events[0]), times.at.get(&events[1])), (None, Some(&start)));
        assert_eq!((times.at.len(), times.order.len()), (MOST, MOST));
        let later = start + ResponseTimes::KEPT_FOR;
        times.note(events[0], later);
        times.note(events[0], later);
        assert_eq!((times.at.get(&events[0]), times.at.get(&events[1])), (Some(&later), None));
        assert_eq!((times.at.len(), times.order.len()), (1, 1));
    }
}
