//! What strangers can do in a partner's name, and what they can make the gateway keep.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use as2hook_testing::{
    Built, Endpoint, Gateway, Message, Part, Post, Postgres, Request, Response, Running, as2hook,
    pki, receiver, sink, wait_until,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(120);

/// A gateway that knows ACME's certificate and none of BOLT's, and delivers in order.
fn ordered(receiver: &Endpoint, sink: &Endpoint, keys: &[(&str, &str)]) -> Gateway {
    let retry = format!("[{}]", ["100ms"; 100].join(", "));
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner_with("ACME", |acme| acme.certificate(Path::new("keys/acme.crt")))
        .partner_with("BOLT", |bolt| bolt)
        .partner("OTHER", pki::partner())
        .rule("orders", |rule| {
            let rule = rule.to(sink, "/").payload("json").set("order", "partner");
            let rule = rule.set("retry", &retry);
            keys.iter().fold(rule, |rule, (key, yaml)| rule.set(key, yaml))
        })
}

fn message(from: &str, id: &str) -> Message {
    let part = Part::text("order.edi", "application/edifact", "UNA:+.? 'UNB+UNOC:3'");
    Message::new(from, "MY-OWN-ORG").id(id).attach(part)
}

fn signed(id: &str) -> Built {
    message("ACME", id).sign(pki::partner()).build()
}

fn post(gateway: &Running, message: &Built) {
    let status = gateway.inbound().send(&Post::message("/as2", message)).unwrap().status;
    assert_eq!(status, 200);
}

/// Responds so when this message is delivered, and with 200 else.
fn refuse(sink: &Endpoint, id: &'static str, status: u16) {
    sink.script(move |head| match head.header("Message-ID") == Some(id) {
        true => Response::status(status),
        false => Response::ok(),
    });
}

fn is(id: &'static str) -> impl Fn(&Request) -> bool {
    move |request| request.header("Message-ID") == Some(id)
}

fn count(sink: &Endpoint, id: &'static str) -> usize {
    sink.requests().iter().filter(|request| is(id)(request)).count()
}

fn deliveries(gateway: &Running, status: &str) -> Vec<Value> {
    let path = format!("/admin/deliveries?limit=100&status={status}");
    let all = gateway.call("GET", &path, "").unwrap().json();
    all["data"].as_array().unwrap().clone()
}

#[test]
fn unsigned_message_that_is_refused_does_not_hold_up_the_partners_order() {
    let (receiver, sink) = (receiver().start(), sink().start());
    refuse(&sink, "<forged>", 500);
    let gateway = ordered(&receiver, &sink, &[]).start().unwrap();
    post(&gateway, &message("ACME", "<forged>").build());
    sink.wait_until(1, SOON, is("<forged>")).unwrap();
    for id in ["<1>", "<2>"] {
        post(&gateway, &signed(id));
    }
    sink.wait_until(1, SOON, is("<2>")).unwrap();
    let at = |id: &'static str| sink.requests().iter().position(|r| is(id)(r)).unwrap();
    assert!(at("<1>") < at("<2>"), "the partner's own order is kept");
    // What is unverified keeps its own.
    post(&gateway, &message("ACME", "<forged too>").build());
    let before = count(&sink, "<forged>");
    assert!(wait_until(SOON, || count(&sink, "<forged>") > before + 2));
    assert_eq!(count(&sink, "<forged too>"), 0);
}

#[test]
fn order_of_a_partner_without_certificates_is_one() {
    let (receiver, sink) = (receiver().start(), sink().start());
    refuse(&sink, "<1>", 500);
    let gateway = ordered(&receiver, &sink, &[]).start().unwrap();
    post(&gateway, &message("BOLT", "<1>").build());
    sink.wait_until(1, SOON, is("<1>")).unwrap();
    post(&gateway, &message("BOLT", "<2>").sign(pki::partner()).build());
    assert!(wait_until(SOON, || count(&sink, "<1>") > 3));
    assert_eq!(count(&sink, "<2>"), 0);
    refuse(&sink, "<none>", 500);
    sink.wait_until(1, SOON, is("<2>")).unwrap();
}

fn a_refused_delivery_is_set_aside(in_postgres: bool) {
    for (status, is_dead) in [(422, true), (400, true), (500, false), (404, false)] {
        let (receiver, sink) = (receiver().start(), sink().start());
        refuse(&sink, "<bad>", status);
        let gateway = ordered(&receiver, &sink, &[("order_patience", "1s")]);
        let postgres = in_postgres.then(Postgres::shared);
        let gateway = match &postgres {
            Some(postgres) => gateway.set("store", &format!("{:?}", postgres.url())),
            None => gateway,
        };
        let gateway = gateway.start().unwrap();
        post(&gateway, &signed("<bad>"));
        post(&gateway, &signed("<good>"));
        // However long it takes: nothing else was taken since.
        let before_another = || count(&sink, "<bad>") > 20;
        assert!(wait_until(SOON, before_another), "{status}");
        assert_eq!((count(&sink, "<good>"), deliveries(&gateway, "dead").len()), (0, 0));
        post(&gateway, &message("OTHER", "<other>").build());
        sink.wait_until(1, SOON, is("<other>")).unwrap();
        if is_dead {
            sink.wait_until(1, SOON, is("<good>")).unwrap();
            let dead = deliveries(&gateway, "dead");
            assert_eq!(dead.len(), 1, "{status}");
            assert_eq!(dead[0]["event"]["message_id"], "<bad>", "{}", dead[0]);
        } else {
            let so_far = count(&sink, "<bad>");
            assert!(wait_until(SOON, || count(&sink, "<bad>") > so_far + 20), "{status}");
            assert_eq!((count(&sink, "<good>"), deliveries(&gateway, "dead").len()), (0, 0));
        }
    }
}

#[test]
fn refused_delivery_is_set_aside_after_order_patience_if_another_was_taken_since() {
    a_refused_delivery_is_set_aside(false);
}

#[test]
fn refused_delivery_is_set_aside_after_order_patience_in_postgresql_too() {
    a_refused_delivery_is_set_aside(true);
}

/// The database, by a copy of it.
fn database(gateway: &Running) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db").display().to_string();
    let config = gateway.config_file().display().to_string();
    let ran = as2hook(&["backup", &copy, "--config", &config]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    fs::read(copy).unwrap()
}

/// The groups of records about messages that came: those of one share a limit.
fn groups(database: &[u8]) -> BTreeSet<Vec<u8>> {
    let is_key = |key: &&[u8]| {
        key.starts_with(b"seen:") && key[5..21].iter().all(u8::is_ascii_hexdigit) && key[21] == b':'
    };
    database.windows(22).filter(is_key).map(<[u8]>::to_vec).collect()
}

#[test]
fn records_of_strangers_and_of_forgeries_are_counted_apart_from_the_partners() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = ordered(&receiver, &sink, &[]).start().unwrap();
    for (number, (message, apart)) in [
        (signed("<1>"), 1),
        (signed("<2>"), 1),
        (message("ACME", "<3>").build(), 2),
        (message("ACME", "<4>").build(), 2),
        (message("STRANGER", "<5>").build(), 3),
        (message("ANOTHER", "<6>").build(), 3),
        (message("BOLT", "<7>").build(), 4),
    ]
    .into_iter()
    .enumerate()
    {
        post(&gateway, &message);
        sink.wait_for(number + 1, SOON).unwrap();
        assert_eq!(groups(&database(&gateway)).len(), apart, "{}", message.id);
    }
}

#[test]
fn head_of_60_kb_grows_the_database_by_no_more_than_half_as_much_again() {
    const MESSAGES: u64 = 100;
    let long = |length: usize, n: u64| format!("{}{n:06}", "x\\".repeat(length / 2));
    let all_names = |n| {
        let message = message(&"N".repeat(20_000), &format!("<{}@a>", long(20_000, n)));
        message.subject(&long(20_000, n)).build()
    };
    let fields = |n| {
        let message = message("ACME", &format!("<{n}@a>"));
        (0..8).fold(message, |m, i| m.header(&format!("X-{i}"), &"v".repeat(7_400))).build()
    };
    let grown = |build: &dyn Fn(u64) -> Built| {
        let (receiver, sink) = (receiver().start(), sink().start());
        let gateway = ordered(&receiver, &sink, &[("events", "[\"*\"]")]).start().unwrap();
        post(&gateway, &signed("<first>"));
        sink.wait_for(1, SOON).unwrap();
        let size = || database(&gateway).len() as u64;
        let before = size();
        for n in 0..MESSAGES {
            let built = build(n);
            let header: usize =
                built.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!((58_000..64_000).contains(&header), "{header}");
            post(&gateway, &built);
        }
        let delivered = || deliveries(&gateway, "delivered").len() as u64;
        assert!(wait_until(SOON, || delivered() == MESSAGES.min(100)), "{}", delivered());
        (size() - before) / MESSAGES
    };
    let (names, fields) = (grown(&all_names), grown(&fields));
    // Names, ids and the Subject are cut, and stand in columns and indexes.
    assert!(names < 60_000 * 2 / 3, "{names}");
    assert!(fields < 60_000 * 3 / 2, "{fields}");
}
