//! Forgeries: what claims to be a partner's and is not signed by it does not harm what is.

use std::path::Path;

use as2hook_testing::{
    Built, Message, Part, Post, Receipt, Request, Response,
    hostile::{self, Attack},
    pki,
};

use crate::stage::{SOON, Stage, Way, order};

fn post(stage: &Stage, message: &Built) {
    let reply = stage.gateway.inbound().send(&Post::message("/as2", message)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn unsigned_copy_that_comes_first_does_not_make_the_true_message_a_duplicate() {
    let stage = Stage::new();
    let order = order();
    let content =
        Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3+ACME+MY-OWN-ORG'");
    let forged = Message::new("ACME", "MY-OWN-ORG").id(&order.id).attach(content);
    let forged = forged.receipt(Receipt::Sync);
    for forged in [forged.clone().build(), forged.sign(pki::stranger()).build()] {
        post(&stage, &forged);
    }
    let is_forged = |request: &Request| {
        request.target() == "/json" && request.header("Message-ID") == Some(&order.id)
    };
    stage.sink.wait_until(2, SOON, is_forged).unwrap();
    post(&stage, &order);
    let all = stage.sink.wait_until(3, SOON, is_forged).unwrap();
    let is_true = |request: &&std::sync::Arc<Request>| request.json()["signatureStatus"] == "valid";
    let delivered: Vec<_> =
        all.iter().filter(is_true).map(|r| r.header("X-AS2-Event").map(str::to_owned)).collect();
    assert_eq!(delivered, [Some("message.received".to_owned())]);
}

#[test]
fn message_that_our_server_refused_is_not_a_duplicate_when_it_comes_again() {
    let stage = Stage::new();
    let order = order();
    stage.receiver.next([Response::mdn(as2hook_testing::Mdn::error("decryption-failed"))]);
    post(&stage, &order);
    stage.event_of(&order.id);
    post(&stage, &order);
    let is_it = |request: &Request| {
        request.target() == "/json" && request.header("Message-ID") == Some(&order.id)
    };
    let all = stage.sink.wait_until(2, SOON, is_it).unwrap();
    let delivered: Vec<_> =
        all.iter().filter_map(|request| request.header("X-AS2-Event")).collect();
    assert!(!delivered.contains(&"message.duplicate"), "{delivered:?}");
}

#[test]
fn unsigned_message_in_a_partners_name_does_not_hold_up_its_order() {
    let stage = Stage::with(|gateway| {
        gateway.partner_with("FIRST", |partner| partner.certificate(Path::new("keys/acme.crt")))
    });
    let rule = as2hook_testing::Rule::new("ordered").to(&stage.sink, "/ordered");
    let rule = rule.payload("json").set("order", "partner").always();
    stage.gateway.write_rules(&[rule]).unwrap();
    assert_eq!(stage.gateway.reload().unwrap().status, 200);
    // The webhook takes nothing that is not signed.
    stage.sink.script(|head| match head.header("X-AS2-Signature-Status") {
        Some("valid") => Response::ok(),
        _ => Response::status(500),
    });
    let forged = Attack::new("text/plain", b"forged".to_vec()).message("ACME", "MY-OWN-ORG");
    post(&stage, &forged);
    let order = order();
    post(&stage, &order);
    let is_it = |request: &Request| request.header("Message-ID") == Some(&order.id);
    let delivered = stage.sink.wait_until(1, SOON, is_it).unwrap();
    assert_eq!(delivered[0].json()["signatureStatus"], "valid");
}

#[test]
fn signed_attributes_passed_off_as_content_are_not_verified() {
    let stage = Stage::new();
    let attack = hostile::attributes_as_content(pki::partner());
    let id = stage.send(&attack, Way::Inbound);
    let event = stage.event_of(&id).json();
    assert_ne!(event["signatureStatus"], "valid", "{event}");
    assert!(stage.codes(&id).contains(&900), "{event}");
    stage.order_is_notified_whole();
}

#[test]
fn every_mode_says_what_is_known_of_the_signature() {
    let stage = Stage::with(|gateway| {
        gateway.rule("headers", |rule| rule.url("http://127.0.0.1:9/").payload("headers").always())
    });
    let rules = ["headers", "json", "raw"].map(|mode| {
        let rule = as2hook_testing::Rule::new(mode).to(&stage.sink, &format!("/{mode}"));
        rule.payload(mode).always().set("secret", "\"0123456789abcdef0123456789abcdef\"")
    });
    stage.gateway.write_rules(&rules).unwrap();
    assert_eq!(stage.gateway.reload().unwrap().status, 200);
    stage.sink.forget();
    let order = order();
    post(&stage, &order);
    for path in ["/headers", "/json", "/raw"] {
        let is_it = |request: &Request| request.target() == path;
        let delivered = stage.sink.wait_until(1, SOON, is_it).unwrap().remove(0);
        assert_eq!(delivered.header("X-AS2-Signature-Status"), Some("valid"), "{path}");
        assert!(delivered.header("X-AS2-Event-Id").is_some(), "{path}");
        let signature = delivered.header("X-AS2-Signature").unwrap_or_default();
        assert!(signature.split(' ').any(|value| value.starts_with("v2,")), "{path}: {signature}");
    }
}
