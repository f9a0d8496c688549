//! What hands slip into when they write YAML, and how it is said.

use as2hook_event::EventKind;

use super::*;

#[test]
fn tab_in_the_indentation_is_reported_on_its_own_line() {
    let what = "this is not YAML: the indentation of this line has a tab; use blanks alone";
    for (rules, path) in [
        ("webhooks:\n  - name: a\n«\turl: \"http://a/\"\n", "webhooks[0].name"),
        ("webhooks:\n  - name: a\n    # b\n\n  «\turl: \"http://a/\"\n", "webhooks[0]"),
        ("webhooks:\n«\t- name: a\n", "webhooks"),
        ("webhooks:\n  - name: a\n    tls:\n    «\tca: x\n", "webhooks[0].tls"),
    ] {
        expect_rules(rules, &[(path, what)]);
    }
}

#[test]
fn star_without_quotes_is_reported_in_plain_words() {
    let what =
        "this is not YAML: a `*` without quotes begins an alias; put quotes around it, as in \"*\"";
    for (rules, path) in [
        ("webhooks:\n- name: a\n  events: «*\n", "webhooks[0].events"),
        ("webhooks:\n- { name: a, events: [«*] }\n", "webhooks[0]"),
        ("webhooks:\n- name: a\n  partner: «*ACME\n", "webhooks[0].partner"),
    ] {
        expect_rules(rules, &[(path, what)]);
    }
}

#[test]
fn event_as_text_is_a_list_of_one() {
    let (loaded, _files) =
        right("", "webhooks: [{ name: a, url: \"http://a/\", events: message.received }]");
    assert_eq!(loaded.rules.get("a").unwrap().events, Some(vec![EventKind::MessageReceived]));
}

#[test]
fn section_given_as_text_is_shown_as_a_mapping() {
    const LISTENER: &str = "must be a mapping such as { address: \"127.0.0.1:8080\" }, not text";
    expect(
        "listen:\n  inbound: «\"0.0.0.0:8080\"\n  outbound: «127.0.0.1:8085\nstations: [«A]",
        &[
            ("listen.inbound", LISTENER),
            ("listen.outbound", LISTENER),
            ("stations[0]", "must be a mapping such as { as2_id: MY-OWN-ORG }, not text"),
        ],
    );
    expect(
        "receiver: «\"http://127.0.0.1:1\"",
        &[("receiver", "must be a mapping such as { url: \"http://127.0.0.1:10080\" }, not text")],
    );
}

#[test]
fn wrong_store_is_the_only_mistake_where_payloads_go_to_the_store() {
    expect(
        "store: «mysql://h/d\npayloads: store",
        &[("store", "must begin with sqlite: or postgres://")],
    );
}

#[test]
fn frequent_slip_has_a_hint_beside_the_parsers_words() {
    for (rule, hint) in [
        (
            "url:http://a/\n  partner: A",
            "a `:` needs a blank behind it, here or in the line before",
        ),
        ("url: \"http://a/\n  partner: A", "is a quote missing at its end?"),
        ("secret: %a", "text that begins with it needs quotes"),
        (
            "headers: { A: ${B} }",
            "text with braces, brackets or commas, such as `${…}`, needs quotes here",
        ),
        (
            "secret: a: b",
            "look for a `:` in text without quotes, and for an indentation unlike that of the line before",
        ),
    ] {
        let rules = format!("webhooks:\n- name: a\n  {rule}\n");
        let files = Files::new(&[("as2hook.yaml", RECEIVER), ("webhooks.yaml", &rules)]);
        let mistakes = files.attempt().outcome.unwrap_err();
        let is_hinted = mistakes[0].message.ends_with(&format!("; {hint}"));
        assert!(mistakes.len() == 1 && is_hinted, "{rule}: {mistakes:?}");
    }
}

#[test]
fn wrong_address_of_a_listener_is_not_compared_by_its_default() {
    const ADDRESS: &str =
        "must be an IP address with a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"";
    expect(
        "listen:\n  inbound: { address: «\":9090\" }\n  outbound: { address: \"0.0.0.0:8080\" }",
        &[("listen.inbound.address", ADDRESS)],
    );
    expect(
        "listen:\n  inbound: { address: «\":9090\" }\nreceiver: { url: \"http://127.0.0.1:8080\" }",
        &[("listen.inbound.address", ADDRESS)],
    );
}
