//! MDNs in both directions: what a synchronous one makes of the message in whose response it stands, and
//! how an asynchronous one finds its message (section 4 of the design).

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "mdns/asynchronous.rs"]
mod asynchronous;
#[path = "mdns/codings.rs"]
mod codings;
#[path = "mdns/duplicates.rs"]
mod duplicates;
#[path = "mdns/early.rs"]
mod early;
#[path = "mdns/elsewhere.rs"]
mod elsewhere;
#[path = "mdns/left_open.rs"]
mod left_open;
#[path = "mdns/mics.rs"]
mod mics;
#[path = "mdns/ours.rs"]
mod ours;
#[path = "mdns/payloads.rs"]
mod payloads;
#[path = "mdns/resends.rs"]
mod resends;
#[path = "mdns/store_away.rs"]
mod store_away;
#[path = "mdns/synchronous.rs"]
mod synchronous;
#[path = "mdns/unasked.rs"]
mod unasked;
#[path = "mdns/unsigned.rs"]
mod unsigned;
#[path = "mdns/wrapped.rs"]
mod wrapped;

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use as2hook_testing::{
    Built, Digest, Endpoint, Framing, Gateway, Mdn, Message, Part, Post, Receipt, Reply, Request,
    Response, Rule, Running, pki, receiver, sink, wait_until,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// `mdn_deadline` where one is to be overdue.
const DEADLINE: Duration = Duration::from_secs(4);
const SHORT_DEADLINE: (&str, &str) = ("mdn_deadline", "4s");

/// What is delivered, sorted, when an MDN came and the message failed by it.
const BOTH: [&str; 2] = ["mdn.received", "send.error"];

/// Message-IDs, and how an MDN repeats them.
const FOLDED: [(&str, &str); 4] = [
    ("<a b@c>", "<a\r\n b@c>"),
    ("<a  1@c>", "<a\r\n\t1@c>"),
    ("<order-2@us>", "<order-2\r\n @us>"),
    ("<\"order 3\"@us>", "<\"order3\"@us>"),
];

/// Everything around one gateway, all of whose events are delivered to one sink.
struct Scene {
    partner: Endpoint,
    receiver: Endpoint,
    sink: Endpoint,
    gateway: Running,
    /// The `webhook-id`s so far: a kill has some deliveries made twice.
    seen: Mutex<HashSet<String>>,
}

// === impl Scene ===

impl Scene {
    fn new() -> Self {
        Self::with(&[], "json")
    }

    fn with(settings: &[(&str, &str)], payload: &str) -> Self {
        Self::start(settings, payload, true, &[])
    }

    /// Of a partner without any certificate in the config.
    fn without_certificate() -> Self {
        Self::start(&[], "json", false, &[])
    }

    /// Of a partner with these keys in the config, too.
    fn of_partner(settings: &[(&str, &str)], keys: &[(&str, &str)]) -> Self {
        Self::start(settings, "json", true, keys)
    }

    fn start(
        settings: &[(&str, &str)],
        payload: &str,
        has_certificate: bool,
        keys: &[(&str, &str)],
    ) -> Self {
        let (partner, receiver, sink) = (receiver().start(), receiver().start(), sink().start());
        let mdn_urls = format!("[\"{}\"]", partner.url("/mdn"));
        let gateway = Gateway::new()
            .binary(env!("CARGO_BIN_EXE_as2hook"))
            .receiver(&receiver)
            .outbound()
            .station("MY-OWN-ORG", pki::station())
            .partner("OTHER", pki::partner())
            .partner_with("FOURTH", |fourth| fourth.url(&partner.url("/as2")))
            .partner_with("ACME", |acme| {
                let acme = acme.url(&partner.url("/as2")).set("mdn_urls", &mdn_urls);
                let acme = keys.iter().fold(acme, |acme, (key, yaml)| acme.set(key, yaml));
                match has_certificate {
                    true => acme.certificate(Path::new("keys/acme.crt")),
                    false => acme,
                }
            })
            .rule("all", |rule| rule.to(&sink, "/hook").payload(payload).events(&["*"]));
        let gateway = settings.iter().fold(gateway, |gateway, (key, yaml)| gateway.set(key, yaml));
        let gateway = gateway.start().unwrap();
        Self { partner, receiver, sink, gateway, seen: Mutex::default() }
    }

    /// Our server sends a message, and the partner sends this response.
    fn send(&self, message: &Built, response: Response) -> Reply {
        self.partner.next([response]);
        self.gateway.outbound().send(&Post::message("/", message)).unwrap()
    }

    /// The partner posts a message or an MDN, and our server sends this response.
    fn receive(&self, headers: &[(String, String)], body: &[u8], response: Response) -> Reply {
        self.receiver.next([response]);
        self.gateway.inbound().send(&Post::new("/as2", body).headers(headers)).unwrap()
    }

    /// The partner's asynchronous MDN about a message, taken by our server.
    fn receive_mdn(&self, mdn: Mdn, message: &Built) {
        let (headers, body) = mdn.about("ACME", "MY-OWN-ORG", &message.id).into_parts();
        assert_eq!(self.receive(&headers, &body, Response::ok()).status, 200);
    }

    /// The new events, once there are so many, and all that come before one that is made then.
    fn delivered(&self, count: usize) -> Vec<Arc<Request>> {
        let mut seen = self.seen.lock().unwrap();
        let id = |request: &Request| request.header("webhook-id").unwrap().to_owned();
        let is_marker = |request: &Request| request.header("AS2-From") == Some("OTHER");
        let is_new = |request: &Request| !is_marker(request) && !seen.contains(&id(request));
        let new = || {
            let requests = self.sink.requests();
            let new: HashSet<_> = requests.iter().filter(|r| is_new(r)).map(|r| id(r)).collect();
            new.len()
        };
        assert!(wait_until(SOON, || new() >= count), "{} of {count} events were delivered", new());
        let marker = Message::new("OTHER", "MY-OWN-ORG").attach(part()).build();
        self.receive(&marker.headers, &marker.body, Response::status(500));
        let is_this = |request: &Request| request.header("Message-ID") == Some(marker.id.as_str());
        self.sink.wait_until(1, SOON, is_this).unwrap();
        let mut delivered = self.sink.requests();
        delivered.retain(|request| !is_marker(request) && seen.insert(id(request)));
        delivered
    }

    /// The names of the next events, sorted.
    fn events(&self, count: usize) -> Vec<String> {
        names(&self.delivered(count))
    }

    /// Waits for an event about a message.
    fn wait_for(&self, event: &str, message: &Built) {
        self.sink.wait_until(1, SOON, |delivered| is_about(delivered, event, message)).unwrap();
    }

    /// Does an exchange about a message that asks for an asynchronous MDN, until it takes less time than that may
    /// take: where it takes longer its MDN is overdue, and rightly.
    fn in_time(&self, exchange: impl Fn(&Built)) -> Built {
        let once = || {
            let (began, message) = (Instant::now(), message(signed_async()));
            exchange(&message);
            (began.elapsed() < DEADLINE).then_some(message)
        };
        (0..10).find_map(|_| once()).expect("one was in time")
    }

    /// Waits until the MDN of a later message is overdue, and what came before that is delivered.
    fn wait_for_an_overdue_one(&self) {
        let message = Message::new("MY-OWN-ORG", "FOURTH").attach(part()).sign(pki::station());
        let overdue = asking(signed_async(), message);
        self.send(&overdue, Response::ok());
        self.wait_for("mdn.overdue", &overdue);
        self.delivered(0);
    }

    fn is_overdue(&self, message: &Built) -> bool {
        self.sink.requests().iter().any(|delivered| is_about(delivered, "mdn.overdue", message))
    }
}

fn is_about(delivered: &Request, event: &str, message: &Built) -> bool {
    delivered.header("X-AS2-Event") == Some(event)
        && delivered.json()["as2MessageId"] == *message.id
}

fn names(delivered: &[Arc<Request>]) -> Vec<String> {
    let mut names: Vec<_> =
        delivered.iter().map(|request| request.header("X-AS2-Event").unwrap().to_owned()).collect();
    names.sort();
    names
}

fn json_of(delivered: &[Arc<Request>], event: &str) -> Value {
    let is_it = |request: &&Arc<Request>| request.header("X-AS2-Event") == Some(event);
    let found = delivered.iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {event} among {:?}", names(delivered))).json()
}

fn part() -> Part {
    Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'")
}

/// From us to the partner, signed.
fn message(receipt: Option<Receipt>) -> Built {
    asking(receipt, Message::new("MY-OWN-ORG", "ACME").attach(part()).sign(pki::station()))
}

/// From the partner to us, signed.
fn order(receipt: Option<Receipt>) -> Built {
    asking(receipt, Message::new("ACME", "MY-OWN-ORG").attach(part()).sign(pki::partner()))
}

fn asking(receipt: Option<Receipt>, message: Message) -> Built {
    match receipt {
        Some(receipt) => message.receipt(receipt).build(),
        None => message.build(),
    }
}

/// As [`message`], under a Message-ID that is cut in what is kept of it.
fn message_of_a_long_id(receipt: Option<Receipt>) -> Built {
    message_of(&format!("<{}@us>", "x".repeat(1_200)), receipt)
}

/// As [`message`], under this Message-ID.
fn message_of(id: &str, receipt: Option<Receipt>) -> Built {
    let message = Message::new("MY-OWN-ORG", "ACME").id(id).attach(part());
    asking(receipt, message.sign(pki::station()))
}

fn signed_sync() -> Option<Receipt> {
    Some(Receipt::SignedSync(Digest::Sha256))
}

fn signed_async() -> Option<Receipt> {
    Some(Receipt::SignedAsync(Digest::Sha256, "http://127.0.0.1:9/mdn".to_owned()))
}

/// The partner's signed MDN that says all is well.
fn positive(message: &Built) -> Mdn {
    Mdn::processed().mic(&message.mic).sign(pki::partner(), Digest::Sha256)
}

fn negative(message: &Built) -> Mdn {
    let mdn = Mdn::error("authentication-failed").mic(&message.mic);
    mdn.sign(pki::partner(), Digest::Sha256)
}

fn other_mic() -> Mdn {
    let mic = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=, sha-256";
    Mdn::processed().mic(mic).sign(pki::partner(), Digest::Sha256)
}

/// Our receiver's signed MDN that says all is well.
fn ours(message: &Built) -> Mdn {
    Mdn::processed().mic(&message.mic).sign(pki::station(), Digest::Sha256)
}
