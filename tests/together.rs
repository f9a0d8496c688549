//! Two gateways on one store: they know of each other, and what one does the other does too.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{path::Path, time::Duration};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Response, Running, gateway::Rule, gateway::wait_until,
    receiver, sink,
};
use serde_json::Value;

/// Less than it takes until a gateway that says nothing is taken for gone.
const SOON: Duration = Duration::from_secs(25);

fn rule(hook: &Endpoint) -> Rule {
    Rule::new("orders").to(hook, "/hook").set("retry", "[100ms]")
}

fn gateway(receiver: &Endpoint, hook: &Endpoint, store: &Path) -> Running {
    let store = store.display();
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .set("store", &format!("\"sqlite:{store}/as2hook.db\""))
        .set("payloads", &format!("\"{store}/payloads\""))
        .set("secret_key_file", &format!("\"{store}/secret.key\""))
        .rule("orders", |_| rule(hook))
        .start()
        .unwrap()
}

fn status(gateway: &Running) -> Value {
    gateway.call("GET", "/admin/status", "").unwrap().json()
}

fn standing(gateway: &Running) -> Value {
    let all = gateway.call("GET", "/admin/webhooks", "").unwrap().json();
    all["data"][0]["state"]["standing"].clone()
}

fn send(gateway: &Running) {
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
}

#[test]
fn gateways_are_listed_with_the_rules_they_have() {
    let (receiver, hook) = (receiver().start(), sink().start());
    let folder = tempfile::tempdir().unwrap();
    let one = gateway(&receiver, &hook, folder.path());
    let mut other = gateway(&receiver, &hook, folder.path());
    let both = || status(&one)["gateways"].as_array().unwrap().len() == 2;
    assert!(wait_until(SOON, both), "{}", status(&one));
    let seen = status(&one);
    assert_eq!(seen["drift"], false);
    let gateways = seen["gateways"].as_array().unwrap();
    let pids: Vec<_> = gateways.iter().map(|gateway| gateway["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids, [u64::from(one.pid().unwrap()), u64::from(other.pid().unwrap())]);
    assert_eq!(
        (&gateways[0]["self"], &gateways[1]["self"]),
        (&Value::Bool(true), &Value::Bool(false))
    );
    assert_eq!(gateways[0]["rules"], gateways[1]["rules"]);
    assert_eq!(gateways[0]["rules"].as_str().unwrap().len(), 32);

    other.write_rules(&[rule(&hook).set("secret", "another")]).unwrap();
    assert_eq!(other.reload().unwrap().status, 200);
    assert!(wait_until(SOON, || status(&one)["drift"] == true), "{}", status(&one));
    assert_eq!(status(&one)["gateways"][1]["drift"], true);
    assert!(one.wait_for_log("have other rules", SOON), "{}", one.log());
    let drift = |count: usize| {
        let metrics = one.admin().get("/metrics").unwrap();
        metrics.text().contains(&format!("as2hook_gateway_drift {count}\n"))
    };
    assert!(wait_until(SOON, || drift(1)));
    one.write_rules(&[rule(&hook).set("secret", "another")]).unwrap();
    assert_eq!(one.reload().unwrap().status, 200);
    assert!(wait_until(SOON, || drift(0) && status(&one)["drift"] == false), "{}", status(&one));
    assert!(one.wait_for_log("the same rules again", SOON));
    assert_eq!(one.log().matches("have other rules").count(), 1);

    other.sigterm(SOON).unwrap().expect("it ends");
    let alone = status(&one)["gateways"].as_array().unwrap().len() == 1;
    assert!(alone, "{}", status(&one));
}

#[test]
fn a_webhook_that_one_disables_is_disabled_in_both_and_enabled_from_either() {
    let receiver = receiver().start();
    let hook = sink().respond(Response::status(410)).start();
    let folder = tempfile::tempdir().unwrap();
    let one = gateway(&receiver, &hook, folder.path());
    let other = gateway(&receiver, &hook, folder.path());
    send(&one);
    let both =
        |wanted: &str| wait_until(SOON, || standing(&one) == wanted && standing(&other) == wanted);
    assert!(both("disabled"), "{} {}", standing(&one), standing(&other));
    hook.script(|_| Response::ok());
    hook.forget();
    send(&other);
    let enabled = other.call("POST", "/admin/webhooks/orders/enable", "").unwrap();
    assert_eq!(enabled.status, 200);
    assert!(both("healthy"), "{} {}", standing(&one), standing(&other));
    hook.wait_for(2, SOON).unwrap();
    let up = |gateway: &Running| {
        let metrics = gateway.admin().get("/metrics").unwrap();
        metrics.text().contains("as2hook_webhook_up{webhook=\"orders\"} 1")
    };
    assert!(wait_until(SOON, || up(&one) && up(&other)));
}
