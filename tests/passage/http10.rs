//! HTTP/1.0 senders: a response without a length reaches them without chunks and ends with the connection
//! (phax/as2-server issues 15 and 22: senders behind proxies that speak HTTP/1.0).

use super::*;

/// Responses of the other side, by how their end is known.
fn without_length() -> [Response; 2] {
    [Response::ok().body("abc").chunked(2), Response::ok().body("abc").until_close()]
}

fn ends_by_close(reply: &Reply) {
    assert_eq!((reply.status, &reply.body.bytes[..]), (200, &b"abc"[..]));
    assert_eq!((&reply.framing, reply.complete), (&Framing::UntilClose, true));
    assert_eq!(reply.header("Connection"), Some("close"));
    assert_eq!(reply.header("Transfer-Encoding"), None);
}

#[test]
fn response_without_a_length_ends_with_the_connection() {
    let (server, sink) = (receiver().start(), sink().start());
    let gateway = both_ways(&server, &sink);
    for client in [gateway.inbound(), gateway.outbound()] {
        for response in without_length() {
            server.next([response]);
            ends_by_close(&client.send(&Post::new("/out/ACME", b"x").http10()).unwrap());
        }
    }
}

#[test]
fn response_over_tls_ends_with_the_connection() {
    let server = receiver().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .inbound_tls(false)
        .receiver(&server)
        .start()
        .unwrap();
    for response in without_length() {
        server.next([response]);
        ends_by_close(&gateway.inbound().send(&Post::new("/", b"x").http10()).unwrap());
    }
}

/// Of a sender that wants its connection kept: it is kept behind a length alone.
#[test]
fn connection_is_kept_behind_a_length_and_closed_without() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver);
    let post = Post::new("/", b"x").http10().header("Connection", "keep-alive");
    let mut connection = gateway.inbound().connect().unwrap();
    receiver.next([Response::ok().body("abc"), Response::ok().body("abc").chunked(2)]);
    let reply = connection.send(&post).unwrap();
    assert_eq!((reply.status, &reply.framing), (200, &Framing::Length(3)));
    assert_eq!(reply.header("Connection"), Some("keep-alive"));
    ends_by_close(&connection.send(&post).unwrap());
}

#[test]
fn large_response_without_a_length_arrives_whole() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver);
    let body: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    receiver.next([Response::ok().body(body.clone()).chunked(10_000)]);
    let reply = gateway.inbound().send(&Post::new("/", b"x").http10()).unwrap();
    assert!(reply.complete && reply.body.bytes == body, "{} bytes", reply.body.length);
}

#[test]
fn response_without_a_body_has_no_chunks() {
    let receiver = receiver().start();
    let gateway = gateway(&receiver);
    let post = Post::method("HEAD", "/").http10();
    receiver.next([Response::ok().body("abc").chunked(2)]);
    let reply = gateway.inbound().send(&post).unwrap();
    assert_eq!((reply.status, reply.header("Transfer-Encoding")), (200, None));
}

/// RFC 9110 section 15.2: an HTTP/1.0 client knows no interim responses, unless it asks for one.
#[test]
fn interim_responses_are_not_sent_unless_expected() {
    let (server, sink) = (receiver().start(), sink().start());
    let gateway = both_ways(&server, &sink);
    for client in [gateway.inbound(), gateway.outbound()] {
        server.next([Response::ok().interim(102, &[]).interim(103, &[("Link", "x")]).body("abc")]);
        let reply = client.send(&Post::new("/out/ACME", b"x").http10()).unwrap();
        assert_eq!((reply.status, reply.interim.len()), (200, 0));
        assert_eq!(reply.body.bytes, b"abc");
    }
    let post = Post::new("/", b"x").http10().expect_continue();
    let reply = gateway.inbound().send(&post).unwrap();
    assert_eq!((reply.status, reply.interim.len()), (200, 1));
}
