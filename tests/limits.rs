//! What is too large, too much or too slow gets its own clear response and its own count, and takes
//! nothing from the others.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

#[path = "limits/connections.rs"]
mod connections;
#[path = "limits/responses.rs"]
mod responses;
#[path = "limits/shares.rs"]
mod shares;
#[path = "limits/uploads.rs"]
mod uploads;

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Response, Running, pki, receiver, sink,
    stream::read_to_close, wait_until,
};

const SOON: Duration = Duration::from_secs(60);

fn limited(receiver: &Endpoint, limits: &str) -> Running {
    let gateway = with_limits(receiver, limits).start().unwrap();
    // `/readyz` connects to the listener, and gets its response before that connection is seen to have ended.
    let probed = || {
        let metrics = gateway.admin().get("/metrics").expect("metrics").text().into_owned();
        metrics.contains("as2hook_connections{listener=\"inbound\"} 0\n")
    };
    assert!(wait_until(SOON, probed));
    gateway
}

fn with_limits(receiver: &Endpoint, limits: &str) -> Gateway {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .set("limits", limits)
}

fn refusals(gateway: &Running, reason: &str) -> u64 {
    gateway.figure(&format!("as2hook_refusals_total{{listener=\"inbound\",reason=\"{reason}\"}}"))
}

fn open(gateway: &Running, bytes: &str) -> TcpStream {
    let mut socket = TcpStream::connect(gateway.inbound().address()).unwrap();
    socket.write_all(bytes.as_bytes()).unwrap();
    socket
}

/// Writes this again and again, until the other side closes.
fn trickle(socket: &TcpStream, piece: &'static [u8]) {
    let mut socket = socket.try_clone().unwrap();
    thread::spawn(move || {
        // The pauses are the scenario.
        while socket.write_all(piece).is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
}

const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";

#[test]
fn a_head_that_is_too_large_is_refused_before_its_end() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ header: 4KiB }");
    // It never ends; it is not waited for.
    let mut socket = open(&gateway, &format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(8 << 10)));
    let response = read_to_close(&mut socket);
    assert!(
        response.starts_with("HTTP/1.1 431 ") && response.contains("limits.header"),
        "{response}"
    );
    let many = "X: y\r\n".repeat(300);
    let response =
        read_to_close(&mut open(&gateway, &format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")));
    assert!(response.starts_with("HTTP/1.1 431 ") && response.contains("256"), "{response}");
    assert_eq!((refusals(&gateway, "header"), refusals(&gateway, "malformed")), (1, 1));
}

#[test]
fn a_head_that_trickles_is_ended() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ head_time: 500ms }");
    let mut socket = open(&gateway, "GET / HTTP/1.1\r\n");
    trickle(&socket, b"X: y\r\n");
    let response = read_to_close(&mut socket);
    assert!(response.starts_with("HTTP/1.1 408 ") && response.contains("head_time"), "{response}");
    assert_eq!(refusals(&gateway, "slow"), 1);
}

#[test]
fn a_body_that_trickles_is_ended_and_makes_no_event() {
    let receiver = receiver().start();
    let sink = sink().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .rule("all", |rule| rule.to(&sink, "/"))
        .set("limits", "{ body_time: 500ms, body_rate: 1GiB }")
        .start()
        .unwrap();
    let head = HEAD.replace("Host", "AS2-From: A\r\nAS2-To: B\r\nMessage-ID: <a@b>\r\nHost");
    let mut socket = open(&gateway, &head);
    trickle(&socket, b"x");
    let response = read_to_close(&mut socket);
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert_eq!(refusals(&gateway, "slow"), 1);
    receiver.wait_until(1, SOON, |request| !request.complete).unwrap();
    assert!(wait_until(SOON, || gateway.figure("as2hook_in_flight") == 0));
    assert!(sink.requests().is_empty());
}

#[test]
fn a_body_that_stops_is_ended() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ piece_time: 500ms }");
    let response = read_to_close(&mut open(&gateway, HEAD));
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
}

#[test]
fn a_fast_body_outlives_the_time_for_slow_ones() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ body_time: 300ms, body_rate: 1KiB }");
    let piece = "x".repeat(8 << 10);
    // Eight pieces with 100 ms between: it lasts longer than `body_time`, and earns it. The first one goes
    // with the head, so that not even a sender that stands still has to earn its time before it.
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 65536\r\n\r\n";
    let mut socket = open(&gateway, &format!("{head}{piece}"));
    for _ in 1..8 {
        // The pauses are the scenario.
        thread::sleep(Duration::from_millis(100));
        socket.write_all(piece.as_bytes()).unwrap();
    }
    let response = read_to_close(&mut socket);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[test]
fn a_body_over_the_limit_is_refused_by_its_length_and_while_it_streams() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ body: 999 }");
    let response = read_to_close(&mut open(&gateway, HEAD));
    assert!(
        response.starts_with("HTTP/1.1 413 ") && response.contains("limits.body"),
        "{response}"
    );
    let chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let response =
        read_to_close(&mut open(&gateway, &format!("{chunks}400\r\n{}\r\n", "x".repeat(1024))));
    assert!(
        response.starts_with("HTTP/1.1 413 ") && response.contains("limits.body"),
        "{response}"
    );
    assert_eq!(refusals(&gateway, "body"), 2);
    assert!(receiver.requests().iter().all(|request| !request.complete));
}

#[test]
fn one_exchange_too_many_gets_retry_after() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ in_flight: 2 }");
    let _held = [open(&gateway, HEAD), open(&gateway, HEAD)];
    assert!(wait_until(SOON, || gateway.figure("as2hook_in_flight") == 2));
    let response = gateway.inbound().send(&Post::new("/", b"x")).unwrap();
    assert_eq!((response.status, response.header("Retry-After")), (503, Some("30")));
    assert!(response.text().contains("limits.in_flight"));
    assert_eq!(refusals(&gateway, "in_flight"), 1);
}

#[test]
fn partner_that_does_not_read_delays_no_other() {
    let receiver = receiver().start();
    receiver.next([Response::ok().body(vec![b'x'; 32 << 20])]);
    let gateway = limited(&receiver, "{ piece_time: 1s }");
    let _deaf = open(&gateway, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    receiver.wait_for(1, SOON).unwrap();
    assert!(wait_until(SOON, || gateway.figure("as2hook_in_flight") == 0), "it is given up");
    assert!(gateway.rss_kib().unwrap() < 200 << 10, "and was not kept in memory");
    // In one piece: there is nothing of it to wait for.
    let other = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    let response = read_to_close(&mut open(&gateway, other));
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

/// Pingora goes on waiting for a response when its request was not taken: one that refuses early may
/// have given it. The wait for the response ends that, too.
#[test]
fn a_partner_that_does_not_take_a_request_is_given_up() {
    let partner = receiver().respond(Response::deaf()).start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url("http://127.0.0.1:9")
        .outbound()
        .partner_with("ACME", |acme| acme.url(&partner.url("/")).set("timeout", "1s"))
        // So long that our own server, which sends a part before it is held up, stays within it.
        .set("limits", "{ piece_time: 5s }")
        .start()
        .unwrap();
    let body = vec![b'x'; 32 << 20];
    // Comes at all, that is: within the harness's patience.
    let response = gateway.outbound().send(&Post::new("/out/ACME", &body)).unwrap();
    assert_eq!(response.status, 504, "{}", response.text());
    assert!(gateway.rss_kib().unwrap() < 200 << 10, "what it did not take was not kept in memory");
}

#[test]
fn limits_reload_while_it_runs() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ body: 999 }");
    let body = vec![b'x'; 1000];
    // A response comes before the end of its exchange and connection, which count until then.
    let busy = || gateway.figure("as2hook_in_flight");
    let open_ones = || gateway.figure("as2hook_connections{listener=\"inbound\"}");
    let quiet = || wait_until(SOON, || busy() == 0 && open_ones() == 0);
    assert_eq!(gateway.inbound().send(&Post::new("/", &body)).unwrap().status, 413);
    assert!(quiet());
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    gateway
        .write("as2hook.yaml", &config.replace("{ body: 999 }", "{ body: 1000, connections: 1 }"))
        .unwrap();
    assert_eq!(gateway.reload().unwrap().status, 200);
    assert_eq!(gateway.inbound().send(&Post::new("/", &body)).unwrap().status, 200);
    assert!(quiet());
    let _held = open(&gateway, HEAD);
    assert!(wait_until(SOON, || busy() == 1));
    assert_eq!(gateway.inbound().send(&Post::new("/", b"x")).unwrap().status, 503);
}

/// Memory is counted for exchanges under way; one that does not fit gets a 503 with `Retry-After`, and
/// those that were let in end as they should.
#[test]
fn message_that_exceeds_the_memory_limit_is_refused_and_others_are_not() {
    let receiver = receiver().start();
    let sink = sink().start();
    let gateway = with_limits(&receiver, "{ memory: 16MiB }")
        .rule("all", |rule| rule.to(&sink, "/").payload("raw"))
        .start()
        .unwrap();
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("a.edi", "application/edifact", &"UNA:+.? '".repeat(1000)))
        .sign(pki::partner())
        .encrypt(pki::station())
        .build();
    let fields: String = message.headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let length = message.body.len();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{fields}\r\n");
    let mut sockets: Vec<_> = (0..40).map(|_| open(&gateway, &head)).collect();
    assert!(wait_until(SOON, || refusals(&gateway, "memory") > 0), "{}", gateway.log());
    let settled = || gateway.figure("as2hook_in_flight") + refusals(&gateway, "memory") == 40;
    assert!(wait_until(SOON, settled), "{}", gateway.log());
    assert!(gateway.figure("as2hook_exchange_memory_bytes") <= 16 << 20);
    let (mut taken, mut refused) = (0, 0);
    for socket in &mut sockets {
        // Those that were refused may have closed already.
        let _ = socket.write_all(&message.body);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let response = read_to_close(socket);
        match response.get(9..12) {
            Some("200") => taken += 1,
            Some("503") if response.contains("limits.memory") => refused += 1,
            _ => panic!("{response}"),
        }
    }
    assert_eq!((taken, refused), (40 - refused, refused));
    assert!(taken >= 5 && refused > 0, "{taken} and {refused}");
    sink.wait_for(1, SOON).unwrap();
    assert!(wait_until(SOON, || gateway.figure("as2hook_exchange_memory_bytes") == 0));
    assert_eq!(gateway.inbound().send(&Post::message("/", &message)).unwrap().status, 200);
}

/// A whole request with this body, as the receiver sees it.
fn take_request(receiver: &TcpListener, body: &[u8]) -> TcpStream {
    let (mut socket, _) = receiver.accept().unwrap();
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while !all.ends_with(body) {
        let read = socket.read(&mut piece).unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&piece[..read]);
    }
    socket
}

fn read_to(socket: &mut TcpStream, end: &str) {
    socket.set_read_timeout(Some(SOON)).unwrap();
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while !all.ends_with(end.as_bytes()) {
        let read = socket.read(&mut piece).unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&piece[..read]);
    }
}

/// An exchange whose response was sent, and whose verdict waits for its turn, has its memory still.
#[test]
fn memory_is_counted_until_the_verdict_is_written() {
    const EACH: u64 = (1024 + 1536) << 10;
    let (receiver, sink) = (TcpListener::bind("127.0.0.1:0").unwrap(), sink().start());
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url(&format!("http://{}", receiver.local_addr().unwrap()))
        .rule("all", |rule| rule.to(&sink, "/").set("order", "partner"))
        .start()
        .unwrap();
    let request = |id: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nAS2-From: A\r\nAS2-To: B\r\nMessage-ID: <{id}@a>\r\n\
             Content-Type: text/plain\r\nContent-Length: 7\r\n\r\n{id} end"
        )
    };
    let mut first = open(&gateway, &request("one"));
    let mut held = take_request(&receiver, b"one end");
    // So much that some of it is passed on, which tells that its head has come.
    held.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 200001\r\n\r\n").unwrap();
    held.write_all(&[b'o'; 200_000]).unwrap();
    read_to(&mut first, "o");
    let mut second = open(&gateway, &request("two"));
    let mut responded = take_request(&receiver, b"two end");
    responded.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    read_to(&mut second, "ok");
    assert!(wait_until(SOON, || gateway.figure("as2hook_in_flight") == 1));
    assert_eq!(gateway.figure("as2hook_exchange_memory_bytes"), 2 * EACH);
    held.write_all(b"k").unwrap();
    read_to(&mut first, "k");
    sink.wait_for(2, SOON).unwrap();
    assert!(wait_until(SOON, || gateway.figure("as2hook_exchange_memory_bytes") == 0));
}
