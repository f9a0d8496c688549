//! Places: an address that takes many of them gives way to those that have none.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use as2hook_testing::{
    Client, Post,
    stream::{connect_from, read_to_close},
    wait_until,
};

use crate::stage::{SOON, Stage, Way, order};

const SLOW_BODY: &str = "POST /as2 HTTP/1.1\r\nHost: a\r\nAS2-From: ACME\r\nAS2-To: MY-OWN-ORG\r\n\
                         Message-ID: <slow@x>\r\nContent-Length: 1000\r\n\r\nx";

/// So many connections from each of these addresses, each with these bytes.
fn open(to: SocketAddr, hosts: u8, each: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let hosts = (0..hosts).flat_map(|host| (0..each).map(move |_| [127, 0, 1, host + 1]));
    let opened = hosts.map(|host| {
        let mut socket = connect_from(host, to);
        // The gateway may have closed it already.
        let _ = socket.write_all(bytes);
        socket
    });
    opened.collect()
}

/// Waits until each of these exchanges has a place and all of its memory, or was refused one, so that none
/// of them is on its way out any more: those are counted among `as2hook_in_flight`, and hold no memory.
/// `each`: the bytes that one of them holds.
fn settle(stage: &Stage, exchanges: u64, each: u64) {
    let settled = || {
        let metrics = stage.gateway.admin().get("/metrics").expect("metrics").text().into_owned();
        let refused = metrics.lines().filter(|line| line.starts_with("as2hook_refusals_total{"));
        let refused = refused.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        let in_flight = stage.gateway.figure("as2hook_in_flight");
        let memory = stage.gateway.figure("as2hook_exchange_memory_bytes");
        refused.sum::<u64>() + in_flight == exchanges && memory == in_flight * each
    };
    assert!(wait_until(SOON, settled), "{}", stage.gateway.log());
}

/// Opens the first exchange with a slow body, and returns the bytes of memory that it holds.
fn open_first(stage: &Stage) -> (Vec<TcpStream>, u64) {
    let slow = open(stage.gateway.inbound().address(), 1, 1, SLOW_BODY.as_bytes());
    let mut looks = Vec::new();
    let holds_all = || {
        looks.push(stage.gateway.figure("as2hook_exchange_memory_bytes"));
        let last = looks.iter().rev().take_while(|bytes| **bytes == looks[looks.len() - 1]);
        last.count() > 5 && looks.last() > Some(&0)
    };
    assert!(wait_until(SOON, holds_all));
    (slow, looks[looks.len() - 1])
}

#[test]
fn slow_bodies_from_ten_addresses_leave_an_eleventh_served_at_once() {
    let stage = Stage::with(|gateway| gateway.set("limits", "{ in_flight: 100 }"));
    let (first, each) = open_first(&stage);
    let slow = open(stage.gateway.inbound().address(), 10, 20, SLOW_BODY.as_bytes());
    settle(&stage, 201, each);
    assert_eq!(stage.gateway.figure("as2hook_in_flight"), 100);
    for _ in 0..20 {
        stage.order_is_notified_whole();
    }
    drop((first, slow));
}

#[test]
fn slow_bodies_that_fill_the_memory_leave_another_address_served_at_once() {
    let stage = Stage::with(|gateway| gateway.set("limits", "{ memory: 64MiB }"));
    let (first, each) = open_first(&stage);
    let slow = open(stage.gateway.inbound().address(), 10, 20, SLOW_BODY.as_bytes());
    settle(&stage, 201, each);
    let taken = stage.gateway.figure("as2hook_exchange_memory_bytes");
    assert!(taken >= 56 << 20, "{taken}");
    for _ in 0..20 {
        stage.order_is_notified_whole();
    }
    drop((first, slow));
}

#[test]
fn busy_address_is_not_refused_while_there_is_room() {
    let stage = Stage::with(|gateway| gateway.set("limits", "{ in_flight: 100 }"));
    let slow = open(stage.gateway.inbound().address(), 1, 90, SLOW_BODY.as_bytes());
    assert!(wait_until(SOON, || stage.gateway.figure("as2hook_in_flight") == 90));
    for _ in 0..5 {
        stage.order_is_notified_whole();
    }
    assert_eq!(stage.gateway.figure("as2hook_in_flight"), 90, "no body gives way");
    drop(slow);
}

#[test]
fn half_open_handshakes_give_way_to_a_partner() {
    let stage =
        Stage::with(|gateway| gateway.inbound_tls(false).set("limits", "{ connections: 200 }"));
    let address = stage.gateway.inbound().address();
    // A record of a ClientHello that never comes to its end.
    let half = open(address, 10, 60, b"\x16\x03\x01\x02\x00\x01\x00");
    for _ in 0..5 {
        stage.order_is_notified_whole();
    }
    drop(half);
}

#[test]
fn silent_connections_leave_the_inbound_listener_served() {
    let stage = Stage::with(|gateway| gateway.set("limits", "{ connections: 200 }"));
    for bytes in [b"".as_slice(), b"POST / HTTP/1.1\r\nX: "] {
        let open = open(stage.gateway.inbound().address(), 10, 60, bytes);
        for _ in 0..5 {
            stage.order_is_notified_whole();
        }
        drop(open);
    }
}

#[test]
fn silent_connections_leave_the_admin_listener_served() {
    let stage = Stage::new();
    let address = stage.gateway.admin().address();
    let before = stage.gateway.descriptors().unwrap();
    for bytes in [b"".as_slice(), b"GET /readyz HTTP/1.1\r\nX: "] {
        let open = open(address, 5, 200, bytes);
        let reply = Client::new(address).get("/readyz").unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        let taken = stage.gateway.descriptors().unwrap().saturating_sub(before);
        assert!(taken <= 600, "{taken} descriptors for 1000 connections");
        stage.order_is_notified_whole();
        drop(open);
    }
}

/// A server that responds to each request with far more interim responses than a client should wait for.
fn interim_for_ever() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut socket = socket;
                let _ = socket.read(&mut [0; 64 << 10]);
                let field = "x".repeat(1000);
                let interim = format!("HTTP/1.1 103 Early Hints\r\nLink: {field}\r\n\r\n");
                for _ in 0..20_000 {
                    if socket.write_all(interim.as_bytes()).is_err() {
                        return;
                    }
                    // The pauses are the scenario.
                    thread::sleep(Duration::from_millis(1));
                }
                // A client that waits so long gets a response by which a test knows it.
                let _ = socket.write_all(b"HTTP/1.1 299 Patient\r\nContent-Length: 0\r\n\r\n");
            });
        }
    });
    address
}

#[test]
fn as2_server_that_sends_interim_responses_without_end_is_given_up() {
    let server = interim_for_ever();
    let stage = Stage::new();
    let config = std::fs::read_to_string(stage.gateway.config_file()).unwrap();
    let config = config.replace(&stage.receiver.url(""), &format!("http://{server}"));
    stage.gateway.write("as2hook.yaml", &config).unwrap();
    assert_eq!(stage.gateway.reload().unwrap().status, 200);
    let reply = stage.gateway.inbound().send(&Post::message("/as2", &order())).unwrap();
    assert_eq!(reply.status, 502, "{}", reply.text());
}

#[test]
fn partner_that_sends_interim_responses_without_end_is_given_up() {
    let server = interim_for_ever();
    let stage = Stage::with(|gateway| {
        gateway.partner_with("ENDLESS", |partner| partner.url(&format!("http://{server}/")))
    });
    let post = Post::new("/out/ENDLESS", b"hello").header("AS2-From", "MY-OWN-ORG");
    let post = post.header("AS2-To", "ENDLESS").header("Message-ID", "<endless@x>");
    let reply = stage.gateway.outbound().send(&post).unwrap();
    assert_eq!(reply.status, 502, "{}", reply.text());
    stage.order_is_notified_whole();
}

#[test]
fn webhook_that_sends_interim_responses_without_end_is_given_up() {
    let server = interim_for_ever();
    let stage = Stage::with(|gateway| {
        gateway.rule("endless", |rule| rule.url(format!("http://{server}/")).always())
    });
    let id = stage.send(
        &as2hook_testing::hostile::Attack::new("text/plain", b"hello".to_vec()),
        Way::Inbound,
    );
    stage.event_of(&id);
    let counted = |result: &str| {
        let name = format!("as2hook_deliveries_total{{webhook=\"endless\",result=\"{result}\"}}");
        stage.gateway.figure(&name)
    };
    let ended = || counted("retried") > 0;
    assert!(wait_until(SOON, ended), "{}", stage.gateway.admin().get("/metrics").unwrap().text());
    assert_eq!(counted("delivered"), 0);
    stage.order_is_notified_whole();
}

/// Writes each byte by itself, so that the other side reads it by itself.
fn drip(socket: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        if socket.write_all(&[*byte]).is_err() {
            return;
        }
        // The pauses are the scenario: without them the system joins the bytes.
        thread::sleep(Duration::from_micros(20));
    }
}

/// A head of a value that repeats this piece costs about four times as much when it is four times as long.
fn head_costs_its_size(piece: &str) {
    let stage = Stage::new();
    let cost = |length: usize| {
        stage.rest();
        let before = stage.gateway.cpu_time().unwrap();
        let mut socket = TcpStream::connect(stage.gateway.inbound().address()).unwrap();
        socket.set_nodelay(true).unwrap();
        let junk = piece.repeat(length / piece.len());
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {junk}\r\n\r\n");
        drip(&mut socket, head.as_bytes());
        let response = read_to_close(&mut socket);
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        stage.rest();
        stage.gateway.cpu_time().unwrap() - before
    };
    let (short, long) = (cost(10_000), cost(40_000));
    assert!(
        long <= short * 8 + Duration::from_millis(500),
        "{short:?}, {long:?} for four times as much"
    );
    stage.order_is_notified_whole();
}

#[test]
fn head_in_one_byte_segments_costs_its_size() {
    head_costs_its_size("x");
}

#[test]
fn folded_head_in_one_byte_segments_costs_its_size() {
    head_costs_its_size("\r\n x");
}

#[test]
fn head_of_folds_of_blanks_in_one_byte_segments_costs_its_size() {
    head_costs_its_size("\r\n ");
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
fn response_head_in_one_byte_segments_costs_its_size() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut socket = socket;
                socket.set_nodelay(true).unwrap();
                let mut request = [0; 4096];
                let read = socket.read(&mut request).unwrap_or_default();
                // The request's target says how long the head is to be.
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let length = request.split(['/', ' ']).find_map(|word| word.parse().ok());
                let junk = "x".repeat(length.unwrap_or_default());
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {junk}\r\n\r\n");
                drip(&mut socket, head.as_bytes());
            });
        }
    });
    let stage = Stage::with(|gateway| {
        ["10000", "40000"].into_iter().fold(gateway, |gateway, length| {
            let url = format!("http://{server}/{length}");
            gateway.partner_with(length, |partner| partner.url(&url))
        })
    });
    let cost = |length: &str| {
        stage.rest();
        let before = stage.gateway.cpu_time().unwrap();
        let target = format!("/out/{length}");
        let reply = stage.gateway.outbound().send(&Post::new(&target, b"x")).unwrap();
        assert!([200, 502].contains(&reply.status), "{}", reply.text());
        stage.rest();
        stage.gateway.cpu_time().unwrap() - before
    };
    let (short, long) = (cost("10000"), cost("40000"));
    println!("{short:?} for 10,000 bytes, {long:?} for 40,000");
    assert!(
        long <= short * 8 + Duration::from_millis(500),
        "{short:?}, {long:?} for four times as much"
    );
    stage.order_is_notified_whole();
}
