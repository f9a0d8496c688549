//! The gateway with everything around it, and what an attack costs it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use as2hook_testing::{
    Built, Endpoint, Gateway, Message, Part, Post, Receipt, Request, Response, Running,
    hostile::Attack, pki, receiver, sink, wait_until,
};

/// Longer than any wait that ends well.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// What a test's order holds.
const ORDER: &str = "UNA:+.? 'UNB+UNOC:3+ACME+MY-OWN-ORG'";

/// How a hostile body comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A client posts it to the inbound listener.
    Inbound,
    /// The same in chunks of one byte.
    InboundInTinyChunks,
    /// Our own server sends it on, to a partner.
    Outbound,
    /// A partner sends it in the response to our message.
    Response,
}

/// What a hostile body cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Processor time of all threads.
    pub(crate) cpu: Duration,
    /// Bytes on the wire.
    pub(crate) body: u64,
}

/// One gateway, its AS2 server, a partner, and a webhook with two rules: `/json` and `/raw`.
pub(crate) struct Stage {
    pub(crate) receiver: Endpoint,
    pub(crate) partner: Endpoint,
    pub(crate) sink: Endpoint,
    pub(crate) gateway: Running,
}

// === impl Stage ===

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|gateway| gateway)
    }

    pub(crate) fn with(set_up: impl FnOnce(Gateway) -> Gateway) -> Self {
        let (receiver, partner, sink) = (receiver().start(), receiver().start(), sink().start());
        let gateway = Gateway::new()
            .binary(env!("CARGO_BIN_EXE_as2hook"))
            .receiver(&receiver)
            .outbound()
            .station("MY-OWN-ORG", pki::station())
            .partner_with("ACME", |acme| {
                acme.url(&partner.url("/as2")).certificate(Path::new("keys/acme.crt"))
            })
            .rule("json", |rule| rule.to(&sink, "/json").payload("json").events(&["*"]))
            .rule("raw", |rule| rule.to(&sink, "/raw").payload("raw").always());
        // The certificate's file is written for partners and stations with an identity.
        let gateway = set_up(gateway.partner("OTHER", pki::partner())).start().unwrap();
        let stage = Self { receiver, partner, sink, gateway };
        // What is made once at the first message is not any attack's cost.
        stage.order_is_notified_whole();
        stage
    }

    /// Sends it this way, waits until it is notified and dealt with, and returns what it cost. The other
    /// side has to get it byte for byte.
    pub(crate) fn weigh(&self, attack: &Attack, way: Way) -> Cost {
        self.rest();
        let before = self.gateway.cpu_time().unwrap();
        let id = self.send(attack, way);
        self.event_of(&id);
        self.rest();
        let cpu = self.gateway.cpu_time().unwrap() - before;
        Cost { cpu, body: attack.body.len() as u64 }
    }

    /// Sends it; returns its Message-ID.
    pub(crate) fn send(&self, attack: &Attack, way: Way) -> String {
        let inbound = attack.message("ACME", "MY-OWN-ORG");
        let (reply, message, got) = match way {
            Way::Inbound | Way::InboundInTinyChunks => {
                let post = Post::message("/as2", &inbound);
                let tiny = way == Way::InboundInTinyChunks;
                let post = if tiny { post.chunked(&[1]) } else { post };
                let reply = self.gateway.inbound().send(&post).unwrap();
                drop(post);
                (reply, inbound, &self.receiver)
            }
            Way::Outbound => {
                let message = attack.message("MY-OWN-ORG", "ACME");
                let reply = self.gateway.outbound().send(&Post::message("/", &message)).unwrap();
                (reply, message, &self.partner)
            }
            Way::Response => {
                let message = Message::new("MY-OWN-ORG", "ACME").receipt(Receipt::Sync);
                let message = message.attach(Part::text("a.txt", "text/plain", "hello")).build();
                let mut response = Response::ok().body(attack.body.clone());
                for (name, value) in attack.message("ACME", "MY-OWN-ORG").headers {
                    response = response.header(&name, value);
                }
                self.partner.next([response]);
                let reply = self.gateway.outbound().send(&Post::message("/", &message)).unwrap();
                assert!(
                    reply.body.bytes == attack.body,
                    "the response's body is not that of the partner"
                );
                (reply, message, &self.partner)
            }
        };
        assert_eq!(reply.status, 200, "{}", reply.text());
        let is_it = |request: &Request| request.header("Message-ID") == Some(&message.id);
        let got = got.wait_until(1, SOON, is_it).unwrap();
        assert!(got[0].body.bytes == message.body, "the body is not what was sent");
        message.id
    }

    /// The JSON delivery about the message of this id.
    pub(crate) fn event_of(&self, id: &str) -> Arc<Request> {
        let is_it = |request: &Request| {
            request.target() == "/json" && request.header("Message-ID") == Some(id)
        };
        self.sink.wait_until(1, SOON, is_it).unwrap().remove(0)
    }

    /// The codes of the errors that the message's event has.
    pub(crate) fn codes(&self, id: &str) -> Vec<u64> {
        let event = self.event_of(id).json();
        let errors = event["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().filter_map(|error| error["code"].as_u64()).collect()
    }

    /// A partner's signed and encrypted order passes, is verified, and is delivered whole in both modes.
    pub(crate) fn order_is_notified_whole(&self) {
        let message = order();
        let reply = self.gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        self.is_notified_whole(&message);
    }

    pub(crate) fn is_notified_whole(&self, message: &Built) {
        let event = self.event_of(&message.id);
        assert_eq!(event.header("X-AS2-Event"), Some("message.received"), "{}", event.json());
        let event = event.json();
        assert_eq!(event["signatureStatus"], "valid", "{event}");
        assert_eq!(event["attachments"][0]["size"], ORDER.len(), "{event}");
        let is_it = |request: &Request| {
            request.target() == "/raw" && request.header("Message-ID") == Some(&message.id)
        };
        let raw = self.sink.wait_until(1, SOON, is_it).unwrap();
        assert_eq!(raw[0].text(), ORDER);
    }

    /// Waits until the gateway has nothing more to do.
    pub(crate) fn rest(&self) {
        let mut looks = 0;
        let rests = || {
            looks = if self.gateway.is_at_rest().unwrap() { looks + 1 } else { 0 };
            looks > 5
        };
        assert!(wait_until(SOON, rests), "the gateway does not come to rest");
    }

    /// Bytes of all files below its data folder, but for the store's log, which is written over and over.
    pub(crate) fn disk(&self) -> u64 {
        size_of(&self.gateway.folder().join("data"))
    }
}

/// A partner's order, signed and encrypted.
pub(crate) fn order() -> Built {
    Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", ORDER))
        .receipt(Receipt::Sync)
        .sign(pki::partner())
        .encrypt(pki::station())
        .build()
}

fn size_of(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return std::fs::metadata(path).map_or(0, |file| file.len());
    };
    let is_kept = |path: &PathBuf| !path.to_string_lossy().ends_with("-wal");
    entries.flatten().map(|entry| entry.path()).filter(is_kept).map(|path| size_of(&path)).sum()
}
