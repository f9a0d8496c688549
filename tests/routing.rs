//! Which webhooks an event fires (section 3 of the design), as a gateway does it and as
//! `as2hook match` says it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "routing/documents.rs"]
mod documents;
#[path = "routing/filters.rs"]
mod filters;

use std::{cell::RefCell, collections::BTreeSet, ffi::OsStr, time::Duration};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Ran, Request, Response, Rule, Running, as2hook, pki,
    receiver, sink,
};

const SOON: Duration = Duration::from_secs(60);

// === the most specific rule ===

#[test]
fn of_four_rules_the_most_specific_fires() {
    let stage = Stage::new(&[
        ("general", |rule| rule),
        ("partner", |rule| rule.set("partner", "ACME")),
        ("station", |rule| rule.set("station", "MY-OWN-ORG")),
        ("both", |rule| rule.set("partner", "ACME").set("station", "MY-OWN-ORG")),
    ]);
    stage.fires("message.received", "ACME", "MY-OWN-ORG", &["both"]);
    stage.fires("message.received", "ACME", "OTHER", &["partner"]);
    stage.fires("message.received", "GLOBEX", "MY-OWN-ORG", &["station"]);
    stage.fires("message.received", "GLOBEX", "OTHER", &["general"]);
    stage.nothing_else_fired();
}

#[test]
fn a_partners_rule_comes_before_a_stations() {
    let stage = Stage::new(&[
        ("station", |rule| rule.set("station", "MY-OWN-ORG").set("partner_type", "Production")),
        ("partner", |rule| rule.set("partner", "ACME").events(&["*"])),
    ]);
    stage.fires("message.received", "ACME", "MY-OWN-ORG", &["partner"]);
    stage.fires("message.received", "GLOBEX", "MY-OWN-ORG", &["station"]);
    stage.nothing_else_fired();
}

#[test]
fn rules_fall_back_to_less_specific_ones_and_to_none() {
    let stage = Stage::new(&[
        ("station", |rule| rule.set("station", "MY-OWN-ORG")),
        ("both", |rule| rule.set("partner", "ACME").set("station", "OTHER")),
    ]);
    stage.fires("message.received", "ACME", "OTHER", &["both"]);
    stage.fires("message.received", "ACME", "MY-OWN-ORG", &["station"]);
    stage.fires("message.received", "ACME", "THIRD", &[]);
    stage.fires("message.received", "GLOBEX", "OTHER", &[]);
    stage.nothing_else_fired();
}

#[test]
fn as2_ids_are_compared_with_their_case_and_unquoted() {
    let stage = Stage::new(&[
        ("general", |rule| rule),
        ("quoted", |rule| rule.set("partner", r#"'A "quoted" name'"#)),
        ("partner", |rule| rule.set("partner", "ACME")),
    ]);
    stage.fires("message.received", "Acme", "MY-OWN-ORG", &["general"]);
    stage.post("quoted", 200, r#""A \"quoted\" name""#, "MY-OWN-ORG");
    stage.assert_delivered("quoted", &["quoted"]);
    stage.post("plain", 200, "\"ACME\"", "\"MY-OWN-ORG\"");
    stage.assert_delivered("plain", &["partner"]);
    stage.nothing_else_fired();
}

// === events ===

#[test]
fn a_named_event_beats_the_star_and_the_star_takes_the_rest() {
    let stage = Stage::new(&[
        ("star", |rule| rule.events(&["*"])),
        ("named", |rule| rule.events(&["message.received"])),
    ]);
    stage.fires("message.received", "ACME", "MY-OWN-ORG", &["named"]);
    stage.fires("message.rejected", "ACME", "MY-OWN-ORG", &["star"]);
    stage.nothing_else_fired();
}

#[test]
fn a_partners_star_beats_a_named_event_of_everybody() {
    let stage = Stage::new(&[
        ("acme", |rule| rule.set("partner", "ACME").events(&["*"])),
        ("named", |rule| rule.events(&["message.received", "message.rejected"])),
    ]);
    stage.fires("message.received", "ACME", "MY-OWN-ORG", &["acme"]);
    stage.fires("message.rejected", "GLOBEX", "MY-OWN-ORG", &["named"]);
    stage.nothing_else_fired();
}

#[test]
fn each_event_has_its_own_winner() {
    let stage = Stage::new(&[
        ("received", |rule| rule.set("partner", "ACME")),
        ("rejected", |rule| rule.events(&["message.rejected"])),
    ]);
    // Without `events` a rule is about received messages.
    stage.fires("message.received", "ACME", "MY-OWN-ORG", &["received"]);
    stage.fires("message.rejected", "ACME", "MY-OWN-ORG", &["rejected"]);
    stage.fires("message.received", "GLOBEX", "MY-OWN-ORG", &[]);
    stage.nothing_else_fired();
}

// === partner types ===

#[test]
fn partner_types_filter_and_make_a_rule_more_specific() {
    let stage = Stage::new(&[
        ("general", |rule| rule),
        ("test", |rule| rule.set("partner_type", "Test")),
        ("test-station", |rule| rule.set("partner_type", "Test").set("station", "MY-OWN-ORG")),
        ("station", |rule| rule.set("station", "MY-OWN-ORG")),
    ]);
    stage.fires("message.received", "TRIAL", "OTHER", &["test"]);
    stage.fires("message.received", "TRIAL", "MY-OWN-ORG", &["test-station"]);
    stage.fires("message.received", "ACME", "MY-OWN-ORG", &["station"]);
    stage.fires("message.received", "ACME", "OTHER", &["general"]);
    let types: BTreeSet<_> = stage
        .sink
        .requests()
        .iter()
        .map(|delivered| {
            ["AS2-From", "X-Partner-Type"].map(|name| delivered.header(name).unwrap().to_owned())
        })
        .collect();
    let of = |partner: &str, kind: &str| [partner.to_owned(), kind.to_owned()];
    assert_eq!(types, [of("ACME", "Production"), of("TRIAL", "Test")].into());
    stage.nothing_else_fired();
}

#[test]
fn a_partner_that_the_config_does_not_know_counts_as_production() {
    let stage = Stage::new(&[
        ("production", |rule| rule.set("partner_type", "Production")),
        ("test", |rule| rule.set("partner_type", "Test")),
    ]);
    stage.fires("message.received", "UNKNOWN", "MY-OWN-ORG", &["production"]);
    assert_eq!(stage.sink.requests()[0].header("X-Partner-Type"), Some("Production"));
    stage.nothing_else_fired();
}

// === beside the most specific rule ===

#[test]
fn rules_with_route_always_fire_besides() {
    let stage = Stage::new(&[
        ("general", |rule| rule),
        ("partner", |rule| rule.set("partner", "ACME")),
        ("log", |rule| rule.events(&["*"]).always()),
        ("audit", |rule| rule.set("partner", "ACME").set("station", "MY-OWN-ORG").always()),
        ("globex", |rule| rule.set("partner", "GLOBEX").always()),
    ]);
    stage.fires("message.received", "ACME", "MY-OWN-ORG", &["partner", "log", "audit"]);
    stage.fires("message.received", "ACME", "OTHER", &["partner", "log"]);
    stage.fires("message.received", "GLOBEX", "OTHER", &["general", "log", "globex"]);
    stage.fires("message.rejected", "ACME", "MY-OWN-ORG", &["log"]);
    stage.nothing_else_fired();
}

#[test]
fn disabled_rules_do_not_take_part() {
    let stage = Stage::new(&[
        ("general", |rule| rule),
        ("both", |rule| {
            rule.set("partner", "ACME").set("station", "MY-OWN-ORG").set("enabled", "false")
        }),
        ("log", |rule| rule.always().set("enabled", "false")),
        // As specific as the one that is disabled, and so no mistake.
        ("both-again", |rule| {
            rule.set("partner", "GLOBEX").set("station", "MY-OWN-ORG").set("enabled", "false")
        }),
        ("globex", |rule| rule.set("partner", "GLOBEX").set("station", "MY-OWN-ORG")),
    ]);
    stage.fires("message.received", "ACME", "MY-OWN-ORG", &["general"]);
    stage.fires("message.received", "GLOBEX", "MY-OWN-ORG", &["globex"]);
    stage.nothing_else_fired();
}

#[test]
fn a_rule_of_another_site_does_not_fire() {
    let stage = Stage::new(&[
        ("here", |rule| rule.set("site", "main")),
        ("there", |rule| rule.set("site", "elsewhere").set("partner", "ACME")),
    ]);
    stage.fires("message.received", "ACME", "MY-OWN-ORG", &["here"]);
    stage.nothing_else_fired();
}

#[test]
fn match_explains_what_fires_and_what_comes_near() {
    let stage = Stage::new(&[
        ("general", |rule| rule),
        ("partner", |rule| rule.set("partner", "ACME")),
        ("log", |rule| rule.events(&["*"]).always()),
    ]);
    let ran = stage.asked("message.received", "ACME", "MY-OWN-ORG");
    assert_eq!(ran.status, Some(0));
    let fires: Vec<_> = ran.stdout.lines().collect();
    assert!(fires[0].starts_with("partner: fires: "), "most specific first: {}", ran.stdout);
    assert!(fires[1].starts_with("log: fires: route: always"), "{}", ran.stdout);
    assert_eq!(fires.len(), 2);
    let lost = "general: does not fire: \"partner\" is more specific, since it names the partner";
    assert!(ran.stderr.contains(lost), "{}", ran.stderr);
}

#[test]
fn two_rules_that_are_equally_specific_are_a_mistake_that_names_both() {
    let gateway = gateway("http://127.0.0.1:1")
        .rule("one", |rule| rule.url("http://127.0.0.1:1/").set("partner", "ACME"))
        .rule("two", |rule| rule.url("http://127.0.0.1:1/").set("partner", "ACME"))
        .prepare()
        .unwrap();
    let config = gateway.config_file();
    let ran = as2hook(&["check".as_ref(), "-c".as_ref(), config.as_os_str()]);
    assert_eq!(ran.status, Some(1));
    let said = ran.stdout + &ran.stderr;
    let located: Vec<_> = said.lines().filter(|line| line.contains("webhooks.yaml:")).collect();
    assert!(located.len() == 1, "{said}");
    assert!(located[0].contains("one") && located[0].contains("two"), "{said}");
}

#[test]
fn rule_that_cannot_fire_is_a_warning_that_counts_with_strict() {
    let gateway = gateway("http://127.0.0.1:1")
        .rule("one", |rule| rule.url("http://127.0.0.1:1/").events(&["message.sent"]))
        .prepare()
        .unwrap();
    let config = gateway.config_file();
    let check = |flags: &[&str]| {
        let args = ["check".as_ref(), "-c".as_ref(), config.as_os_str()];
        as2hook(&args.into_iter().chain(flags.iter().map(OsStr::new)).collect::<Vec<_>>())
    };
    let what =
        "it never fires: no outbound listener runs; add `listen.outbound`, or leave the event out";
    let ran = check(&[]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("warning: ") && ran.stderr.contains(what), "{}", ran.stderr);

    let ran = check(&["--strict", "--json"]);
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(said["mistakes"], serde_json::json!([]));
    let warning = &said["warnings"][0];
    assert_eq!((&warning["path"], &warning["message"]), (&"webhooks[0]".into(), &what.into()));
    assert!(warning["file"].as_str().unwrap().ends_with("webhooks.yaml"), "{warning}");
    assert!(warning["line"].is_u64() && warning["column"].is_u64(), "{warning}");
}

// === helpers ===

/// A gateway with rules that deliver to paths of their own names.
struct Stage {
    receiver: Endpoint,
    sink: Endpoint,
    gateway: Running,
    /// Rule and mark of every delivery that was expected.
    expected: RefCell<BTreeSet<(String, String)>>,
}

type Configure = fn(Rule) -> Rule;

/// The header that says which exchange a delivery is of.
const MARK: &str = "X-Exchange";

/// The partner of the last exchange of a test.
const BARRIER: &str = "BARRIER";

impl Stage {
    fn new(rules: &[(&str, Configure)]) -> Self {
        let (receiver, sink) = (receiver().start(), sink().start());
        receiver.script(|head| {
            let status = head.header("X-Respond-With").and_then(|status| status.parse().ok());
            Response::status(status.unwrap_or(200))
        });
        let gateway =
            rules.iter().fold(gateway(&receiver.url("")), |gateway, (name, configure)| {
                let path = format!("/{name}");
                gateway.rule(name, |rule| configure(rule.to(&sink, &path)))
            });
        let barrier = |rule: Rule| rule.to(&sink, "/barrier").set("partner", BARRIER).always();
        let gateway = gateway.rule("barrier", barrier).start().unwrap();
        Self { receiver, sink, gateway, expected: RefCell::default() }
    }

    /// Makes this event, and expects these webhooks of the gateway and of `as2hook match`.
    fn fires(&self, event: &str, partner: &str, station: &str, expected: &[&str]) {
        let mark = format!("{event} {partner} {station}");
        let status = if event == "message.received" { 200 } else { 500 };
        self.post(&mark, status, partner, station);
        self.assert_delivered(&mark, expected);
        let ran = self.asked(event, partner, station);
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        let said = ran.stdout.lines().map(|line| line.split(':').next().unwrap().to_owned());
        assert_eq!(said.collect::<BTreeSet<_>>(), names(expected), "match: {mark}");
    }

    fn post(&self, mark: &str, status: u16, partner: &str, station: &str) {
        let message = Message::new(partner, station)
            .id(&format!("<{}@acme>", self.receiver.requests().len()))
            .header(MARK, mark)
            .header("X-Respond-With", &status.to_string())
            .attach(Part::text("order.edi", "application/edifact", "UNB"))
            .build();
        let reply = self.gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
        assert_eq!(reply.status, status);
    }

    /// Waits until as many rules have delivered this exchange, and compares them with these.
    fn assert_delivered(&self, mark: &str, rules: &[&str]) {
        let like = |delivered: &Request| delivered.header(MARK) == Some(mark);
        let delivered = self.sink.wait_until(rules.len(), SOON, like).unwrap();
        let delivered = delivered.iter().map(|delivered| rule(delivered)).collect::<BTreeSet<_>>();
        assert_eq!(delivered, names(rules), "{mark}");
        let pairs = rules.iter().map(|&rule| (rule.to_owned(), mark.to_owned()));
        self.expected.borrow_mut().extend(pairs);
    }

    fn asked(&self, event: &str, partner: &str, station: &str) -> Ran {
        let config = self.gateway.config_file();
        let config = config.to_str().unwrap();
        let words = ["match", "-c", config, "--event", event];
        as2hook(&[&words[..], &["--partner", partner, "--station", station]].concat())
    }

    /// After one more exchange: every expected webhook was delivered once, and no other.
    fn nothing_else_fired(&self) {
        self.post(BARRIER, 200, BARRIER, BARRIER);
        let barrier = |delivered: &Request| rule(delivered) == "barrier";
        self.sink.wait_until(1, SOON, barrier).unwrap();
        let mark = |delivered: &Request| delivered.header(MARK).unwrap().to_owned();
        let all = self.sink.requests();
        let all = all.iter().filter(|delivered| mark(delivered) != BARRIER);
        let mut all: Vec<_> = all.map(|delivered| (rule(delivered), mark(delivered))).collect();
        all.sort();
        let expected: Vec<_> = self.expected.borrow().iter().cloned().collect();
        assert_eq!(all, expected);
    }
}

/// The name of the rule that delivered it.
fn rule(delivered: &Request) -> String {
    delivered.target().trim_start_matches('/').to_owned()
}

fn gateway(receiver: &str) -> Gateway {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url(receiver)
        .station("MY-OWN-ORG", pki::station())
        .partner_with("ACME", |partner| partner)
        .partner_with("TRIAL", |partner| partner.set("type", "Test"))
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
