//! The admin listener's connections, heads and buffers have limits.

use std::{io::Write as _, net::TcpStream};

use as2hook_testing::stream::{connect_from, read_to_close};

use super::*;

fn ask(mut socket: TcpStream, head: &str) -> String {
    // It may be refused before its end.
    let _ = socket.write_all(head.as_bytes());
    read_to_close(&mut socket)
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn admin_listener_responds_when_slow_connections_of_other_addresses_have_all_places() {
    let gateway = started();
    let admin = gateway.admin().address();
    let mut slow = Vec::new();
    for last in 2..6 {
        for _ in 0..64 {
            let mut socket = connect_from([127, 0, 0, last], admin);
            socket.write_all(b"GET /healthz HTTP/1.1\r\nX:").unwrap();
            slow.push(socket);
        }
    }
    // In the order they came: behind this one all of its address are accepted.
    let response = ask(connect_from([127, 0, 0, 5], admin), HEALTH);
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 503 "), "{response}");
    for _ in 0..10 {
        let response = ask(connect_from([127, 0, 0, 6], admin), HEALTH);
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
}

#[test]
fn admin_listener_refuses_a_head_larger_than_its_buffer() {
    let gateway = started();
    let admin = gateway.admin().address();
    let head = format!("GET /healthz HTTP/1.1\r\nX: {}", "x".repeat(64 << 10));
    let response = ask(connect_from([127, 0, 0, 2], admin), &head);
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 431 "), "{response}");
    assert_eq!(gateway.admin().get("/healthz").unwrap().status, 200);
}
