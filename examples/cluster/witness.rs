//! What the AS2 servers and the webhooks' endpoint saw, and what the senders hold a 2xx for.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use as2hook_testing::load::{Seen, Server};

use crate::{
    exchange::{self, Cargo, Exchange},
    hooks::Hook,
};

/// One response in so many is a 500, so that retries are among what the trouble meets.
const FAILURES: usize = 20;

/// More connections than all gateways ever have open to one side.
const THREADS: usize = 400;

/// The most that an AS2 server takes for its response.
const SLOW: Duration = Duration::from_millis(15);

/// Shared by all that send and receive.
#[derive(Clone)]
pub(crate) struct Witness {
    seen: Arc<Mutex<Record>>,
    /// Versions of [`Hook::Moving`] below this one are gone.
    gone: Arc<AtomicUsize>,
    payloads: Arc<Vec<Vec<u8>>>,
    began: Instant,
}

/// All of it.
#[derive(Default)]
pub(crate) struct Record {
    /// Exchanges that the sender holds a 2xx for, and when it came.
    pub(crate) acknowledged: HashMap<Exchange, Duration>,
    /// Exchanges that an AS2 server got to their end.
    pub(crate) whole: HashSet<Exchange>,
    /// Other responses: 503 while the store is away.
    pub(crate) refused: usize,
    /// No response.
    pub(crate) cut: usize,
    pub(crate) notices: HashMap<Notice, Deliveries>,
    /// First deliveries of [`Hook::Ordered`] that were taken, in their order.
    pub(crate) ordered: Vec<Taken>,
    /// Messages that a `send.error` was reported of.
    pub(crate) failed: BTreeSet<Exchange>,
    /// Messages whose MDN was reported as overdue, and when.
    pub(crate) overdue: Vec<(Exchange, Duration)>,
    /// MDNs that were sent about these messages, and are negative.
    pub(crate) negative: Vec<(Exchange, Exchange)>,
    pub(crate) wrong_payloads: Vec<String>,
    /// MDNs that were reported as those of no known message, though each was sent after its message was
    /// acknowledged.
    pub(crate) stray_mdns: Vec<(Exchange, String)>,
    pub(crate) gone: usize,
}

/// What a webhook is notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Notice {
    pub(crate) hook: Hook,
    pub(crate) exchange: Exchange,
}

/// The deliveries of one notice.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    pub(crate) id: String,
    pub(crate) other_id: Option<String>,
    pub(crate) tried: u16,
    pub(crate) taken: u16,
    /// The processing errors of the first attempt.
    pub(crate) codes: Vec<u16>,
}

/// A first delivery that was taken.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) exchange: Exchange,
    /// Messages that are not verified have an order of their own.
    pub(crate) verified: bool,
    pub(crate) how: String,
}

// === impl Witness ===

impl Witness {
    /// Message n of a partner carries `payloads[n % payloads.len()]`.
    pub(crate) fn new(payloads: Vec<Vec<u8>>) -> Self {
        let payloads = Arc::new(payloads);
        Self { seen: Arc::default(), gone: Arc::default(), payloads, began: Instant::now() }
    }

    /// An AS2 server, ours or a partner's.
    pub(crate) fn server(&self) -> Server {
        let witness = self.clone();
        Server::start(THREADS, move |seen, out| {
            std::thread::sleep(SLOW.mul_f64(fastrand::f64().powi(4)));
            if let Some(exchange) = exchange_of(seen) {
                witness.record().whole.insert(exchange);
            }
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        })
    }

    /// The endpoint of all webhooks.
    pub(crate) fn sink(&self) -> Server {
        let witness = self.clone();
        Server::start(THREADS, move |seen, out| {
            let status = witness.delivery(seen);
            write!(out, "HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n")
                .expect("memory takes every byte");
        })
    }

    /// From now on [`Hook::Moving`] responds with 410 at every URL older than this one.
    pub(crate) fn set_gone(&self, version: usize) {
        self.gone.fetch_max(version, Ordering::Relaxed);
    }

    /// Since when all times of the run are counted.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    pub(crate) fn acknowledge(&self, exchange: Exchange) {
        let at = self.began.elapsed();
        self.record().acknowledged.insert(exchange, at);
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a delivery and says what its response is.
    fn delivery(&self, seen: &Seen<'_>) -> u16 {
        let Some((hook, version)) = Hook::of(seen.target()) else { return 404 };
        let mut record = self.record();
        if hook == Hook::Moving && version < self.gone.load(Ordering::Relaxed) {
            record.gone += 1;
            return 410;
        }
        let taken = fastrand::usize(..FAILURES) > 0;
        let event = seen.field("x-as2-event").unwrap_or_default();
        if hook == Hook::Outbound && self.about_a_message(&mut record, event, seen, taken) {
            return if taken { 200 } else { 500 };
        }
        // What gateways report of themselves has none.
        let Some(exchange) = exchange_of(seen) else { return 200 };
        let id = seen.field("webhook-id").unwrap_or("none");
        let codes = codes(seen.field("x-processing-error").unwrap_or_default());
        let sound = codes.is_empty();
        let notice = Notice { hook, exchange };
        let deliveries = record.notices.entry(notice).or_default();
        if deliveries.tried == 0 {
            id.clone_into(&mut deliveries.id);
            deliveries.codes = codes;
        } else if deliveries.id != id {
            deliveries.other_id = Some(format!("{id} ({event} at {:.1?})", self.began.elapsed()));
        }
        deliveries.tried = deliveries.tried.saturating_add(1);
        if !taken {
            return 500;
        }
        deliveries.taken = deliveries.taken.saturating_add(1);
        let first = deliveries.taken == 1;
        if first && hook == Hook::Ordered {
            record.ordered.push(self.taken(exchange, event, seen));
        }
        if first && event == "mdn.received" {
            let json: serde_json::Value = serde_json::from_slice(seen.body).unwrap_or_default();
            if json["messageKnown"] != true {
                let (known, errors) = (&json["messageKnown"], &json["errors"]);
                let (event, at) = (&json["eventId"], self.began.elapsed());
                let case =
                    format!("{exchange} at {at:.1?}: event {event}, {known}, errors {errors}");
                record.stray_mdns.push((exchange, case));
            }
        }
        if hook == Hook::Raw && event == "message.received" && sound {
            let payload = &self.payloads[exchange.number as usize % self.payloads.len()];
            if payload != seen.body {
                let (length, wanted) = (seen.body.len(), payload.len());
                record.wrong_payloads.push(format!("{exchange}: {length} bytes for {wanted}"));
            }
        }
        200
    }

    /// Events about a message that are no exchange's own. False: this is none.
    fn about_a_message(
        &self,
        record: &mut Record,
        event: &str,
        seen: &Seen<'_>,
        taken: bool,
    ) -> bool {
        if event != "send.error" && event != "mdn.overdue" {
            return false;
        }
        let Ok(json) = serde_json::from_slice::<serde_json::Value>(seen.body) else { return false };
        let message = json["as2MessageId"].as_str().and_then(Exchange::of_message);
        let Some(message) = message else { return false };
        if taken && event == "send.error" {
            record.failed.insert(message);
        } else if taken {
            record.overdue.push((message, self.began.elapsed()));
        }
        event == "mdn.overdue" || json["supersedes"].is_string()
    }

    fn taken(&self, exchange: Exchange, event: &str, seen: &Seen<'_>) -> Taken {
        let field = |name| seen.field(name).unwrap_or("none");
        let how = format!(
            "{event} {} at {:.1?}, attempt {}, error {}",
            field("x-as2-event-id"),
            self.began.elapsed(),
            field("x-as2-attempt"),
            field("x-processing-error"),
        );
        let verified = field("x-as2-signature-status") == "valid";
        Taken { exchange, verified, how }
    }
}

// === impl Record ===

impl Record {
    /// Exchanges of this kind that the sender holds a 2xx for.
    pub(crate) fn acknowledged(&self, cargo: Cargo) -> usize {
        self.acknowledged.keys().filter(|exchange| exchange.cargo() == cargo).count()
    }
}

/// Of `code: text; code: text`.
fn codes(errors: &str) -> Vec<u16> {
    errors.split("; ").filter_map(|error| error.split(':').next()?.parse().ok()).collect()
}

fn exchange_of(seen: &Seen<'_>) -> Option<Exchange> {
    seen.field(exchange::FIELD).and_then(Exchange::parse)
}
