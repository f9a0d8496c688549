//! What partners send reaches the AS2 server unchanged, and so do its responses on their way back
//! (section 5 of the design, "Unchanged"), with every habit of Pingora 0.9.1 that matters here.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

#[path = "passage/folds.rs"]
mod folds;
#[path = "passage/http10.rs"]
mod http10;
#[path = "passage/targets.rs"]
mod targets;

use std::{fs, net::TcpStream, path::Path, time::Duration};

use as2hook_testing::{
    Built, Client, Endpoint, Framing, Gateway, Message, Part, Post, Reply, Response, Running, pki,
    receiver, sink,
};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};

const SOON: Duration = Duration::from_secs(60);

fn gateway(receiver: &Endpoint) -> Running {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .start()
        .unwrap()
}

/// A gateway that decodes: the same must hold with the tap at work.
fn tapped(receiver: &Endpoint, sink: &Endpoint) -> Running {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("all", |rule| rule.to(sink, "/hook").payload("json"))
        .start()
        .unwrap()
}

/// A gateway with both listeners, behind each of which is this server.
fn both_ways(server: &Endpoint, sink: &Endpoint) -> Running {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(server)
        .outbound()
        .station("MY-OWN-ORG", pki::station())
        .partner("OTHER", pki::partner())
        .partner_with("ACME", |acme| {
            acme.url(&server.url("/as2")).certificate(Path::new("keys/acme.crt"))
        })
        .rule("all", |rule| rule.to(sink, "/hook").payload("json").events(&["*"]))
        .start()
        .unwrap()
}

fn message() -> Built {
    Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'"))
        .sign(pki::partner())
        .encrypt(pki::station())
        .build()
}

fn fields(reply: &Reply, name: &str) -> Vec<(String, String)> {
    let fields = reply.head.headers.iter().filter(|f| f.name.eq_ignore_ascii_case(name));
    fields.map(|f| (f.name.clone(), String::from_utf8_lossy(&f.value).into_owned())).collect()
}

/// Whatever the decoder makes of it, it is traffic first.
#[test]
fn request_with_two_content_types_passes() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = tapped(&receiver, &sink);
    let message = message();
    let post = Post::message("/as2", &message).header("Content-Type", "text/plain");
    assert_eq!(gateway.inbound().send(&post).unwrap().status, 200);
    let request = &receiver.wait_for(1, SOON).unwrap()[0];
    let types = request.head.headers.iter().filter(|f| f.name == "Content-Type").count();
    assert_eq!((types, &request.body.bytes), (2, &message.body));
}

#[test]
fn header_names_keep_their_case_and_values_their_bytes() {
    let receiver = receiver().respond(Response::ok().header("X-MiXed-Case", "a  b")).start();
    let gateway = gateway(&receiver);
    let post = Post::new("/as2?x=1", b"body")
        .header("wEird-CaSe", "one")
        .header("weird-case", "two, three")
        .header("X_under_score", "kept")
        .header("AS2-From", "\"A \\\"quoted\\\" name\"");
    let reply = gateway.inbound().send(&post).unwrap();
    let request = &receiver.wait_for(1, SOON).unwrap()[0];
    assert_eq!(request.target(), "/as2?x=1");
    let got = request.head.names();
    for name in ["wEird-CaSe", "weird-case", "X_under_score", "AS2-From"] {
        assert!(got.contains(&name), "{name} in {got:?}");
    }
    assert_eq!(request.header("AS2-From"), Some("\"A \\\"quoted\\\" name\""));
    assert_eq!(request.header("Host"), Some("as2.example"));
    assert_eq!(fields(&reply, "x-mixed-case"), [("X-MiXed-Case".into(), "a  b".into())]);
}

#[test]
fn the_receivers_date_is_not_replaced_by_pingoras() {
    let date = "Mon, 01 Jun 2020 16:12:51 GMT";
    let receiver = receiver().respond(Response::ok().header("dAte", date)).start();
    let sink = sink().start();
    let gateway = tapped(&receiver, &sink);
    let reply = gateway.inbound().send(&Post::message("/as2", &message())).unwrap();
    assert_eq!(fields(&reply, "date"), [("dAte".to_owned(), date.to_owned())]);
}

#[test]
fn content_length_stays_and_chunked_stays() {
    let receiver = receiver().start();
    let sink = sink().start();
    let gateway = tapped(&receiver, &sink);
    let message = message();
    gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    gateway.inbound().send(&Post::message("/as2", &message).chunked(&[1, 700, 64])).unwrap();
    let requests = receiver.wait_for(2, SOON).unwrap();
    assert_eq!(requests[0].framing, Framing::Length(message.body.len() as u64));
    assert!(requests[1].framing.is_chunked(), "{:?}", requests[1].framing);
    for request in &requests {
        assert!(request.complete);
        assert_eq!(request.body.bytes, message.body);
    }
}

#[test]
fn framing_status_and_body_of_the_response_come_back_as_they_were() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver);
    let body = vec![b'x'; 100_000];
    for (response, chunked) in [
        (Response::status(207).body(body.clone()), false),
        (Response::status(404).body(body.clone()).chunked(999), true),
    ] {
        receiver.next([response]);
        let reply = gateway.inbound().send(&Post::new("/", b"x")).unwrap();
        assert_eq!(reply.body.bytes, body);
        assert_eq!(reply.head.has_token("Transfer-Encoding", "chunked"), chunked);
        assert_eq!(reply.head.header("Content-Length").is_some(), !chunked);
    }
}

#[test]
fn expect_100_continue_is_left_to_the_receiver() {
    let receiver = receiver().start();
    let sink = sink().start();
    let gateway = tapped(&receiver, &sink);
    let message = message();
    let mut connection = gateway.inbound().connect().unwrap();
    for _ in 0..2 {
        // Twice on one connection: the interim response must not close it.
        let post = Post::message("/as2", &message).expect_continue();
        let reply = connection.send(&post).unwrap();
        assert_eq!(reply.status, 200);
        assert_eq!(reply.interim.iter().map(|head| head.word(1)).collect::<Vec<_>>(), ["100"]);
    }
    let requests = receiver.wait_for(2, SOON).unwrap();
    assert!(requests.iter().all(|request| request.body.bytes == message.body));
}

#[test]
fn an_uninviting_receivers_refusal_reaches_a_sender_that_waits() {
    let receiver = receiver().respond(Response::status(417).uninviting()).start();
    let gateway = gateway(&receiver);
    let post = Post::new("/", b"not sent").expect_continue();
    assert_eq!(gateway.inbound().send(&post).unwrap().status, 417);
}

#[test]
fn interim_responses_pass() {
    let response = Response::ok().interim(102, &[]).interim(103, &[("Link", "</a>; rel=preload")]);
    let receiver = receiver().respond(response).start();
    let gateway = gateway(&receiver);
    let reply = gateway.inbound().send(&Post::new("/", b"x")).unwrap();
    let seen: Vec<_> = reply.interim.iter().map(|head| head.word(1).to_owned()).collect();
    assert_eq!(seen, ["102", "103"]);
    assert_eq!(reply.interim[1].header("Link"), Some("</a>; rel=preload"));
    assert_eq!(reply.status, 200);
}

#[test]
fn half_closing_sender_gets_its_response() {
    let receiver = receiver().respond(Response::ok().delay(Duration::from_millis(300))).start();
    let sink = sink().start();
    let gateway = tapped(&receiver, &sink);
    let reply = gateway.inbound().send(&Post::message("/as2", &message()).half_close()).unwrap();
    assert_eq!(reply.status, 200);
    sink.wait_for(1, SOON).unwrap();
}

#[test]
fn a_connection_serves_many_exchanges() {
    let receiver = receiver().start();
    let sink = sink().start();
    let gateway = tapped(&receiver, &sink);
    let mut connection = gateway.inbound().connect().unwrap();
    for _ in 0..5 {
        assert_eq!(connection.send(&Post::message("/as2", &message())).unwrap().status, 200);
    }
    sink.wait_for(5, SOON).unwrap();
}

/// Sends these bytes, the second part once the receiver has the request, and reads the responses of as
/// many requests as there are.
fn responses(first: &str, then: &str, requests: &[&str]) {
    let receiver = receiver().respond(Response::ok().delay(Duration::from_millis(100))).start();
    let gateway = gateway(&receiver);
    let mut connection = gateway.inbound().connect().unwrap();
    connection.write(first.as_bytes()).unwrap();
    receiver.wait_for(1, SOON).unwrap();
    connection.write(then.as_bytes()).unwrap();
    for method in requests {
        assert_eq!(connection.read_reply(method).unwrap().status, 200, "{first:?} {then:?}");
    }
    let seen = receiver.wait_for(requests.len(), SOON).unwrap();
    assert!(seen.iter().all(|request| request.complete), "{first:?} {then:?}");
    assert_eq!(connection.send(&Post::new("/last", b"x")).unwrap().status, 200);
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    3\r\nabc\r\n0\r\nA-Trailer: x\r\n\r\n";

#[test]
fn empty_line_behind_the_body_does_not_cost_the_response() {
    responses(&format!("{POST}\r\n"), "", &["POST"]);
    responses(&format!("{CHUNKED}\r\n"), "", &["POST"]);
    responses(POST, "\r\n", &["POST"]);
}

#[test]
fn pipelined_requests_get_their_responses_in_turn() {
    for request in [POST, GET, CHUNKED] {
        let method = request.split(' ').next().unwrap();
        responses(&request.repeat(3), "", &[method; 3]);
        responses(request, request, &[method; 2]);
    }
    responses(&format!("{GET}{POST}\r\n"), GET, &["GET", "POST", "GET"]);
    responses(&format!("{CHUNKED}{GET}{CHUNKED}"), POST, &["POST", "GET", "POST", "POST"]);
}

#[test]
fn request_that_is_not_as2_passes_and_makes_no_event() {
    let receiver = receiver().respond(Response::ok().body("hello")).start();
    let sink = sink().start();
    let gateway = tapped(&receiver, &sink);
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"] {
        let reply = gateway.inbound().send(&Post::method(method, "/status")).unwrap();
        assert_eq!(reply.status, 200, "{method}");
    }
    gateway.inbound().send(&Post::new("/form", b"a=b")).unwrap();
    gateway.inbound().send(&Post::message("/as2", &message())).unwrap();
    let delivered = sink.wait_for(1, SOON).unwrap();
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].header("AS2-From"), Some("ACME"));
}

#[test]
fn large_bodies_are_not_changed() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver);
    let body: Vec<u8> = (0..5_000_000u32).flat_map(|n| n.to_le_bytes()).collect();
    gateway.inbound().send(&Post::new("/", &body)).unwrap();
    gateway.inbound().send(&Post::new("/", &body).chunked(&[10_000, 1])).unwrap();
    let requests = receiver.wait_for(2, SOON).unwrap();
    assert!(requests.iter().all(|request| request.complete && request.body.bytes == body));
}

#[test]
fn ambiguous_and_malformed_requests_get_a_clear_response_and_go_nowhere() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver);
    for (head, status) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n", 400),
        ("POST / HTTP/1.1\r\n AS2-From: A\r\nHost: a\r\nContent-Length: 3\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\n folded\r\nContent-Length: 3\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nAS2-From: A\r\nAS2-From: B\r\nContent-Length: 3\r\n", 400),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n", 405),
    ] {
        let mut connection = gateway.inbound().connect().unwrap();
        connection.write(format!("{head}\r\n3\r\nabc\r\n0\r\n\r\n").as_bytes()).unwrap();
        let reply = connection.read_reply("POST").unwrap();
        assert_eq!(reply.status, status, "{head}");
    }
    assert_eq!(receiver.requests().len(), 0);
}

#[test]
fn an_oversized_head_is_refused() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver);
    let post = Post::new("/", b"x").header("X-Long", "x".repeat(70 * 1024));
    assert_eq!(gateway.inbound().send(&post).unwrap().status, 431);
    let post = Post::new("/", b"x").header("X-Long", "x".repeat(50 * 1024));
    assert_eq!(gateway.inbound().send(&post).unwrap().status, 200);
}

#[test]
fn an_oversized_body_is_refused() {
    let receiver = receiver().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .set("limits", "{ body: 100KiB }")
        .start()
        .unwrap();
    let body = vec![b'x'; 100 * 1024 + 1];
    let response = gateway.inbound().send(&Post::new("/", &body)).unwrap();
    assert_eq!(response.status, 413);
    assert!(response.text().contains("limits.body"));
    let chunked = Post::new("/", &body).chunked(&[4096]);
    assert_eq!(gateway.inbound().send(&chunked).unwrap().status, 413);
    assert_eq!(gateway.inbound().send(&Post::new("/", &body[1..])).unwrap().status, 200);
}

#[test]
fn the_partners_address_is_appended_for_the_receiver_unless_switched_off() {
    let receiver = receiver().start();
    let appending = gateway(&receiver);
    let post = Post::new("/", b"x").header("X-Forwarded-For", "192.0.2.7");
    appending.inbound().send(&post).unwrap();
    assert_eq!(receiver.requests()[0].header("X-Forwarded-For"), Some("192.0.2.7, 127.0.0.1"));
    let silent = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .receiver_set("forwarded", "off")
        .start()
        .unwrap();
    silent.inbound().send(&Post::new("/", b"x")).unwrap();
    assert_eq!(receiver.requests()[1].header("X-Forwarded-For"), None);
}

#[test]
fn tls_partners_are_served_and_asked_for_certificates() {
    let receiver = receiver().start();
    let sink = sink().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .inbound_tls(true)
        .receiver(&receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("all", |rule| rule.to(&sink, "/hook").payload("json"))
        .start()
        .unwrap();
    let reply = gateway.inbound().send(&Post::message("/as2", &message())).unwrap();
    assert_eq!(reply.status, 200);
    assert!(receiver.requests()[0].complete);
    let address = gateway.inbound().address();
    let stranger = Client::tls(address, pki::authority(), None);
    assert!(stranger.send(&Post::new("/", b"x")).is_err(), "no client certificate was shown");
}

#[test]
fn a_tls_receiver_is_verified() {
    let trusted = receiver().tls(pki::server()).start();
    let gateway = gateway(&trusted);
    assert_eq!(gateway.inbound().send(&Post::new("/", b"x")).unwrap().status, 200);
    let distrusting = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url(&trusted.url(""))
        .start()
        .unwrap();
    assert_eq!(distrusting.inbound().send(&Post::new("/", b"x")).unwrap().status, 502);
    assert_eq!(trusted.requests().len(), 1);
}

/// The partner's password for the AS2 server stood in each event's row.
#[test]
fn credentials_pass_and_are_not_written_down() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = tapped(&receiver, &sink);
    let message = Message::new("ACME", "MY-OWN-ORG").subject("what is written down").build();
    let post = Post::message("/", &message)
        .header("authorization", "Basic cGFydG5lcg==")
        .header("Cookie", "cGFydG5lcg==");
    assert_eq!(gateway.inbound().send(&post).unwrap().status, 200);
    let passed = &receiver.wait_for(1, SOON).unwrap()[0];
    assert_eq!(passed.header("Authorization"), Some("Basic cGFydG5lcg=="));
    sink.wait_for(1, SOON).unwrap();
    // The files of a database that is at work may be seen in states that never were together.
    assert!(gateway.sigterm(SOON).unwrap().unwrap().success());
    let mut written = Vec::new();
    for file in fs::read_dir(gateway.folder().join("data")).unwrap() {
        written.extend(fs::read(file.unwrap().path()).unwrap_or_default());
    }
    let holds = |text: &[u8]| written.windows(text.len()).any(|window| window == text);
    assert!(holds(b"what is written down") && !holds(b"cGFydG5lcg"));
}

/// A client that resumed a session was asked for no certificate, although `client_ca` stood in the config by then.
#[test]
fn no_tls_session_can_be_resumed() {
    let receiver = receiver().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .inbound_tls(false)
        .start()
        .unwrap();
    let mut client = SslConnector::builder(SslMethod::tls_client()).unwrap();
    client.set_verify(SslVerifyMode::NONE);
    // Later versions have no session before the first ticket, and without a session none are made.
    client.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    let socket = TcpStream::connect(gateway.inbound().address()).unwrap();
    let connection = client.build().connect("localhost", socket).unwrap();
    let session = connection.ssl().session().expect("it has one");
    assert!(session.id().is_empty(), "the server kept it");
}
