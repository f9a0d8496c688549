//! `/api/v1/webhooks`.

use as2hook_testing::{Post, Response, gateway::wait_until, sink};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use openssl::{hash::MessageDigest, pkey::PKey, sign::Signer};
use serde_json::{Value, json};

use super::{
    OTHER, READ, SOON, WRITE, any_receiver, api, configure, gateway, gateway_with, post_as,
    send_from, started,
};

fn error(status: u16, message: &str) -> (u16, Value) {
    (status, json!({"status": "error", "msg": message}))
}

#[test]
fn configured_webhook_gets_the_next_exchange_besides_the_rules() {
    let (hook, rule) = (sink().start(), sink().start());
    let gateway = gateway(any_receiver()).rule("orders", |it| it.to(&rule, "/rule"));
    let gateway = gateway.start().unwrap();
    configure(&gateway, &hook, "/webhook/as2");
    send_from(&gateway, "ACME");
    let delivered = hook.wait_for(1, SOON).unwrap()[0].clone();
    assert_eq!(delivered.target(), "/webhook/as2");
    let text = delivered.text().into_owned();
    let start = r#"{"event":"message.received","event_name":"mensaje.recibido","partner_id":123,"#;
    assert!(text.starts_with(start), "{text}");
    assert_eq!(delivered.json()["senderId"], "ACME");
    let header = |name| delivered.header(name).unwrap();
    let signed = format!("{}.{}.{text}", header("webhook-id"), header("webhook-timestamp"));
    let key = PKey::hmac(b"my_secret").unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    let mac = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
    assert_eq!(header("webhook-signature"), format!("v1,{}", BASE64_STANDARD.encode(mac)));
    assert_eq!(rule.wait_for(1, SOON).unwrap().len(), 1);
    // Another partner's messages are none of this webhook's business.
    send_from(&gateway, "BETA");
    send_from(&gateway, "ACME");
    hook.wait_for(2, SOON).unwrap();
    assert!(hook.requests().iter().all(|request| request.json()["senderId"] == "ACME"));
}

#[test]
fn it_is_shown_without_its_secret() {
    let (gateway, hook) = (started(), sink().start());
    let nothing = json!({"partner_id": 123, "webhook_url": null, "webhook_enabled": false,
        "webhook_events": [], "webhook_secret_set": false});
    let shown = api(&gateway, "get", &json!({"partner_id": 123}));
    assert_eq!(shown, (200, json!({"status": "success", "data": nothing})));
    configure(&gateway, &hook, "/a");
    let data = json!({"partner_id": 123, "webhook_url": hook.url("/a"), "webhook_enabled": true,
        "webhook_events": ["message.received", "mdn.received"], "webhook_secret_set": true});
    let shown = api(&gateway, "get", &json!({"socio_id": 123}));
    assert_eq!(shown, (200, json!({"status": "success", "data": data})));
}

#[test]
fn configure_keeps_what_is_not_sent_and_takes_the_old_names() {
    let (gateway, hook) = (started(), sink().start());
    configure(&gateway, &hook, "/a");
    let change = json!({"socio_id": 123, "webhook_activo": false,
        "webhook_eventos": ["envio.error", "send.error", "mensaje.enviado"]});
    assert_eq!(api(&gateway, "configure", &change).0, 200);
    let data = api(&gateway, "get", &json!({"partner_id": 123})).1["data"].clone();
    assert_eq!(data["webhook_url"], hook.url("/a"));
    assert_eq!(data["webhook_enabled"], false);
    assert_eq!(data["webhook_events"], json!(["send.error", "message.sent"]));
    assert_eq!(data["webhook_secret_set"], true);
    let bare = json!({"partner_id": 123, "webhook_secret": ""});
    assert_eq!(api(&gateway, "configure", &bare).0, 200);
    let data = api(&gateway, "get", &json!({"partner_id": 123})).1["data"].clone();
    assert_eq!(data["webhook_secret_set"], false);
}

#[test]
fn it_outlives_the_process_and_lies_encrypted() {
    let hook = sink().start();
    let gateway = gateway(any_receiver());
    let mut gateway = gateway
        .rule("a rule", |rule| rule.to(&hook, "/rule/other-token").payload("json"))
        .start()
        .unwrap();
    configure(&gateway, &hook, "/a?token=the-token");
    gateway.restart().unwrap();
    send_from(&gateway, "ACME");
    hook.wait_for(2, SOON).unwrap();
    let is_own = |request: &as2hook_testing::Request| request.target().starts_with("/a?");
    let delivered = hook.wait_until(1, SOON, is_own).unwrap();
    let log = || api(&gateway, "logs", &json!({"partner_id": 123})).1["data"].clone();
    assert!(wait_until(SOON, || log()[0]["status"] == "delivered"), "{}", log());
    let url = hook.url("/a?token=the-token");
    assert_eq!(log()[0]["url"], url);
    assert_eq!(api(&gateway, "test", &json!({"partner_id": 123})).0, 200);
    assert_eq!(log()[0]["url"], url);
    assert_eq!(api(&gateway, "get", &json!({"partner_id": 123})).1["data"]["webhook_url"], url);
    assert!(delivered[0].header("webhook-signature").is_some());
    let mut is_read = false;
    for file in std::fs::read_dir(gateway.folder().join("data")).unwrap() {
        let path = file.unwrap().path();
        // Not of what is a folder, or gone meanwhile.
        let bytes = std::fs::read(&path).unwrap_or_default();
        let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        for secret in ["my_secret", "the-token", "other-token"] {
            assert!(!has(secret), "{secret} in {}", path.display());
        }
        is_read |= has("MY-OWN-ORG");
    }
    assert!(is_read, "what is no secret can be found");
    use std::os::unix::fs::PermissionsExt as _;
    let key = gateway.folder().join("data/secret.key");
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!gateway.log().contains("my_secret"));
}

#[test]
fn disabled_webhook_gets_nothing_and_continues_when_it_is_enabled() {
    let (gateway, hook) = (started(), sink().start());
    configure(&gateway, &hook, "/a");
    api(&gateway, "configure", &json!({"partner_id": 123, "webhook_enabled": false}));
    send_from(&gateway, "ACME");
    assert_eq!(api(&gateway, "test", &json!({"partner_id": 123})), error(409, "Webhook no activo"));
    api(&gateway, "configure", &json!({"partner_id": 123, "webhook_enabled": true}));
    send_from(&gateway, "ACME");
    hook.wait_for(1, SOON).unwrap();
    assert_eq!(hook.requests().len(), 1);
}

#[test]
fn a_test_is_a_real_delivery_and_stands_in_the_log() {
    let (gateway, hook) = (started(), sink().start());
    configure(&gateway, &hook, "/a");
    let delivered = api(&gateway, "test", &json!({"partner_id": 123}));
    let success = json!({"status": "success", "http_code": 200,
        "requested_event_name": "mensaje.recibido", "event_name": "mensaje.recibido",
        "event": "message.received"});
    assert_eq!(delivered, (200, success));
    let came = hook.requests()[0].clone();
    assert_eq!(came.header("X-AS2-Test"), Some("1"));
    assert!(came.header("webhook-signature").is_some());
    assert_eq!(came.json()["test"], true);
    hook.next([Response::status(500)]);
    let (status, body) = api(&gateway, "test", &json!({"partner_id": 123}));
    assert_eq!((status, &body["status"], &body["http_code"]), (502, &json!("error"), &json!(500)));
    hook.stop();
    let (status, body) = api(&gateway, "test", &json!({"partner_id": 123}));
    assert_eq!((status, &body["http_code"]), (502, &Value::Null));
    assert!(!body["msg"].as_str().unwrap().is_empty());

    let (status, log) = api(&gateway, "logs", &json!({"partner_id": 123}));
    assert_eq!((status, &log["status"], &log["total"]), (200, &json!("success"), &json!(3)));
    let rows = log["data"].as_array().unwrap();
    let codes: Vec<_> = rows.iter().map(|row| row["http_code"].as_u64()).collect();
    assert_eq!(codes, [None, Some(500), Some(200)]);
    let last = &rows[2];
    assert_eq!(last["webhook_id"], came.header("webhook-id").unwrap());
    assert_eq!((&last["event"], &last["attempt"]), (&json!("message.received"), &json!(1)));
    assert_eq!((&last["status"], &last["url"]), (&json!("delivered"), &json!(hook.url("/a"))));
    let page = api(&gateway, "logs", &json!({"partner_id": 123, "limit": 1, "offset": 1})).1;
    assert_eq!((&page["total"], &page["data"][0]["http_code"]), (&json!(3), &json!(500)));
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
}

#[test]
fn the_log_has_a_row_for_each_attempt() {
    let (gateway, hook) = (started(), sink().respond(Response::status(500)).start());
    configure(&gateway, &hook, "/a");
    send_from(&gateway, "ACME");
    hook.wait_for(1, SOON).unwrap();
    // The next attempt comes seconds later, on a slow machine it may have come already.
    let logged =
        || api(&gateway, "logs", &json!({"partner_id": 123})).1["total"].as_u64() > Some(0);
    assert!(wait_until(SOON, logged));
    let row = api(&gateway, "logs", &json!({"partner_id": 123})).1["data"][0].clone();
    assert_eq!((&row["status"], &row["http_code"]), (&json!("pending"), &json!(500)));
    assert!(row["next_attempt_at"].as_str() > row["created_at"].as_str());
}

#[test]
fn the_first_chosen_event_is_the_one_tested() {
    let (gateway, hook) = (started(), sink().start());
    let none = json!({"partner_id": 123, "webhook_url": hook.url("/a")});
    assert_eq!(api(&gateway, "configure", &none).0, 200);
    let delivered = api(&gateway, "test", &json!({"partner_id": 123})).1;
    assert_eq!(delivered["event"], "message.received");
    for (name, spanish) in [
        ("mdn.received", "mdn.recibido"),
        ("message.sent", "mensaje.enviado"),
        ("send.error", "envio.error"),
    ] {
        let change = json!({"partner_id": 123, "webhook_events": [name, "message.received"]});
        assert_eq!(api(&gateway, "configure", &change).0, 200);
        let delivered = api(&gateway, "test", &json!({"partner_id": 123})).1;
        assert_eq!(
            (&delivered["event"], &delivered["event_name"]),
            (&json!(name), &json!(spanish))
        );
        assert_eq!(hook.requests().last().unwrap().header("X-AS2-Event"), Some(name));
    }
}

#[test]
fn the_errors_of_the_seed() {
    let gateway = started();
    for call in ["configure", "get", "test", "logs"] {
        assert_eq!(api(&gateway, call, &json!({})), error(400, "Campo requerido: socio_id"));
        let unknown = api(&gateway, call, &json!({"partner_id": 999}));
        assert_eq!(unknown, error(404, "Socio no encontrado"), "{call}");
    }
    assert_eq!(api(&gateway, "test", &json!({"partner_id": 123})), error(409, "Webhook no activo"));
}

#[test]
fn a_partner_of_another_site_does_not_exist() {
    let gateway = started();
    let hook = sink().start();
    for call in ["configure", "get", "test", "logs"] {
        let delivered = api(&gateway, call, &json!({"partner_id": 124}));
        assert_eq!(delivered, error(404, "Socio no encontrado"), "{call}");
        let body = json!({"partner_id": 123}).to_string();
        let other = post_as(&gateway, OTHER, &format!("/api/v1/webhooks/{call}"), &body);
        assert_eq!(other.status, 404, "{call}");
    }
    let body = json!({"partner_id": 124, "webhook_url": hook.url("/beta")}).to_string();
    let own = post_as(&gateway, OTHER, "/api/v1/webhooks/configure", &body);
    assert_eq!(own.status, 200);
    send_from(&gateway, "BETA");
    assert_eq!(hook.wait_for(1, SOON).unwrap()[0].json()["partner_id"], 124);
}

#[test]
fn tokens_and_scopes() {
    let gateway = started();
    let body = json!({"partner_id": 123}).to_string();
    let status = |token: &str, call: &str| {
        let reply = post_as(&gateway, token, &format!("/api/v1/webhooks/{call}"), &body);
        (reply.status, reply.json()["msg"].as_str().unwrap_or_default().to_owned())
    };
    for call in ["get", "logs"] {
        assert_eq!(status("wrong", call), (401, "Invalid token".to_owned()));
        assert_eq!(status(WRITE, call), (403, "Scope read requerido".to_owned()));
        assert_eq!(status(READ, call).0, 200);
    }
    for call in ["configure", "test"] {
        assert_eq!(status("wrong", call), (401, "Invalid token".to_owned()));
        assert_eq!(status(READ, call), (403, "Scope write requerido".to_owned()));
    }
    assert!(!gateway.log().contains("wrong"));
}

#[test]
fn everything_wrong_gets_its_own_400() {
    let gateway = started();
    let wrong = |body: Value| {
        let mut body = body;
        body["partner_id"] = json!(123);
        let (status, delivered) = api(&gateway, "configure", &body);
        assert_eq!(status, 400, "{body}");
        delivered["msg"].as_str().unwrap().to_owned()
    };
    let mut messages = vec![
        wrong(json!({})),
        wrong(json!({"webhook_url": 7})),
        wrong(json!({"webhook_url": "myapp.com/webhook"})),
        wrong(json!({"webhook_url": "ftp://myapp.com/"})),
        wrong(json!({"webhook_url": "https://u:p@myapp.com/"})),
        wrong(json!({"webhook_url": "https://myapp.com/#x"})),
        wrong(json!({"webhook_url": "http://10.0.0.1/"})),
        wrong(json!({"webhook_url": format!("https://myapp.com/{}", "x".repeat(3000))})),
        wrong(json!({"webhook_secret": null})),
        wrong(json!({"webhook_url": "https://203.0.113.9/", "webhook_enabled": "yes"})),
        wrong(json!({"webhook_activo": 1})),
        wrong(json!({"webhook_events": "message.received"})),
        wrong(json!({"webhook_eventos": "message.received"})),
        wrong(json!({"webhook_events": ["message.recibido"]})),
        wrong(json!({"webhook_secret": "whsec_***"})),
    ];
    assert_eq!(messages[0], "Campo requerido: webhook_url");
    messages.sort();
    let all = messages.len();
    messages.dedup();
    assert_eq!(messages.len(), all, "{messages:#?}");
    let (status, _) = api(&gateway, "get", &json!({"partner_id": "123"}));
    assert_eq!(status, 400);
    for limit in [json!(0), json!(-1), json!("10"), json!(1.5), json!(100_000)] {
        assert_eq!(api(&gateway, "logs", &json!({"partner_id": 123, "limit": limit})).0, 400);
    }
    assert_eq!(api(&gateway, "logs", &json!({"partner_id": 123, "offset": -1})).0, 400);
}

#[test]
fn only_json_objects_of_64_kib_are_read() {
    let gateway = started();
    for body in ["", "{", "[1]", "7", "null", "{\"partner_id\": 123"] {
        let reply = post_as(&gateway, super::ALL, "/api/v1/webhooks/get", body);
        assert_eq!((reply.status, reply.json()["status"].as_str()), (400, Some("error")), "{body}");
    }
    let large = json!({"partner_id": 123, "x": "y".repeat(70_000)}).to_string();
    assert_eq!(post_as(&gateway, super::ALL, "/api/v1/webhooks/get", &large).status, 413);
    let form = Post::new("/api/v1/webhooks/get", b"partner_id=123")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Authorization", format!("Bearer {}", super::ALL));
    assert_eq!(gateway.admin().send(&form).unwrap().status, 415);
}

#[test]
fn english_keeps_the_words_of_the_seed() {
    let gateway = gateway_with(any_receiver(), "language: en").start().unwrap();
    assert_eq!(api(&gateway, "get", &json!({})), error(400, "Campo requerido: socio_id"));
    assert_eq!(api(&gateway, "get", &json!({"partner_id": 9})), error(404, "Socio no encontrado"));
    let delivered = api(&gateway, "configure", &json!({"partner_id": 123}));
    assert_eq!(delivered, error(400, "Required field: webhook_url"));
}
