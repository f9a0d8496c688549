//! Payloads in S3, of another's making: `moto_server`, where it is installed.

use as2hook_testing::{Content, Endpoint, Message, Part, Post, Reply, Running, S3, receiver, sink};

use super::{SOON, gateway};

/// A gateway that keeps its payloads there.
fn keeping(server: &S3, receiver: &Endpoint, sink: &Endpoint) -> Running {
    let gateway = gateway(receiver)
        .rule("raw", |rule| rule.to(sink, "/raw").payload("raw").set("secret", "\"a secret\""))
        .set("payloads", &format!("\"{}\"", server.url("pay")))
        .set("payloads_allow_http", "true")
        .set("encrypt_payloads", "true");
    let environment = server.environment();
    let gateway = environment.iter().fold(gateway, |gateway, (n, v)| gateway.environment(n, v));
    gateway.start().unwrap()
}

fn post(gateway: &Running, content: &Content) -> Reply {
    let part = Part::new("order.edi", "application/edifact", content.clone());
    let message = Message::new("ACME", "MY-OWN-ORG").attach(part).build();
    gateway.inbound().send(&Post::message("/as2", &message)).unwrap()
}

#[test]
fn a_large_payload_goes_by_way_of_the_bucket() {
    let Some(server) = S3::start() else { return };
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = keeping(&server, &receiver, &sink);
    let content = Content::large(5 << 20);
    assert_eq!(post(&gateway, &content).status, 200);
    let delivered = sink.wait_for(1, SOON).unwrap()[0].clone();
    assert_eq!(delivered.body.sha256, content.sha256());
    assert!(delivered.header("webhook-signature").is_some());
    // The sixth piece is what sealing adds; the seventh object is the id of the store.
    assert_eq!(server.objects("pay"), 7);
}

#[test]
fn a_bucket_that_is_away_costs_payloads_and_no_traffic() {
    let Some(mut server) = S3::start() else { return };
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = keeping(&server, &receiver, &sink);
    server.stop();
    assert_eq!(post(&gateway, &Content::large(5 << 20)).status, 200);
    let delivered = sink.wait_for(1, SOON).unwrap()[0].clone();
    assert_eq!(delivered.body.length, 0);
    assert!(delivered.header("X-Processing-Error").unwrap().starts_with("1300: "));
    let ready = gateway.admin().get("/readyz").unwrap();
    assert!(ready.text().contains("Large payloads cannot be kept since"), "{}", ready.text());
}
