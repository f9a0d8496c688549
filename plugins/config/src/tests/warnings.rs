//! What is right in itself, and cannot work or is likely not meant.

use super::*;

/// An outbound listener, a station with a key, and partners of each type, of which ACME has a certificate.
const WHOLE: &str = "\
listen: { outbound: { address: \"127.0.0.1:8085\" } }
stations:
- { as2_id: WE, keys: [{ certificate: keys/rsa.crt, private_key: keys/rsa.key }] }
- { as2_id: KEYLESS }
partners:
- { as2_id: ACME, certificates: [keys/ec.crt], url: \"http://acme.example/\" }
- { as2_id: TRIAL, type: Test, site: trials, url: \"http://trial.example/\", async_mdn: elsewhere }
";

/// One rule of these keys beside [`WHOLE`] gives these warnings, each with its path within the rule.
#[track_caller]
fn expect_of_rule(keys: &str, expected: &[&str]) {
    let rules = format!("webhooks:\n- {{ name: a, url: \"http://a/\", {keys} }}\n");
    let shown = warned(WHOLE, &rules);
    let shown: Vec<_> =
        shown.iter().map(|text| text.split_once("webhooks[0]").unwrap().1).collect();
    assert_eq!(shown, expected, "{keys}");
}

#[test]
fn rule_that_can_fire_has_no_warning() {
    for keys in [
        "",
        "events: \"*\", payload: raw",
        "partner: ACME, station: WE, signature: [valid], errors: none, payload: raw",
        "partner: ACME, partner_type: Production",
        "partner_type: Test, site: trials",
        "partner: TRIAL, site: trials, signature: [valid, unknown-certificate]",
        "events: [message.sent, mdn.sent], station: WE, signature: [valid]",
        "events: [message.sent], station: KEYLESS, payload: raw",
        "events: [mdn.overdue, mdn.received], errors: any",
        "events: [certificate.expiring], partner: ACME",
        "events: [webhook.disabled], site: other",
        "signature: [invalid, unsigned], errors: none",
        "enabled: false, partner: NONE, signature: [invalid], errors: none",
    ] {
        expect_of_rule(keys, &[]);
    }
}

#[test]
fn name_that_the_config_does_not_have_is_warned_of() {
    expect_of_rule(
        "partner: ACNE, station: NONE",
        &[
            ".partner: `partners` of the config has no \"ACNE\"; add it there, or put the AS2 id right",
            ".station: `stations` of the config has no \"NONE\"; add it there, or put the AS2 id right",
        ],
    );
    expect_of_rule(
        "partner: \"*\", station: we, partner_type: Test, signature: [valid], site: trials",
        &[
            ".partner: \"*\" is no wildcard here, but an AS2 id; leave `partner` out for any partner",
            ".station: the station \"we\" is not \"WE\": case counts in AS2 ids",
        ],
    );
}

#[test]
fn event_that_no_listener_makes_is_warned_of() {
    let rule = |events: &str| {
        format!("webhooks:\n- {{ name: a, url: \"http://a/\", events: {events} }}\n")
    };
    assert_eq!(
        warned("", &rule("[message.received, send.error]")),
        ["webhooks.yaml:2:59: webhooks[0].events[1]: send.error never comes: no outbound \
          listener runs; add `listen.outbound`, or leave the event out"]
    );
    assert_eq!(
        warned("", &rule("message.sent")),
        ["webhooks.yaml:2:3: webhooks[0]: it never fires: no outbound listener runs; add \
          `listen.outbound`, or leave the event out"]
    );
    assert_eq!(warned("", &rule("\"*\"")), [""; 0]);
}

#[test]
fn event_that_what_the_rule_names_never_has_is_warned_of() {
    expect_of_rule(
        "events: [message.received, webhook.disabled], partner: ACME",
        &[
            ".events[1]: webhook.disabled never comes: webhook.disabled is about no partner or station; leave \
           them out in a rule for it",
        ],
    );
    expect_of_rule(
        "events: [mdn.overdue], partner: TRIAL, site: trials",
        &[": it never fires: its partner has `async_mdn: elsewhere`; leave the event out"],
    );
    expect_of_rule(
        "events: [certificate.expiring], partner: ACME, station: WE",
        &[
            ": it never fires: certificate.expiring is about a partner or a station, never about both; \
           leave one of them out",
        ],
    );
}

#[test]
fn raw_without_a_station_key_is_warned_of() {
    expect_of_rule(
        "payload: raw, station: KEYLESS",
        &[
            ".payload: raw sends an empty body for encrypted messages: the station \"KEYLESS\" has no key; \
           give it `keys` in the config",
        ],
    );
    assert_eq!(
        warned("", "webhooks: [{ name: a, url: \"http://a/\", payload: raw }]"),
        [
            "webhooks.yaml:1:50: webhooks[0].payload: raw sends an empty body for encrypted messages: no station \
          has a key; give it `keys` in the config"
        ]
    );
}

#[test]
fn filter_that_nothing_satisfies_is_warned_of() {
    for (keys, why) in [
        (
            "events: [mdn.overdue], signature: [valid]",
            "its events have no signature; leave `signature` out",
        ),
        (
            "events: [mdn.overdue, webhook.disabled], errors: any",
            "its events have no errors; leave `errors` out",
        ),
        (
            "partner: ACME, partner_type: Test",
            "the partner \"ACME\" has the type Production, and `partner_type` is Test; make them the same",
        ),
        (
            "events: [webhook.disabled], partner_type: Test",
            "there is no such event of the type Test; leave `partner_type` out",
        ),
        (
            "site: other",
            "no partner is of the site \"other\", nor is this gateway; put `site` right",
        ),
        (
            "partner: TRIAL",
            "the partner \"TRIAL\" is of the site \"trials\", not \"main\"; make them the same",
        ),
        (
            "signature: [invalid, unsupported], errors: none",
            "such a `signature` comes with an error, and `errors` is none; leave one of them out",
        ),
        (
            "partner: TRIAL, site: trials, signature: [valid]",
            "no signature is valid, since its partner has no certificate in the config; add it there",
        ),
        (
            "events: [mdn.sent], station: KEYLESS, signature: [valid]",
            "no signature is valid, since its station has no key in the config; add it there",
        ),
        (
            "partner: ACME, signature: [unknown-certificate]",
            "its partner has certificates in the config, so no signature is unknown-certificate; take another status",
        ),
    ] {
        expect_of_rule(keys, &[&format!(": it never fires: {why}")]);
    }
}

#[test]
fn rule_behind_more_specific_ones_for_all_its_events_is_warned_of() {
    let shown = warned(
        WHOLE,
        "webhooks:\n\
         - { name: a, url: \"http://a/\", partner: ACME, signature: [valid] }\n\
         - { name: b, url: \"http://a/\", partner: ACME, partner_type: Production }\n\
         - { name: c, url: \"http://a/\", partner: ACME, events: \"*\" }\n\
         - { name: d, url: \"http://a/\", partner: ACME, route: always }\n\
         - { name: e, url: \"http://a/\", partner: ACME, partner_type: Production, events: [mdn.sent], errors: any }\n\
         - { name: f, url: \"http://a/\", partner: ACME, events: [mdn.sent] }\n",
    );
    assert_eq!(
        shown,
        ["webhooks.yaml:2:3: webhooks[0]: it never fires: \"b\" is more specific for all \
          that it is for; remove it, or give it `route: always`"]
    );
}

#[test]
fn file_of_another_ending_in_a_folder_of_rules_is_warned_of() {
    let files = Files::new(&[
        ("as2hook.yaml", &format!("{RECEIVER}webhooks: rules")),
        ("rules/a.yaml", NO_RULES),
        ("rules/b.yml", NO_RULES),
        ("rules/c.yaml.bak", NO_RULES),
        ("rules/.d.yaml.swp", NO_RULES),
    ]);
    let what = "is not read: rules are the *.yaml of a folder; rename it, or keep it elsewhere";
    assert_eq!(
        files.shown(&files.attempt().warnings),
        [
            format!("rules/b.yml:1:1: document: {what}"),
            format!("rules/c.yaml.bak:1:1: document: {what}")
        ]
    );
}

#[test]
fn mistake_keeps_back_the_warnings_of_rules_alone() {
    let files = Files::new(&[
        (
            "as2hook.yaml",
            &format!("{RECEIVER}partners: [{{ as2_id: A, certificates: [keys/weak.crt], id: x }}]"),
        ),
        ("webhooks.yaml", "webhooks: [{ name: a, url: \"http://a/\", partner: B }]"),
    ]);
    let LoadAttempt { outcome, warnings, .. } = files.attempt();
    assert_eq!((outcome.unwrap_err().len(), warnings.len()), (1, 1), "{warnings:?}");
}

#[test]
fn keys_of_one_issuer_and_serial_number_are_warned_of() {
    const CASE: &str = "../as2/tests/cases/recipient-two-keys-one-serial";
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join(CASE);
    let key = |name: &str| {
        let path = case.join(name).display().to_string();
        format!("{{ certificate: \"{path}.crt\", private_key: \"{path}.key\" }}")
    };
    for (keys, count) in [("recvA recvA", 0), ("recvA recvB", 1)] {
        let keys: Vec<_> = keys.split(' ').map(key).collect();
        let stations = format!("stations: [{{ as2_id: US, keys: [{}] }}]\n", keys.join(", "));
        let mut shown = warned(&format!("{RECEIVER}{stations}"), NO_RULES);
        shown.retain(|text| !text.contains("chmod"));
        assert_eq!(shown.len(), count, "{shown:?}");
        assert!(
            shown.iter().all(|text| text.contains("one issuer and serial number")),
            "{shown:?}"
        );
    }
}

#[test]
fn what_is_likely_not_meant_is_warned_of() {
    let shown = warned(
        "receiver: { url: \"https://a\", verify: false }\n\
         listen: { outbound: { address: \"127.0.0.1:8085\" } }\n\
         partners: [{ as2_id: A, certificates: [keys/expired.crt, keys/chain.pem] }]",
        "webhooks:\n- { name: a, partner: a, url: \"http://a/\" }",
    );
    assert_eq!(
        shown,
        [
            "as2hook.yaml:1:39: receiver.verify: anyone on the way to the receiver can take its \
             place",
            "as2hook.yaml:3:11: partners: \"A\" has no url: what the listener at 127.0.0.1:8085 \
             gets for it fails",
            "as2hook.yaml:3:40: partners[0].certificates[0]: the certificate in keys/expired.crt \
             expired on Jan  1 00:00:00 2001 GMT",
            "as2hook.yaml:3:58: partners[0].certificates[1]: holds several certificates; the \
             first is used, list one file for each",
            "webhooks.yaml:2:23: webhooks[0].partner: the partner \"a\" is not \"A\": case counts in AS2 ids",
        ]
    );
}
