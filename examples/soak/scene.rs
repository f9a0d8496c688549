//! The gateway, its rules, and the stand-ins around it.

use std::{
    collections::BTreeSet,
    error::Error,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use as2hook_testing::{
    Digest, Gateway, Mdn, Rule, Running,
    corpus::{self, Case},
    load::{Seen, Server, Template},
    pki,
};

/// Connections that one side has at most.
const THREADS: usize = 256;

/// Kept for so short a time that most of a run's events are pruned while it lasts.
const RETENTION: &str = "{ events: 5s, attempts: 5s, payloads: 5s, count: 2000 }";

/// In the words of the log, of a store whose disk takes too long.
const SLOW: &str = "did not respond within";
/// And of the endpoints that are to fail, each now and then: three failures in a row are a dead delivery. One of
/// another webhook is wrong.
const DEAD: &str =
    "A delivery is dead: no attempt is left. Mend its endpoint and replay it. webhook=";
const FAILING: [&str; 2] = ["fails", "closes"];

/// Everything that a run needs.
pub(crate) struct Scene {
    /// Under test.
    pub(crate) gateway: Running,
    /// The messages kept beside the repository; none where they are not at hand.
    pub(crate) cases: Vec<Case>,
    rules: Vec<Rule>,
    delivered: Arc<Mutex<BTreeSet<usize>>>,
}

// === impl Scene ===

impl Scene {
    /// Starts it all.
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        let delivered = Arc::new(Mutex::new(BTreeSet::new()));
        let (receiver, partner, sink) = (receiver(), partner(), sink(&delivered));
        let rules = rules(&sink);
        let cases = cases();
        let gateway = gateway(&receiver, &partner, &rules, &cases).start()?;
        Ok(Self { gateway, cases, rules, delivered })
    }

    /// Other rules, and now and then a mistake that must change nothing.
    pub(crate) fn reload(&self, nth: usize) {
        if nth.is_multiple_of(5) {
            self.gateway.write("webhooks.yaml", "webhooks: [ { name: }").unwrap();
            self.gateway.reload().unwrap();
        }
        let url = format!("http://127.0.0.1:9/{nth}");
        let other = Rule::new("other").url(url).set("partner", "UNKNOWN");
        let rules: Vec<_> = self.rules.iter().cloned().chain([other]).collect();
        self.gateway.write_rules(&rules).unwrap();
        assert_eq!(self.gateway.reload().unwrap().status, 200, "a right file was refused");
    }

    /// The messages that a webhook endpoint got.
    pub(crate) fn delivered(&self) -> BTreeSet<usize> {
        self.delivered.lock().unwrap().clone()
    }

    /// What the log should not have: a panic, or an error that is neither one of our mistaken files, nor a delivery to
    /// an endpoint that is to fail, nor the disk of a machine that stands still.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.gateway.log();
        let meant = FAILING.map(|webhook| format!("{DEAD}\"{webhook}\""));
        let known = ["webhooks.yaml", SLOW].into_iter().chain(meant.iter().map(String::as_str));
        let ours = |line: &str| known.clone().any(|known| line.contains(known));
        let wrong =
            |line: &&str| line.contains("panicked") || (line.contains("ERROR") && !ours(line));
        log.lines().filter(wrong).map(str::to_owned).collect()
    }
}

/// The messages kept beside the repository, with the AS2 names for those that were kept without.
fn cases() -> Vec<Case> {
    let mut cases = corpus::cases();
    for case in &mut cases {
        for (name, id) in [("AS2-From", "libas2"), ("AS2-To", "libas2community")] {
            if case.header(name).is_none() {
                case.headers.push((name.to_owned(), id.to_owned()));
            }
        }
    }
    cases
}

fn gateway(receiver: &Server, partner: &Server, rules: &[Rule], cases: &[Case]) -> Gateway {
    let mut gateway = Gateway::new()
        .receiver_url(&receiver.url(""))
        .outbound()
        .environment("AS2HOOK_LOG", "warn")
        .set("retention", RETENTION)
        .set("mdn_deadline", "15s")
        .set("duplicate_window", "60s")
        .station("MY-OWN-ORG", pki::station())
        .station("MY-OWN-ORG", pki::old_station())
        .partner("ACME", pki::partner())
        .partner_with("BOLT", |bolt| {
            bolt.certificate(Path::new("keys/acme.crt"))
                .url(&partner.url("/as2"))
                .set("mdn_urls", &format!("[\"{}\"]", partner.url("/mdn")))
        })
        .partner_with("GONE", |gone| gone.url("http://127.0.0.1:9/as2"));
    let keys = corpus::keys();
    let names = |field: &str| -> BTreeSet<String> {
        let named = cases.iter().filter_map(|case| case.header(field));
        named.map(|name| name.trim_matches('"').to_owned()).collect()
    };
    for station in names("AS2-To") {
        for key in &keys {
            if let Some(private_key) = &key.private_key {
                gateway = gateway.station_files(&station, &key.certificate, private_key);
            }
        }
    }
    for name in names("AS2-From") {
        gateway = gateway.partner_with(&name, |partner| {
            keys.iter().fold(partner, |partner, key| partner.certificate(&key.certificate))
        });
    }
    rules.iter().fold(gateway, |gateway, rule| gateway.rule("", |_| rule.clone()))
}

/// Every kind of delivery, and some that end badly.
fn rules(sink: &Server) -> Vec<Rule> {
    let rule = |name: &str| Rule::new(name).url(sink.url(&format!("/{name}"))).always();
    let retry = |rule: Rule| rule.set("retry", "[100ms, 200ms]");
    vec![
        rule("all").payload("json").events(&["*"]),
        rule("raw").payload("raw").set("secret", "[first, second]"),
        rule("headers").events(&["message.received", "mdn.received", "message.rejected"]),
        rule("ordered").payload("json").set("order", "partner").set("partner", "ACME"),
        retry(rule("fails")).set("partner", "ACME"),
        retry(rule("closes")).set("partner", "BOLT").events(&["*"]),
        retry(rule("slow")).set("concurrency", "64").set("timeout", "5s"),
    ]
}

/// Our AS2 server: takes most, responds late, badly, or not at all.
fn receiver() -> Server {
    Server::start(THREADS, |seen, out| match seen.target() {
        "/rejects" => respond(500, out),
        "/closes" => {}
        "/slow" => {
            thread::sleep(Duration::from_millis(30));
            mdn(seen, Mdn::processed(), out);
        }
        "/negative" => mdn(seen, Mdn::error("decryption-failed"), out),
        "/as2" if seen.field("as2-from").is_some() => mdn(seen, Mdn::processed(), out),
        _ => respond(200, out),
    })
}

/// A partner that our AS2 server sends to: the message's subject says how it is to respond.
fn partner() -> Server {
    Server::start(THREADS, |seen, out| {
        let signed = |mdn: Mdn| mdn.sign(pki::partner(), Digest::Sha256);
        match seen.field("subject").unwrap_or_default() {
            "later" | "never" => respond(202, out),
            "rejects" => respond(503, out),
            "closes" => {}
            "unsigned" => mdn(seen, Mdn::processed(), out),
            "negative" => mdn(seen, signed(Mdn::error("authentication-failed")), out),
            mic => mdn(seen, signed(Mdn::processed().mic(mic)), out),
        }
    })
}

fn sink(delivered: &Arc<Mutex<BTreeSet<usize>>>) -> Server {
    let delivered = delivered.clone();
    Server::start(THREADS, move |seen, out| match seen.target() {
        // Now and then: behind an endpoint that never works the deliveries rightly pile up.
        "/fails" if now_and_then() => respond(500, out),
        "/closes" if now_and_then() => {}
        "/slow" => {
            thread::sleep(Duration::from_millis(20));
            respond(200, out);
        }
        "/all" => {
            if let Some(number) = seen.field("message-id").and_then(Template::number) {
                delivered.lock().unwrap().insert(number);
            }
            respond(200, out);
        }
        _ => respond(204, out),
    })
}

fn now_and_then() -> bool {
    fastrand::usize(..4) == 0
}

fn respond(status: u16, out: &mut Vec<u8>) {
    let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
    out.extend_from_slice(format!("HTTP/1.1 {status} So\r\n{length}\r\n").as_bytes());
}

fn mdn(seen: &Seen<'_>, mdn: Mdn, out: &mut Vec<u8>) {
    let field = |name| seen.field(name).unwrap_or_default();
    let mdn = mdn.about(field("as2-to"), field("as2-from"), field("message-id"));
    let (headers, body) = mdn.into_parts();
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(&body);
}
