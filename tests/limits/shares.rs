//! Shares of addresses: they bind when a limit is reached, and not before.

use as2hook_testing::stream::connect_from;

use super::{connections::is_open, *};

fn open_from(last: u8, gateway: &Running, bytes: &str) -> TcpStream {
    let mut socket = connect_from([127, 0, 0, last], gateway.inbound().address());
    socket.write_all(bytes.as_bytes()).unwrap();
    socket
}

/// The response to a whole request.
fn send_from(last: u8, gateway: &Running) -> String {
    let request = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    read_to_close(&mut open_from(last, gateway, request))
}

fn in_flight(gateway: &Running) -> u64 {
    gateway.figure("as2hook_in_flight")
}

/// Until so many bodies are under way, and waited for.
fn all_wait(gateway: &Running, count: u64) {
    assert!(wait_until(SOON, || in_flight(gateway) == count), "{}", gateway.log());
    // An exchange is counted before it has its connection to the receiver.
    assert!(wait_until(SOON, || gateway.is_at_rest().unwrap()));
}

/// `each` slow bodies from each of ten addresses.
fn slow_bodies(gateway: &Running, each: usize) -> Vec<TcpStream> {
    let all = (0..each).flat_map(|_| 2..12u8);
    all.map(|last| open_from(last, gateway, HEAD)).collect()
}

/// The responses to the bodies that gave way.
fn gave_way(sockets: &mut [TcpStream]) -> Vec<String> {
    sockets.iter_mut().filter(|socket| !is_open(socket)).map(read_to_close).collect()
}

#[test]
fn newcomer_is_served_when_slow_bodies_of_other_addresses_hold_all_places() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ in_flight: 20 }");
    let mut slow = slow_bodies(&gateway, 2);
    all_wait(&gateway, 20);
    let response = send_from(20, &gateway);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert_eq!(refusals(&gateway, "gave_way"), 1);
    assert!(wait_until(SOON, || in_flight(&gateway) == 19));
    let response = gave_way(&mut slow);
    assert_eq!(response.len(), 1, "{response:?}");
    assert!(
        response[0].starts_with("HTTP/1.1 408 ") && response[0].contains("in_flight"),
        "{response:?}"
    );
}

#[test]
fn memory_of_slow_bodies_goes_to_a_newcomer_of_another_address() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ memory: 16MiB }");
    let _slow: Vec<_> = (0..16).map(|_| open_from(2, &gateway, HEAD)).collect();
    all_wait(&gateway, 16);
    let response = send_from(2, &gateway);
    assert!(
        response.starts_with("HTTP/1.1 503 ") && response.contains("limits.memory"),
        "{response}"
    );
    let response = send_from(3, &gateway);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert_eq!(refusals(&gateway, "gave_way"), 1);
}

#[test]
fn newcomer_gets_a_connection_when_slow_bodies_of_another_address_have_them_all() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ connections: 4 }");
    let _slow: Vec<_> = (0..4).map(|_| open_from(2, &gateway, HEAD)).collect();
    all_wait(&gateway, 4);
    let response = send_from(2, &gateway);
    assert!(
        response.starts_with("HTTP/1.1 503 ") && response.contains("limits.connections"),
        "{response}"
    );
    let response = send_from(3, &gateway);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[test]
fn newcomer_gets_a_connection_when_slow_heads_of_other_addresses_have_them_all() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ connections: 20 }");
    let slow = || (0..2).flat_map(|_| 2..12u8);
    let _slow: Vec<_> =
        slow().map(|last| open_from(last, &gateway, "POST / HTTP/1.1\r\nX:")).collect();
    let open = || gateway.figure("as2hook_connections{listener=\"inbound\"}");
    assert!(wait_until(SOON, || open() == 20));
    // A connection is counted before it waits.
    assert!(wait_until(SOON, || gateway.is_at_rest().unwrap()));
    let response = send_from(20, &gateway);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[test]
fn complete_request_keeps_its_place_when_a_newcomer_finds_none() {
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url(&format!("http://{}", receiver.local_addr().unwrap()))
        .set("limits", "{ in_flight: 1 }")
        .start()
        .unwrap();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nall";
    let mut complete = open_from(2, &gateway, request);
    let mut received = take_request(&receiver, b"all");
    let response = send_from(3, &gateway);
    assert!(
        response.starts_with("HTTP/1.1 503 ") && response.contains("limits.in_flight"),
        "{response}"
    );
    received.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    let response = read_to_close(&mut complete);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[test]
fn busy_address_has_all_places_while_no_other_needs_them() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ in_flight: 60 }");
    let head = HEAD.replace("Host", "Connection: close\r\nHost");
    let mut busy: Vec<_> = (0..60).map(|_| open_from(2, &gateway, &head)).collect();
    all_wait(&gateway, 60);
    for socket in &mut busy {
        socket.write_all(&[b'x'; 1000]).unwrap();
        let response = read_to_close(socket);
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
    assert_eq!(refusals(&gateway, "gave_way") + refusals(&gateway, "in_flight"), 0);
}

/// Behind a trusted proxy the partners' own addresses count, not the proxy's.
#[test]
fn greedy_partner_behind_a_trusted_proxy_gives_way_to_another_one() {
    let receiver = receiver().start();
    let gateway = with_limits(&receiver, "{ in_flight: 4 }")
        .receiver_set("trusted_proxies", "[127.0.0.0/8]")
        .start()
        .unwrap();
    let of = |last: u8, head: &str| {
        head.replace("Host", &format!("X-Forwarded-For: 192.0.2.{last}\r\nHost"))
    };
    let _slow: Vec<_> = (0..4).map(|_| open(&gateway, &of(1, HEAD))).collect();
    all_wait(&gateway, 4);
    let whole = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    let response = read_to_close(&mut open(&gateway, &of(1, whole)));
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    let response = read_to_close(&mut open(&gateway, &of(2, whole)));
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[test]
fn message_of_our_own_server_is_sent_when_slow_bodies_hold_all_places() {
    let receiver = receiver().start();
    let partner = self::receiver().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .outbound()
        .partner_with("ACME", |acme| acme.url(&partner.url("/")))
        .set("limits", "{ in_flight: 2 }")
        .start()
        .unwrap();
    let _slow = [open(&gateway, HEAD), open(&gateway, HEAD)];
    all_wait(&gateway, 2);
    let response = gateway.outbound().send(&Post::new("/out/ACME", b"x")).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
}

#[test]
fn tls_partner_is_served_when_handshakes_of_other_addresses_stand_still() {
    let receiver = receiver().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .inbound_tls(false)
        .set("limits", "{ connections: 20 }")
        .start()
        .unwrap();
    let handshakes = || gateway.figure("as2hook_handshakes{listener=\"inbound\"}");
    let (mut silent, mut addresses) = (Vec::new(), (2..12u8).cycle());
    let all = || {
        // On a slow machine some are ended by their time before the others are there: they begin anew.
        silent.retain(is_open);
        let ended = addresses.by_ref().take(20 - silent.len());
        silent.extend(ended.map(|last| open_from(last, &gateway, "")));
        handshakes() == 20 && gateway.figure("as2hook_exchange_memory_bytes") >= 20 * 64 * 1024
    };
    assert!(wait_until(SOON, all), "{}", handshakes());
    let response = gateway.inbound().send(&Post::new("/", b"x")).unwrap();
    assert_eq!(response.status, 200);
    // Without a hello they are ended, one for the partner and all others by their time.
    assert!(wait_until(SOON, || silent.iter().all(|socket| !is_open(socket))));
    assert!(wait_until(SOON, || handshakes() == 0));
    assert!(gateway.log().contains("the ClientHello did not come within 5s"), "{}", gateway.log());
    assert!(!gateway.log().contains("ERROR"), "{}", gateway.log());
}

mod alone {
    use super::*;

    /// 100 slow bodies from each of ten addresses against half as many places: an eleventh is served all
    /// the while.
    #[test]
    fn flood_of_slow_bodies_holds_up_no_other_address() {
        let receiver = receiver().start();
        let gateway = limited(&receiver, "{ in_flight: 500, connections: 800 }");
        let mut slow = Vec::new();
        for round in 0..10 {
            slow.extend(slow_bodies(&gateway, 10));
            let response = send_from(20, &gateway);
            assert!(response.starts_with("HTTP/1.1 200 "), "round {round}: {response}");
        }
        assert!(in_flight(&gateway) <= 500 + 62, "{}", in_flight(&gateway));
    }
}
