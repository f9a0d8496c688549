//! A gateway with everything around it, and what its webhooks get.

use std::sync::Arc;

use as2hook_testing::{
    Built, Endpoint, Gateway, Post, Reply, Request, Response, Running, pki, receiver, sink,
};
use serde_json::Value;

use super::{SOON, TAKEN};

/// A gateway between its receiver and its sink.
pub(crate) struct Stage {
    pub(crate) receiver: Endpoint,
    pub(crate) sink: Endpoint,
    pub(crate) gateway: Running,
}

/// The two deliveries of one exchange.
pub(crate) struct Delivered {
    pub(crate) json: Arc<Request>,
    pub(crate) raw: Arc<Request>,
}

// === impl Stage ===

impl Stage {
    pub(crate) fn new(with: impl FnOnce(Gateway) -> Gateway) -> Self {
        let receiver = receiver().respond(Response::ok().body(TAKEN)).start();
        let sink = sink().start();
        let gateway = with(rules(bare(), &sink).receiver(&receiver)).start().unwrap();
        Self { receiver, sink, gateway }
    }

    /// Sends a message and holds the traffic against what it should be.
    pub(crate) fn exchange(&self, message: &Built) -> Delivered {
        let before = self.receiver.requests().len();
        let reply = self.post(message);
        assert_eq!((reply.status, &*reply.text()), (200, TAKEN), "the receiver's response");
        let got = self.receiver.wait_for(before + 1, SOON).unwrap()[before].clone();
        assert!(got.complete);
        assert_eq!(got.body.bytes, message.body, "the receiver's copy");
        for (name, value) in &message.headers {
            assert_eq!(got.header(name), Some(value.as_str()), "{name}");
        }
        self.delivered(before + 1)
    }

    pub(crate) fn post(&self, message: &Built) -> Reply {
        self.gateway.inbound().send(&Post::message("/as2", message)).unwrap()
    }

    /// The deliveries of the exchange at this place, counted from 1.
    pub(crate) fn delivered(&self, nth: usize) -> Delivered {
        let to = |path: &str| {
            let like = |request: &Request| request.target() == path;
            self.sink.wait_until(nth, SOON, like).unwrap()[nth - 1].clone()
        };
        Delivered { json: to("/json"), raw: to("/raw") }
    }
}

// === impl Delivered ===

impl Delivered {
    pub(crate) fn json(&self) -> Value {
        self.json.json()
    }

    /// Received, with one processing error that begins like this in the header.
    pub(crate) fn error(&self, begins: &str) {
        for request in [&self.json, &self.raw] {
            assert_eq!(request.header("X-AS2-Event"), Some("message.received"));
            let error = request.header("X-Processing-Error").unwrap();
            assert!(error.starts_with(begins), "{error}");
            assert_eq!(request.header("X-Send-Error"), None);
        }
        let json = self.json();
        let code: u64 = begins.split(':').next().unwrap().parse().unwrap();
        assert_eq!(json["errors"][0]["code"], code);
        assert_eq!(json["errors"].as_array().unwrap().len(), 1);
        assert_eq!(json["event"], "message.received");
        assert_eq!(json["senderId"], "ACME");
    }

    /// Rejected, at this stage.
    pub(crate) fn rejected(&self, begins: &str) {
        for request in [&self.json, &self.raw] {
            assert_eq!(request.header("X-AS2-Event"), Some("message.rejected"));
            let error = request.header("X-Send-Error").unwrap();
            assert!(error.starts_with(begins), "{error}");
            assert_eq!(request.header("Content-Type"), Some("application/json"));
            let json = request.json();
            assert_eq!(json["event"], "message.rejected");
            assert_eq!(json["error"]["stage"], begins.trim_end_matches(": "));
        }
    }
}

pub(crate) fn bare() -> Gateway {
    Gateway::new().binary(env!("CARGO_BIN_EXE_as2hook")).partner("ACME", pki::partner())
}

pub(crate) fn keyed(gateway: Gateway) -> Gateway {
    gateway.station("MY-OWN-ORG", pki::station())
}

pub(crate) fn rules(gateway: Gateway, sink: &Endpoint) -> Gateway {
    ["json", "raw"].iter().fold(gateway, |gateway, mode| {
        let path = format!("/{mode}");
        let events = ["message.received", "message.rejected", "mdn.received"];
        gateway.rule(mode, |rule| rule.to(sink, &path).payload(mode).events(&events).always())
    })
}
