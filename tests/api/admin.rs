//! `/admin` and `/metrics`.

use as2hook_testing::{
    Endpoint, Request, Response, Running, faults::execute, gateway::wait_until, sink,
};
use serde_json::{Value, json};

use super::{ALL, OTHER, READ, SOON, any_receiver, configure, gateway, get_as, post_as, send_from};

fn list(gateway: &Running, path: &str) -> Vec<Value> {
    let reply = get_as(gateway, ALL, path);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["data"].as_array().unwrap().clone()
}

fn with_rule(sink: &Endpoint) -> Running {
    gateway(any_receiver())
        .rule("orders", |rule| {
            rule.to(sink, "/hook?token=hush")
                .set("retry", "[50ms]")
                .set("secret", "very-secret")
                .set("rate", "100000/s")
                .set("disable_after", "2h")
                .set("headers", "{ Authorization: \"Bearer hush-hush\" }")
        })
        .start()
        .unwrap()
}

fn dead(gateway: &Running, wanted: usize) -> bool {
    wait_until(SOON, || list(gateway, "/admin/deliveries?status=dead&limit=500").len() == wanted)
}

#[test]
fn webhooks_are_shown_with_their_state_and_without_their_secrets() {
    let hook = sink().respond(Response::status(500)).start();
    let gateway = with_rule(&hook);
    configure(&gateway, &hook, "/partner");
    send_from(&gateway, "ACME");
    assert!(dead(&gateway, 1));
    let reply = get_as(&gateway, READ, "/admin/webhooks");
    for secret in ["very-secret", "hush", "my_secret"] {
        assert!(!reply.text().contains(secret), "{}", reply.text());
    }
    let all = reply.json()["data"].as_array().unwrap().clone();
    let names: Vec<_> = all.iter().map(|webhook| webhook["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["orders", "partner/main/123"]);
    assert_eq!(all[0]["state"]["standing"], "retrying");
    assert_eq!((&all[0]["state"]["dead"], &all[0]["source"]), (&json!(1), &json!("file")));
    assert_eq!((&all[0]["rate"], &all[0]["disable_after"]), (&json!("100000/s"), &json!(7200)));
    assert_eq!((&all[1]["rate"], &all[1]["disable_after"]), (&Value::Null, &json!(432_000)));
    assert_eq!((&all[1]["source"], &all[1]["partner"]), (&json!("api"), &json!("ACME")));
    let other = get_as(&gateway, OTHER, "/admin/webhooks").json();
    assert_eq!(other["data"], json!([]));
}

#[test]
fn a_webhook_disabled_by_410_goes_on_when_it_is_enabled() {
    let hook = sink().start();
    let gateway = with_rule(&hook);
    configure(&gateway, &hook, "/partner");
    for (name, path) in [("orders", "/hook?token=hush"), ("partner%2Fmain%2F123", "/partner")] {
        hook.script({
            let path = path.to_owned();
            move |head| Response::status(if head.word(1) == path { 410 } else { 200 })
        });
        hook.forget();
        send_from(&gateway, "ACME");
        let plain = name.replace("%2F", "/");
        let standing = || {
            let all = list(&gateway, "/admin/webhooks");
            let webhook = all.iter().find(|webhook| webhook["name"] == plain).unwrap();
            webhook["state"]["standing"].clone()
        };
        assert!(wait_until(SOON, || standing() == "disabled"), "{name}");
        hook.script(|_| Response::ok());
        let route = format!("/admin/webhooks/{name}/enable");
        assert_eq!(post_as(&gateway, READ, &route, "").status, 403);
        assert_eq!(post_as(&gateway, OTHER, &route, "").status, 404);
        hook.forget();
        let response = post_as(&gateway, ALL, &route, "");
        assert_eq!((response.status, response.json()["status"].as_str()), (200, Some("success")));
        assert!(wait_until(SOON, || hook.requests().iter().any(|r| r.target() == path)));
    }
    assert_eq!(post_as(&gateway, ALL, "/admin/webhooks/none/enable", "").status, 404);
}

#[test]
fn events_and_deliveries_are_found_and_paged() {
    let hook = sink().start();
    let gateway = with_rule(&hook);
    for (nth, partner) in ["ACME", "OTHER", "ACME", "ACME"].into_iter().enumerate() {
        send_from(&gateway, partner);
        // An event is written beside the traffic; so they are in this order.
        hook.wait_for(nth + 1, SOON).unwrap();
    }
    let done = "/admin/deliveries?status=delivered&webhook=orders";
    assert!(wait_until(SOON, || list(&gateway, done).len() == 4));
    assert_eq!(list(&gateway, "/admin/events?partner=ACME").len(), 3);
    assert_eq!(list(&gateway, "/admin/events?event=mdn.received").len(), 0);
    let first = get_as(&gateway, ALL, "/admin/events?limit=3").json();
    let cursor = first["next_cursor"].as_i64().unwrap();
    let rest = get_as(&gateway, ALL, &format!("/admin/events?limit=3&cursor={cursor}")).json();
    assert_eq!((first["data"].as_array().unwrap().len(), &rest["next_cursor"]), (3, &Value::Null));
    let one = &rest["data"][0];
    let id = one["message_id"].as_str().unwrap().replace('<', "%3C").replace('>', "%3E");
    assert_eq!(list(&gateway, &format!("/admin/deliveries?message_id={id}")).len(), 1);
    let at = one["occurred_at"].as_str().unwrap();
    assert_eq!(list(&gateway, &format!("/admin/events?from={at}")).len(), 4);
    assert_eq!(list(&gateway, &format!("/admin/events?until={at}")).len(), 0);
    assert!(get_as(&gateway, OTHER, "/admin/events").json()["data"] == json!([]));
    for wrong in ["?stauts=dead", "?status=broken", "?event=x", "?limit=0", "?cursor=x", "?from=y"]
    {
        let reply = get_as(&gateway, ALL, &format!("/admin/deliveries{wrong}"));
        assert_eq!(reply.status, 400, "{wrong}");
    }
}

#[test]
fn status_shows_a_token_of_another_site_nothing_of_this_one() {
    let hook = sink().respond(Response::status(500)).start();
    let gateway = gateway(any_receiver())
        .rule("orders", |rule| rule.to(&hook, "/hook").set("retry", "[1h]").set("site", "main"))
        .rule("gone", |rule| {
            rule.to(&hook, "/gone").set("retry", "[]").set("site", "main").always()
        })
        .rule("others", |rule| rule.to(&hook, "/other").set("retry", "[1h]").set("site", "other"))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    assert!(dead(&gateway, 1));
    // A mistake in a rule of this site.
    let rules =
        std::fs::read_to_string(gateway.config_file().with_file_name("webhooks.yaml")).unwrap();
    gateway
        .write("webhooks.yaml", &format!("{rules}  - {{ name: hidden-name, ulr: x }}\n"))
        .unwrap();
    assert_eq!(post_as(&gateway, ALL, "/admin/reload", "").status, 422);

    let own = get_as(&gateway, READ, "/admin/status").json();
    let store = &own["store"];
    assert_eq!((&store["queue_depth"], &store["dead"]), (&json!(1), &json!(1)));
    assert_eq!(own["webhooks"], 3);
    for filled in ["hash", "in_flight"] {
        assert!(!own[filled].is_null(), "{filled}: {own}");
    }
    assert!(store["oldest_undelivered"].is_string() && own["last_reload"]["error"].is_string());
    assert_eq!(own["gateways"].as_array().unwrap().len(), 1);

    let reply = get_as(&gateway, OTHER, "/admin/status");
    let other = reply.json();
    let store = &other["store"];
    assert_eq!((&store["queue_depth"], &store["dead"]), (&json!(0), &json!(0)));
    assert_eq!((&store["open_exchanges"], &other["webhooks"]), (&json!(0), &json!(1)));
    for empty in [
        &other["hash"],
        &other["in_flight"],
        &other["last_reload"]["error"],
        &store["error"],
        &store["oldest_undelivered"],
        &store["held_in_memory"],
    ] {
        assert!(empty.is_null(), "{other}");
    }
    assert_eq!((&other["gateways"], &other["drift"]), (&json!([]), &json!(false)));
    for word in ["orders", "gone", "hidden-name", "webhooks.yaml", "as2hook.db"] {
        assert!(!reply.text().contains(word), "{word}: {other}");
    }

    // What is its own it sees.
    send_from(&gateway, "BETA");
    let depth = || get_as(&gateway, OTHER, "/admin/status").json()["store"]["queue_depth"] == 1;
    assert!(wait_until(SOON, depth));
}

#[test]
fn dead_deliveries_are_made_again_one_or_all() {
    let hook = sink().respond(Response::status(500)).start();
    let gateway = with_rule(&hook);
    for _ in 0..3 {
        send_from(&gateway, "ACME");
    }
    assert!(dead(&gateway, 3));
    hook.script(|_| Response::ok());
    hook.forget();
    let ids = list(&gateway, "/admin/deliveries?status=dead");
    let one = format!("/admin/deliveries/{}/replay", ids[0]["id"]);
    assert_eq!(post_as(&gateway, OTHER, &one, "").status, 404);
    assert_eq!(post_as(&gateway, READ, &one, "").status, 403);
    assert_eq!(post_as(&gateway, ALL, &one, "").json()["replayed"], 1);
    let again = hook.wait_for(1, SOON).unwrap();
    assert_eq!(again[0].header("X-AS2-Replay"), Some("1"));
    assert_eq!(again[0].header("webhook-id"), ids[0]["webhook_id"].as_str());
    let dead = json!({"status": "dead"}).to_string();
    assert_eq!(post_as(&gateway, OTHER, "/admin/replay", &dead).json()["replayed"], 0);
    assert_eq!(post_as(&gateway, ALL, "/admin/replay", &dead).json()["replayed"], 2);
    hook.wait_for(3, SOON).unwrap();
    for wrong in ["{}", "{\"stauts\": \"dead\"}", "{\"status\": 7}", "{\"status\": \"x\"}"] {
        assert_eq!(post_as(&gateway, ALL, "/admin/replay", wrong).status, 400, "{wrong}");
    }
    assert_eq!(post_as(&gateway, ALL, "/admin/deliveries/999999/replay", "").status, 404);
}

#[test]
fn delivery_of_a_removed_rule_goes_to_another_rule() {
    let hook = sink().respond(Response::status(500)).start();
    let gateway = with_rule(&hook);
    send_from(&gateway, "ACME");
    assert!(dead(&gateway, 1));
    let new = as2hook_testing::Rule::new("new").to(&hook, "/new");
    gateway.write_rules(&[new]).unwrap();
    assert_eq!(gateway.reload().unwrap().status, 200);
    hook.script(|_| Response::ok());
    hook.forget();
    let body = json!({"webhook": "orders", "to": "new"}).to_string();
    assert_eq!(post_as(&gateway, ALL, "/admin/replay", &body).json()["replayed"], 1);
    assert_eq!(hook.wait_for(1, SOON).unwrap()[0].target(), "/new");
    assert_eq!(post_as(&gateway, ALL, "/admin/replay", &body).json()["replayed"], 0);
    let nowhere = json!({"webhook": "orders", "to": "none"}).to_string();
    assert_eq!(post_as(&gateway, ALL, "/admin/replay", &nowhere).status, 404);
}

#[test]
fn metrics_count_what_happens() {
    let hook = sink().start();
    let gateway = with_rule(&hook);
    send_from(&gateway, "ACME");
    hook.wait_for(1, SOON).unwrap();
    let counted = || {
        let text = gateway.admin().get("/metrics").unwrap().text().into_owned();
        [
            "as2hook_exchanges_total{listener=\"inbound\",result=\"2xx\"} 1",
            "as2hook_events_total{event=\"message.received\"} 1",
            "as2hook_deliveries_total{webhook=\"orders\",result=\"delivered\"} 1",
            "as2hook_delivery_latency_seconds_count 1",
            "as2hook_queue{state=\"delivered\"} 1",
            "as2hook_store_up 1",
        ]
        .iter()
        .all(|line| text.lines().any(|l| l == *line))
    };
    assert!(wait_until(SOON, counted), "{}", gateway.admin().get("/metrics").unwrap().text());
    let text = gateway.admin().get("/metrics").unwrap().text().into_owned();
    for name in
        ["as2hook_certificate_expiry_seconds{owner=\"ACME\"", "as2hook_memory_resident_bytes"]
    {
        assert!(text.contains(name), "{name} in {text}");
    }
    gateway.reload().unwrap();
    let text = gateway.admin().get("/metrics").unwrap().text().into_owned();
    assert!(text.contains("as2hook_reloads_total{result=\"ok\"} 1"), "{text}");
}

#[test]
fn every_route_is_described_with_its_responses() {
    let gateway = gateway(any_receiver()).start().unwrap();
    let reply = gateway.admin().get("/openapi.json").unwrap();
    assert_eq!(reply.status, 200);
    let description = reply.json();
    let paths = description["paths"].as_object().unwrap();
    for (path, method) in [
        ("/api/v1/webhooks/configure", "post"),
        ("/api/v1/webhooks/get", "post"),
        ("/api/v1/webhooks/test", "post"),
        ("/api/v1/webhooks/logs", "post"),
        ("/admin/reload", "post"),
        ("/admin/status", "get"),
        ("/admin/webhooks", "get"),
        ("/admin/webhooks/{name}/enable", "post"),
        ("/admin/events", "get"),
        ("/admin/deliveries", "get"),
        ("/admin/deliveries/{id}/replay", "post"),
        ("/admin/replay", "post"),
    ] {
        let responses = &paths[path][method]["responses"];
        for status in ["200", "401", "403"] {
            assert!(responses[status].is_object(), "{method} {path} {status}");
        }
        // What is described is there, and asks for a token.
        let path = path.replace("{name}", "x").replace("{id}", "1");
        let method = method.to_uppercase();
        let bare = as2hook_testing::Post::method(&method, &path).header("Content-Length", "0");
        assert_eq!(gateway.admin().send(&bare).unwrap().status, 401, "{path}");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert!(paths[path]["get"]["responses"]["200"].is_object(), "{path}");
    }
}

#[test]
fn ten_thousand_dead_deliveries_are_made_again_by_one_call() {
    const MANY: usize = 10_000;
    const MESSAGES: usize = 50;
    // Many webhooks for each message, so that few messages make many deliveries.
    const HOOKS: usize = MANY / MESSAGES;
    let hook = sink().respond(Response::status(500)).start();
    let mut plan = gateway(any_receiver());
    for n in 0..HOOKS {
        plan = plan
            .rule(&format!("hook-{n}"), |rule| rule.to(&hook, "/hook").always().set("retry", "[]"));
    }
    let gateway = plan.start().unwrap();
    for _ in 0..MESSAGES {
        send_from(&gateway, "ACME");
    }
    let count = |state: &str| {
        let text = gateway.admin().get("/metrics").unwrap().text().into_owned();
        let name = format!("as2hook_queue{{state=\"{state}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned));
        line.and_then(|n| n.parse::<usize>().ok()).unwrap_or_default()
    };
    let long = std::time::Duration::from_secs(240);
    assert!(wait_until(long, || count("dead") == MANY), "{} are dead", count("dead"));
    hook.script(|_| Response::ok());
    let all = json!({"status": "dead"}).to_string();
    let response = post_as(&gateway, ALL, "/admin/replay", &all);
    assert_eq!((response.status, response.json()["replayed"].as_u64()), (200, Some(10_000)));
    assert!(wait_until(long, || count("delivered") == MANY), "{} are done", count("delivered"));
}

#[test]
fn new_notification_comes_before_five_thousand_replays_of_its_webhook() {
    let hook = sink().start();
    let slow = || Response::ok().delay(std::time::Duration::from_millis(20));
    hook.script(move |_| slow());
    let gateway = gateway(any_receiver())
        .rule("erp", |rule| rule.to(&hook, "/hook").set("concurrency", "4"))
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    let delivered = || list(&gateway, "/admin/deliveries?status=delivered&limit=500").len() == 1;
    assert!(wait_until(SOON, delivered));
    // As if the one had been delivered so often, each time under another id.
    let many = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 5000)
        INSERT INTO delivery
            (webhook_id, event, webhook, mode, state, due, attempts, tries, occurred_at)
        SELECT webhook_id || '-' || n, event, webhook, mode, state, due, attempts, tries, occurred_at
        FROM delivery, numbers WHERE id = (SELECT min(id) FROM delivery);
        UPDATE tally SET n = n + 5000 WHERE state = 'delivered'";
    execute(&gateway.folder().join("data/as2hook.db"), many);
    let all = json!({"webhook": "erp"}).to_string();
    let replayed = post_as(&gateway, ALL, "/admin/replay", &all);
    assert_eq!(replayed.json()["replayed"].as_u64(), Some(5_001), "{}", replayed.text());
    let is_replay = |request: &Request| request.header("X-AS2-Replay").is_some();
    hook.wait_until(50, SOON, is_replay).unwrap();
    send_from(&gateway, "ACME");
    let before = hook.requests().len();
    hook.wait_until(2, SOON, |request| !is_replay(request)).unwrap();
    let requests = hook.requests();
    let place = requests.iter().rposition(|request| !is_replay(request)).unwrap();
    // Those that were claimed already and their share go before it, and not the backlog.
    assert!(place < before + 500, "{place} of {}, {before} before it", requests.len());
    // They go on beside it.
    hook.wait_until(place, SOON, is_replay).unwrap();
}
