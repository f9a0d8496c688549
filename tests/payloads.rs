//! What a webhook gets: the seed's three requests to the letter, which headers go along and which
//! never do, signatures, and payloads of any size (section 5 of the design).

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[cfg(feature = "s3")]
#[path = "payloads/in_s3.rs"]
mod in_s3;
#[path = "payloads/keeping.rs"]
mod keeping;
#[path = "payloads/roots.rs"]
mod roots;
#[path = "payloads/signatures.rs"]
mod signatures;

use std::{sync::Arc, time::Duration};

use as2hook_testing::{
    Built, Content, Endpoint, Framing, Gateway, Message, Part, Post, Request, Response, Rule, pki,
    receiver, sink,
};
use signatures::{PLAIN, WHSEC, as2_signature, webhook_signature};

const SOON: Duration = Duration::from_secs(60);

/// The AS2 headers of the seed's example, as the partner sends them.
const SENT: &str = r#"mime-version: 1.0
date: Mon, 15 Jun 2020 13:48:56 IST
as2-version: 1.2
subject: Invoice #981712
recipient-address: http://service.as2gateway.com:8280/service/as2-receiver
receipt-delivery-option: http://acme.hostname:8085/as2/receiver
ediint-features: multiple-attachments, CEM
as2-from: ACME
message-id: <AS2-1592209136307-2@ACME_MY-OWN-ORG>
X-Forwarded-For: 52.204.119.191
as2-to: MY-OWN-ORG
from: sender@acme.hostname
Content-Type: application/pkcs7-mime; name="smime.p7m"; smime-type=enveloped-data
disposition-notification-to: http://acme.hostname:8085/as2/receiver
disposition-notification-options: signed-receipt-protocol=optional, pkcs7-signature; signed-receipt-micalg=optional, sha-256"#;

/// The seed's JSON up to the size of its attachment; what follows there are our additions.
const JSON: &str = r#"{"as2MessageId":"<AS2-1592209136307-2@ACME_MY-OWN-ORG>","compressed":false,"encrypted":true,"signed":true,"subject":"Invoice #981712","receiverId":"MY-OWN-ORG","senderId":"ACME","partnerType":"Production","attachments":[{"name":"981712.xml","size":3570"#;

// === the seed ===

/// Sends the seed's message and returns its deliveries in the three modes.
fn seed() -> [Arc<Request>; 3] {
    let receiver = receiver().start();
    let sink = sink().start();
    let to = |payload: &'static str| {
        let sink = &sink;
        move |rule: Rule| rule.to(sink, "/webhook/message").payload(payload).always()
    };
    let gateway = gateway(&receiver)
        // The partner of the seed has the address that the front-most proxy tells.
        .receiver_set("trusted_proxies", "[\"127.0.0.0/8\"]")
        .rule("headers", to("headers"))
        .rule("json", to("json"))
        .rule("raw", to("raw"))
        .start()
        .unwrap();
    let headers: Vec<_> =
        lines(SENT).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let body = invoice().sign(pki::partner()).encrypt(pki::station()).build().body;
    let reply = gateway.inbound().send(&Post::new("/as2", &body).headers(&headers)).unwrap();
    assert_eq!(reply.status, 200);
    let delivered = sink.wait_for(3, SOON).unwrap();
    let of =
        |like: &dyn Fn(&Request) -> bool| delivered.iter().find(|one| like(one)).unwrap().clone();
    [
        of(&|one| one.body.bytes.is_empty()),
        of(&|one| one.header("Content-Type") == Some("application/json")),
        of(&|one| one.header("Content-Disposition").is_some()),
    ]
}

fn xml() -> String {
    let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<invoice>\n<header>\n";
    format!("{xml:<3570}")
}

fn invoice() -> Message {
    Message::new("ACME", "MY-OWN-ORG").attach(Part::with_fields(
        &[
            ("Content-Type", "text/xml"),
            ("Content-Disposition", "attachment; filename=\"981712.xml\""),
        ],
        Content::Bytes(xml().into_bytes()),
    ))
}

#[test]
fn the_seeds_three_requests_come_out_to_the_letter() {
    let [headers, json, raw] = seed();
    let sent = || lines(SENT).chain([("X-Partner-Type", "Production")]);
    let without_type = || sent().filter(|(name, _)| *name != "Content-Type");
    for request in [&headers, &json, &raw] {
        assert_eq!(request.head.line, "POST /webhook/message HTTP/1.1");
        assert_eq!(request.header("X-AS2-Event"), Some("message.received"));
        assert_eq!(request.header("X-AS2-Attempt"), Some("1"));
        assert_eq!(request.header("X-Processing-Error"), None);
        assert_eq!(request.header("X-Truncated"), None);
    }
    has(&headers, sent().chain([("Content-Length", "0")]));

    has(&json, without_type().chain([("Content-Type", "application/json")]));
    assert_eq!(values(&json, "Content-Length"), [json.body.length.to_string()]);
    assert!(json.text().starts_with(JSON), "{}", json.text());
    assert_eq!(json.json()["errors"], serde_json::json!([]));
    assert_eq!(json.json()["signatureStatus"], "valid");

    let of_the_file = [
        ("Content-Length", "3570"),
        ("Content-Disposition", "attachment; filename=981712.xml"),
        ("Content-Type", "text/xml"),
    ];
    has(&raw, without_type().chain(of_the_file));
    assert_eq!(raw.text(), xml());
}

/// Each field is there exactly once, with exactly this value.
fn has<'a>(request: &Request, fields: impl Iterator<Item = (&'a str, &'a str)>) {
    for (name, value) in fields {
        assert_eq!(values(request, name), [value], "{name}");
    }
}

// === headers ===

#[test]
fn original_headers_are_kept_to_the_byte_duplicates_included() {
    let receiver = receiver().start();
    let sink = sink().start();
    let message = order()
        .subject("Rechnung für März")
        .header("X-Trace", "one")
        .header("Received", "from a")
        .header("x-trace", "two, three")
        .header("X-Trace", "one");
    for request in deliver(&receiver, &sink, |rule| rule, &message.build()) {
        assert_eq!(values(&request, "X-Trace"), ["one", "two, three", "one"]);
        assert_eq!(values(&request, "Received"), ["from a"]);
        assert_eq!(values(&request, "Subject"), ["Rechnung für März"]);
    }
}

#[test]
fn header_values_in_old_character_sets_pass_as_they_are() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver).rule("all", |rule| rule.to(&sink, "/").payload("json"));
    let gateway = gateway.start().unwrap();
    let head = b"POST /as2 HTTP/1.1\r\nHost: a\r\nAS2-From: ACME\r\nAS2-To: MY-OWN-ORG\r\n\
                 Message-ID: <1@acme>\r\nSubject: M\xe4rz\ta  b\r\nContent-Length: 3\r\n\r\nUNB";
    let mut connection = gateway.inbound().connect().unwrap();
    connection.write(head).unwrap();
    assert_eq!(connection.read_reply("POST").unwrap().status, 200);
    let delivered = sink.wait_for(1, SOON).unwrap();
    for request in [&delivered[0], &receiver.requests()[0]] {
        let subject: Vec<_> = request.head.headers.all("Subject").collect();
        assert_eq!(subject, [b"M\xe4rz\ta  b"]);
    }
    assert!(delivered[0].json()["subject"].as_str().unwrap().starts_with('M'));
}

#[test]
fn what_must_not_be_believed_never_passes() {
    let names = [
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Cookie2",
        "Forwarded",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X_Forwarded_For",
        "X-Real-IP",
        "Proxy",
        "X-HTTP-Method-Override",
        "webhook-id",
        "Webhook-Timestamp",
        "webhook-signature",
        "webhook_signature",
        "Webhook-Anything",
        "X-AS2-Event",
        "X_AS2_Event",
        "X-AS2-Signature",
        "x-as2_attempt",
        "X-AS2-Replay",
        "X-Partner-Type",
        "X_Partner_Type",
        "X-Processing-Error",
        "x_processing-error",
        "X-Send-Error",
        "X-Truncated",
        "X-Of-The-Rule",
        "X_Of_The_Rule",
        "AS2_From",
        "Message_ID",
        "User-Agent",
        "X-Named-By-Connection",
        "Remote-User",
        "X_Remote_User",
        "X-SSL-Client-Cert",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Client-IP",
        "X-Api-Key",
        "X-Real-Port",
        "If-None-Match",
        "Range",
    ];
    let message = names
        .iter()
        .enumerate()
        .fold(order(), |message, (nth, name)| message.header(name, &format!("smuggled-{nth}-")));
    let message = message.header("Connection", "X-Named-By-Connection").build();
    let receiver = receiver().start();
    let sink = sink().start();
    let with = |rule: Rule| rule.set("headers", "{ X-Of-The-Rule: ours }");
    for request in deliver(&receiver, &sink, with, &message) {
        let head = String::from_utf8_lossy(&request.head.raw).into_owned();
        let passed = |nth: usize| head.contains(&format!("smuggled-{nth}-"));
        let passed: Vec<_> = names
            .iter()
            .enumerate()
            .filter(|(nth, _)| passed(*nth))
            .map(|(_, name)| name)
            .collect();
        assert!(passed.is_empty(), "{passed:?} went along:\n{head}");
        assert_eq!(values(&request, "X-AS2-Event"), ["message.received"]);
        assert_eq!(values(&request, "X-Partner-Type"), ["Production"]);
        assert_eq!(values(&request, "X-Of-The-Rule"), ["ours"]);
        assert_eq!(values(&request, "X-Forwarded-For"), ["127.0.0.1"]);
        assert!(request.header("User-Agent").unwrap().starts_with("as2hook/"));
    }
    // To the AS2 server they go as ever: what it believes is its own affair.
    let got = &receiver.requests()[0];
    assert_eq!(got.header("Authorization"), Some("smuggled-0-"));
    assert_eq!(got.header("X_AS2_Event"), Some("smuggled-17-"));
}

#[test]
fn original_content_headers_speak_of_the_original_body_alone() {
    let receiver = receiver().start();
    let sink = sink().start();
    let message = order().header("Content-Language", "en").build();
    let [headers, json, raw] = deliver(&receiver, &sink, |rule| rule, &message);
    assert_eq!(values(&headers, "Content-Language"), ["en"]);
    assert_eq!(values(&headers, "Content-Disposition"), ["attachment; filename=\"smime.p7m\""]);
    for request in [json, raw] {
        assert_eq!(request.header("Content-Language"), None);
        assert_eq!(request.header("Content-Transfer-Encoding"), None);
        assert_eq!(values(&request, "Content-Type").len(), 1);
    }
}

#[test]
fn pass_headers_as2_keeps_the_rest_at_home() {
    let receiver = receiver().start();
    let sink = sink().start();
    let message = order().subject("An order").header("X-Internal", "no").build();
    let with = |rule: Rule| rule.set("pass_headers", "as2");
    for request in deliver(&receiver, &sink, with, &message) {
        assert_eq!(request.header("X-Internal"), None);
        assert_eq!(request.header("Subject"), Some("An order"));
        assert_eq!(request.header("AS2-Version"), Some("1.2"));
        assert_eq!(request.header("Message-ID"), Some(message.id.as_str()));
    }
}

// === payloads ===

#[test]
fn a_large_raw_payload_arrives_identical_and_signed() {
    let receiver = receiver().start();
    let sink = sink().start();
    let content = Content::large(5 << 20);
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::new("large.bin", "application/octet-stream", content.clone()))
        .sign(pki::partner())
        .encrypt(pki::station())
        .build();
    let with = |rule: Rule| rule.set("secret", &format!("{WHSEC:?}"));
    let [_, json, raw] = deliver(&receiver, &sink, with, &message);
    assert_eq!(raw.framing, Framing::Length(5 << 20));
    assert!(raw.complete);
    assert_eq!(raw.body.sha256, content.sha256());
    assert_eq!(values(&raw, "webhook-signature"), [webhook_signature(&raw, WHSEC)]);
    assert_eq!(values(&raw, "X-AS2-Signature"), [as2_signature(&raw, WHSEC)]);
    assert_eq!(json.json()["attachments"][0]["sha256"], content.sha256());
    assert_eq!(receiver.requests()[0].body.bytes, message.body);
}

#[test]
fn a_retry_sends_the_same_payload_with_the_same_id() {
    let receiver = receiver().start();
    let sink = sink().start();
    sink.next([Response::status(500)]);
    let gateway = gateway(&receiver)
        .rule("raw", |rule| {
            let secret = format!("{PLAIN:?}");
            rule.to(&sink, "/").payload("raw").set("retry", "[100ms]").set("secret", &secret)
        })
        .start()
        .unwrap();
    let content = Content::large(300 << 10);
    let part = Part::new("large.bin", "application/octet-stream", content.clone());
    let message = Message::new("ACME", "MY-OWN-ORG").attach(part).build();
    gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    let delivered = sink.wait_for(2, SOON).unwrap();
    for (nth, request) in delivered.iter().enumerate() {
        assert_eq!(request.body.sha256, content.sha256());
        assert_eq!(request.header("webhook-id"), delivered[0].header("webhook-id"));
        assert_eq!(request.header("X-AS2-Attempt"), Some(&*(nth + 1).to_string()));
        assert_eq!(values(request, "webhook-signature"), [webhook_signature(request, PLAIN)]);
    }
}

#[test]
fn of_several_attachments_raw_has_the_first_and_json_all() {
    let receiver = receiver().start();
    let sink = sink().start();
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("one.xml", "text/xml", "<one/>"))
        .attach(Part::text("the second.xml", "text/xml", "<second/>"))
        .attach(Part::text("three.pdf", "application/pdf", "%PDF"))
        .sign(pki::partner())
        .encrypt(pki::station())
        .build();
    let [headers, json, raw] = deliver(&receiver, &sink, |rule| rule, &message);
    assert_eq!(raw.header("X-Truncated"), Some("Attachments: 1/3"));
    assert_eq!(raw.text(), "<one/>");
    assert_eq!(raw.header("Content-Disposition"), Some("attachment; filename=one.xml"));
    assert_eq!((headers.header("X-Truncated"), json.header("X-Truncated")), (None, None));
    let attachments = json.json()["attachments"].clone();
    let delivered = attachments.as_array().unwrap().iter();
    let delivered: Vec<_> =
        delivered.map(|one| (one["name"].as_str(), one["size"].as_u64())).collect();
    let all = [("one.xml", 6), ("the second.xml", 9), ("three.pdf", 4)];
    assert_eq!(delivered, all.map(|(name, size)| (Some(name), Some(size))));
}

#[test]
fn a_name_that_is_no_token_is_quoted_beside_its_exact_form() {
    let receiver = receiver().start();
    let sink = sink().start();
    let part = Part::with_fields(
        &[
            ("Content-Type", "text/xml"),
            ("Content-Disposition", "attachment; filename*=UTF-8''..%2FRechnung%20%E2%82%AC.xml"),
        ],
        Content::Bytes(b"<x/>".to_vec()),
    );
    let message = Message::new("ACME", "MY-OWN-ORG").attach(part).build();
    let [_, json, raw] = deliver(&receiver, &sink, |rule| rule, &message);
    assert_eq!(json.json()["attachments"][0]["name"], "Rechnung \u{20ac}.xml");
    assert_eq!(
        raw.header("Content-Disposition"),
        Some("attachment; filename=\"Rechnung _.xml\"; filename*=UTF-8''Rechnung%20%E2%82%AC.xml")
    );
}

// === helpers ===

fn gateway(receiver: &Endpoint) -> Gateway {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
}

fn plain_order() -> Message {
    let part = Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'");
    Message::new("ACME", "MY-OWN-ORG").attach(part)
}

fn order() -> Message {
    plain_order().sign(pki::partner()).encrypt(pki::station())
}

/// Sends a message and returns its deliveries: `headers`, `json`, `raw`.
fn deliver(
    receiver: &Endpoint,
    sink: &Endpoint,
    with: impl Fn(Rule) -> Rule,
    message: &Built,
) -> [Arc<Request>; 3] {
    let modes = ["headers", "json", "raw"];
    let gateway = modes.iter().fold(gateway(receiver), |gateway, mode| {
        let path = format!("/{mode}");
        gateway.rule(mode, |rule| with(rule.to(sink, &path).payload(mode).always()))
    });
    let gateway = gateway.start().unwrap();
    let reply = gateway.inbound().send(&Post::message("/as2", message)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let delivered = sink.wait_for(3, SOON).unwrap();
    modes.map(|mode| {
        let path = format!("/{mode}");
        delivered.iter().find(|request| request.target() == path).unwrap().clone()
    })
}

fn values(request: &Request, name: &str) -> Vec<String> {
    let all = request.head.headers.all(name);
    all.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

fn lines(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    text.lines().map(|line| line.split_once(": ").unwrap())
}
