//! The console, as a browser without script sees it, and in [`browser`] as Chromium does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by it")]

#[path = "browser/mod.rs"]
mod browser;
#[path = "console/deliveries.rs"]
mod deliveries;
#[path = "console/escaping.rs"]
mod escaping;
#[path = "console/exchange.rs"]
mod exchange;
#[path = "console/guard.rs"]
mod guard;
#[path = "console/hostile.rs"]
mod hostile;
#[path = "console/overview.rs"]
mod overview;
#[path = "console/partners.rs"]
mod partners;
#[path = "console/reload.rs"]
mod reload;
#[path = "console/search.rs"]
mod search;
#[path = "console/session.rs"]
mod session;
#[path = "console/stream.rs"]
mod stream;
#[path = "console/webhooks.rs"]
mod webhooks;

use std::time::Duration;

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Reply, Running, gateway::wait_until, pki, receiver,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// Tokens of the tests: their scopes and site are in their names.
const ALL: &str = "all-of-main";
const READ: &str = "read-of-main";
const OTHER: &str = "all-of-other";

/// A browser: it keeps cookies, and follows nothing by itself.
struct Browser<'a> {
    gateway: &'a Running,
    host: &'static str,
    cookies: Vec<(String, String)>,
}

// === impl Browser ===

impl<'a> Browser<'a> {
    fn new(gateway: &'a Running) -> Self {
        Self { gateway, host: "localhost", cookies: Vec::new() }
    }

    /// One that has signed in.
    fn of(gateway: &'a Running, token: &str) -> Self {
        let mut browser = Self::new(gateway);
        let reply = browser.sign_in(token, "");
        assert_eq!((reply.status, reply.header("Location")), (303, Some("/console/")));
        browser
    }

    /// Returns the text of a page that is there.
    fn page(&mut self, path: &str) -> String {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.text().into_owned()
    }

    /// Acts as [`Self::act`], and returns the page that it leads to.
    fn follow(&mut self, path: &str, fields: &[(&str, &str)]) -> String {
        let reply = self.act(path, fields);
        let to = reply.header("Location").unwrap_or_default().to_owned();
        assert_eq!(reply.status, 303, "{path}: {}", reply.text());
        self.page(to.split('#').next().unwrap())
    }

    fn sign_in(&mut self, token: &str, next: &str) -> Reply {
        self.post("/console/signin", &[("token", token), ("next", next)])
    }

    fn get(&mut self, path: &str) -> Reply {
        self.send(Post::method("GET", path))
    }

    /// Sends a form with the session's own token in it.
    fn act(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let page = self.get("/console/").text().into_owned();
        let csrf = csrf(&page);
        self.post(path, &[&[("csrf", csrf.as_str())], fields].concat())
    }

    fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let escaped =
            |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
        let pairs = fields.iter().map(|(name, value)| format!("{name}={}", escaped(value)));
        let body = pairs.collect::<Vec<_>>().join("&");
        let post = Post::new(path, body.as_bytes())
            .header("Content-Type", "application/x-www-form-urlencoded");
        self.send(post)
    }

    fn send(&mut self, request: Post<'_>) -> Reply {
        let cookies: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = request.header("Host", self.host);
        if !cookies.is_empty() {
            request = request.header("Cookie", cookies.join("; "));
        }
        let reply = self.gateway.admin().send(&request).unwrap();
        for cookie in set_cookies(&reply) {
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.retain(|(of, _)| of != name);
            if !attributes.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        reply
    }
}

fn set_cookies(reply: &Reply) -> Vec<String> {
    let cookies = reply.head.headers.all("Set-Cookie");
    cookies.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

fn csrf(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// Partner ACME is in the default site, BETA in another.
fn gateway(receiver: &Endpoint, settings: &str) -> Gateway {
    let tokens = [
        token("test-token", "read, write, admin", "main"),
        token(ALL, "read, write, admin", "main"),
        token(READ, "read", "main"),
        token(OTHER, "read, write, admin", "other"),
    ];
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .partner_with("BETA", |partner| partner.set("site", "other"))
        .set("api", &format!("{{ tokens: [{}]{settings} }}", tokens.join(", ")))
}

fn token(name: &str, scopes: &str, site: &str) -> String {
    let digest = openssl::sha::sha256(name.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{ name: {name}, sha256: \"{digest}\", scopes: [{scopes}], site: {site} }}")
}

/// A receiver that lives as long as the test program.
fn any_receiver() -> &'static Endpoint {
    Box::leak(Box::new(receiver().start()))
}

fn send_from(gateway: &Running, partner: &str) {
    let message = Message::new(partner, "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
}

/// What the API lists, as the token of all scopes sees it.
fn list(gateway: &Running, path: &str) -> Vec<Value> {
    let get = Post::method("GET", path).header("Authorization", format!("Bearer {ALL}"));
    let reply = gateway.admin().send(&get).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["data"].as_array().unwrap().clone()
}

/// Waits until so many deliveries are in this state after an attempt, and returns them.
fn attempted(gateway: &Running, state: &str, wanted: usize) -> Vec<Value> {
    let rows = || {
        let rows = list(gateway, &format!("/admin/deliveries?status={state}&limit=500"));
        rows.into_iter().filter(|row| row["attempts"] != 0).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    // Those that were counted: another look may find fewer, while one is attempted.
    let is_complete = wait_until(SOON, || {
        found = rows();
        found.len() == wanted
    });
    assert!(is_complete, "{wanted} {state}: {found:?}");
    found
}

/// What was done last, by whom and with which result, as the API's audit says it.
fn last_action(gateway: &Running) -> [String; 3] {
    let last = list(gateway, "/admin/audit").remove(0);
    ["token", "action", "result"].map(|key| last[key].as_str().unwrap().to_owned())
}
