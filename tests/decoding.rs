//! Messages that take the decoder long: within their budget they are delivered late, over it with code
//! 1300. Their traffic goes on in either case.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::time::Duration;

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Receipt, Request, Response, Running, hostile, pki,
    receiver, sink,
};

const SOON: Duration = Duration::from_secs(120);

/// No bound but the time that the machine takes.
const UNBOUNDED: &str = "{ cpu: 1h, expansion: 4000000000, decoded: 1024GiB }";

fn gateway(receiver: &Endpoint, sink: &Endpoint, limits: &str) -> Gateway {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .station("US", pki::station())
        .partner("ACME", pki::partner())
        .rule("raw", |rule| rule.to(sink, "/raw").payload("raw"))
        .set("limits", limits)
}

fn post<'a>(id: &str, body: &'a [u8]) -> Post<'a> {
    Post::new("/as2", body)
        .header("AS2-From", "ACME")
        .header("AS2-To", "US")
        .header("Message-ID", id)
        .header("Content-Type", hostile::COMPRESSED)
}

fn late_decodes(gateway: &Running) -> bool {
    gateway.figure("as2hook_late_decodes_total") == 1
}

fn errors(request: &Request) -> &str {
    request.header("X-Processing-Error").unwrap_or_default()
}

#[test]
fn message_that_is_still_decoded_at_kill_9_is_reported_once_with_code_1400() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink, UNBOUNDED).start().unwrap();
    let body = hostile::endless().body;
    let reply = gateway.inbound().send(&post("<1@acme>", &body)).unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(receiver.requests()[0].body.bytes, body);
    assert!(late_decodes(&gateway));
    // It goes on beside the traffic, and other messages are not held up by it.
    let order = Message::new("ACME", "US").attach(Part::text("o.xml", "text/xml", "<o/>")).build();
    gateway.inbound().send(&Post::message("/as2", &order)).unwrap();
    assert_eq!(sink.wait_for(1, SOON).unwrap()[0].body.bytes, b"<o/>");
    gateway.kill9();
    let undecoded =
        |request: &Request| errors(request).contains("1400: The gateway stopped before");
    assert!(!sink.requests().iter().any(|request| undecoded(request)));

    gateway.restart().unwrap();
    let delivered = sink.wait_until(1, SOON, undecoded).unwrap();
    assert!(delivered[0].body.bytes.is_empty());
    // After another kill it may be delivered again, under the same id.
    gateway.kill9();
    gateway.restart().unwrap();
    let order = Message::new("ACME", "US").attach(Part::text("o.xml", "text/xml", "<p/>")).build();
    gateway.inbound().send(&Post::message("/as2", &order)).unwrap();
    sink.wait_until(1, SOON, |request| request.body.bytes == b"<p/>").unwrap();
    let requests = sink.requests();
    let mut again = requests.iter().filter(|request| undecoded(request));
    assert!(again.all(|request| request.header("webhook-id") == delivered[0].header("webhook-id")));
}

#[test]
fn shutdown_waits_for_a_late_decode_no_longer_than_the_drain() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink, UNBOUNDED).set("drain", "2s").start().unwrap();
    gateway.inbound().send(&post("<1@acme>", &hostile::endless().body)).unwrap();
    assert!(late_decodes(&gateway));
    let ended = gateway.sigterm(SOON).unwrap();
    assert!(ended.is_some(), "{}", gateway.log());
    assert!(sink.requests().is_empty());
    gateway.restart().unwrap();
    let delivered = sink.wait_for(1, SOON).unwrap()[0].clone();
    assert!(errors(&delivered).contains("1400"), "{}", errors(&delivered));
}

#[test]
fn late_decode_at_a_hand_over_is_finished_by_the_old_process() {
    let (receiver, sink) = (receiver().start(), sink().start());
    // So much takes longer than the last bytes and the drain together.
    let decoded = if cfg!(debug_assertions) { "1GiB" } else { "6GiB" };
    let limits = format!("{{ cpu: 1h, expansion: 4000000000, decoded: {decoded} }}");
    let mut gateway = gateway(&receiver, &sink, &limits).set("drain", "1s").start().unwrap();
    gateway.inbound().send(&post("<1@acme>", &hostile::endless().body)).unwrap();
    assert!(late_decodes(&gateway));
    let mut old = gateway.upgrade().unwrap();
    assert!(old.wait(SOON).is_some_and(|status| status.success()), "{}", gateway.log());
    let delivered = sink.wait_for(1, SOON).unwrap()[0].clone();
    assert!(errors(&delivered).contains("1300"), "{}", errors(&delivered));
}

#[test]
fn message_over_its_cpu_budget_passes_and_is_reported_with_code_1300() {
    let (receiver, sink) = (receiver().start(), sink().start());
    // No machine decodes so many parts in a millisecond.
    let limits = "{ cpu: 1ms, expansion: 4000000000, decoded: 1024GiB }";
    let gateway = gateway(&receiver, &sink, limits).start().unwrap();
    let mut message = Message::new("ACME", "US");
    for n in 0..900 {
        let part = Part::text(&format!("{n}.txt"), "text/plain", &"x".repeat(600));
        message = message.attach(part);
    }
    let message = message.build();
    let reply = gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(receiver.requests()[0].body.bytes, message.body);
    let delivered = sink.wait_for(1, SOON).unwrap()[0].clone();
    assert!(errors(&delivered).contains("1300: CPU time over the limit"), "{}", errors(&delivered));
}

#[test]
fn mdn_in_a_response_over_its_cpu_budget_is_code_1300() {
    let partner = receiver().start();
    let sink = sink().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .outbound()
        .receiver_url("http://127.0.0.1:1")
        .station("US", pki::station())
        .partner_with("ACME", |p| p.url(&partner.url("/as2")))
        .rule("json", |rule| rule.to(&sink, "/json").payload("json").events(&["*"]))
        .set("limits", "{ cpu: 1ms }")
        .start()
        .unwrap();
    // An MDN after 900 parts, each with a field of its own to be read: no machine decodes them in a millisecond.
    let mut body = String::new();
    for n in 0..900 {
        let filler = "=?utf-8?q?word?= ".repeat(12);
        body += &format!("--B\r\nContent-Type: text/plain; name=\"{filler}{n}\"\r\n\r\nx\r\n");
    }
    let response = Response::ok().header("Content-Type", "multipart/mixed; boundary=B").body(body);
    partner.respond(response);
    let message = Message::new("US", "ACME")
        .receipt(Receipt::Sync)
        .attach(Part::text("o.xml", "text/xml", "<o/>"))
        .build();
    let reply = gateway.outbound().send(&Post::message("/out/ACME", &message)).unwrap();
    assert_eq!(reply.status, 200);
    let delivered = sink.wait_for(1, SOON).unwrap()[0].clone();
    assert_eq!(delivered.header("X-AS2-Event"), Some("send.error"));
    assert!(errors(&delivered).contains("1300: CPU time over the limit"), "{}", errors(&delivered));
}
