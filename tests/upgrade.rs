//! A new process takes over while partners send: not one exchange fails, not one event is lost or delivered
//! twice. And a process that gets a signal to stop stops, at once when it has nothing to do.
//!
//! The long form, two minutes of traffic and twelve upgrades:
//! `cargo nextest run --release --test upgrade --run-ignored only --no-capture`

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

#[path = "upgrade/command.rs"]
mod command;
#[path = "upgrade/systemd.rs"]
mod systemd;
#[path = "upgrade/traffic.rs"]
mod traffic;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Client, Endpoint, Gateway, Message, Part, Post, Reply, Request, Response, Rule, Running,
    gateway::{Process, wait_until},
    pki, receiver, sink,
};
use traffic::Course;

const SOON: Duration = Duration::from_secs(120);

/// So long has a connection that was only just made, and a TLS handshake, when a process gets a signal to stop.
const A_SECOND: Duration = Duration::from_secs(1);

/// A process's end as the system tells it.
const ENDED_WELL: &str = "exit status: 0";

#[test]
fn upgrades_under_traffic_cost_no_exchange_and_no_event() {
    let course = Course { rate: 200, upgrades: 3, every: Duration::from_secs(2), tls: false };
    course.run();
}

#[test]
fn upgrades_of_a_tls_listener_cost_no_exchange_and_no_event() {
    let course = Course { rate: 40, upgrades: 2, every: Duration::from_secs(2), tls: true };
    course.run();
}

#[test]
#[ignore = "takes two minutes"]
fn twelve_upgrades_in_two_minutes_of_traffic() {
    let course = Course { rate: 200, upgrades: 12, every: Duration::from_secs(10), tls: false };
    course.run();
}

/// Where the two processes of an upgrade meet.
fn upgrade_file(gateway: &Running) -> PathBuf {
    gateway.folder().join(format!("data/as2hook.db.{}.upgrade", gateway.inbound().address()))
}

#[test]
fn sigquit_without_a_successor_changes_nothing() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    gateway.signal("QUIT").unwrap();
    assert!(gateway.wait_for_log("SIGQUIT: serving on until", SOON));
    send(&gateway, 200);
    sink.wait_for(1, SOON).unwrap();
    // It is still looking for one, and stops all the same.
    assert!(gateway.sigterm(SOON).unwrap().unwrap().success());
}

#[test]
fn a_successor_that_cannot_start_leaves_the_old_process_serving() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let config = fs::read_to_string(gateway.config_file()).unwrap();
    gateway.write("as2hook.yaml", &config.replace("receiver:", "reciever:")).unwrap();
    let mut successor = gateway.successor().unwrap();
    gateway.signal("QUIT").unwrap();
    assert_eq!(successor.wait(SOON).unwrap().code(), Some(1));
    send(&gateway, 200);
    gateway.write("as2hook.yaml", &config).unwrap();
    // The old one still looks for a successor; a second signal is one too many, and does no harm.
    let mut old = gateway.upgrade().unwrap();
    assert_eq!(old.wait(SOON).unwrap().to_string(), ENDED_WELL);
    send(&gateway, 200);
}

/// They share the store, the key, and the folder that the two processes of an upgrade meet in.
#[test]
fn successor_takes_over_from_its_own_gateway_and_not_from_another_of_the_same_store() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let folder = tempfile::tempdir().unwrap();
    let shared = |name: &str| format!("\"{}/{name}\"", folder.path().display());
    let gateway = || {
        gateway(&receiver, &sink)
            .set("store", &format!("\"sqlite:{}/as2hook.db\"", folder.path().display()))
            .set("payloads", &shared("payloads"))
            .set("secret_key_file", &shared("secret.key"))
            .start()
            .unwrap()
    };
    let (mut one, mut other) = (gateway(), gateway());
    let successor = one.successor().unwrap();
    assert!(one.wait_for_log("Ready to take over", SOON));
    other.signal("QUIT").unwrap();
    assert!(other.wait_for_log("SIGQUIT: serving on until", SOON), "{}", other.log());
    // Both wait in the same folder, and each gets its own.
    let others = other.successor().unwrap();
    assert!(other.wait_for_log("Handed the listeners over", SOON), "{}", other.log());
    let mut old = other.succeed(others).unwrap();
    assert_eq!(old.wait(SOON).unwrap().to_string(), ENDED_WELL);
    one.signal("QUIT").unwrap();
    assert!(one.wait_for_log("Handed the listeners over", SOON), "{}", one.log());
    let mut old = one.succeed(successor).unwrap();
    assert_eq!(old.wait(SOON).unwrap().to_string(), ENDED_WELL);
    send(&one, 200);
    send(&other, 200);
}

#[test]
fn successor_with_its_config_at_another_path_takes_over() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let other = gateway.folder().join("other.yaml");
    fs::copy(gateway.config_file(), &other).unwrap();
    let other = other.display().to_string();
    gateway.set_wrapper(&["sh", "-c", "exec \"$1\" run --upgrade -c \"$0\"", &other]);
    let mut old = gateway.upgrade().unwrap();
    assert_eq!(old.wait(SOON).unwrap().to_string(), ENDED_WELL);
    send(&gateway, 200);
}

#[test]
fn a_successor_that_is_killed_while_it_waits_leaves_nothing_in_the_way() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let successor = gateway.successor().unwrap();
    assert!(gateway.wait_for_log("Ready to take over", SOON));
    let file = upgrade_file(&gateway);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    drop(successor);
    assert!(file.exists(), "killed, it leaves its socket behind");
    let mut old = gateway.upgrade().unwrap();
    assert_eq!(old.wait(SOON).unwrap().to_string(), ENDED_WELL);
    assert!(!file.exists());
    send(&gateway, 200);
}

#[test]
fn successor_that_is_stopped_while_it_waits_stops() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    for (round, name) in ["TERM", "INT"].into_iter().enumerate() {
        let mut successor = gateway.successor().unwrap();
        assert!(wait_until(SOON, || gateway.log().matches("Ready to take over").count() > round));
        signal(&successor, name);
        assert_eq!(successor.wait(SOON).unwrap().to_string(), ENDED_WELL);
        assert_eq!(
            gateway.log().matches("Stopped by a signal before it served").count(),
            round + 1
        );
        send(&gateway, 200);
    }
    let mut old = gateway.upgrade().unwrap();
    assert_eq!(old.wait(SOON).unwrap().to_string(), ENDED_WELL);
    send(&gateway, 200);
}

#[test]
fn a_second_successor_is_sent_away_and_the_first_waits_on() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let first = gateway.successor().unwrap();
    assert!(gateway.wait_for_log("Ready to take over", SOON));
    let mut second = gateway.successor().unwrap();
    assert_eq!(second.wait(SOON).unwrap().code(), Some(1));
    assert!(gateway.log().contains("another process is already waiting there"));
    gateway.signal("QUIT").unwrap();
    assert!(gateway.wait_for_log("Handed the listeners over", SOON));
    let mut old = gateway.succeed(first).unwrap();
    assert_eq!(old.wait(SOON).unwrap().to_string(), ENDED_WELL);
    send(&gateway, 200);
}

#[test]
fn upgrade_starts_where_no_process_runs_and_where_the_old_one_dies() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).prepare().unwrap();
    gateway.start_upgrade().unwrap();
    send(&gateway, 200);
    let successor = gateway.successor().unwrap();
    assert!(gateway.wait_for_log("Ready to take over", SOON));
    drop(gateway.succeed(successor));
    assert!(gateway.wait_for_log("terminated without a handover", SOON));
    assert!(wait_until(SOON, || gateway.admin().get("/readyz").is_ok_and(|r| r.status == 200)));
    send(&gateway, 200);
}

#[test]
fn exchange_that_outlives_the_old_process_is_reported_by_the_new_one() {
    let (receiver, sink) = (receiver().respond(Response::silence()).start(), sink().start());
    let mut gateway = draining(&receiver, &sink, "4s").start().unwrap();
    let (inbound, message) = (gateway.inbound(), message().build());
    let waiting = thread::spawn(move || inbound.send(&Post::message("/as2", &message)).is_err());
    receiver.wait_for(1, SOON).unwrap();
    let mut old = gateway.upgrade().unwrap();
    receiver.respond(Response::ok());
    send(&gateway, 200);
    let delivered = sink.wait_for(1, SOON).unwrap();
    let lives = old.wait(Duration::ZERO).is_none();
    assert!(!lives || delivered.len() == 1, "the old process lives, so its exchange is its own");
    assert_eq!(old.wait(SOON).unwrap().to_string(), ENDED_WELL);
    let gone = Instant::now();
    assert!(waiting.join().unwrap(), "its drain is over");
    let is_of_the_old = |delivered: &Request| {
        delivered.header("X-Processing-Error").is_some_and(|error| error.starts_with("1500: "))
    };
    sink.wait_until(1, SOON, is_of_the_old).unwrap();
    assert!(gone.elapsed() < Duration::from_secs(20), "soon after its end");
    assert_eq!(sink.requests().len(), 2);
}

#[test]
fn upgrading_may_move_a_listener() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let (old_address, moved) =
        (gateway.inbound().address(), as2hook_testing::gateway::free_address());
    let config = fs::read_to_string(gateway.config_file()).unwrap();
    let config = config.replace(&old_address.to_string(), &moved.to_string());
    gateway.write("as2hook.yaml", &config).unwrap();
    let mut old = gateway.upgrade().unwrap();
    assert_eq!(old.wait(SOON).unwrap().to_string(), ENDED_WELL);
    let built = message().build();
    let moved = as2hook_testing::Client::new(moved);
    assert_eq!(moved.send(&Post::message("/as2", &built)).unwrap().status, 200);
    assert!(gateway.inbound().connect().is_err(), "no process keeps the old address");
}

#[test]
#[expect(clippy::print_stderr, reason = "how long it took is worth a line")]
fn sigterm_ends_at_once_what_is_idle_kept_connections_included() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let mut kept = gateway.inbound().connect().unwrap();
    let message = message().build();
    assert_eq!(kept.send(&Post::message("/as2", &message)).unwrap().status, 200);
    sink.wait_for(1, SOON).unwrap();
    let began = Instant::now();
    // The drain is longer.
    assert!(gateway.sigterm(Duration::from_secs(20)).unwrap().unwrap().success());
    eprintln!("ended {} ms after SIGTERM", began.elapsed().as_millis());
}

#[test]
fn requests_in_the_kernel_at_sigterm_get_responses() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    for round in 0..10 {
        let mut kept = gateway.inbound().connect().unwrap();
        assert_eq!(kept.send(&Post::method("GET", "/kept")).unwrap().status, 200);
        // The signal and the requests are there before the process can look at either.
        gateway.signal("STOP").unwrap();
        let mut fresh = TcpStream::connect(gateway.inbound().address()).unwrap();
        fresh.write_all(b"GET /fresh HTTP/1.1\r\nHost: as2.example\r\n\r\n").unwrap();
        kept.write(b"GET /kept HTTP/1.1\r\nHost: as2.example\r\n\r\n").unwrap();
        gateway.signal("TERM").unwrap();
        gateway.signal("CONT").unwrap();
        let reply = kept.read_reply("GET").unwrap();
        assert_eq!(reply.status, 200, "round {round}");
        let mut response = String::new();
        fresh.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "round {round}: {response}");
        assert!(gateway.wait(SOON).unwrap().success());
        gateway.start().unwrap();
    }
}

/// The kernel completed connections while the listener was being closed, and reset them.
#[test]
fn sigterm_resets_no_connection_that_was_accepted() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let address = gateway.inbound().address();
    for round in 0..8 {
        let callers: Vec<_> = (0..4).map(|_| thread::spawn(move || call(address))).collect();
        let before = receiver.requests().len();
        receiver.wait_for(before + 20, SOON).unwrap();
        assert!(gateway.sigterm(SOON).unwrap().unwrap().success());
        for caller in callers {
            let served = caller.join().unwrap();
            assert!(served.is_ok(), "round {round}: {served:?}");
        }
        gateway.start().unwrap();
    }
}

/// Connects and asks again and again, until no process listens any more. What went wrong for one that was let
/// in, and asked within the second that everybody has.
fn call(address: SocketAddr) -> std::io::Result<()> {
    loop {
        let began = Instant::now();
        let Ok(mut socket) = TcpStream::connect(address) else { return Ok(()) };
        let asked =
            socket.write_all(b"GET / HTTP/1.1\r\nHost: as2.example\r\nConnection: close\r\n\r\n");
        let was_late = began.elapsed() >= A_SECOND;
        let mut response = String::new();
        let responded = asked.and_then(|()| socket.read_to_string(&mut response));
        if !was_late && !response.starts_with("HTTP/1.1 200 ") {
            return responded.and(Err(std::io::Error::other(response)));
        }
    }
}

/// A signal that comes so long after the first is another one.
const ANOTHER_SIGNAL: Duration = Duration::from_millis(1_100);

#[test]
fn a_second_sigterm_does_not_wait() {
    let (receiver, sink) = (receiver().respond(Response::silence()).start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let (inbound, message) = (gateway.inbound(), message().build());
    let waiting = thread::spawn(move || inbound.send(&Post::message("/as2", &message)).is_err());
    receiver.wait_for(1, SOON).unwrap();
    gateway.signal("TERM").unwrap();
    assert!(gateway.wait_for_log("Stopping.", SOON));
    thread::sleep(ANOTHER_SIGNAL);
    let ended = gateway.sigterm(Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!(ended.code(), Some(1));
    assert!(waiting.join().unwrap());
}

#[test]
fn two_sigterms_within_a_second_are_one() {
    let (receiver, sink) = (receiver().start(), sink().start());
    receiver.next([Response::ok().delay(Duration::from_secs(3))]);
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let (inbound, message) = (gateway.inbound(), message().build());
    let slow = thread::spawn(move || inbound.send(&Post::message("/as2", &message)));
    receiver.wait_for(1, SOON).unwrap();
    gateway.signal("TERM").unwrap();
    gateway.signal("TERM").unwrap();
    assert!(gateway.wait_for_log("Stopping.", SOON));
    gateway.signal("TERM").unwrap();
    assert_eq!(slow.join().unwrap().unwrap().status, 200);
    assert!(gateway.wait(SOON).unwrap().success());
}

#[test]
fn the_first_sigterm_after_a_hand_over_cuts_nothing_off() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let slow = Response::ok().delay(Duration::from_secs(3));
    receiver.next([slow]);
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let (inbound, message) = (gateway.inbound(), message().build());
    let slow = thread::spawn(move || inbound.send(&Post::message("/as2", &message)));
    receiver.wait_for(1, SOON).unwrap();
    let mut rested = gateway.inbound().connect().unwrap();
    let mut old = gateway.upgrade().unwrap();
    signal(&old, "TERM");
    assert_eq!(slow.join().unwrap().unwrap().status, 200);
    assert_eq!(old.wait(Duration::from_secs(20)).unwrap().to_string(), ENDED_WELL);
    assert!(rested.read_reply("GET").is_err(), "it was closed");
}

#[test]
fn the_second_sigterm_after_a_hand_over_does_not_wait() {
    let (receiver, sink) = (receiver().respond(Response::silence()).start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).start().unwrap();
    let (inbound, message) = (gateway.inbound(), message().build());
    let waiting = thread::spawn(move || inbound.send(&Post::message("/as2", &message)).is_err());
    receiver.wait_for(1, SOON).unwrap();
    let mut old = gateway.upgrade().unwrap();
    signal(&old, "TERM");
    assert!(gateway.wait_for_log("Stop signal: finishing", SOON));
    thread::sleep(ANOTHER_SIGNAL);
    signal(&old, "TERM");
    assert_eq!(old.wait(Duration::from_secs(20)).unwrap().code(), Some(1));
    assert!(waiting.join().unwrap());
}

#[test]
fn a_tls_handshake_under_way_at_sigterm_is_finished() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let mut gateway = gateway(&receiver, &sink).inbound_tls(false).start().unwrap();
    // This process or the gateway may stand still for longer than a handshake may take.
    let finished = (0..10).any(|_| {
        let (reply, took) = stop_within_a_handshake(&gateway);
        assert!(gateway.wait(SOON).unwrap().success());
        if let Err(error) = &reply {
            assert!(took >= A_SECOND, "{error} after {took:?}");
            gateway.start().unwrap();
        }
        reply.is_ok_and(|reply| reply.status == 200)
    });
    assert!(finished);
}

/// Tells the gateway to stop when it has a handshake's first byte. What comes of the exchange, and how
/// long after the signal.
fn stop_within_a_handshake(gateway: &Running) -> (std::io::Result<Reply>, Duration) {
    // Between the two stands a proxy that passes on late what the partner says.
    let between = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = gateway.inbound().address();
    let client = Client::tls(between.local_addr().unwrap(), pki::authority(), None);
    let message = message().build();
    let sending = thread::spawn(move || client.send(&Post::message("/as2", &message)));
    let (mut partner, _) = between.accept().unwrap();
    let mut wire = TcpStream::connect(to).unwrap();
    let mut first = [0; 1];
    partner.read_exact(&mut first).unwrap();
    wire.write_all(&first).unwrap();
    let stops = || gateway.log().matches("Stopping.").count();
    let (before, delivered) = (stops(), Instant::now());
    gateway.signal("TERM").unwrap();
    assert!(wait_until(SOON, || stops() > before));
    // The pause is the scenario: a handshake that takes its time.
    thread::sleep(Duration::from_millis(300));
    let (mut back, mut to_partner) = (wire.try_clone().unwrap(), partner.try_clone().unwrap());
    thread::spawn(move || {
        let copied = std::io::copy(&mut back, &mut to_partner);
        // A client that is cut off has to learn it at once: it is judged by when that was.
        to_partner.shutdown(Shutdown::Both).and(copied.map(drop))
    });
    thread::spawn(move || std::io::copy(&mut partner, &mut wire));
    (sending.join().unwrap(), delivered.elapsed())
}

/// One whose drain lasts longer than anything that is not under way.
fn gateway(receiver: &Endpoint, sink: &Endpoint) -> Gateway {
    draining(receiver, sink, "60s")
}

fn draining(receiver: &Endpoint, sink: &Endpoint, drain: &str) -> Gateway {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("all", |rule: Rule| rule.to(sink, "/hook"))
        .set("drain", drain)
}

fn signal(process: &Process, name: &str) {
    let kill = format!("kill -{name} {}", process.pid());
    assert!(Command::new("sh").arg("-c").arg(kill).status().unwrap().success());
}

fn message() -> Message {
    Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'"))
        .sign(pki::partner())
        .encrypt(pki::station())
}

fn send(gateway: &Running, status: u16) {
    let message = message().build();
    let reply = gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    assert_eq!(reply.status, status);
}
