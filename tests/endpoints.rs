//! Webhook endpoints that are down, slow or wrong: the right thing each time, and nothing lost
//! (section 5 of the design, and "A webhook's life" in section 3).

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Request, Response, Running,
    gateway::{Rule, wait_until},
    pki, receiver, sink,
};

const SOON: Duration = Duration::from_secs(60);

/// A gateway with one webhook, and one message that came in.
fn gateway_for(sink: &Endpoint, rule: impl FnOnce(Rule) -> Rule) -> Running {
    let gateway = gateway(sink, rule);
    send(&gateway);
    gateway
}

fn gateway(sink: &Endpoint, rule: impl FnOnce(Rule) -> Rule) -> Running {
    // The receiver need not outlive the exchange, but must be there for it.
    let receiver = Box::leak(Box::new(receiver().start()));
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .partner("ACME", pki::partner())
        .rule("hook", |it| rule(it.to(sink, "/hook").set("retry", "[100ms, 200ms, 300ms]")))
        .start()
        .unwrap()
}

fn send(gateway: &Running) {
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
}

fn attempts(requests: &[Arc<Request>]) -> Vec<&str> {
    requests.iter().map(|request| request.header("X-AS2-Attempt").unwrap()).collect()
}

/// Every attempt has the same id and a signature made anew.
fn same_delivery(requests: &[Arc<Request>]) {
    let id = requests[0].header("webhook-id").unwrap();
    assert!(requests.iter().all(|request| request.header("webhook-id") == Some(id)));
}

#[test]
fn a_500_is_tried_again_until_it_is_taken() {
    let sink = sink().start();
    sink.next([Response::status(500), Response::status(503), Response::ok()]);
    let _gateway = gateway_for(&sink, |rule| rule);
    let requests = sink.wait_for(3, SOON).unwrap();
    assert_eq!(attempts(&requests), ["1", "2", "3"]);
    same_delivery(&requests);
}

#[test]
fn more_interim_responses_than_sixteen_are_a_failure_that_is_tried_again() {
    let sink = sink().start();
    let with = |count: usize| {
        (0..count).fold(Response::ok(), |response, _| response.interim(103, &[("Link", "</a>")]))
    };
    sink.next([with(17), with(16)]);
    let gateway = gateway_for(&sink, |rule| rule);
    let requests = sink.wait_for(2, SOON).unwrap();
    assert_eq!(attempts(&requests), ["1", "2"]);
    same_delivery(&requests);
    let delivered = || {
        let all = gateway.call("GET", "/admin/deliveries?status=delivered", "").unwrap().json();
        all["data"][0]["attempts"] == 2
    };
    assert!(wait_until(SOON, delivered));
}

#[test]
fn a_redirect_is_a_failure_and_not_followed() {
    let (sink, elsewhere) = (sink().start(), sink().start());
    let away = Response::status(302).header("Location", elsewhere.url("/stolen"));
    sink.next([away, Response::status(307).header("Location", elsewhere.url("/stolen"))]);
    let _gateway = gateway_for(&sink, |rule| rule);
    same_delivery(&sink.wait_for(3, SOON).unwrap());
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn a_410_disables_the_webhook_and_holds_what_comes_until_its_rule_changes() {
    let (sink, watcher) = (sink().start(), sink().start());
    sink.next([Response::status(410)]);
    let watched = watcher.url("/watch");
    let gateway = Gateway::new().binary(env!("CARGO_BIN_EXE_as2hook"));
    let receiver = receiver().start();
    let disabled = |rule: Rule| rule.url(&watched).payload("json").events(&["webhook.disabled"]);
    let gateway = gateway
        .receiver(&receiver)
        .rule("hook", |rule| rule.to(&sink, "/hook"))
        .rule("watch", disabled)
        .start()
        .unwrap();
    send(&gateway);
    let notice = watcher.wait_for(1, SOON).unwrap()[0].json();
    assert_eq!(notice["event"], "webhook.disabled");
    assert_eq!(notice["webhook"], "hook");
    send(&gateway);
    send(&gateway);
    // A rule that differs is a webhook put right: all three are delivered, the first one again.
    let rules = [Rule::new("hook").to(&sink, "/corrected"), disabled(Rule::new("watch"))];
    gateway.write_rules(&rules).unwrap();
    assert_eq!(gateway.reload().unwrap().status, 200);
    let requests = sink.wait_for(4, SOON).unwrap();
    let corrected = requests.iter().filter(|request| request.target() == "/corrected").count();
    assert_eq!((requests.len(), corrected), (4, 3));
}

#[test]
fn nothing_but_failures_for_as_long_as_the_rule_says_disables_the_webhook() {
    let (hook, watcher) = (sink().respond(Response::status(500)).start(), sink().start());
    let receiver = receiver().start();
    let watched = watcher.url("/watch");
    let often = format!("[{}]", vec!["100ms"; 100].join(", "));
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .rule("hook", |rule| {
            rule.to(&hook, "/hook").set("retry", &often).set("disable_after", "5s")
        })
        .rule("watch", |rule| rule.url(&watched).payload("json").events(&["webhook.disabled"]))
        .start()
        .unwrap();
    send(&gateway);
    let notice = watcher.wait_for(1, SOON).unwrap()[0].json();
    assert_eq!(notice["webhook"], "hook");
    assert_eq!(notice["reason"], "nothing but failures for 5.0 seconds");
    let is_out = || {
        let metrics = gateway.admin().get("/metrics").unwrap();
        let metrics = metrics.text();
        metrics.contains("as2hook_webhook_up{webhook=\"hook\"} 0")
            && metrics.contains("as2hook_queue{state=\"held\"} 1")
    };
    assert!(wait_until(SOON, is_out), "{}", gateway.admin().get("/metrics").unwrap().text());
    assert!(hook.requests().len() > 2, "it was tried until then");
}

#[test]
fn a_rate_is_kept() {
    let hook = sink().start();
    let receiver = receiver().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .rule("hook", |rule| rule.to(&hook, "/hook").set("rate", "5/s"))
        .start()
        .unwrap();
    let began = Instant::now();
    for _ in 0..8 {
        send(&gateway);
    }
    hook.wait_for(8, SOON).unwrap();
    // One at once, and one each 200 ms.
    assert!(began.elapsed() >= Duration::from_millis(1400), "{:?}", began.elapsed());
}

#[test]
fn retry_after_is_obeyed() {
    let sink = sink().start();
    sink.next([Response::status(429).header("Retry-After", "2"), Response::ok()]);
    let _gateway = gateway_for(&sink, |rule| rule);
    let requests = sink.wait_for(2, SOON).unwrap();
    let waited = requests[1].began - requests[0].ended;
    assert!(waited >= Duration::from_millis(1900), "{waited:?}");
}

#[test]
fn a_slow_endpoint_runs_out_of_its_time_and_is_tried_again() {
    let sink = sink().start();
    sink.next([Response::silence(), Response::ok()]);
    let _gateway = gateway_for(&sink, |rule| rule.set("timeout", "500ms"));
    let requests = sink.wait_for(2, SOON).unwrap();
    same_delivery(&requests);
    let waited = requests[1].began - requests[0].ended;
    assert!(
        waited < Duration::from_secs(14),
        "{waited:?}: it has 15 s where its rule says nothing"
    );
}

#[test]
fn half_a_response_is_none() {
    let sink = sink().start();
    sink.next([Response::ok().body("a whole body").cut(20), Response::closed(), Response::ok()]);
    let _gateway = gateway_for(&sink, |rule| rule);
    same_delivery(&sink.wait_for(3, SOON).unwrap());
}

#[test]
fn endpoint_that_is_down_gets_its_deliveries_when_it_is_back() {
    let sink = sink().start();
    sink.stop();
    let gateway =
        gateway_for(&sink, |rule| rule.set("retry", "[200ms, 200ms, 200ms, 1s, 2s, 4s, 8s]"));
    let queued = || {
        let status = gateway.call("GET", "/admin/status", "").unwrap().json();
        status["store"]["queue_depth"].as_u64() == Some(1)
    };
    assert!(wait_until(SOON, queued));
    sink.resume();
    assert_eq!(sink.wait_for(1, SOON).unwrap()[0].header("X-AS2-Event"), Some("message.received"));
}

#[test]
fn a_delivery_out_of_retries_is_dead_and_kept() {
    let sink = sink().respond(Response::status(500)).start();
    let gateway = gateway_for(&sink, |rule| rule.set("retry", "[50ms, 50ms]"));
    assert_eq!(attempts(&sink.wait_for(3, SOON).unwrap()), ["1", "2", "3"]);
    let dead = || {
        let status = gateway.call("GET", "/admin/status", "").unwrap().json();
        status["store"]["dead"].as_u64() == Some(1)
    };
    assert!(wait_until(SOON, dead));
}

#[test]
fn a_private_authority_is_trusted_where_the_rule_names_it_and_nowhere_else() {
    let trusted = sink().tls(pki::server()).start();
    let _gateway = gateway_for(&trusted, |rule| rule);
    trusted.wait_for(1, SOON).unwrap();
    let distrusted = sink().tls(pki::server()).start();
    let url = distrusted.url("/hook").replace("127.0.0.1", "localhost");
    let receiver = receiver().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .rule("hook", |rule| rule.url(&url).set("retry", "[50ms]"))
        .start()
        .unwrap();
    send(&gateway);
    let dead = || {
        let status = gateway.call("GET", "/admin/status", "").unwrap().json();
        status["store"]["dead"].as_u64() == Some(1)
    };
    assert!(wait_until(SOON, dead));
    assert!(distrusted.requests().is_empty());
}

#[test]
fn a_client_certificate_is_shown_where_the_rule_has_one() {
    let sink = sink().mutual_tls(pki::server(), pki::authority()).start();
    let _gateway = gateway_for(&sink, |rule| {
        let name = pki::client().name;
        rule.set(
            "tls",
            &format!(
                "{{ ca: keys/authority.crt, client_certificate: keys/{name}.crt, \
                 client_key: keys/{name}.key }}"
            ),
        )
    });
    assert!(sink.wait_for(1, SOON).unwrap()[0].client.is_some());
}

#[test]
fn one_dead_endpoint_does_not_delay_another() {
    let (dead, alive) = (sink().respond(Response::silence()).start(), sink().start());
    let receiver = receiver().start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .rule("dead", |rule| rule.to(&dead, "/hook").always().set("timeout", "5m"))
        .rule("alive", |rule| rule.to(&alive, "/hook").always())
        .start()
        .unwrap();
    for _ in 0..40 {
        send(&gateway);
    }
    alive.wait_for(40, SOON).unwrap();
}
