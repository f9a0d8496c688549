//! The live stream.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::TcpStream,
    time::Duration,
};

use as2hook_testing::{Response, Running, faults, gateway::wait_until, sink};

use super::{ALL, Browser, OTHER, READ, SOON, any_receiver, attempted, gateway, send_from};

/// Begins a stream; its lines come as they are.
fn watch(gateway: &Running, token: &str) -> BufReader<TcpStream> {
    watch_at(gateway, token, "/console/live")
}

fn watch_at(gateway: &Running, token: &str, path: &str) -> BufReader<TcpStream> {
    let browser = Browser::of(gateway, token);
    let (name, value) = &browser.cookies[0];
    let mut stream = TcpStream::connect(gateway.admin().address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {name}={value}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    BufReader::new(stream)
}

/// Reads to a line with this text. False: the stream ended before.
fn reads_to(stream: &mut BufReader<TcpStream>, text: &str) -> bool {
    loop {
        let mut line = String::new();
        match stream.read_line(&mut line) {
            Ok(0) => return false,
            Ok(_) if line.contains(text) => return true,
            Ok(_) => {}
            // The process is gone.
            Err(error) => {
                let is_late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(!is_late, "neither {text} nor an end came");
                return false;
            }
        }
    }
}

#[test]
fn stream_shows_a_new_exchange_to_viewers_of_its_site_alone() {
    let hook = sink().start();
    let gateway = gateway(any_receiver(), "")
        .rule("erp", |rule| rule.to(&hook, "/").set("site", "main"))
        .start()
        .unwrap();
    let mut streams = [watch(&gateway, ALL), watch(&gateway, READ)];
    for stream in &mut streams {
        assert!(reads_to(stream, "text/event-stream") && reads_to(stream, "event: figures"));
    }
    let mut other = watch(&gateway, OTHER);
    assert!(reads_to(&mut other, "event: route"));
    send_from(&gateway, "ACME");
    for stream in &mut streams {
        assert!(reads_to(stream, "event: row") && reads_to(stream, "ACME"));
    }
    other.get_ref().set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut line = String::new();
    while matches!(other.read_line(&mut line), Ok(n) if n > 0) {}
    assert!(!line.contains("ACME"), "{line}");
}

#[test]
fn stream_says_in_the_heading_that_the_store_fails() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut stream = watch(&gateway, READ);
    assert!(reads_to(&mut stream, "event: figures"));
    faults::damage(&gateway.folder().join("data/as2hook.db")).unwrap();
    assert!(reads_to(&mut stream, "1 thing needs attention"));
}

#[test]
fn stream_says_when_the_exchange_that_is_open_has_changed() {
    let hook = sink().respond(Response::status(503)).start();
    let gateway = gateway(any_receiver(), "")
        .rule("erp", |rule| rule.to(&hook, "/").set("retry", "[1h]"))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    let delivery = attempted(&gateway, "pending", 1).remove(0);
    let id = delivery["event"]["id"].as_str().unwrap();
    let live = format!("/console/live?exchange={id}");
    let mut browser = Browser::of(&gateway, ALL);
    let page = browser.page(&format!("/console/exchanges/{id}"));
    let state = page.split_once("data-state=\"").unwrap().1.split_once('"').unwrap().0;
    let mut stream = watch_at(&gateway, READ, &live);
    assert!(reads_to(&mut stream, "event: exchange") && reads_to(&mut stream, state));
    let cancel = format!("/console/deliveries/{}/cancel", delivery["id"]);
    assert_eq!(browser.act(&cancel, &[]).status, 303);
    assert!(reads_to(&mut stream, "event: exchange"));
    assert_eq!(Browser::of(&gateway, OTHER).get(&live).status, 404);
}

#[test]
fn stream_ends_with_its_token() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let mut stream = watch(&gateway, READ);
    assert!(reads_to(&mut stream, "event: figures"));
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    let without = config.replace(&format!("{}, ", super::token(READ, "read", "main")), "");
    gateway.write("as2hook.yaml", &without).unwrap();
    assert!(!reads_to(&mut stream, "never comes"));
}

#[test]
fn stop_does_not_wait_for_viewers() {
    let mut gateway = gateway(any_receiver(), "").start().unwrap();
    let mut stream = watch(&gateway, ALL);
    assert!(reads_to(&mut stream, "event: figures"));
    assert!(
        gateway.sigterm(Duration::from_secs(15)).unwrap().is_some_and(|status| status.success())
    );
    assert!(!reads_to(&mut stream, "never comes"));
}

#[test]
fn stream_without_a_session_is_refused() {
    let gateway = gateway(any_receiver(), "").start().unwrap();
    let reply = Browser::new(&gateway).get("/console/live");
    assert_eq!(reply.status, 303);
    assert!(wait_until(SOON, || gateway.readiness().is_some()));
}

#[test]
fn streams_end_when_another_process_takes_over_and_sessions_go_on_there() {
    let mut gateway = gateway(any_receiver(), "").start().unwrap();
    let mut stream = watch(&gateway, ALL);
    assert!(reads_to(&mut stream, "event: figures"));
    let cookies = Browser::of(&gateway, ALL).cookies;
    let _old = gateway.upgrade().unwrap();
    assert!(!reads_to(&mut stream, "never comes"));
    let mut browser = Browser { cookies, ..Browser::new(&gateway) };
    assert!(wait_until(SOON, || browser.get("/console/").status == 200));
}
