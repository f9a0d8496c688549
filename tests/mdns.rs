//! MDNs in both directions: what a synchronous one makes of the message in whose answer it stands, and
//! how an asynchronous one finds its message (section 4 of the design).

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "mdns/asynchronous.rs"]
mod asynchronous;
#[path = "mdns/duplicates.rs"]
mod duplicates;
#[path = "mdns/ours.rs"]
mod ours;
#[path = "mdns/payloads.rs"]
mod payloads;
#[path = "mdns/synchronous.rs"]
mod synchronous;
#[path = "mdns/unasked.rs"]
mod unasked;

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use as2hook_testing::{
    Answer, Built, Digest, Endpoint, Gateway, Mdn, Message, Part, Post, Receipt, Reply, Request,
    Running, pki, receiver, sink, wait_until,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// What is told, sorted, when an MDN came and the message failed by it.
const BOTH: [&str; 2] = ["mdn.received", "send.error"];

/// Everything around one gateway, all of whose events are told to one sink.
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
        let (partner, receiver, sink) = (receiver().start(), receiver().start(), sink().start());
        let mdn_urls = format!("[\"{}\"]", partner.url("/mdn"));
        let gateway = Gateway::new()
            .binary(env!("CARGO_BIN_EXE_as2hook"))
            .receiver(&receiver)
            .outbound()
            .station("MY-OWN-ORG", pki::station())
            .partner("OTHER", pki::partner())
            .partner_with("ACME", |acme| {
                let acme = acme.url(&partner.url("/as2")).set("mdn_urls", &mdn_urls);
                acme.certificate(Path::new("keys/acme.crt"))
            })
            .rule("all", |rule| rule.to(&sink, "/hook").payload(payload).events(&["*"]));
        let gateway = settings.iter().fold(gateway, |gateway, (key, yaml)| gateway.set(key, yaml));
        let gateway = gateway.start().unwrap();
        Self { partner, receiver, sink, gateway, seen: Mutex::default() }
    }

    /// Our server sends a message, and the partner answers so.
    fn send(&self, message: &Built, answer: Answer) -> Reply {
        self.partner.next([answer]);
        self.gateway.outbound().send(&Post::message("/", message)).unwrap()
    }

    /// The partner posts a message or an MDN, and our server answers so.
    fn receive(&self, headers: &[(String, String)], body: &[u8], answer: Answer) -> Reply {
        self.receiver.next([answer]);
        self.gateway.inbound().send(&Post::new("/as2", body).headers(headers)).unwrap()
    }

    /// The partner's asynchronous MDN about a message, taken by our server.
    fn receive_mdn(&self, mdn: Mdn, message: &Built) {
        let (headers, body) = mdn.about("ACME", "MY-OWN-ORG", &message.id).into_parts();
        assert_eq!(self.receive(&headers, &body, Answer::ok()).status, 200);
    }

    /// The new events, once there are so many, and all that come before one that is made then.
    fn told(&self, count: usize) -> Vec<Arc<Request>> {
        let mut seen = self.seen.lock().unwrap();
        let id = |request: &Request| request.header("webhook-id").unwrap().to_owned();
        let is_marker = |request: &Request| request.header("AS2-From") == Some("OTHER");
        let is_new = |request: &Request| !is_marker(request) && !seen.contains(&id(request));
        let new = || {
            let requests = self.sink.requests();
            let new: HashSet<_> = requests.iter().filter(|r| is_new(r)).map(|r| id(r)).collect();
            new.len()
        };
        assert!(wait_until(SOON, || new() >= count), "{} of {count} events were told", new());
        let marker = Message::new("OTHER", "MY-OWN-ORG").attach(part()).build();
        self.receive(&marker.headers, &marker.body, Answer::status(500));
        let is_this = |request: &Request| request.header("Message-ID") == Some(marker.id.as_str());
        self.sink.wait_until(1, SOON, is_this).unwrap();
        let mut told = self.sink.requests();
        told.retain(|request| !is_marker(request) && seen.insert(id(request)));
        told
    }

    /// The names of the next events, sorted.
    fn events(&self, count: usize) -> Vec<String> {
        names(&self.told(count))
    }
}

fn names(told: &[Arc<Request>]) -> Vec<String> {
    let mut names: Vec<_> =
        told.iter().map(|request| request.header("X-AS2-Event").unwrap().to_owned()).collect();
    names.sort();
    names
}

fn json_of(told: &[Arc<Request>], event: &str) -> Value {
    let is_it = |request: &&Arc<Request>| request.header("X-AS2-Event") == Some(event);
    let found = told.iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {event} among {:?}", names(told))).json()
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
