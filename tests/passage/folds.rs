//! Folded header lines (obs-fold, RFC 9112 section 5.2), which older versions of OpenAS2 (its pull requests
//! 39 and 71) and BizTalk send: each fold is one blank for the other side, the tap and the deliveries.

use std::sync::Arc;

use as2hook_testing::Request;

use super::*;

/// A blank in each of these headers is a fold on the wire, and one stands before the value, too.
const FOLDED: [&str; 5] = ["Message-ID", "Subject", "Content-Type", "AS2-From", "X-Order"];

/// The headers of a message, with this in the place of each blank and before the value.
fn folded(message: &Built, fold: &str) -> Vec<(String, String)> {
    let fold = |(name, value): &(String, String)| match FOLDED.contains(&name.as_str()) {
        true => (name.clone(), format!("{fold}{}", value.replace(' ', fold))),
        false => (name.clone(), value.clone()),
    };
    message.headers.iter().map(fold).collect()
}

fn signed(from: &str, to: &str) -> Built {
    let signer = if from == "ACME" { pki::partner() } else { pki::station() };
    Message::new(from, to)
        .subject("An order of two lines")
        .header("X-Order", "one two")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'"))
        .sign(signer)
        .build()
}

/// What the other side got, and the delivery of it.
fn passes(
    client: &Client,
    (server, sink): (&Endpoint, &Endpoint),
    message: &Built,
    fold: &str,
) -> (Arc<Request>, Arc<Request>) {
    let headers = folded(message, fold);
    let reply = client.send(&Post::new("/as2", &message.body).headers(&headers)).unwrap();
    assert_eq!(reply.status, 200, "{fold:?}: {}", reply.text());
    let is_this = |request: &Request| request.header("Message-ID") == Some(message.id.as_str());
    let first = |endpoint: &Endpoint| endpoint.wait_until(1, SOON, is_this).unwrap()[0].clone();
    (first(server), first(sink))
}

#[test]
fn folded_headers_of_a_signed_message_arrive_unfolded() {
    let (server, sink) = (receiver().start(), sink().start());
    let gateway = both_ways(&server, &sink);
    for fold in ["\r\n ", "\r\n\t", " \t\r\n \t ", "\r\n \r\n\t"] {
        for (client, from, to) in
            [(gateway.inbound(), "ACME", "MY-OWN-ORG"), (gateway.outbound(), "MY-OWN-ORG", "ACME")]
        {
            let message = signed(from, to);
            let (got, delivery) = passes(&client, (&server, &sink), &message, fold);
            for (name, value) in &message.headers {
                assert_eq!(got.header(name), Some(value.as_str()), "{fold:?} {name}");
            }
            assert_eq!(got.body.bytes, message.body, "{fold:?}");
            assert_eq!(delivery.header("X-Order"), Some("one two"), "{fold:?}");
            let event = delivery.json();
            assert_eq!(event["subject"], "An order of two lines", "{fold:?}");
            assert_eq!(event["as2MessageId"], message.id.as_str(), "{fold:?}");
            assert_eq!(event["errors"], serde_json::json!([]), "{fold:?}: {event}");
            if from == "ACME" {
                assert_eq!(event["signatureVerified"], true, "{fold:?}: {event}");
            }
        }
    }
}

#[test]
fn folded_headers_arrive_unfolded_over_tls() {
    let (server, sink) = (receiver().start(), sink().start());
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .inbound_tls(false)
        .receiver(&server)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("all", |rule| rule.to(&sink, "/hook").payload("json"))
        .start()
        .unwrap();
    let message = signed("ACME", "MY-OWN-ORG");
    let (got, _) = passes(&gateway.inbound(), (&server, &sink), &message, "\r\n\t");
    assert_eq!(got.header("Subject"), Some("An order of two lines"));
    assert_eq!(got.body.bytes, message.body);
}

#[test]
fn folded_head_arrives_unfolded_in_one_byte_segments() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver);
    let mut connection = gateway.inbound().connect().unwrap();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nX: one\r\n two\r\nContent-Length: 3\r\n\r\nabc";
    for byte in request.bytes() {
        connection.write(&[byte]).unwrap();
    }
    assert_eq!(connection.read_reply("POST").unwrap().status, 200);
    let request = &receiver.wait_for(1, SOON).unwrap()[0];
    assert_eq!((request.header("X"), &request.body.bytes[..]), (Some("one two"), &b"abc"[..]));
}

/// The head becomes shorter; what stands behind it stays.
#[test]
fn request_behind_a_folded_head_in_one_segment_is_served() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver);
    let mut connection = gateway.inbound().connect().unwrap();
    let one = |n: u8| {
        format!(
            "POST /{n} HTTP/1.1\r\nHost: a\r\nX: {n}\r\n \t b\r\nContent-Length: 3\r\n\r\nab{n}"
        )
    };
    connection.write(format!("\r\n{}\r\n{}{}", one(1), one(2), one(3)).as_bytes()).unwrap();
    for _ in 0..3 {
        assert_eq!(connection.read_reply("POST").unwrap().status, 200);
    }
    for (n, request) in receiver.wait_for(3, SOON).unwrap().iter().enumerate() {
        let n = n + 1;
        assert_eq!(request.target(), format!("/{n}"));
        assert_eq!(request.header("X"), Some(format!("{n} b").as_str()));
        assert_eq!(request.body.bytes, format!("ab{n}").as_bytes());
    }
}

/// Folds are no fields, so `limits.header` alone bounds them.
#[test]
fn thousands_of_folds_pass_up_to_the_limit_of_a_head() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver);
    let post =
        |folds: usize| Post::new("/", b"x").header("X", format!("a{}", "\r\n b".repeat(folds)));
    assert_eq!(gateway.inbound().send(&post(15_000)).unwrap().status, 200);
    let request = &receiver.wait_for(1, SOON).unwrap()[0];
    assert_eq!(request.header("X"), Some(format!("a{}", " b".repeat(15_000)).as_str()));
    assert_eq!(gateway.inbound().send(&post(17_000)).unwrap().status, 431);
}

/// Pingora reads them so.
#[test]
fn folded_headers_of_a_response_arrive_unfolded() {
    let (server, sink) = (receiver().start(), sink().start());
    let gateway = both_ways(&server, &sink);
    server.respond(Response::ok().header("X-Response", "one\r\n two\r\n\t three").body("abc"));
    for client in [gateway.inbound(), gateway.outbound()] {
        let post = Post::new("/out/ACME", b"x");
        let reply = client.send(&post).unwrap();
        assert_eq!((reply.status, reply.header("X-Response")), (200, Some("one two three")));
        assert_eq!(reply.body.bytes, b"abc");
    }
}
