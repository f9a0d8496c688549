//! Connections: how many, how long, and which one makes room for another.

use super::*;

pub(super) fn is_open(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).unwrap();
    let read = socket.peek(&mut [0; 1]);
    socket.set_nonblocking(false).unwrap();
    matches!(read, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
}

fn connections(gateway: &Running) -> u64 {
    gateway.figure("as2hook_connections{listener=\"inbound\"}")
}

#[test]
fn idle_connection_makes_room_for_a_new_one() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ connections: 3 }");
    let first = open(&gateway, "");
    assert!(wait_until(SOON, || connections(&gateway) == 1));
    // It is counted before it stands in line.
    assert!(wait_until(SOON, || gateway.is_at_rest().unwrap()));
    let mut resting = gateway.inbound().connect().unwrap();
    resting.send(&Post::new("/", b"x")).unwrap();
    let busy = open(&gateway, HEAD);
    // A response comes before the end of its exchange, which is under way until then.
    assert!(wait_until(SOON, || connections(&gateway) == 3));
    assert!(wait_until(SOON, || gateway.figure("as2hook_in_flight") == 1));
    // The longest wait goes first: the one that has never asked, and then the one that asked once.
    assert_eq!(gateway.inbound().send(&Post::new("/", b"x")).unwrap().status, 200);
    assert!(wait_until(SOON, || !is_open(&first)));
    assert_eq!(resting.send(&Post::new("/", b"x")).unwrap().status, 200);
    assert!(is_open(&busy), "an exchange under way keeps its seat");
    assert_eq!(refusals(&gateway, "connections"), 0);
}

#[test]
fn next_connection_gets_retry_after_when_all_are_busy() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ connections: 2 }");
    let _busy = [open(&gateway, HEAD), open(&gateway, HEAD)];
    assert!(wait_until(SOON, || gateway.figure("as2hook_in_flight") == 2));
    let response = gateway.inbound().send(&Post::new("/", b"x")).unwrap();
    assert_eq!((response.status, response.header("Retry-After")), (503, Some("30")));
    assert!(response.text().contains("limits.connections"));
    assert_eq!(refusals(&gateway, "connections"), 1);
    assert!(gateway.wait_for_log("Connections are refused", SOON));
}

#[test]
fn one_address_has_its_share() {
    let receiver = receiver().start();
    let gateway = limited(&receiver, "{ connections_per_address: 2 }");
    let resting = [open(&gateway, ""), open(&gateway, "")];
    assert!(wait_until(SOON, || connections(&gateway) == 2));
    let response = gateway.inbound().send(&Post::new("/", b"x")).unwrap();
    assert_eq!((response.status, response.header("Retry-After")), (503, Some("30")));
    assert!(response.text().contains("limits.connections_per_address"));
    assert_eq!(refusals(&gateway, "connections_per_address"), 1);
    drop(resting);
    assert!(wait_until(SOON, || connections(&gateway) == 0));
    assert_eq!(gateway.inbound().send(&Post::new("/", b"x")).unwrap().status, 200);
}

#[test]
fn a_trusted_proxy_speaks_for_many() {
    let receiver = receiver().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .receiver_set("trusted_proxies", "[127.0.0.0/8]")
        .set("limits", "{ connections_per_address: 1 }")
        .start()
        .unwrap();
    let _resting = [open(&gateway, ""), open(&gateway, "")];
    assert!(wait_until(SOON, || connections(&gateway) == 2));
    assert_eq!(gateway.inbound().send(&Post::new("/", b"x")).unwrap().status, 200);
}

/// A connection without a TLS handshake was counted nowhere.
#[test]
fn a_handshake_that_does_not_end_counts_too() {
    let receiver = receiver().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .inbound_tls(false)
        .set("limits", "{ connections_per_address: 2 }")
        .start()
        .unwrap();
    let silent = [open(&gateway, ""), open(&gateway, "")];
    // The seats of a handshake are taken in its own task, a moment later.
    let mut more = Vec::new();
    let turned_away = || {
        more.push(open(&gateway, ""));
        more.iter().any(|socket| !is_open(socket))
    };
    assert!(wait_until(SOON, turned_away));
    assert!(refusals(&gateway, "connections_per_address") > 0);
    assert!(gateway.wait_for_log("Connections are refused", SOON));
    drop((silent, more));
    let served = || {
        gateway.inbound().send(&Post::new("/", b"x")).is_ok_and(|response| response.status == 200)
    };
    assert!(wait_until(SOON, served));
    assert!(wait_until(SOON, || connections(&gateway) == 0));
    // One that is done counts as a connection alone. Of the many before the last handshake may still be
    // under way, which would turn these away.
    let mut kept = Vec::new();
    let both = || {
        let connection = gateway.inbound().connect();
        let served = connection.and_then(|mut connection| {
            let response = connection.send(&Post::new("/", b"x"))?;
            Ok((response.status, connection))
        });
        kept.extend(served.ok().filter(|(status, _)| *status == 200));
        kept.len() == 2
    };
    assert!(wait_until(SOON, both));
    let response = gateway.inbound().send(&Post::new("/", b"x")).unwrap();
    assert_eq!(response.status, 503, "in words: {}", response.text());
}

#[test]
fn resting_ends() {
    let receiver = receiver().start();
    // So long that every client has sent its request by then.
    let gateway = limited(&receiver, "{ idle: 5s }");
    let mut kept = open(&gateway, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut silent = open(&gateway, "");
    assert_eq!(read_to_close(&mut silent), "", "a connection without a request gets no response");
    let response = read_to_close(&mut kept);
    assert!(
        response.starts_with("HTTP/1.1 200 ") && response.matches("HTTP/1.1").count() == 1,
        "{response}"
    );
    assert!(wait_until(SOON, || connections(&gateway) == 0));
}

mod alone {
    use super::*;

    /// 3,000 connections that never ask, or never finish asking, against 200 seats: those with a
    /// whole request are served all the while.
    #[test]
    fn a_flood_takes_no_seat_from_those_who_ask() {
        let receiver = receiver().start();
        let gateway = limited(&receiver, "{ connections: 200, connections_per_address: 100000 }");
        let before = gateway.rss_kib().unwrap();
        let mut flood = Vec::new();
        for round in 0..30 {
            for one in 0..100 {
                flood.push(open(&gateway, if one % 2 == 0 { "" } else { "POST / HTTP/1.1\r\nX:" }));
            }
            let reply = gateway.inbound().send(&Post::new("/", b"x")).unwrap();
            assert_eq!(reply.status, 200, "round {round}: {}", reply.text());
        }
        assert!(wait_until(SOON, || connections(&gateway) <= 200), "{}", connections(&gateway));
        let after = gateway.rss_kib().unwrap();
        assert!(after < before + 64 * 1024, "{before} KiB, then {after} KiB");
    }
}
