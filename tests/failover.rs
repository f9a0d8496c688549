//! Addresses that take no connection, names that lead elsewhere, and what stands by.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Running,
    dns::{NameServer, ResolvConf},
    faults::FullQueue,
    gateway::{free_address, wait_until},
    receiver, sink,
};

const SOON: Duration = Duration::from_secs(120);

/// Shorter than what passes between two lookups without a reason.
const BEFORE_REFRESH: Duration = Duration::from_secs(25);

fn gateway(urls: &[String]) -> Gateway {
    let quoted: Vec<_> = urls.iter().map(|url| format!("\"{url}\"")).collect();
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_set("url", &format!("[{}]", quoted.join(", ")))
}

fn post(gateway: &Running) -> u16 {
    gateway.inbound().send(&Post::new("/", b"x")).unwrap().status
}

fn send_message(gateway: &Running) {
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
}

/// A name server on port 53, where this user may have one.
#[expect(clippy::print_stderr, reason = "a test that shows nothing has to say so")]
fn name_server(addresses: &[Ipv4Addr]) -> Option<NameServer> {
    let server = NameServer::start(addresses);
    if let Err(error) = &server {
        eprintln!("skipped: no name server on port 53: {error}");
    }
    server.ok()
}

/// It was ten seconds for each exchange.
#[test]
fn receiver_without_a_tls_session_is_asked_once_in_thirty_seconds() {
    // It speaks plain HTTP and hangs up.
    let (broken, standby) = (receiver().start(), receiver().start());
    let broken_url = broken.url("").replace("http:", "https:");
    let gateway = gateway(&[broken_url, standby.url("")]).start().unwrap();
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(post(&gateway), 200);
    }
    let most = 1 + usize::try_from(began.elapsed().as_secs() / 30).unwrap();
    assert_eq!(standby.requests().len(), 20);
    assert!((1..=most).contains(&broken.connections()), "{}", broken.connections());
    assert!(gateway.log().contains("this address is tried last"), "{}", gateway.log());
}

/// Takes connections, and is silent on them. How many there were is counted.
fn silent() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let connections = count.clone();
    // It ends with the test's process.
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            held.push(stream);
            connections.fetch_add(1, Ordering::SeqCst);
        }
    });
    (address, count)
}

/// A connection without a TLS session let all exchanges wait for one until the next had failed.
#[test]
fn receiver_that_hangs_in_tls_is_tried_by_one_exchange_in_thirty_seconds() {
    let ((silent, connections), standby) = (silent(), receiver().start());
    let gateway = gateway(&[format!("https://{silent}"), standby.url("")]).start().unwrap();
    let connections = || connections.load(Ordering::SeqCst);
    assert_eq!((post(&gateway), connections()), (200, 1));
    thread::scope(|threads| {
        threads.spawn(|| {
            assert!(wait_until(SOON, || {
                assert_eq!(post(&gateway), 200);
                connections() > 1
            }));
        });
        assert!(wait_until(SOON, || connections() > 1));
        let began = Instant::now();
        for _ in 0..5 {
            assert_eq!(post(&gateway), 200);
        }
        let most = 2 + usize::try_from(began.elapsed().as_secs() / 30).unwrap();
        assert!(connections() <= most, "{}", connections());
    });
    let log = gateway.log();
    assert_eq!(log.matches(&format!("tried last for now. address={silent}")).count(), 1, "{log}");
    assert!(!log.contains("takes connections again"), "{log}");
}

#[test]
fn receiver_that_drops_packets_leaves_its_traffic_to_the_standby() {
    let (deaf, standby) = (free_address(), receiver().start());
    let _deaf = FullQueue::at(deaf).unwrap();
    let gateway = gateway(&[format!("http://{deaf}"), standby.url("")]).start().unwrap();
    for _ in 0..20 {
        assert_eq!(post(&gateway), 200);
    }
    assert_eq!(standby.requests().len(), 20);
    let log = gateway.log();
    assert!(log.contains(&format!("tried last for now. address={deaf}")), "{log}");
}

/// Responds to one request whose body is `x`.
fn respond_once(queue: FullQueue) {
    let Ok((mut stream, _)) = queue.relieve().and_then(|listener| listener.accept()) else {
        return;
    };
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\nx") {
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => request.extend_from_slice(&piece[..read]),
            _ => return,
        }
    }
    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
}

#[test]
fn slow_syn_gives_the_standby_no_traffic() {
    // The first packet is sent again after a second; this process may stand still for longer.
    let was_spared = (0..5).any(|_| {
        let (slow, standby) = (free_address(), receiver().start());
        let queue = FullQueue::at(slow).unwrap();
        let gateway = gateway(&[format!("http://{slow}"), standby.url("")]).start().unwrap();
        thread::scope(|threads| {
            let exchange = threads.spawn(|| post(&gateway));
            assert!(wait_until(SOON, || queue.is_asked().unwrap()));
            thread::spawn(|| respond_once(queue));
            let status = exchange.join().unwrap();
            assert_eq!(status, if standby.requests().is_empty() { 204 } else { 200 });
            status == 204
        })
    });
    assert!(was_spared);
}

#[test]
fn receiver_that_moved_is_looked_up_again_at_once() {
    let receiver = receiver().start();
    let port = receiver.address().port();
    let Some(names) = name_server(&[NameServer::nowhere()]) else { return };
    let mut gateway = gateway(&[format!("http://receiver.example:{port}")]).prepare().unwrap();
    let _resolv_conf = ResolvConf::under(&mut gateway, names.address());
    gateway.start().unwrap();
    names.set(&[Ipv4Addr::LOCALHOST]);
    let began = Instant::now();
    assert!(wait_until(BEFORE_REFRESH, || post(&gateway) == 200), "{:?}", began.elapsed());
    assert_eq!(receiver.requests().len(), 1);
}

fn webhook_by_name(sink: &Endpoint, server: Ipv4Addr) -> (Running, Endpoint, ResolvConf) {
    let receiver = receiver().start();
    let url = format!("http://hook.example:{}/", sink.address().port());
    let mut gateway = gateway(&[receiver.url("")])
        .rule("all", |rule| rule.url(url).set("retry", &format!("[{}]", ["1s"; 99].join(", "))))
        .prepare()
        .unwrap();
    let resolv_conf = ResolvConf::under(&mut gateway, server);
    gateway.start().unwrap();
    (gateway, receiver, resolv_conf)
}

#[test]
fn webhook_is_delivered_when_resolv_conf_is_mended() {
    let sink = sink().start();
    let Some(names) = name_server(&[Ipv4Addr::LOCALHOST]) else { return };
    let (gateway, _receiver, resolv_conf) = webhook_by_name(&sink, NameServer::nowhere());
    send_message(&gateway);
    let retried = "as2hook_deliveries_total{webhook=\"all\",result=\"retried\"}";
    assert!(wait_until(SOON, || gateway.figure(retried) > 0));
    resolv_conf.name(names.address());
    sink.wait_for(1, SOON).unwrap();
    assert!(gateway.log().contains("/etc/resolv.conf or /etc/hosts has changed"));
}

/// Five seconds were waited for each, until the attempt's time was over.
#[test]
fn webhook_whose_name_has_dead_addresses_before_a_living_one_is_delivered() {
    let sink = sink().start();
    let dead: Vec<_> = (0..3).map(|_| NameServer::nowhere()).collect();
    let port = sink.address().port();
    let queue = |address: &Ipv4Addr| FullQueue::at(SocketAddr::from((*address, port))).unwrap();
    let _queues: Vec<_> = dead.iter().map(queue).collect();
    let Some(names) = name_server(&[&dead[..], &[Ipv4Addr::LOCALHOST]].concat()) else { return };
    let (gateway, _receiver, _resolv_conf) = webhook_by_name(&sink, names.address());
    send_message(&gateway);
    let first = &sink.wait_for(1, SOON).unwrap()[0];
    assert_eq!(first.header("X-AS2-Attempt"), Some("1"));
    drop(gateway);
}

/// What one endpoint's name stands for is not remembered when nothing there takes a connection.
#[test]
fn webhook_whose_endpoint_moved_is_looked_up_again_at_the_next_attempt() {
    let sink = sink().start();
    let Some(names) = name_server(&[NameServer::nowhere()]) else { return };
    let (gateway, _receiver, _resolv_conf) = webhook_by_name(&sink, names.address());
    send_message(&gateway);
    let retried = "as2hook_deliveries_total{webhook=\"all\",result=\"retried\"}";
    assert!(wait_until(SOON, || gateway.figure(retried) > 0));
    // It was valid for ten minutes, of which five were remembered.
    names.set(&[Ipv4Addr::LOCALHOST]);
    sink.wait_for(1, SOON).unwrap();
}

/// The system's resolver takes a thread for each lookup, and there are 512.
#[test]
fn partner_whose_name_server_hangs_takes_one_lookup_at_a_time_and_others_are_served() {
    const EXCHANGES: usize = 64;
    let (receiver, partner) = (receiver().start(), receiver().start());
    let Some(names) = name_server(&[Ipv4Addr::LOCALHOST]) else { return };
    let port = partner.address().port();
    let mut gateway = gateway(&[receiver.url("")])
        .outbound()
        .partner_with("SILENT", |silent| silent.url(&format!("http://silent.example:{port}/")))
        .partner_with("ACME", |acme| acme.url(&format!("http://acme.example:{port}/")))
        .prepare()
        .unwrap();
    let _resolv_conf = ResolvConf::under(&mut gateway, names.address());
    gateway.start().unwrap();
    let before = names.queries();
    thread::scope(|threads| {
        let send = || gateway.outbound().send(&Post::new("/out/SILENT", b"x")).unwrap().status;
        let silent: Vec<_> = (0..EXCHANGES).map(|_| threads.spawn(send)).collect();
        assert!(wait_until(SOON, || names.queries() > before));
        let other = gateway.outbound().send(&Post::new("/out/ACME", b"x")).unwrap();
        assert_eq!(other.status, 200);
        for exchange in silent {
            let status = exchange.join().unwrap();
            assert!((502..=504).contains(&status), "{status}");
        }
    });
    // A lookup asks for both families.
    assert!(names.queries() - before < EXCHANGES, "{}", names.queries() - before);
}
