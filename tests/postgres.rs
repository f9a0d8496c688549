//! The gateway on PostgreSQL: alone, with others, after a restart of the database, and on its way there
//! from SQLite.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

use as2hook_testing::{
    Built, Digest, Endpoint, Gateway, Mdn, Message, Part, Post, Postgres, Receipt, Response,
    Running, pki, receiver, sink, wait_until,
};

const SOON: Duration = Duration::from_secs(120);

/// Longer than a lease.
const LATER: Duration = Duration::from_secs(200);

/// What the log says of a store that stands still.
const TOO_SLOW: &str = "the store did not respond within";

/// Gateways that share a database, an AS2 server and the owner of webhooks.
struct Site {
    folder: tempfile::TempDir,
    partner: Endpoint,
    receiver: Endpoint,
    sink: Endpoint,
}

// === impl Site ===

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            partner: receiver().start(),
            receiver: receiver().start(),
            sink: sink().start(),
        }
    }

    fn gateway(&self, store: &str, payloads: &str) -> Gateway {
        self.gateway_that("refuse", store, payloads)
    }

    fn gateway_that(&self, on_store_failure: &str, store: &str, payloads: &str) -> Gateway {
        let key = self.folder.path().join("secret.key");
        // As often as can be, and for longer than any test takes.
        let retry = format!("[100ms, {}]", ["2s"; 99].join(", "));
        Gateway::new()
            .binary(env!("CARGO_BIN_EXE_as2hook"))
            .receiver(&self.receiver)
            .outbound()
            .station("MY-OWN-ORG", pki::station())
            .partner_with("ACME", |acme| {
                let acme = acme.url(&self.partner.url("/as2"));
                acme.certificate(Path::new("keys/acme.crt"))
            })
            .partner("OTHER", pki::partner())
            .set("store", &format!("{store:?}"))
            .set("payloads", payloads)
            .set("secret_key_file", &format!("{key:?}"))
            .set("on_store_failure", on_store_failure)
            .rule("all", |rule| {
                let rule = rule.to(&self.sink, "/json").payload("json").events(&["*"]);
                rule.set("retry", &retry)
            })
            .rule("files", |rule| {
                let rule = rule.to(&self.sink, "/raw").payload("raw").always();
                rule.set("retry", &retry)
            })
    }

    fn on(&self, database: &Postgres) -> Running {
        self.gateway(&database.url(), "store").start().unwrap()
    }

    /// The events that were delivered so far to one path, each webhook-id once.
    fn delivered(&self, path: &str) -> Vec<String> {
        let requests = self.sink.requests();
        let of_path = requests
            .iter()
            .filter(|delivered| delivered.complete && delivered.head.line.contains(path));
        let mut ids = BTreeSet::new();
        let once = of_path.filter(|delivered| ids.insert(delivered.header("webhook-id").unwrap()));
        once.map(|delivered| delivered.header("X-AS2-Event").unwrap().to_owned()).collect()
    }

    fn wait_for(&self, path: &str, event: &str, count: usize, within: Duration) {
        let so_many =
            || self.delivered(path).iter().filter(|delivered| *delivered == event).count() >= count;
        assert!(
            wait_until(within, so_many),
            "{count} {event} on {path}: {:?}",
            self.delivered(path)
        );
    }
}

fn part(size: usize) -> Part {
    let line = "UNA:+.? 'UNB+UNOC:3+ACME+MYORG'\n";
    Part::text("order.edi", "application/edifact", &line.repeat(size / line.len() + 1))
}

fn order(size: usize) -> Built {
    let order = Message::new("ACME", "MY-OWN-ORG").attach(part(size));
    order.sign(pki::partner()).encrypt(pki::station()).build()
}

fn send(gateway: &Running, message: &Built) -> u16 {
    gateway.inbound().send(&Post::message("/as2", message)).unwrap().status
}

/// Sends it until it is not refused, as partners do: a database that stands still for some seconds is as
/// good as none.
fn accepted(gateway: &Running, message: &Built) -> bool {
    insists(gateway, || send(gateway, message))
}

/// Whether this comes to 200. A 503 is borne with as often as the store was too slow.
fn insists(gateway: &Running, send: impl Fn() -> u16) -> bool {
    let mut status = 0;
    let ended = wait_until(SOON, || {
        status = send();
        status != 503 || !gateway.log().contains(TOO_SLOW)
    });
    ended && status == 200
}

#[test]
fn large_payloads_go_through_the_database_sealed_or_not() {
    let (site, database) = (Site::new(), Postgres::shared());
    let mut gateway = site.on(&database);
    let message = order(1 << 20);
    assert!(accepted(&gateway, &message));
    site.wait_for("/raw", "message.received", 1, SOON);
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    std::fs::write(gateway.config_file(), config + "encrypt_payloads: true\n").unwrap();
    gateway.restart().unwrap();
    assert!(accepted(&gateway, &order(1 << 20)));
    site.wait_for("/raw", "message.received", 2, SOON);
    let delivered = site.sink.requests();
    let raw: Vec<_> =
        delivered.iter().filter(|delivered| delivered.head.line.contains("/raw")).collect();
    assert!(raw[0].body.bytes.starts_with(b"UNA:+.? '"));
    assert_eq!(raw[0].body.sha256, raw[1].body.sha256);
    assert!(raw[0].body.length > 1 << 20);
}

#[test]
fn a_duplicate_and_a_receipt_are_known_whichever_gateway_they_reach() {
    let (site, database) = (Site::new(), Postgres::shared());
    let (one, other) = (site.on(&database), site.on(&database));
    let message = order(10);
    assert!(accepted(&one, &message));
    // It is remembered with its verdict, a moment after its response.
    site.wait_for("/json", "message.received", 1, SOON);
    assert!(accepted(&other, &message));
    site.wait_for("/json", "message.duplicate", 1, SOON);

    let receipt = Receipt::SignedAsync(Digest::Sha256, "http://127.0.0.1:9/mdn".to_owned());
    let sent = Message::new("MY-OWN-ORG", "ACME").attach(part(10)).sign(pki::station());
    let sent = sent.receipt(receipt).build();
    site.partner.respond(Response::ok());
    let post = Post::message("/", &sent);
    assert!(insists(&one, || one.outbound().send(&post).unwrap().status));
    site.wait_for("/json", "message.sent", 1, SOON);
    let mdn = Mdn::processed().mic(&sent.mic).sign(pki::partner(), Digest::Sha256);
    let (headers, body) = mdn.about("ACME", "MY-OWN-ORG", &sent.id).into_parts();
    site.receiver.respond(Response::ok());
    let post = Post::new("/as2", &body).headers(&headers);
    assert!(insists(&other, || other.inbound().send(&post).unwrap().status));
    site.wait_for("/json", "mdn.received", 1, SOON);
    let delivered = site.sink.requests();
    let delivered =
        delivered.iter().find(|delivered| delivered.header("X-AS2-Event") == Some("mdn.received"));
    assert_eq!(delivered.unwrap().json()["micMatches"], true);
}

#[test]
fn receipt_that_reaches_another_gateway_before_the_response_finds_its_message() {
    let (site, database) = (Site::new(), Postgres::shared());
    let (one, other) = (site.on(&database), site.on(&database));
    let receipt = Receipt::SignedAsync(Digest::Sha256, "http://127.0.0.1:9/mdn".to_owned());
    let sent = Message::new("MY-OWN-ORG", "ACME").attach(part(10)).sign(pki::station());
    let sent = sent.receipt(receipt).build();
    let mdn = Mdn::processed().mic(&sent.mic).sign(pki::partner(), Digest::Sha256);
    let (headers, body) = mdn.about("ACME", "MY-OWN-ORG", &sent.id).into_parts();
    let inbound = other.inbound();
    site.partner.respond(Response::ok_after(move || {
        let post = || inbound.send(&Post::new("/as2", &body).headers(&headers)).unwrap().status;
        // Refused while the database is too slow.
        assert!(wait_until(SOON, || post() == 200));
    }));
    assert!(insists(&one, || one.outbound().send(&Post::message("/", &sent)).unwrap().status));
    site.wait_for("/json", "mdn.received", 1, SOON);
    let delivered = site.sink.requests();
    let delivered =
        delivered.iter().find(|delivered| delivered.header("X-AS2-Event") == Some("mdn.received"));
    assert_eq!(delivered.unwrap().json()["messageKnown"], true);
    assert_eq!(delivered.unwrap().json()["micMatches"], true);
}

#[test]
fn deliveries_of_a_killed_gateway_are_made_by_another() {
    let (site, database) = (Site::new(), Postgres::shared());
    let (mut one, _other) = (site.on(&database), site.on(&database));
    site.receiver.respond(Response::silence());
    let message = order(10);
    let inbound = one.inbound();
    let waiting = std::thread::spawn(move || {
        loop {
            let reply = inbound.send(&Post::message("/as2", &message));
            // Refused while the database is too slow; the receiver has none of it then.
            if !reply.as_ref().is_ok_and(|reply| reply.status == 503) {
                return reply.is_err();
            }
        }
    });
    site.receiver.wait_until(1, SOON, |request| request.complete).unwrap();
    one.kill9();
    assert!(waiting.join().unwrap(), "no response came");
    site.wait_for("/json", "message.received", 1, LATER);
    let error = site.sink.requests()[0].header("X-Processing-Error").unwrap().to_owned();
    assert!(error.starts_with("1500: "), "{error}");
}

#[test]
fn a_database_that_is_restarted_costs_no_message_that_was_accepted() {
    let (site, mut database) = (Site::new(), Postgres::start());
    let gateway = site.on(&database);
    let mut count = 0;
    for round in 0..3 {
        for _ in 0..5 {
            count += usize::from(accepted(&gateway, &order(10)));
        }
        if round == 0 {
            database.stop();
            assert_eq!(send(&gateway, &order(10)), 503);
            let delivered = || {
                let ready = gateway.admin().get("/readyz").unwrap();
                ready.status == 503 && ready.text().contains("cannot be reached")
            };
            assert!(
                wait_until(SOON, delivered),
                "{}",
                gateway.admin().get("/readyz").unwrap().text()
            );
            database.restart();
            let ready = || gateway.admin().get("/readyz").is_ok_and(|reply| reply.status == 200);
            assert!(wait_until(SOON, ready));
        }
    }
    assert_eq!(count, 15);
    site.wait_for("/json", "message.received", count, SOON);
}

/// Its verdict waits until the database can be asked for its message.
fn negative_mdn_is_reported_once(mode: &str) {
    let (site, mut database) = (Site::new(), Postgres::start());
    let gateway = site.gateway_that(mode, &database.url(), "store");
    let gateway = gateway.set("mdn_deadline", "30s").start().unwrap();
    let receipt = Receipt::SignedAsync(Digest::Sha256, "http://127.0.0.1:9/mdn".to_owned());
    let sent = Message::new("MY-OWN-ORG", "ACME").attach(part(10)).sign(pki::station());
    let sent = sent.receipt(receipt).build();
    site.partner.respond(Response::ok());
    let post = Post::message("/", &sent);
    assert!(insists(&gateway, || gateway.outbound().send(&post).unwrap().status));
    let began = std::time::Instant::now();
    site.wait_for("/json", "message.sent", 1, SOON);

    let mdn = Mdn::error("authentication-failed").mic(&sent.mic);
    let mdn = mdn.sign(pki::partner(), Digest::Sha256);
    let (headers, body) = mdn.about("ACME", "MY-OWN-ORG", &sent.id).into_parts();
    site.receiver.respond(Response::ok().delay(Duration::from_secs(8)));
    let inbound = gateway.inbound();
    let posted = std::thread::spawn(move || {
        inbound.send(&Post::new("/as2", &body).headers(&headers)).unwrap().status
    });
    site.receiver.wait_until(1, SOON, |request| request.complete).unwrap();
    database.stop();
    assert_eq!(posted.join().unwrap(), 200);
    // The MDN is due while the database is away.
    assert!(wait_until(SOON, || began.elapsed() > Duration::from_secs(32)));
    database.restart();
    site.wait_for("/json", "send.error", 1, SOON);
    site.wait_for("/json", "mdn.received", 1, SOON);
    let ready = || gateway.readiness().is_some_and(|(status, _)| status == 200);
    assert!(wait_until(SOON, ready), "{:?}", gateway.readiness());
    // One that is overdue behind it.
    let receipt = Receipt::SignedAsync(Digest::Sha256, "http://127.0.0.1:9/mdn".to_owned());
    let other = Message::new("MY-OWN-ORG", "ACME").attach(part(10)).receipt(receipt).build();
    let post = Post::message("/", &other);
    assert!(insists(&gateway, || gateway.outbound().send(&post).unwrap().status));
    site.wait_for("/json", "mdn.overdue", 1, SOON);
    let mut delivered = site.delivered("/json");
    delivered.sort();
    let all = ["mdn.overdue", "mdn.received", "message.sent", "message.sent", "send.error"];
    assert_eq!(delivered, all, "{mode}");
    let requests = site.sink.requests();
    let overdue =
        requests.iter().find(|delivered| delivered.header("X-AS2-Event") == Some("mdn.overdue"));
    assert_eq!(overdue.unwrap().json()["as2MessageId"], other.id.as_str());
}

#[test]
fn negative_mdn_whose_verdict_falls_into_a_restart_of_the_database_is_reported_once_pass() {
    negative_mdn_is_reported_once("pass");
}

#[test]
fn negative_mdn_whose_verdict_falls_into_a_restart_of_the_database_is_reported_once_refuse() {
    negative_mdn_is_reported_once("refuse");
}

/// Traffic first: it does not hang on the database that a gateway was started with, or without.
#[test]
fn a_gateway_that_lets_pass_starts_without_its_database() {
    let (site, mut database) = (Site::new(), Postgres::start());
    database.stop();
    let mut gateway = site.gateway_that("pass", &database.url(), "store").prepare().unwrap();
    gateway.begin().unwrap();
    let delivered =
        || gateway.readiness().is_some_and(|(_, text)| text.contains("cannot be reached"));
    assert!(wait_until(SOON, delivered), "{}", gateway.log());
    for _ in 0..3 {
        assert_eq!(send(&gateway, &order(10)), 200);
    }
    database.restart();
    assert!(wait_until(SOON, || gateway.readiness().is_some_and(|(status, _)| status == 200)));
    assert_eq!(send(&gateway, &order(1 << 20)), 200);
    site.wait_for("/json", "message.received", 4, SOON);
}

#[test]
fn a_gateway_that_refuses_does_not_start_without_its_database() {
    let (site, mut database) = (Site::new(), Postgres::start());
    database.stop();
    let mut gateway = site.gateway(&database.url(), "store").prepare().unwrap();
    gateway.begin().unwrap();
    let ended = gateway.wait_for_end(SOON).expect("it ends by itself");
    assert_eq!(ended.code(), Some(1));
    assert!(gateway.log().contains("cannot be reached"), "{}", gateway.log());
}

#[test]
fn role_that_may_not_create_starts_once_the_tables_are_there() {
    let (site, database) = (Site::new(), Postgres::shared());
    site.on(&database).sigterm(SOON).unwrap().unwrap();
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    database.sql(&format!(
        "CREATE ROLE {name}_rw LOGIN;
        REVOKE CREATE ON DATABASE {name} FROM PUBLIC;
        GRANT USAGE ON SCHEMA as2hook TO {name}_rw;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA as2hook TO {name}_rw;
        GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA as2hook TO {name}_rw"
    ));
    let url = database.url().replace("as2hook@", &format!("{name}_rw@"));
    let gateway = site.gateway(&url, "store").start().unwrap();
    assert!(accepted(&gateway, &order(1 << 20)));
    site.wait_for("/raw", "message.received", 1, SOON);
}

#[test]
fn a_site_moves_with_all_that_was_undelivered() {
    let (site, database) = (Site::new(), Postgres::shared());
    let old = site.folder.path().join("as2hook.db");
    let files = site.folder.path().join("payloads");
    let store = format!("sqlite:{}", old.display());
    let mut gateway = site.gateway(&store, &format!("{files:?}")).start().unwrap();
    site.sink.stop();
    for size in [10, 1 << 20, 10] {
        assert!(accepted(&gateway, &order(size)));
    }
    let migrate = |to: &str| {
        Command::new(env!("CARGO_BIN_EXE_as2hook"))
            .args(["migrate", "--from", &store, "--to", to])
            .output()
            .unwrap()
    };
    let refused = migrate(&database.url());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("stop as2hook first"), "{said}");
    gateway.sigterm(SOON).unwrap().unwrap();
    let wrong = migrate("mysql://unknown@127.0.0.1/none");
    assert_eq!(wrong.status.code(), Some(2));
    let moved = migrate(&database.url());
    let said = String::from_utf8_lossy(&moved.stdout).into_owned();
    assert!(moved.status.success(), "{said}{}", String::from_utf8_lossy(&moved.stderr));
    assert!(said.contains("deliveries  9, 9 of them still to be made"), "{said}");
    assert!(said.contains("payloads    1 files"), "{said}");
    std::fs::remove_file(&old).unwrap();
    std::fs::remove_dir_all(&files).unwrap();

    site.sink.resume();
    let _gateway = site.on(&database);
    site.wait_for("/json", "message.received", 3, SOON);
    site.wait_for("/raw", "message.received", 3, SOON);
    let delivered = site.sink.requests();
    let raw = delivered.iter().filter(|delivered| delivered.head.line.contains("/raw"));
    assert_eq!(raw.map(|delivered| u64::from(delivered.body.length > 1 << 20)).sum::<u64>(), 1);
}
