//! `order: partner`: notifications come in the order in which the messages were recorded, whatever happens to
//! the store meanwhile and whichever gateway they came through.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::time::Duration;

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Postgres, Response, Running, faults::BadDisk,
    gateway::wait_until, receiver, sink,
};

const SOON: Duration = Duration::from_secs(120);

fn gateway(receiver: &Endpoint, hook: &Endpoint) -> Gateway {
    let retry = format!("[{}]", ["200ms"; 100].join(", "));
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .rule("orders", |rule| rule.to(hook, "/hook").set("order", "partner").set("retry", &retry))
}

/// Sends one message, and gives back when its response has come.
fn send(gateway: &Running, number: usize) {
    let message = Message::new("ACME", "MY-OWN-ORG")
        .id(&format!("<{number}@acme>"))
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .build();
    let reply = gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    assert_eq!(reply.status, 200);
}

/// Waits for the notifications of so many messages, and asserts that they came in their order.
fn assert_in_order(hook: &Endpoint, count: usize, log: impl Fn() -> String) {
    let delivered = || -> Vec<usize> {
        let mut numbers = Vec::new();
        for request in hook.requests() {
            let id = request.header("Message-ID").unwrap().to_owned();
            let number = id.trim_matches(['<', '>']).split('@').next().unwrap().parse().unwrap();
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        numbers
    };
    assert!(wait_until(SOON, || delivered().len() == count), "{:?} {}", delivered(), log());
    assert_eq!(delivered(), (0..count).collect::<Vec<_>>(), "{}", log());
}

/// What was recorded in memory is written in its order however often a write fails, and nothing newer overtakes
/// it.
#[test]
fn messages_held_while_the_disk_is_full_are_reported_in_their_order() {
    let (receiver, hook) = (receiver().start(), sink().start());
    let gateway = gateway(&receiver, &hook).set("on_store_failure", "pass");
    let mut gateway = gateway.prepare().unwrap();
    let disk = BadDisk::under(&mut gateway).unwrap();
    gateway.start().unwrap();
    let mut number = 0;
    for _ in 0..2 {
        for is_full in [false, true, false] {
            if is_full {
                disk.fill(0);
            }
            for _ in 0..8 {
                send(&gateway, number);
                number += 1;
            }
            if is_full {
                let held = || gateway.readiness().is_some_and(|(_, it)| it.contains("in memory"));
                assert!(wait_until(SOON, held), "{}", gateway.log());
                // Time for several attempts to write the first of them.
                std::thread::sleep(Duration::from_secs(3));
                disk.mend();
            }
        }
    }
    assert_in_order(&hook, number, || gateway.log());
}

#[test]
fn messages_of_one_partner_through_several_gateways_are_reported_in_their_order() {
    let (receiver, hook) = (receiver().start(), sink().start());
    let (database, keys) = (Postgres::shared(), tempfile::tempdir().unwrap());
    let key = keys.path().join("secret.key");
    let start = || {
        let gateway = gateway(&receiver, &hook).set("store", &format!("{:?}", database.url()));
        gateway
            .set("payloads", "store")
            .set("secret_key_file", &format!("{key:?}"))
            .start()
            .unwrap()
    };
    let gateways = [start(), start(), start()];
    let count = 200;
    for number in 0..count {
        send(&gateways[number % gateways.len()], number);
    }
    assert_in_order(&hook, count, || gateways[0].log());
}

/// A message whose verdict comes late keeps its place: what was recorded behind it waits.
#[test]
fn later_messages_of_another_gateway_wait_for_one_without_a_response_yet() {
    let (receiver, hook) = (receiver().start(), sink().start());
    let (database, keys) = (Postgres::shared(), tempfile::tempdir().unwrap());
    let key = keys.path().join("secret.key");
    let start = || {
        let gateway = gateway(&receiver, &hook).set("store", &format!("{:?}", database.url()));
        gateway
            .set("payloads", "store")
            .set("secret_key_file", &format!("{key:?}"))
            .start()
            .unwrap()
    };
    let (one, other) = (start(), start());
    receiver.next([Response::ok().delay(Duration::from_secs(5))]);
    std::thread::scope(|scope| {
        scope.spawn(|| send(&one, 0));
        receiver.wait_until(1, SOON, |request| request.complete).unwrap();
        send(&other, 1);
        send(&other, 2);
    });
    assert_in_order(&hook, 3, || other.log());
}
