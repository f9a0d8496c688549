//! `kill -9` between sending and hearing the response: each attempt has exactly one verdict, and it says
//! that the outcome is unknown (section 4 of the design). A response that comes before the end of its
//! request is passed back once the exchange is recorded.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    thread,
    time::Duration,
};

use as2hook_testing::{
    Client, Connection, Content, Digest, Gateway, Message, Part, Post, Receipt, Reply, Request,
    Response, Running, gateway::wait_until, pki, receiver, sink,
};

const KILLS: usize = 200;

const SOON: Duration = Duration::from_secs(120);

mod alone {
    use super::*;

    #[test]
    fn each_message_has_one_verdict_after_200_kills_before_the_response() {
        let partner = receiver().respond(Response::silence()).start();
        let sink = sink().start();
        let mut gateway = gateway(&partner.url("/as2"), &sink);
        let mut sent = BTreeSet::new();
        for kill in 0..KILLS {
            let message = Message::new("MY-OWN-ORG", "ACME")
                .attach(Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'"))
                .receipt(Receipt::SignedSync(Digest::Sha256))
                .build();
            sent.insert(message.id.clone());
            let client = gateway.outbound();
            let sender = thread::spawn(move || client.send(&Post::message("/", &message)));
            // The partner has all of it, and says nothing.
            partner.wait_until(kill + 1, SOON, |request| request.complete).unwrap();
            // A store that stands still is passed by, and what it is to take dies with the process.
            let durable = || gateway.readiness().is_some_and(|(status, _)| status == 200);
            assert!(wait_until(SOON, durable), "{:?}", gateway.readiness());
            gateway.kill9();
            assert!(sender.join().unwrap().is_err(), "our server cannot have got a response");
            gateway.restart().unwrap();
        }
        let mut delivered: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
        let complete = wait_until(SOON, || {
            delivered = sink.requests().iter().fold(BTreeMap::new(), |mut delivered, request| {
                let field = |name: &str| request.header(name).unwrap_or_default().to_owned();
                let verdict = (field("X-AS2-Event"), field("webhook-id"));
                delivered.entry(field("Message-ID")).or_insert_with(BTreeSet::new).insert(verdict);
                delivered
            });
            delivered.len() == KILLS
        });
        assert!(complete, "{} of {KILLS} are reported", delivered.len());
        assert_eq!(delivered.keys().collect::<Vec<_>>(), sent.iter().collect::<Vec<_>>());
        for (message, verdicts) in &delivered {
            assert_eq!(verdicts.len(), 1, "{message}: {verdicts:?}");
        }
        for request in sink.requests() {
            assert_eq!(request.header("X-AS2-Event"), Some("send.error"));
            assert_eq!(request.json()["error"]["stage"], "unknown");
        }
    }
}

/// The first half of a message, whose response is read before the rest is sent. The exchange ends
/// when the connection is dropped.
fn send_half(client: &Client, from: &str, to: &str, id: &str) -> (Connection, Reply) {
    let mut connection = client.connect().unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: as2\r\nAS2-From: {from}\r\nAS2-To: {to}\r\nMessage-ID: {id}\r\n\
         Content-Type: application/edifact\r\nContent-Length: 200000\r\n\r\n"
    );
    connection.write(head.as_bytes()).unwrap();
    connection.write(&[b'x'; 100_000]).unwrap();
    let reply = connection.read_reply("POST").unwrap();
    (connection, reply)
}

#[test]
fn inbound_message_whose_response_came_before_its_end_is_reported_after_kill_9() {
    let (receiver, sink) = (receiver().respond(Response::ok().early()).start(), sink().start());
    let gateway = Gateway::new().binary(env!("CARGO_BIN_EXE_as2hook")).receiver(&receiver);
    let gateway = gateway.rule("all", |rule| rule.to(&sink, "/hook").payload("json"));
    let mut gateway = gateway.start().unwrap();
    let (_open, reply) = send_half(&gateway.inbound(), "ACME", "US", "<half@acme>");
    assert_eq!(reply.status, 200);
    gateway.kill9();
    gateway.restart().unwrap();
    let delivered = sink.wait_for(1, SOON).unwrap();
    assert_eq!(delivered[0].header("X-AS2-Event"), Some("message.received"));
    assert_eq!(delivered[0].header("Message-ID"), Some("<half@acme>"));
    let codes = |delivered: &Request| {
        let json = delivered.json();
        let errors = json["errors"].as_array().unwrap().iter();
        errors.map(|error| error["code"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(codes(&delivered[0]), [1400, 1500]);
}

#[test]
fn outbound_message_whose_response_came_before_its_end_is_reported_after_kill_9() {
    let (partner, sink) = (receiver().respond(Response::ok().early()).start(), sink().start());
    let mut gateway = gateway(&partner.url("/as2"), &sink);
    let (_open, reply) = send_half(&gateway.outbound(), "MY-OWN-ORG", "ACME", "<half@us>");
    assert_eq!(reply.status, 200);
    gateway.kill9();
    gateway.restart().unwrap();
    let delivered = sink.wait_for(1, SOON).unwrap();
    assert_eq!(delivered[0].header("X-AS2-Event"), Some("send.error"));
    assert_eq!(delivered[0].header("Message-ID"), Some("<half@us>"));
    assert_eq!(delivered[0].json()["error"]["stage"], "unknown");
}

#[test]
fn message_whose_response_came_before_its_end_is_reported_whole_when_nothing_is_killed() {
    let (receiver, sink) = (receiver().respond(Response::ok().early()).start(), sink().start());
    let gateway = Gateway::new().binary(env!("CARGO_BIN_EXE_as2hook")).receiver(&receiver);
    let gateway = gateway.rule("all", |rule| rule.to(&sink, "/hook").payload("raw"));
    let gateway = gateway.start().unwrap();
    let order = Part::new("order.edi", "application/edifact", Content::large(1 << 20));
    let message = Message::new("ACME", "US").attach(order).build();
    let post = Post::message("/as2", &message).slowly(100_000, Duration::from_millis(20));
    assert_eq!(gateway.inbound().send(&post).unwrap().status, 200);
    let delivered = sink.wait_for(1, SOON).unwrap();
    assert_eq!(delivered[0].header("X-AS2-Event"), Some("message.received"));
    assert_eq!(delivered[0].header("X-Processing-Error"), None);
    assert_eq!(delivered[0].body.length, 1 << 20);
}

fn gateway(url: &str, sink: &as2hook_testing::Endpoint) -> Running {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url("http://127.0.0.1:9")
        .outbound()
        .station("MY-OWN-ORG", pki::station())
        .partner_with("ACME", |acme| acme.url(url).certificate(Path::new("keys/my-own-org.crt")))
        .rule("all", |rule| {
            let verdicts = ["message.sent", "send.error"];
            rule.to(sink, "/hook").payload("json").events(&verdicts)
        })
        .start()
        .unwrap()
}
