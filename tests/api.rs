//! The config API, word for word as seed 000 has it, and the admin API (section 7 of the design).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "api/admin.rs"]
mod admin;
#[path = "api/attachments.rs"]
mod attachments;
#[path = "api/connections.rs"]
mod connections;
#[path = "api/duty.rs"]
mod duty;
#[path = "api/guard.rs"]
mod guard;
#[path = "api/partner.rs"]
mod partner;
#[path = "api/python.rs"]
mod python;

use std::time::Duration;

use as2hook_testing::{Endpoint, Gateway, Message, Part, Post, Reply, Running, pki, receiver};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// Tokens of the tests: their scopes and site are in their names.
const ALL: &str = "all-of-main";
const READ: &str = "read-of-main";
const WRITE: &str = "write-of-main";
const OTHER: &str = "all-of-other";

/// A gateway whose config API may point at loopback, with partner 123 (ACME) in the default site and
/// partner 124 (BETA) in another.
fn gateway(receiver: &Endpoint) -> Gateway {
    gateway_with(receiver, "allow_networks: [\"127.0.0.0/8\"]")
}

fn gateway_with(receiver: &Endpoint, settings: &str) -> Gateway {
    let token = |name: &str, scopes: &str, site: &str| {
        let digest = openssl::sha::sha256(name.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{{ name: {name}, sha256: \"{digest}\", scopes: [{scopes}], site: {site} }}")
    };
    let tokens = [
        token("test-token", "read, write, admin", "main"),
        token(ALL, "read, write, admin", "main"),
        token(READ, "read", "main"),
        token(WRITE, "write", "main"),
        token(OTHER, "read, write, admin", "other"),
    ];
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .partner_with("BETA", |partner| partner.set("site", "other"))
        .set("api", &format!("{{ tokens: [{}], {settings} }}", tokens.join(", ")))
}

/// A receiver that lives as long as the test program.
fn any_receiver() -> &'static Endpoint {
    Box::leak(Box::new(receiver().start()))
}

fn started() -> Running {
    gateway(any_receiver()).start().unwrap()
}

fn post_as(gateway: &Running, token: &str, path: &str, body: &str) -> Reply {
    let post = Post::new(path, body.as_bytes())
        .header("Content-Type", "application/json")
        .header("Authorization", format!("Bearer {token}"));
    gateway.admin().send(&post).unwrap()
}

fn get_as(gateway: &Running, token: &str, path: &str) -> Reply {
    let get = Post::method("GET", path).header("Authorization", format!("Bearer {token}"));
    gateway.admin().send(&get).unwrap()
}

/// Calls the config API and gives the status and the body.
fn api(gateway: &Running, call: &str, body: &Value) -> (u16, Value) {
    let path = format!("/api/v1/webhooks/{call}");
    let reply = post_as(gateway, ALL, &path, &body.to_string());
    (reply.status, reply.json())
}

/// Gives ACME a webhook at this path of a sink.
fn configure(gateway: &Running, sink: &Endpoint, path: &str) {
    let delivered = api(
        gateway,
        "configure",
        &json!({
            "partner_id": 123,
            "webhook_url": sink.url(path),
            "webhook_secret": "my_secret",
            "webhook_enabled": true,
            "webhook_events": ["message.received", "mdn.received"]
        }),
    );
    assert_eq!(delivered, (200, json!({"status": "success", "msg": "Webhook configured"})));
}

fn send_from(gateway: &Running, partner: &str) {
    let message = Message::new(partner, "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
}
