//! What stands around the gateway: messages, the AS2 server behind it, the webhook's owner.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use as2hook_testing::{
    Mdn, Message, Part, Receipt,
    gateway::wait_until,
    load::{Seen, Server, Template},
    pki,
};

/// For the last webhooks of a round. A target that is slower than the schedule has them all to come.
const SETTLED: Duration = Duration::from_secs(300);

/// More connections than the gateway ever has open to one side.
const THREADS: usize = 192;

/// A signed and encrypted message with so many bytes of payload (RSA-2048, AES-256-CBC, SHA-256).
pub(crate) fn sealed(station: &str, payload: usize) -> Message {
    open(station, payload).sign(pki::partner()).encrypt(pki::station())
}

/// A message as it is.
pub(crate) fn open(station: &str, payload: usize) -> Message {
    Message::new("ACME", station)
        .subject("Orders of today")
        .receipt(Receipt::Sync)
        .attach(Part::text("orders.edi", "application/edifact", &edifact(payload)))
}

/// An AS2 server that responds at once, with a synchronous MDN to what is AS2.
pub(crate) fn receiver() -> Server {
    Server::start(THREADS, |seen, out| {
        let Some(id) = seen.field("message-id").filter(|_| seen.field("as2-from").is_some()) else {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            return;
        };
        let to = seen.field("as2-to").unwrap_or_default();
        let (headers, body) = Mdn::processed().about(to, "ACME", id).into_parts();
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        for (name, value) in headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        out.extend_from_slice(&body);
    })
}

/// A webhook endpoint that records when each message was delivered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivered(Arc<Mutex<Deliveries>>);

#[derive(Debug, Default)]
struct Deliveries {
    /// The messages' numbers; others are of an earlier round, or an attacker's.
    numbers: Range<usize>,
    /// When each was first delivered.
    times: HashMap<usize, Instant>,
}

// === impl Delivered ===

impl Delivered {
    /// Forgets all; the next messages have these numbers.
    pub(crate) fn reset(&self, numbers: Range<usize>) {
        *self.0.lock().expect("no poison") = Deliveries { numbers, times: HashMap::new() };
    }

    /// Waits until so many messages were delivered.
    pub(crate) fn wait_for(&self, total: usize) -> Result<(), String> {
        let count = || self.0.lock().expect("no poison").times.len();
        if wait_until(SETTLED, || count() == total) {
            return Ok(());
        }
        Err(format!("webhooks for {} of {total} messages", count()))
    }

    /// When each was first delivered, by its number.
    pub(crate) fn times(&self) -> HashMap<usize, Instant> {
        self.0.lock().expect("no poison").times.clone()
    }

    /// Responds to webhooks from now on.
    pub(crate) fn start(&self) -> Server {
        let delivered = self.clone();
        Server::start(THREADS, move |seen, out| {
            delivered.note(seen);
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        })
    }

    fn note(&self, seen: &Seen<'_>) {
        let number = seen.field("message-id").and_then(Template::number);
        let mut deliveries = self.0.lock().expect("no poison");
        if let Some(number) = number.filter(|number| deliveries.numbers.contains(number)) {
            deliveries.times.entry(number).or_insert(seen.at);
        }
    }
}

/// Segments like those of an order, no two alike.
fn edifact(length: usize) -> String {
    let mut order = fastrand::Rng::with_seed(20_261_121);
    let mut text = String::with_capacity(length + 64);
    text.push_str("UNA:+.? 'UNB+UNOC:3+ACME+MY-OWN-ORG'");
    while text.len() < length {
        let (line, item, amount) = (order.u32(..), order.u64(..), order.u16(..));
        text.push_str(&format!("LIN+{line}++{item}:EN'QTY+21:{amount}'"));
    }
    text.truncate(length);
    text
}
