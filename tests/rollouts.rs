//! Gateways with different configurations on one store, as there are during a roll-out: the newest one decides
//! what becomes of deliveries, whichever process writes last.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Postgres, Response, Running, gateway::Rule,
    gateway::wait_until, pki, receiver, sink,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(120);

/// A store, with an AS2 server in front of which gateways are rolled out.
struct Site {
    folder: tempfile::TempDir,
    database: Option<Postgres>,
    receiver: Endpoint,
    sent: Cell<usize>,
}

// === impl Site ===

impl Site {
    fn on_sqlite() -> Self {
        let (folder, receiver) = (tempfile::tempdir().unwrap(), receiver().start());
        Self { folder, database: None, receiver, sent: Cell::new(0) }
    }

    fn on_postgres() -> Self {
        Self { database: Some(Postgres::shared()), ..Self::on_sqlite() }
    }

    fn gateway(&self) -> Gateway {
        let folder = self.folder.path().display();
        let store = match &self.database {
            Some(database) => database.url(),
            None => format!("sqlite:{folder}/as2hook.db"),
        };
        let payloads = match &self.database {
            Some(_) => "store".to_owned(),
            None => format!("\"{folder}/payloads\""),
        };
        Gateway::new()
            .binary(env!("CARGO_BIN_EXE_as2hook"))
            .receiver(&self.receiver)
            .set("store", &format!("{store:?}"))
            .set("payloads", &payloads)
            .set("secret_key_file", &format!("\"{folder}/secret.key\""))
    }

    /// One whose only rule is this.
    fn with(&self, rule: &Rule) -> Running {
        self.gateway().rule("orders", |_| rule.clone()).start().unwrap()
    }

    /// Sends so many messages, each with an id of its own.
    fn send(&self, gateway: &Running, count: usize) {
        for _ in 0..count {
            let number = self.sent.replace(self.sent.get() + 1);
            let message = Message::new("ACME", "MY-OWN-ORG")
                .id(&format!("<{number}@acme>"))
                .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
                .build();
            let reply = gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
            assert_eq!(reply.status, 200);
        }
    }
}

fn rule(hook: &Endpoint) -> Rule {
    Rule::new("orders").to(hook, "/hook").set("retry", "[100ms, 1h]")
}

fn status(gateway: &Running) -> Value {
    gateway.call("GET", "/admin/status", "").unwrap().json()
}

fn queue(gateway: &Running, state: &str) -> u64 {
    gateway.figure(&format!("as2hook_queue{{state=\"{state}\"}}"))
}

fn wait_for_state(gateway: &Running, state: &str, count: u64) {
    let so = || queue(gateway, state) == count;
    assert!(
        wait_until(SOON, so),
        "{count} {state}, not {}: {}",
        queue(gateway, state),
        gateway.log()
    );
}

/// Waits until the gateway knows that another one has a newer configuration.
fn wait_until_outdated(gateway: &Running) {
    assert!(wait_until(SOON, || status(gateway)["outdated"] == true), "{}", status(gateway));
    assert!(gateway.log().contains("has a newer configuration"), "{}", gateway.log());
}

/// Waits until the endpoint has got so many notifications with ids of their own.
fn wait_for_delivered(hook: &Endpoint, count: usize, gateway: &Running) {
    let ids = || -> BTreeSet<_> {
        let delivered = hook.requests();
        delivered
            .iter()
            .map(|delivered| delivered.header("webhook-id").unwrap().to_owned())
            .collect()
    };
    let log = || format!("{}\n{}", status(gateway), gateway.log());
    assert!(wait_until(SOON, || ids().len() == count), "{} of {count}: {}", ids().len(), log());
    let nothing_left = || queue(gateway, "held") + queue(gateway, "pending") == 0;
    assert!(wait_until(SOON, nothing_left), "{}", log());
}

fn gone_then_replaced_one_by_one(site: &Site) {
    let (gone, there) = (sink().respond(Response::status(410)).start(), sink().start());
    let (mut one, mut other) = (site.with(&rule(&gone)), site.with(&rule(&gone)));
    site.send(&one, 3);
    wait_for_state(&one, "held", 3);
    let new = site.with(&rule(&there));
    wait_for_delivered(&there, 3, &new);
    // The old ones serve on for a while, and end last.
    for (old, all) in [(&mut one, 5), (&mut other, 7)] {
        wait_until_outdated(old);
        site.send(old, 2);
        wait_for_delivered(&there, all, &new);
        old.sigterm(SOON).unwrap().unwrap();
    }
    site.send(&new, 1);
    wait_for_delivered(&there, 8, &new);
    assert_eq!(status(&new)["out_of_service"], json!([]));
}

#[test]
fn backlog_of_gone_url_is_delivered_when_gateways_are_replaced_one_by_one_on_sqlite() {
    gone_then_replaced_one_by_one(&Site::on_sqlite());
}

#[test]
fn backlog_of_gone_url_is_delivered_when_gateways_are_replaced_one_by_one_on_postgres() {
    gone_then_replaced_one_by_one(&Site::on_postgres());
}

fn switched_on_beside_a_stray_process(site: &Site) {
    let hook = sink().start();
    let stray = site.with(&rule(&hook).set("enabled", "false"));
    // A rule that is switched off matches nothing: what it holds came before.
    let on = site.with(&rule(&hook));
    hook.stop();
    site.send(&on, 3);
    wait_for_state(&on, "pending", 3);
    drop(on);
    let off = site.with(&rule(&hook).set("enabled", "false").set("payload", "json"));
    wait_for_state(&off, "held", 3);
    let said = status(&off);
    assert_eq!(said["store"]["held"], 3, "{said}");
    assert_eq!(said["out_of_service"][0]["webhook"], "orders");
    let reason = said["out_of_service"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("enabled: false"), "{reason}");
    let (ready, text) = off.readiness().unwrap();
    assert!(ready == 200 && text.starts_with("ready\n3 deliveries are held"), "{text}");
    drop(off);
    hook.resume();
    let on = site.with(&rule(&hook).set("payload", "json"));
    wait_until_outdated(&stray);
    site.send(&stray, 1);
    site.send(&on, 1);
    wait_for_delivered(&hook, 4, &on);
    drop(on);
    // The former content again: newer than whatever came between.
    let back = site.with(&rule(&hook));
    site.send(&back, 1);
    wait_for_delivered(&hook, 5, &back);
    assert_eq!(status(&back)["outdated"], false);
}

#[test]
fn rule_switched_on_delivers_its_backlog_beside_a_stray_old_process_on_sqlite() {
    switched_on_beside_a_stray_process(&Site::on_sqlite());
}

#[test]
fn rule_switched_on_delivers_its_backlog_beside_a_stray_old_process_on_postgres() {
    switched_on_beside_a_stray_process(&Site::on_postgres());
}

fn rolled_back_beside_the_newer(site: &Site) {
    let hook = sink().start();
    let mut first = site.with(&rule(&hook));
    hook.stop();
    site.send(&first, 2);
    wait_for_state(&first, "pending", 2);
    let off = site.with(&rule(&hook).set("enabled", "false"));
    wait_for_state(&off, "held", 2);
    first.kill9();
    hook.resume();
    let back = site.with(&rule(&hook));
    wait_for_delivered(&hook, 2, &back);
    wait_until_outdated(&off);
    site.send(&back, 1);
    wait_for_delivered(&hook, 3, &back);
}

#[test]
fn rollback_to_the_former_content_decides_again_on_sqlite() {
    rolled_back_beside_the_newer(&Site::on_sqlite());
}

#[test]
fn rollback_to_the_former_content_decides_again_on_postgres() {
    rolled_back_beside_the_newer(&Site::on_postgres());
}

#[test]
fn older_configuration_decides_again_when_the_newer_one_has_terminated() {
    let (site, hook) = (Site::on_postgres(), sink().start());
    let old = site.with(&rule(&hook));
    hook.stop();
    site.send(&old, 2);
    let mut new = site.with(&rule(&hook).set("enabled", "false"));
    wait_for_state(&old, "held", 2);
    wait_until_outdated(&old);
    hook.resume();
    new.sigterm(SOON).unwrap().unwrap();
    wait_for_delivered(&hook, 2, &old);
    assert!(old.wait_for_log("This gateway has the newest configuration", SOON));
}

#[test]
fn upgrade_with_a_config_at_another_path_delivers_what_was_held() {
    let site = Site::on_sqlite();
    let (gone, there) = (sink().respond(Response::status(410)).start(), sink().start());
    let mut gateway = site.with(&rule(&gone));
    site.send(&gateway, 2);
    wait_for_state(&gateway, "held", 2);
    let folder = tempfile::tempdir().unwrap();
    for file in ["as2hook.yaml", "webhooks.yaml"] {
        let text = std::fs::read_to_string(gateway.folder().join(file)).unwrap();
        let text = text.replace(&gone.url("/hook"), &there.url("/hook"));
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let other = folder.path().join("as2hook.yaml");
    let script =
        format!("binary=$1; shift 4; exec \"$binary\" run -c '{}' \"$@\"", other.display());
    gateway.set_wrapper(&["sh", "-c", &script, "sh"]);
    let old = gateway.upgrade().unwrap();
    wait_for_delivered(&there, 2, &gateway);
    drop(old);
    site.send(&gateway, 1);
    wait_for_delivered(&there, 3, &gateway);
}

fn configured_where_the_partner_is_known(site: &Site) {
    let hook = sink().start();
    let api = |gateway: Gateway| {
        let digest = openssl::sha::sha256(b"test-token");
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let token = format!(
            "{{ name: tests, sha256: \"{digest}\", scopes: [read, write, admin], site: main }}"
        );
        gateway.set("api", &format!("{{ tokens: [{token}], allow_networks: [\"127.0.0.0/8\"] }}"))
    };
    let knows = api(site.gateway().partner("ACME", pki::partner())).start().unwrap();
    let configure = |hook: &Endpoint| {
        let url = hook.url("/api");
        let body = json!({"partner_id": 123, "webhook_url": url, "webhook_enabled": true});
        let response = knows.call("POST", "/api/v1/webhooks/configure", &body.to_string()).unwrap();
        assert_eq!(response.status, 200, "{}", response.text());
    };
    configure(&hook);
    hook.stop();
    site.send(&knows, 2);
    wait_for_state(&knows, "pending", 2);
    let mut knows_not = api(site.gateway()).start().unwrap();
    for gateway in [&knows_not, &knows] {
        assert!(wait_until(SOON, || status(gateway)["drift"] == true), "{}", status(gateway));
    }
    site.send(&knows, 1);
    // It asks the store every second what is due.
    let orphaned = || queue(&knows_not, "orphaned") > 0;
    assert!(!wait_until(Duration::from_secs(8), orphaned), "{}", knows_not.log());
    wait_for_state(&knows, "pending", 3);
    knows_not.sigterm(SOON).unwrap().unwrap();
    assert!(wait_until(SOON, || status(&knows)["outdated"] == false), "{}", status(&knows));
    // Another URL has its own schedule.
    let there = sink().start();
    configure(&there);
    wait_for_delivered(&there, 3, &knows);
}

#[test]
fn webhook_of_a_partner_that_another_gateway_does_not_know_is_delivered_on_sqlite() {
    configured_where_the_partner_is_known(&Site::on_sqlite());
}

#[test]
fn webhook_of_a_partner_that_another_gateway_does_not_know_is_delivered_on_postgres() {
    configured_where_the_partner_is_known(&Site::on_postgres());
}

#[test]
fn gateways_whose_partners_or_stations_differ_are_at_odds() {
    let (site, hook) = (Site::on_sqlite(), sink().start());
    let one = site.with(&rule(&hook));
    let seen = || status(&one)["drift"] == true;
    let differ: [&dyn Fn(Gateway) -> Gateway; 3] = [
        &|it| it.partner("ACME", pki::partner()),
        &|it| it.partner_with("ACME", |acme| acme.set("type", "Test")),
        &|it| it.station("MY-OWN-ORG", pki::station()),
    ];
    for make in differ {
        let other = make(site.gateway().rule("orders", |_| rule(&hook)));
        let mut other = other.start().unwrap();
        assert!(wait_until(SOON, seen), "{}", status(&one));
        other.sigterm(SOON).unwrap().unwrap();
        assert!(wait_until(SOON, || !seen()), "{}", status(&one));
    }
}

fn paused_url_replaced(site: &Site) {
    let busy = Response::status(429).header("Retry-After", "3600");
    let (busy, there) = (sink().respond(busy).start(), sink().start());
    let mut old = site.with(&rule(&busy));
    site.send(&old, 2);
    let paused = || {
        let all = old.call("GET", "/admin/webhooks", "").unwrap().json();
        all["data"][0]["state"]["paused_until"].is_string()
    };
    assert!(wait_until(SOON, paused), "{}", old.log());
    let new = site.with(&rule(&there));
    old.sigterm(SOON).unwrap().unwrap();
    wait_for_delivered(&there, 2, &new);
}

#[test]
fn retry_after_of_a_former_url_delays_nothing_on_sqlite() {
    paused_url_replaced(&Site::on_sqlite());
}

#[test]
fn retry_after_of_a_former_url_delays_nothing_on_postgres() {
    paused_url_replaced(&Site::on_postgres());
}
