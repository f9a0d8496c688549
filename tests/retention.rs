//! What was delivered is kept as long as the config says, and no longer.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{fs, time::Duration};

use as2hook_testing::{
    Gateway, Message, Part, Post, Response, Running, gateway::wait_until, receiver, sink,
};

/// It is looked for every ten seconds.
const SOON: Duration = Duration::from_secs(120);

fn events(gateway: &Running) -> usize {
    let all = gateway.call("GET", "/admin/events?limit=100", "").unwrap().json();
    all["data"].as_array().unwrap().len()
}

fn deliveries(gateway: &Running, status: &str) -> usize {
    let path = format!("/admin/deliveries?limit=100&status={status}");
    gateway.call("GET", &path, "").unwrap().json()["data"].as_array().unwrap().len()
}

#[test]
fn beyond_retention_bytes_the_oldest_go_that_were_delivered_and_dead_ones_stay() {
    let (receiver, hook) = (receiver().start(), sink().start());
    hook.script(|head| Response::status(if head.word(1) == "/bad" { 500 } else { 200 }));
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .set("retention", "{ bytes: 2MiB }")
        .rule("good", |rule| rule.to(&hook, "/good").set("partner", "GOOD"))
        .rule("bad", |rule| rule.to(&hook, "/bad").set("partner", "BAD").set("retry", "[]"))
        .start()
        .unwrap();
    let send = |partner: &str| {
        let message = Message::new(partner, "MY-OWN-ORG").attach(Part::text(
            "order.edi",
            "application/edifact",
            "UNA:+.? '",
        ));
        let large = (0..5).fold(message, |m, i| m.header(&format!("X-{i}"), &"v".repeat(8_000)));
        let message = large.build();
        assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
    };
    send("BAD");
    for _ in 0..90 {
        send("GOOD");
    }
    let delivered = || deliveries(&gateway, "delivered");
    // 40 KB each, and what there is beside them.
    assert!(wait_until(SOON, || delivered() < 50), "{}", delivered());
    assert!(delivered() > 10, "{}", delivered());
    assert_eq!(deliveries(&gateway, "dead"), 1);
}

#[test]
fn what_is_kept_is_the_configs_and_changes_with_it() {
    let (receiver, hook) = (receiver().start(), sink().start());
    hook.script(|head| Response::status(if head.word(1) == "/bad" { 500 } else { 200 }));
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .set("retention", "{ count: 5 }")
        .rule("good", |rule| rule.to(&hook, "/good").set("partner", "GOOD"))
        .rule("bad", |rule| rule.to(&hook, "/bad").set("partner", "BAD").set("retry", "[]"))
        .start()
        .unwrap();
    let send = |partner: &str| {
        let message = Message::new(partner, "MY-OWN-ORG")
            .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
            .build();
        assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
    };
    for _ in 0..3 {
        send("BAD");
    }
    for _ in 0..12 {
        send("GOOD");
    }
    // Five that were delivered, and three that no endpoint took.
    let kept = || {
        let of = |status| deliveries(&gateway, status);
        (events(&gateway), of("delivered"), of("dead"))
    };
    assert!(wait_until(SOON, || kept() == (8, 5, 3)), "{:?}", kept());

    let config = fs::read_to_string(gateway.config_file()).unwrap();
    gateway.write("as2hook.yaml", &config.replace("{ count: 5 }", "{ events: 1s }")).unwrap();
    assert_eq!(gateway.reload().unwrap().status, 200);
    assert!(wait_until(SOON, || events(&gateway) == 0), "{}", events(&gateway));
}
