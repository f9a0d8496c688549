//! Rules that look at the signature and at the processing errors.

use std::collections::BTreeMap;

use as2hook_testing::{
    Endpoint, Gateway, Mdn, Message, Part, Post, Request, Response, Running, pki, receiver, sink,
};

use super::{SOON, names, rule};

/// A gateway whose rules part messages by what is known of them, and one that takes them all.
struct Stage {
    receiver: Endpoint,
    sink: Endpoint,
    gateway: Running,
}

const DOUBTFUL: &str = "[other-certificate, invalid, unknown-certificate, unsupported, unsigned]";

// === impl Stage ===

impl Stage {
    fn new() -> Self {
        let (receiver, sink) = (receiver().start(), sink().start());
        let gateway = Gateway::new()
            .binary(env!("CARGO_BIN_EXE_as2hook"))
            .receiver(&receiver)
            .station("MY-OWN-ORG", pki::station())
            .partner("ACME", pki::partner())
            .rule("verified", |rule| {
                rule.to(&sink, "/verified").set("signature", "[valid]").set("errors", "none")
            })
            .rule("refused", |rule| {
                rule.to(&sink, "/refused").set("signature", "[valid]").set("errors", "any")
            })
            .rule("doubtful", |rule| rule.to(&sink, "/doubtful").set("signature", DOUBTFUL))
            .rule("raw", |rule| {
                rule.to(&sink, "/raw").payload("raw").always().set("signature", "[valid]")
            })
            .rule("broken", |rule| rule.to(&sink, "/broken").always().set("errors", "[900, 1200]"))
            .rule("log", |rule| rule.to(&sink, "/log").always())
            .start()
            .unwrap();
        Self { receiver, sink, gateway }
    }

    /// Sends a message; gives its deliveries by rule.
    fn delivered(&self, message: &Message, rules: &[&str]) -> BTreeMap<String, Request> {
        self.sink.forget();
        let message = message.build();
        let post = Post::message("/as2", &message);
        assert_eq!(self.gateway.inbound().send(&post).unwrap().status, 200);
        let delivered = self.sink.wait_for(rules.len(), SOON).unwrap();
        let delivered: BTreeMap<_, _> =
            delivered.iter().map(|one| (rule(one), (**one).clone())).collect();
        assert_eq!(
            delivered.keys().cloned().collect::<std::collections::BTreeSet<_>>(),
            names(rules)
        );
        delivered
    }
}

fn order(id: &str) -> Message {
    let part = Part::text("order.edi", "application/edifact", "UNA:+.? '");
    Message::new("ACME", "MY-OWN-ORG").id(&format!("<{id}@acme>")).attach(part)
}

fn status(delivered: &BTreeMap<String, Request>) -> Option<&str> {
    delivered["log"].header("X-AS2-Signature-Status")
}

#[test]
fn verified_message_fires_the_rule_for_verified_ones_with_its_payload() {
    let stage = Stage::new();
    let delivered = stage.delivered(&order("a").sign(pki::partner()), &["verified", "raw", "log"]);
    assert_eq!(status(&delivered), Some("valid"));
    assert_eq!(delivered["raw"].body.bytes, b"UNA:+.? '");
}

#[test]
fn forged_and_unsigned_messages_never_fire_the_rule_for_verified_ones() {
    let stage = Stage::new();
    let forged = stage.delivered(&order("a").sign(pki::stranger()), &["doubtful", "broken", "log"]);
    assert_eq!(status(&forged), Some("other-certificate"));
    let unsigned = stage.delivered(&order("b"), &["doubtful", "log"]);
    assert_eq!(status(&unsigned), Some("unsigned"));
    let closed = order("c").sign(pki::partner()).encrypt(pki::stranger());
    let closed = stage.delivered(&closed, &["log"]);
    assert_eq!(status(&closed), None, "it was not judged");
}

/// The rules are matched before the receiver responds, and its verdict counts all the same.
#[test]
fn negative_mdn_of_the_receiver_counts_as_an_error() {
    let stage = Stage::new();
    stage.receiver.next([Response::mdn(Mdn::error("unexpected-processing-error"))]);
    let delivered =
        stage.delivered(&order("a").sign(pki::partner()), &["refused", "raw", "broken", "log"]);
    assert!(delivered["refused"].header("X-Processing-Error").unwrap().starts_with("1200: "));
    assert_eq!(status(&delivered), Some("valid"));
    stage.delivered(&order("b").sign(pki::partner()), &["verified", "raw", "log"]);
}
