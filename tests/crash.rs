//! `kill -9` at any moment: every message that the receiver got whole is delivered after a restart, with
//! the same `webhook-id` where it was delivered before (section 5 of the design, "The promise").

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

#[path = "crash/long.rs"]
mod long;
#[path = "crash/witness.rs"]
mod witness;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Response, Running,
    gateway::wait_until,
    load::{Load, Sender, Template},
    pki, receiver, sink,
};

/// Sent over all kills together.
const MESSAGES: usize = 1000;

/// Connections that send at once.
const SENDERS: usize = 4;

const SOON: Duration = Duration::from_secs(120);

#[test]
#[expect(clippy::print_stderr, reason = "how much was tried differs from run to run")]
fn every_message_that_the_receiver_got_whole_is_delivered_after_kill_9() {
    let receiver = receiver().start();
    let sink = sink().start();
    let mut gateway = gateway(&receiver, &sink);
    let messages = Arc::new(Mailbag::new(MESSAGES));
    let senders = messages.send_all(gateway.inbound().address());
    let mut kills = 0;
    while messages.left() > 0 {
        // Somewhere between two and sixty messages later.
        let until = messages.sent() + 2 + fastrand::usize(..58);
        messages.wait_for_sent(until.min(MESSAGES));
        gateway.kill9();
        kills += 1;
        gateway.restart().unwrap();
    }
    for sender in senders {
        sender.join().unwrap();
    }
    let whole = whole(&receiver);
    let delivered = deliveries_of(&sink, &whole);
    eprintln!(
        "{MESSAGES} messages, {kills} kills: {} got through whole, all delivered, {} more than once",
        whole.len(),
        delivered.values().filter(|(_, times)| *times > 1).count(),
    );
    assert!(whole.len() > MESSAGES / 2, "the kills left hardly any message whole");
    for (message, (ids, _)) in &delivered {
        assert_eq!(ids.len(), 1, "{message} was delivered under several webhook-ids: {ids:?}");
    }
}

#[test]
fn exchange_without_a_response_is_reported_as_outcome_unknown() {
    let receiver = receiver().respond(Response::silence()).start();
    let sink = sink().start();
    let mut gateway = gateway(&receiver, &sink);
    let message = message().build();
    let inbound = gateway.inbound();
    let waiting = thread::spawn(move || inbound.send(&Post::message("/as2", &message)).is_err());
    receiver.wait_for(1, SOON).unwrap();
    assert!(sink.requests().is_empty());
    gateway.kill9();
    assert!(waiting.join().unwrap(), "no response came");
    gateway.restart().unwrap();
    let delivered = &sink.wait_for(1, SOON).unwrap()[0];
    assert_eq!(delivered.header("X-AS2-Event"), Some("message.received"));
    let error = delivered.header("X-Processing-Error").unwrap();
    assert!(error.starts_with("1500: "), "{error}");
}

#[test]
fn pending_delivery_is_made_after_a_restart() {
    let receiver = receiver().start();
    let sink = sink().start();
    sink.stop();
    let mut gateway = gateway(&receiver, &sink);
    let template = Template::new("/as2", &message().build());
    let load = Load { total: 50, ..Load::at_full_speed(SENDERS, Duration::MAX) };
    let sent = load.run(gateway.inbound().address(), |number, out| template.write(number, out));
    assert!(sent.all.iter().all(|sample| sample.status == Some(200)));
    gateway.kill9();
    sink.resume();
    gateway.restart().unwrap();
    let delivered = deliveries_of(&sink, &whole(&receiver));
    assert_eq!(delivered.len(), 50);
}

#[test]
fn sigterm_ends_an_idle_gateway_at_once_and_a_busy_one_when_it_is_done() {
    let receiver = receiver().start();
    let sink = sink().start();
    let mut gateway = prepared(&receiver, &sink).set("drain", "10m").start().unwrap();
    // What is under way would have its ten minutes.
    let status = gateway.sigterm(Duration::from_secs(20)).unwrap();
    assert!(status.expect("an idle gateway ends at once").success());
    gateway.restart().unwrap();
    receiver.next([Response::ok().delay(Duration::from_millis(1500))]);
    let message = message().build();
    let inbound = gateway.inbound();
    let waiting = thread::spawn(move || inbound.send(&Post::message("/as2", &message)));
    receiver.wait_for(1, SOON).unwrap();
    let status = gateway.sigterm(SOON).unwrap();
    assert!(status.expect("it ends when it is done").success());
    assert_eq!(waiting.join().unwrap().unwrap().status, 200);
    gateway.restart().unwrap();
    sink.wait_for(1, SOON).unwrap();
}

fn gateway(receiver: &Endpoint, sink: &Endpoint) -> Running {
    prepared(receiver, sink).start().unwrap()
}

fn prepared(receiver: &Endpoint, sink: &Endpoint) -> Gateway {
    // To the end of any test: what is out of retries is dead.
    let retry = format!("[100ms, 1s{}]", ", 5s".repeat(60));
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("all", |rule| rule.to(sink, "/hook").payload("json").set("retry", &retry))
}

fn message() -> Message {
    Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'"))
        .sign(pki::partner())
        .encrypt(pki::station())
}

/// The Message-IDs of the requests that the receiver got to their end.
fn whole(receiver: &Endpoint) -> BTreeSet<String> {
    let requests = receiver.requests();
    let whole = requests.iter().filter(|request| request.complete);
    whole.map(|request| request.header("Message-ID").unwrap().to_owned()).collect()
}

/// Waits until the sink got all of these: their webhook-ids, and how often.
fn deliveries_of(
    sink: &Endpoint,
    messages: &BTreeSet<String>,
) -> BTreeMap<String, (BTreeSet<String>, usize)> {
    let mut delivered = BTreeMap::<String, (BTreeSet<String>, usize)>::new();
    let all = wait_until(SOON, || {
        delivered.clear();
        for request in sink.requests().iter().filter(|request| request.complete) {
            let message = request.header("Message-ID").unwrap().to_owned();
            let (ids, times) = delivered.entry(message).or_default();
            ids.insert(request.header("webhook-id").unwrap().to_owned());
            *times += 1;
        }
        messages.iter().all(|message| delivered.contains_key(message))
    });
    let lost: Vec<_> =
        messages.iter().filter(|message| !delivered.contains_key(*message)).collect();
    assert!(all, "{} messages were never delivered: {lost:?}", lost.len());
    delivered
}

/// Messages that differ in their Message-ID alone, each sent once.
struct Mailbag {
    message: Template,
    total: usize,
    next: AtomicUsize,
    sent: Mutex<usize>,
}

impl Mailbag {
    fn new(total: usize) -> Self {
        let message = Template::new("/as2", &message().build());
        Self { message, total, next: AtomicUsize::new(0), sent: Mutex::new(0) }
    }

    fn left(&self) -> usize {
        self.total - self.sent()
    }

    fn sent(&self) -> usize {
        *self.sent.lock().unwrap()
    }

    fn wait_for_sent(&self, count: usize) {
        let reached = wait_until(SOON, || self.sent() >= count);
        assert!(reached, "the senders are stuck at {} of {count}", self.sent());
    }

    fn send_all(self: &Arc<Self>, inbound: SocketAddr) -> Vec<thread::JoinHandle<()>> {
        let sender = |_| {
            let (bag, mut sender) = (self.clone(), Sender::new(inbound));
            thread::spawn(move || {
                loop {
                    let number = bag.next.fetch_add(1, Ordering::Relaxed);
                    if number >= bag.total {
                        return;
                    }
                    let mut message = Vec::new();
                    bag.message.write(number, &mut message);
                    // While the gateway is dead there is nothing to be lost: wait for the next.
                    if wait_until(SOON, || sender.connect()) {
                        // A message cut off by a kill is not sent again.
                        let _ = sender.send(&message);
                        sender.hang_up();
                    }
                    *bag.sent.lock().unwrap() += 1;
                }
            })
        };
        (0..SENDERS).map(sender).collect()
    }
}
