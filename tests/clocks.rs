//! A machine's clock that is set while the gateway runs: nothing is removed or reported for it, and no
//! retry waits for it.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{path::Path, sync::Arc, time::Duration};

use as2hook_testing::{
    Clock, Digest, Endpoint, Gateway, Message, Part, Post, Postgres, Receipt, Request, Response,
    Running, faults::execute, pki, receiver, sink, wait_until,
};

/// Retention looks every ten seconds.
const SOON: Duration = Duration::from_secs(120);

/// Longer than a lease.
const LATER: Duration = Duration::from_secs(200);

fn order(partner: &str) -> Message {
    Message::new(partner, "MY-OWN-ORG").attach(Part::text(
        "order.edi",
        "application/edifact",
        "UNA:+.? '",
    ))
}

fn asynchronous() -> Receipt {
    Receipt::SignedAsync(Digest::Sha256, "http://127.0.0.1:9/mdn".to_owned())
}

fn receive(gateway: &Running, partner: &str) {
    let message = order(partner).build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
}

fn count(gateway: &Running, path: &str) -> usize {
    let all = gateway.call("GET", path, "").unwrap().json();
    all["data"].as_array().unwrap().len()
}

fn dead(gateway: &Running) -> usize {
    count(gateway, "/admin/deliveries?limit=100&status=dead")
}

/// Waits until the one delivery was attempted and is planned anew.
fn wait_for_attempt(gateway: &Running) {
    let attempted = || {
        let all = gateway.call("GET", "/admin/deliveries?limit=1&status=pending", "").unwrap();
        all.json()["data"][0]["attempts"].as_u64().is_some_and(|attempts| attempts > 0)
    };
    assert!(wait_until(SOON, attempted), "{}", gateway.log());
}

fn events(endpoint: &Endpoint, event: &str) -> Vec<Arc<Request>> {
    let mut requests = endpoint.requests();
    requests.retain(|request| request.header("X-AS2-Event") == Some(event));
    requests
}

/// A gateway whose webhook fails, with a retry every few seconds.
fn failing(hook: &Endpoint, receiver: &Endpoint) -> Gateway {
    hook.respond(Response::status(500));
    let retry = format!("[{}]", ["3s"; 99].join(", "));
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .rule("erp", |rule| rule.to(hook, "/hook").set("retry", &retry))
}

/// A gateway with a dead delivery, and a message whose asynchronous MDN does not come.
struct Kept {
    gateway: Running,
    hook: Endpoint,
    _others: [Endpoint; 2],
}

// === impl Kept ===

impl Kept {
    fn new(clock: &Clock) -> Self {
        let (receiver, partner, hook) = (receiver().start(), receiver().start(), sink().start());
        hook.script(|head| Response::status(if head.word(1) == "/bad" { 500 } else { 200 }));
        let gateway = Gateway::new()
            .binary(env!("CARGO_BIN_EXE_as2hook"))
            .clock(clock)
            .receiver(&receiver)
            .outbound()
            .station("MY-OWN-ORG", pki::station())
            .partner_with("ACME", |acme| {
                acme.url(&partner.url("/as2")).certificate(Path::new("keys/acme.crt"))
            })
            .partner("OTHER", pki::partner())
            .set("retention", "{ count: 5 }")
            .rule("good", |rule| rule.to(&hook, "/good").set("partner", "GOOD"))
            .rule("bad", |rule| rule.to(&hook, "/bad").set("partner", "BAD").set("retry", "[]"))
            .rule("mdn", |rule| rule.to(&hook, "/mdn").events(&["mdn.overdue", "message.sent"]))
            .start()
            .unwrap();
        let sent = Message::new("MY-OWN-ORG", "ACME").attach(Part::text("a", "text/plain", "a"));
        let sent = sent.receipt(asynchronous()).build();
        assert_eq!(gateway.outbound().send(&Post::message("/", &sent)).unwrap().status, 200);
        receive(&gateway, "BAD");
        let is_there = || dead(&gateway) == 1 && !events(&hook, "message.sent").is_empty();
        assert!(wait_until(SOON, is_there), "{}", gateway.log());
        Self { gateway, hook, _others: [receiver, partner] }
    }

    /// Both are there, and are so once retention has looked.
    fn is_kept(&self) {
        let (status, text) = self.gateway.readiness().unwrap();
        assert_eq!(status, 200, "{text}");
        assert!(text.contains("clock"), "{text}");
        // Retention goes on by number: it has looked at all else once fewer are left.
        (0..20).for_each(|_| receive(&self.gateway, "GOOD"));
        let trimmed = || count(&self.gateway, "/admin/events?limit=100") < 15;
        assert!(wait_until(SOON, trimmed), "{}", self.gateway.log());
        assert_eq!(dead(&self.gateway), 1);
        assert!(events(&self.hook, "mdn.overdue").is_empty());
    }
}

#[test]
fn clock_a_month_ahead_for_a_moment_removes_no_dead_delivery_and_reports_no_mdn_overdue() {
    let clock = Clock::new().unwrap();
    let kept = Kept::new(&clock);
    clock.set("+31d").unwrap();
    let jumped = kept.gateway.wait_for_log("The machine's clock jumped", SOON);
    assert!(jumped, "{}", kept.gateway.log());
    kept.is_kept();
    clock.set("+0").unwrap();
    assert!(kept.gateway.wait_for_log("clock has returned", SOON), "{}", kept.gateway.log());
    assert_eq!(kept.gateway.readiness().unwrap().1.trim(), "ready");
    assert_eq!(dead(&kept.gateway), 1);
    assert!(events(&kept.hook, "mdn.overdue").is_empty());
}

#[test]
fn start_with_a_clock_a_month_ahead_removes_no_dead_delivery_and_reports_no_mdn_overdue() {
    let clock = Clock::new().unwrap();
    let mut kept = Kept::new(&clock);
    kept.gateway.kill9();
    clock.set("+31d").unwrap();
    kept.gateway.start().unwrap();
    let doubted = kept.gateway.wait_for_log("and the newest record of the store is of", SOON);
    assert!(doubted, "{}", kept.gateway.log());
    kept.is_kept();
}

#[test]
fn retry_is_made_in_its_time_after_the_clock_went_back_an_hour() {
    let (clock, receiver, hook) = (Clock::new().unwrap(), receiver().start(), sink().start());
    let gateway = failing(&hook, &receiver).clock(&clock).start().unwrap();
    receive(&gateway, "ACME");
    wait_for_attempt(&gateway);
    clock.set("-1h").unwrap();
    let before = hook.requests().len();
    hook.wait_for(before + 3, SOON).unwrap();
}

#[test]
fn retry_planned_by_a_clock_a_day_ahead_is_made_after_a_restart_with_the_right_one() {
    let (clock, receiver, hook) = (Clock::new().unwrap(), receiver().start(), sink().start());
    clock.set("+1d").unwrap();
    let mut gateway = failing(&hook, &receiver).clock(&clock).start().unwrap();
    receive(&gateway, "ACME");
    wait_for_attempt(&gateway);
    gateway.kill9();
    let before = hook.requests().len();
    clock.set("+0").unwrap();
    gateway.start().unwrap();
    hook.wait_for(before + 2, SOON).unwrap();
    assert!(gateway.log().contains("are made due now"), "{}", gateway.log());
}

#[test]
fn delivery_of_a_gateway_whose_clock_is_a_day_ahead_is_made_by_another_in_its_time() {
    let (clock, receiver, hook) = (Clock::new().unwrap(), receiver().start(), sink().start());
    clock.set("+1d").unwrap();
    let database = Postgres::shared();
    let folder = tempfile::tempdir().unwrap();
    let on = |gateway: Gateway| {
        let key = folder.path().join("secret.key");
        let gateway = gateway.set("store", &format!("{:?}", database.url()));
        gateway.set("payloads", "store").set("secret_key_file", &format!("{key:?}"))
    };
    let mut ahead = on(failing(&hook, &receiver)).clock(&clock).start().unwrap();
    receive(&ahead, "ACME");
    wait_for_attempt(&ahead);
    ahead.kill9();
    let before = hook.requests().len();
    let _right = on(failing(&hook, &receiver)).start().unwrap();
    hook.wait_until(before + 1, LATER, |_| true).unwrap();
}

#[test]
fn overdue_mdn_that_the_store_does_not_take_holds_up_no_other() {
    let (receiver, partner, hook) = (receiver().start(), receiver().start(), sink().start());
    let partner_of =
        |id: &str, gateway: Gateway| gateway.partner_with(id, |it| it.url(&partner.url("/as2")));
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .outbound()
        .set("mdn_deadline", "2s")
        .rule("all", |rule| rule.to(&hook, "/hook").events(&["*"]));
    let gateway = partner_of("GOOD", partner_of("BAD", gateway)).start().unwrap();
    let database = gateway.folder().join("data/as2hook.db");
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON event
        WHEN NEW.kind = 'mdn.overdue' AND NEW.partner = 'BAD'
        BEGIN SELECT RAISE(ABORT, 'a record that cannot be written'); END";
    execute(&database, refuse);
    let send = |partner: &str| {
        let message =
            Message::new("MY-OWN-ORG", partner).attach(Part::text("a", "text/plain", "a"));
        let message = message.receipt(asynchronous()).build();
        assert_eq!(gateway.outbound().send(&Post::message("/", &message)).unwrap().status, 200);
    };
    // More than are looked at in one go.
    (0..205).for_each(|_| send("BAD"));
    send("GOOD");
    assert!(wait_until(SOON, || events(&hook, "mdn.overdue").len() == 1), "{}", gateway.log());
    // Those that could not be written wait for a store that takes them.
    execute(&database, "DROP TRIGGER refuse");
    assert!(wait_until(SOON, || events(&hook, "mdn.overdue").len() == 206), "{}", gateway.log());
}
