//! The person on duty: finds out why a webhook did not come, sets it right, and hears of it in time.

use std::sync::{Arc, OnceLock};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Request, Response, Running, gateway::wait_until, sink,
};
use serde_json::{Value, json};

use super::{ALL, OTHER, READ, SOON, any_receiver, gateway, get_as, post_as, send_from};

fn to(hook: &Endpoint, retry: &str) -> Gateway {
    gateway(any_receiver()).rule("orders", |rule| rule.to(hook, "/hook").set("retry", retry))
}

fn list(gateway: &Running, path: &str) -> Vec<Value> {
    let reply = get_as(gateway, ALL, path);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["data"].as_array().unwrap().clone()
}

/// Waits until so many deliveries are in this state, and returns them.
fn in_state(gateway: &Running, state: &str, wanted: usize) -> Vec<Value> {
    let path = format!("/admin/deliveries?status={state}&limit=500");
    let reached = wait_until(SOON, || list(gateway, &path).len() == wanted);
    assert!(reached, "{wanted} {state}: {:?}", list(gateway, "/admin/deliveries"));
    list(gateway, &path)
}

/// Waits until so many deliveries wait for a retry.
fn retrying(gateway: &Running, wanted: usize) -> Vec<Value> {
    let waiting = || {
        let pending = list(gateway, "/admin/deliveries?status=pending&limit=500");
        pending.into_iter().filter(|row| row["attempts"] != 0).collect::<Vec<_>>()
    };
    assert!(wait_until(SOON, || waiting().len() == wanted), "{wanted}: {:?}", waiting());
    waiting()
}

fn ids(rows: &[Value]) -> Vec<String> {
    let mut ids: Vec<_> =
        rows.iter().map(|row| row["webhook_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn webhook_ids(requests: &[Arc<Request>]) -> Vec<String> {
    let mut ids: Vec<_> =
        requests.iter().map(|request| request.header("webhook-id").unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn endpoint_that_is_mended_gets_what_waited_with_the_same_ids() {
    let hook = sink().respond(Response::status(500)).start();
    let gateway = to(&hook, "[1h, 1h]").start().unwrap();
    for _ in 0..12 {
        send_from(&gateway, "ACME");
    }
    let waiting = ids(&retrying(&gateway, 12));
    hook.script(|_| Response::ok());
    hook.forget();
    send_from(&gateway, "ACME");
    let delivered = ids(&in_state(&gateway, "delivered", 13));
    assert!(waiting.iter().all(|id| delivered.contains(id)));
    assert_eq!(webhook_ids(&hook.wait_for(13, SOON).unwrap()), delivered);
}

#[test]
fn retry_by_filter_makes_what_waits_at_once() {
    let hook = sink().respond(Response::status(500)).start();
    let gateway = to(&hook, "[1h]").start().unwrap();
    for _ in 0..3 {
        send_from(&gateway, "ACME");
    }
    let waiting = ids(&retrying(&gateway, 3));
    hook.script(|_| Response::ok());
    let filter = json!({"webhook": "orders", "status": "pending"}).to_string();
    assert_eq!(post_as(&gateway, READ, "/admin/retry", &filter).status, 403);
    assert_eq!(post_as(&gateway, OTHER, "/admin/retry", &filter).json()["retried"], 0);
    assert_eq!(post_as(&gateway, ALL, "/admin/retry", &filter).json()["retried"], 3);
    assert_eq!(ids(&in_state(&gateway, "delivered", 3)), waiting);
}

#[test]
fn poison_order_is_set_aside_by_one_call_and_the_next_go_on() {
    let hook = sink().start();
    let first = OnceLock::new();
    hook.script(move |request| {
        let id = request.header("webhook-id").unwrap().to_owned();
        if *first.get_or_init(|| id.clone()) == id { Response::status(400) } else { Response::ok() }
    });
    let rule = |rule: as2hook_testing::Rule| {
        rule.to(&hook, "/hook").payload("raw").set("order", "partner").set("retry", "[75h]")
    };
    let gateway = gateway(any_receiver()).rule("orders", rule).start().unwrap();
    let send = |text: &str| {
        let part = Part::text("order.edi", "application/edifact", text);
        let message = Message::new("ACME", "MY-OWN-ORG").attach(part).build();
        let sent = gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
        assert_eq!(sent.status, 200);
    };
    send("first");
    let poison = retrying(&gateway, 1).remove(0);
    send("second");
    send("third");
    let one = format!("/admin/deliveries/{}", poison["id"]);
    assert_eq!(poison["last_http_code"], 400);
    assert_eq!(post_as(&gateway, ALL, &format!("{one}/cancel"), "").json()["cancelled"], 1);
    in_state(&gateway, "delivered", 2);
    assert_eq!(in_state(&gateway, "cancelled", 1)[0]["id"], poison["id"]);
    // What is over is neither cancelled nor retried, and says why.
    for call in ["cancel", "retry"] {
        let refused = post_as(&gateway, ALL, &format!("{one}/{call}"), "");
        assert_eq!(refused.status, 409, "{call}");
        assert!(refused.json()["msg"].as_str().unwrap().contains("repetición"), "{call}");
    }
    assert_eq!(post_as(&gateway, ALL, &format!("{one}/replay"), "").json()["replayed"], 1);
}

#[test]
fn state_that_a_call_cannot_take_is_refused_and_never_nought() {
    let gateway = to(&sink().start(), "[]").start().unwrap();
    for (call, wrong) in [
        ("retry", &["delivered", "held", "claimed", "orphaned", "cancelled"][..]),
        ("cancel", &["delivered", "claimed", "cancelled"]),
        ("replay", &["pending", "held", "claimed"]),
    ] {
        for state in wrong {
            let body = json!({"status": state}).to_string();
            let refused = post_as(&gateway, ALL, &format!("/admin/{call}"), &body);
            assert_eq!(refused.status, 400, "{call} {state}");
            assert!(
                refused.json()["msg"].as_str().unwrap().starts_with("status "),
                "{call} {state}"
            );
        }
        let id = format!("/admin/deliveries/999/{call}");
        assert_eq!(post_as(&gateway, ALL, &id, "").status, 404, "{call}");
    }
}

#[test]
fn event_says_why_its_webhook_did_not_come() {
    let hook = sink().respond(Response::status(503)).start();
    let gateway = gateway(any_receiver())
        .rule("orders", |rule| {
            rule.to(&hook, "/hook?token=hush").payload("raw").set("retry", "[50ms, 1h]")
        })
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    let twice = || {
        let rows = list(&gateway, "/admin/deliveries");
        rows.first().is_some_and(|row| row["attempts"] == 2)
    };
    assert!(wait_until(SOON, twice));
    let event = list(&gateway, "/admin/events").remove(0);
    let bare = event["message_id"].as_str().unwrap().trim_matches(['<', '>']).to_owned();
    for search in [format!("message_id={bare}"), "file_name=order.edi".to_owned()] {
        assert_eq!(list(&gateway, &format!("/admin/events?{search}")).len(), 1, "{search}");
    }
    assert!(list(&gateway, "/admin/events?error_code=800").is_empty());
    assert_eq!(get_as(&gateway, READ, "/admin/events?error_code=801").status, 400);
    let path = format!("/admin/events/{}", event["id"].as_str().unwrap());
    assert_eq!(get_as(&gateway, OTHER, &path).status, 404);
    let reply = get_as(&gateway, READ, &path);
    assert!(!reply.text().contains("hush"), "{}", reply.text());
    let detail = &reply.json()["data"];
    assert_eq!(detail["event"]["event"], "message.received");
    let delivery = &detail["deliveries"][0];
    assert_eq!((&delivery["webhook"], &delivery["status"]), (&json!("orders"), &json!("pending")));
    let attempts = delivery["attempts"].as_array().unwrap();
    let numbers: Vec<_> = attempts.iter().map(|attempt| attempt["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(attempts[1]["http_code"], 503);
    assert!(attempts[1]["error"].as_str().unwrap().contains("503"));
    let names = detail["headers"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap());
    assert!(names.map(str::to_lowercase).any(|name| name == "as2-from"));
    let attachment = &detail["attachments"][0];
    assert_eq!((&attachment["n"], &attachment["name"]), (&json!(1), &json!("order.edi")));
    assert_eq!(attachment["available"], true);
    let bytes = get_as(&gateway, READ, &format!("{path}/attachments/1"));
    assert_eq!((bytes.status, bytes.text().as_ref()), (200, "UNA:+.? '"));
    assert_eq!(get_as(&gateway, READ, &format!("{path}/attachments/2")).status, 404);
    assert_eq!(get_as(&gateway, READ, &format!("{path}/mdn")).status, 404);
    let one = get_as(&gateway, READ, &format!("/admin/deliveries/{}", delivery["id"])).json();
    assert_eq!(
        (&one["data"]["event_id"], &one["data"]["attempts"][1]["n"]),
        (&event["id"], &json!(2))
    );
    assert_eq!(
        get_as(&gateway, OTHER, &format!("/admin/deliveries/{}", delivery["id"])).status,
        404
    );
}

#[test]
fn dead_delivery_is_an_event_for_the_other_webhooks_and_never_for_its_own() {
    let hook = sink().respond(Response::status(500)).start();
    let watch = sink().start();
    let gateway = gateway(any_receiver())
        .rule("orders", |rule| rule.to(&hook, "/hook").payload("json").set("retry", "[]"))
        .rule("watch", |rule| {
            let events = ["webhook.failing", "webhook.recovered", "delivery.dead"];
            rule.to(&watch, "/watch").payload("json").events(&events)
        })
        .start()
        .unwrap();
    send_from(&gateway, "ACME");
    let heard = watch.wait_for(1, SOON).unwrap();
    let event = heard[0].json();
    assert_eq!((&event["event"], &event["webhook"]), (&json!("delivery.dead"), &json!("orders")));
    assert_eq!((&event["count"], &event["attempts"]), (&json!(1), &json!(1)));
    let dead = in_state(&gateway, "dead", 1);
    assert_eq!(
        (&event["webhookId"], &event["deadEvent"]),
        (&dead[0]["webhook_id"], &dead[0]["event"]["id"])
    );
    for _ in 0..10 {
        send_from(&gateway, "ACME");
    }
    let heard = watch.wait_for(2, SOON).unwrap();
    assert_eq!(heard[1].json()["event"], "webhook.failing");
    assert_eq!(heard[1].json()["failures"], 10);
    hook.script(|_| Response::ok());
    send_from(&gateway, "ACME");
    let heard = watch.wait_for(3, SOON).unwrap();
    assert_eq!(heard[2].json()["event"], "webhook.recovered");
    let kinds = hook.requests();
    assert!(kinds.iter().all(|request| request.json()["event"] == "message.received"));
}

#[test]
fn what_a_token_did_is_kept_under_its_name() {
    let hook = sink().respond(Response::status(500)).start();
    let gateway = to(&hook, "[1h]").start().unwrap();
    send_from(&gateway, "ACME");
    let id = retrying(&gateway, 1)[0]["id"].clone();
    post_as(&gateway, ALL, &format!("/admin/deliveries/{id}/cancel"), "");
    post_as(&gateway, ALL, &format!("/admin/deliveries/{id}/retry"), "");
    post_as(&gateway, ALL, "/admin/replay", &json!({"webhook": "orders"}).to_string());
    // Without the right to do it, nothing was done.
    post_as(&gateway, READ, "/admin/replay", &json!({"webhook": "orders"}).to_string());
    let entry = |entry: &Value| {
        ["token", "site", "action", "target", "result"]
            .map(|key| entry[key].as_str().unwrap().to_owned())
    };
    let all: Vec<_> = list(&gateway, "/admin/audit").iter().map(entry).collect();
    let delivery = format!("delivery {id}");
    let over = "refused: The delivery is over; a replay makes it again";
    let expected = [
        [ALL, "main", "replay", "{\"webhook\":\"orders\"}", "1 replayed"],
        [ALL, "main", "retry", &delivery, over],
        [ALL, "main", "cancel", &delivery, "1 cancelled"],
    ];
    assert_eq!(all, expected.map(|entry| entry.map(str::to_owned)));
    assert!(gateway.log().contains("Admin action."));
    assert_eq!(get_as(&gateway, OTHER, "/admin/audit").json()["data"], json!([]));
}

#[test]
fn rule_of_the_file_is_tested_by_one_call_in_its_own_payload_mode() {
    let hook = sink().start();
    let rule = |rule: as2hook_testing::Rule| {
        rule.to(&hook, "/raw").payload("raw").set("partner", "ACME").set("secret", "my_secret")
    };
    let gateway = gateway(any_receiver())
        .rule("orders raw", rule)
        .rule("off", |rule| rule.to(&hook, "/off").set("enabled", "false"))
        .start()
        .unwrap();
    let path = "/admin/webhooks/orders%20raw/test";
    assert_eq!(post_as(&gateway, READ, path, "").status, 403);
    assert_eq!(post_as(&gateway, OTHER, path, "").status, 404);
    assert_eq!(post_as(&gateway, ALL, "/admin/webhooks/none/test", "").status, 404);
    assert_eq!(post_as(&gateway, ALL, "/admin/webhooks/off/test", "").status, 409);
    let passed = post_as(&gateway, ALL, path, "");
    assert_eq!(passed.status, 200, "{}", passed.text());
    assert_eq!(passed.json()["http_code"], 200);
    assert_eq!(passed.json()["event"], "message.received");
    let came = hook.requests()[0].clone();
    assert_eq!(came.header("X-AS2-Test"), Some("1"));
    assert_eq!(came.header("AS2-From"), Some("ACME"));
    assert!(came.header("webhook-signature").is_some());
    assert_eq!(came.text(), "as2hook test delivery\r\n");
    hook.next([Response::status(500)]);
    let failed = post_as(&gateway, ALL, path, "");
    assert_eq!((failed.status, &failed.json()["http_code"]), (502, &json!(500)));
    assert!(failed.json()["msg"].as_str().unwrap().contains("500"), "{}", failed.text());
    // It stands among the deliveries, and is not retried.
    let rows = list(&gateway, "/admin/deliveries?webhook=orders%20raw");
    let states: Vec<_> = rows.iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["cancelled", "delivered"], "none that needs a person");
    let failed = json!({"status": "cancelled"}).to_string();
    assert_eq!(post_as(&gateway, ALL, "/admin/replay", &failed).json()["replayed"], 1);
    let again = hook.wait_for(3, SOON).unwrap();
    assert_eq!(again[2].header("X-AS2-Test"), Some("1"), "a test stays one");
}

#[test]
fn server_that_cannot_be_reached_is_named_in_readyz_and_the_log() {
    // A port that no server has.
    let binary = env!("CARGO_BIN_EXE_as2hook");
    let gateway =
        Gateway::new().binary(binary).receiver_url("http://127.0.0.1:9/").start().unwrap();
    let ready = || gateway.admin().get("/readyz").unwrap();
    assert_eq!(ready().text(), "ready\n");
    let message = Message::new("ACME", "MY-OWN-ORG").build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 502);
    let named = || ready().text().contains("The AS2 server cannot be reached since ");
    assert!(wait_until(SOON, named), "{}", ready().text());
    // The other gateways have the same server, so this one keeps its place in a balancer.
    assert_eq!(ready().status, 200);
    assert!(gateway.wait_for_log("The AS2 server cannot be reached: ", SOON));
}
