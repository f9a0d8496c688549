//! Every class of mistake in `webhooks.yaml`, at its exact place.

use super::*;

#[test]
fn keys_and_types() {
    expect_rules(
        "webhooks:\n\
         - «{ url: \"http://a/\" }\n\
         - «{ name: b }\n\
         - name: «7\n  \
           «urll: x\n  \
           url: \"http://a/\"\n\
         - «text\n\
         «hooks: 1\n",
        &[
            ("webhooks[0]", "the key `name` is missing"),
            ("webhooks[1]", "the key `url` is missing"),
            ("webhooks[2].name", "must be text, not a number; put quotes around it"),
            ("webhooks[2].urll", "unknown key; did you mean `url`?"),
            ("webhooks[3]", "must be a mapping, not text"),
            ("hooks", "unknown key; the keys here are webhooks"),
        ],
    );
    expect_rules("webhooks: «{}", &[("webhooks", "must be a list, not a mapping")]);
}

#[test]
fn an_empty_file_is_not_taken_for_no_rules() {
    expect_in(
        &[("as2hook.yaml", RECEIVER), ("webhooks.yaml", "«# half written")],
        &[("document", "the key `webhooks` is missing")],
    );
}

#[test]
fn a_file_that_is_not_there() {
    expect_in(
        &[("as2hook.yaml", "receiver: { url: \"http://127.0.0.1:1\" }\nwebhooks: «rules.yaml")],
        &[("webhooks", "rules.yaml does not exist")],
    );
    expect_in(
        &[("as2hook.yaml", "«receiver: { url: \"http://127.0.0.1:1\" }")],
        &[("document", "webhooks.yaml does not exist")],
    );
}

#[test]
fn names() {
    let long = "x".repeat(129);
    expect_rules(
        &format!(
            "webhooks:\n\
             - {{ name: a, partner: A, url: \"http://a/\" }}\n\
             - «{{ name: a, partner: B, url: \"http://a/\" }}\n\
             - {{ name: «a/b, url: \"http://a/\" }}\n\
             - {{ name: «\"\", url: \"http://a/\" }}\n\
             - {{ name: «{long}, url: \"http://a/\" }}\n"
        ),
        &[
            ("webhooks[1]", "the name \"a\" is taken already, at webhooks.yaml:2"),
            ("webhooks[2].name", "must not hold a slash, or begin or end with a blank"),
            ("webhooks[3].name", "must not be empty"),
            ("webhooks[4].name", "must have 128 characters at most"),
        ],
    );
}

#[test]
fn equally_specific_rules_are_one_mistake_at_the_second() {
    expect_in(
        &[
            ("as2hook.yaml", &format!("{RECEIVER}webhooks: rules")),
            ("rules/1.yaml", "webhooks:\n- { name: a, partner: P, url: \"http://a/\" }"),
            ("rules/2.yaml", "webhooks:\n\n\n- «{ name: b, partner: P, url: \"http://a/\" }"),
        ],
        &[(
            "webhooks[0]",
            "webhooks \"a\" and \"b\" are equally specific for message.received: partner, \
             station, partner_type, document and event are the same, so it is not decided which of them \
             fires; change one of these, or give one of the two `route: always`; \"a\" \
             stands at rules/1.yaml:2",
        )],
    );
}

#[test]
fn events() {
    expect_rules(
        "webhooks:\n\
         - { name: a, url: \"http://a/\", events: [«message.recieved, «all] }\n\
         - { name: b, url: \"http://a/\", events: «[] }\n\
         - { name: c, url: \"http://a/\", events: [mdn.sent, «mdn.sent] }\n\
         - { name: d, url: \"http://a/\", events: [mdn.sent, «\"*\"] }\n\
         - { name: e, url: \"http://a/\", events: «mdn.snet }\n\
         - { name: f, url: \"http://a/\", events: «{} }\n",
        &[
            (
                "webhooks[0].events[0]",
                "must be message.received, mdn.received, message.sent, send.error, \
                 message.rejected, message.duplicate, mdn.sent, mdn.overdue, \
                 certificate.expiring, webhook.disabled, webhook.failing, \
                 webhook.recovered or delivery.dead; did you mean `message.received`?",
            ),
            (
                "webhooks[0].events[1]",
                "must be message.received, mdn.received, message.sent, send.error, \
                 message.rejected, message.duplicate, mdn.sent, mdn.overdue, \
                 certificate.expiring, webhook.disabled, webhook.failing, \
                 webhook.recovered or delivery.dead",
            ),
            ("webhooks[1].events", "needs one event at least, or \"*\" for all"),
            ("webhooks[2].events[1]", "this event is given twice"),
            ("webhooks[3].events[1]", "\"*\" means all events; nothing else may stand beside it"),
            (
                "webhooks[4].events",
                "must be message.received, mdn.received, message.sent, send.error, \
                 message.rejected, message.duplicate, mdn.sent, mdn.overdue, \
                 certificate.expiring, webhook.disabled, webhook.failing, \
                 webhook.recovered or delivery.dead; did you mean `mdn.sent`?",
            ),
            ("webhooks[5].events", "must be a list, not a mapping"),
        ],
    );
}

#[test]
fn words_numbers_and_times() {
    expect_rules(
        "webhooks:\n\
         - name: a\n  \
           url: «\"mailto:a@b\"\n  \
           partner: «\n  \
           station: «12\n  \
           partner_type: «Trial\n  \
           site: «\"\"\n  \
           payload: «xml\n  \
           route: «specific\n  \
           pass_headers: «none\n  \
           timeout: «2h\n  \
           retry: [5s, «5]\n  \
           concurrency: «0\n  \
           order: «station\n  \
           rate: «50/d\n  \
           disable_after: «5\n  \
           enabled: «\"no\"\n\
         - { name: b, url: «\"http://u:p@a/\" }\n"
            .replace("partner: «", "«partner:")
            .as_str(),
        &[
            ("webhooks[0].url", "must be a whole URL, beginning with http:// or https://"),
            ("webhooks[0].partner", "has no value; leave the key out or give it one"),
            ("webhooks[0].station", "must be text, not a number; put quotes around it"),
            ("webhooks[0].partner_type", "must be Production or Test"),
            ("webhooks[0].site", "must not be empty"),
            ("webhooks[0].payload", "must be headers, json or raw"),
            ("webhooks[0].route", "must be most-specific or always"),
            ("webhooks[0].pass_headers", "must be all, as2 or a list of header names"),
            ("webhooks[0].timeout", "must be at most 1h"),
            (
                "webhooks[0].retry[1]",
                "must be a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d",
            ),
            ("webhooks[0].concurrency", "must be a whole number from 1 to 10000"),
            ("webhooks[0].order", "must be none or partner"),
            ("webhooks[0].rate", "must be a rate such as 50/s, 600/min or 1000/h"),
            (
                "webhooks[0].disable_after",
                "must be a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d",
            ),
            ("webhooks[0].enabled", "must be true or false, not text; leave the quotes out"),
            ("webhooks[1].url", "must not hold a user or password; give them in a header"),
        ],
    );
}

#[test]
fn order_patience_without_an_order() {
    expect_rules(
        "webhooks:\n- { name: a, url: \"http://a/\", order_patience: «15m }",
        &[("webhooks[0].order_patience", "is of use with `order: partner` alone")],
    );
}

#[test]
fn rates() {
    expect_rules(
        "webhooks:\n\
         - { name: a, url: \"http://a/\", rate: «0 }\n\
         - { name: b, partner: B, url: \"http://a/\", rate: «100001/s }\n\
         - { name: c, partner: C, url: \"http://a/\", rate: «[] }\n\
         - { name: d, partner: D, url: \"http://a/\", rate: «1.5 }\n",
        &[
            ("webhooks[0].rate", "must be one at least; `enabled: false` sends nothing"),
            ("webhooks[1].rate", "must be at most 100000/s"),
            ("webhooks[2].rate", "must be a rate such as 50/s, 600/min or 1000/h"),
            ("webhooks[3].rate", "must be a rate such as 50/s, 600/min or 1000/h"),
        ],
    );
}

#[test]
fn headers() {
    expect_rules(
        "webhooks:\n\
         - name: a\n  \
           url: \"http://a/\"\n  \
           headers:\n    \
             X-Mine: \"ok\"\n    \
             x-mine: «\"again\"\n    \
             \"X Mine\": «a\n    \
             Content-Length: «a\n    \
             content_type: «a\n    \
             Webhook-Id: «a\n    \
             X-AS2-Anything: «a\n    \
             X-Processing-Error: «a\n    \
             AS2-From: «a\n    \
             X-Value: «\"a\\r\\nInjected: b\"\n    \
             X-Number: «5\n",
        &[
            ("webhooks[0].headers.x-mine", "this header is given twice; case does not count"),
            ("webhooks[0].headers.\"X Mine\"", "this is no legal header name"),
            (
                "webhooks[0].headers.Content-Length",
                "this header belongs to the connection; as2hook sets it as HTTP needs it",
            ),
            ("webhooks[0].headers.content_type", "as2hook sets this header itself"),
            ("webhooks[0].headers.Webhook-Id", "as2hook sets this header itself"),
            ("webhooks[0].headers.X-AS2-Anything", "as2hook sets this header itself"),
            ("webhooks[0].headers.X-Processing-Error", "as2hook sets this header itself"),
            ("webhooks[0].headers.AS2-From", "this header goes along as the partner sent it"),
            ("webhooks[0].headers.X-Value", "must be visible ASCII, without line breaks"),
            ("webhooks[0].headers.X-Number", "must be text, not a number; put quotes around it"),
        ],
    );
}

#[test]
fn pass_headers_with_a_name_that_never_goes_along_is_a_mistake() {
    let never = "this header never goes along: receivers would take it for as2hook's own, or for what \
                 a proxy of the inside world says";
    expect_rules(
        "webhooks:\n\
         - name: a\n  \
           url: \"http://a/\"\n  \
           pass_headers: [X-Trace, «X_Remote_User, «X-AS2-Event, «if-match, «Host, «\"X Y\", «7]\n\
         - { name: b, partner: B, url: \"http://a/\", pass_headers: «{} }\n",
        &[
            ("webhooks[0].pass_headers[1]", never),
            ("webhooks[0].pass_headers[2]", never),
            ("webhooks[0].pass_headers[3]", never),
            ("webhooks[0].pass_headers[4]", never),
            ("webhooks[0].pass_headers[5]", "this is no legal header name"),
            ("webhooks[0].pass_headers[6]", "must be text, not a number; put quotes around it"),
            ("webhooks[1].pass_headers", "must be text, not a mapping"),
        ],
    );
}

#[test]
fn filters() {
    let statuses = "must be valid, other-certificate, invalid, unknown-certificate, unsupported or \
                    unsigned";
    let codes =
        "is no processing error; the codes are 800, 900, 1000, 1100, 1200, 1300, 1400, 1500";
    let errors = "must be none, any or a list of codes such as [800, 900]";
    expect_rules(
        "webhooks:\n\
         - name: a\n  \
           url: \"http://a/\"\n  \
           signature: [valid, «verified, «valid, «null]\n  \
           errors: [800, «900x, «850, «800]\n\
         - { name: b, partner: B, url: \"http://a/\", signature: «[], errors: «[] }\n\
         - { name: c, partner: C, url: \"http://a/\", signature: «valid, errors: «some }\n\
         - { name: d, partner: D, url: \"http://a/\", errors: «800 }\n\
         - { name: e, partner: E, url: \"http://a/\", errors: «{} }\n",
        &[
            ("webhooks[0].signature[1]", statuses),
            ("webhooks[0].signature[2]", "is given twice"),
            ("webhooks[0].signature[3]", statuses),
            ("webhooks[0].errors[1]", codes),
            ("webhooks[0].errors[2]", codes),
            ("webhooks[0].errors[3]", "is given twice"),
            ("webhooks[1].signature", "needs one status at least; leave the key out for any"),
            ("webhooks[1].errors", "needs one code at least; leave the key out for any"),
            ("webhooks[2].signature", "must be a list, not text"),
            ("webhooks[2].errors", errors),
            ("webhooks[3].errors", errors),
            ("webhooks[4].errors", errors),
        ],
    );
}

#[test]
fn rules_that_differ_in_filters_alone_are_a_mistake_where_one_message_satisfies_both() {
    expect_rules(
        "webhooks:\n\
         - { name: a, url: \"http://a/\", signature: [valid, unsigned] }\n\
         - «{ name: b, url: \"http://a/\", signature: [invalid, unsigned] }\n\
         - { name: c, url: \"http://a/\", signature: [other-certificate] }\n",
        &[(
            "webhooks[1]",
            "webhooks \"a\" and \"b\" are equally specific for message.received: partner, \
             station, partner_type, document and event are the same, and one message could satisfy the \
             filters of both, so it is not decided which of them fires; change one of these, or \
             give one of the two `route: always`; \"a\" stands at webhooks.yaml:2",
        )],
    );
}

#[test]
fn secrets_and_tls() {
    expect_rules(
        "webhooks:\n\
         - { name: a, partner: A, url: \"http://a/\", secret: «\"whsec_!\" }\n\
         - { name: b, partner: B, url: \"http://a/\", secret: [x, «\"\"] }\n\
         - { name: c, partner: C, url: \"http://a/\", secret: «[] }\n\
         - { name: d, partner: D, url: \"http://a/\", secret: x, secret_file: «keys/make }\n\
         - { name: e, partner: E, url: \"http://a/\", secret_file: «none }\n\
         - { name: f, partner: F, url: \"http://a/\", tls: «{ ca: keys/rsa.crt } }\n\
         - name: g\n  \
           url: \"https://a/\"\n  \
           tls: { ca: «keys/make, client_certificate: keys/rsa.crt, client_key: «keys/ec.key }\n\
         - name: h\n  \
           partner: H\n  \
           url: \"https://a/\"\n  \
           tls: { client_key: «keys/ec.key }\n",
        &[
            ("webhooks[0].secret", "what stands behind whsec_ is not base64"),
            ("webhooks[1].secret[1]", "a secret must not be empty"),
            ("webhooks[2].secret", "needs one secret at least; leave the key out to sign nothing"),
            ("webhooks[3].secret_file", "`secret` is given too; only one of them may be"),
            ("webhooks[4].secret_file", "none does not exist"),
            ("webhooks[5].tls", "is of no use: the url is http, not https"),
            ("webhooks[6].tls.ca", "keys/make holds no certificate (PEM or DER)"),
            ("webhooks[6].tls.client_key", "this private key is not the certificate's"),
            ("webhooks[7].tls.client_key", "`client_certificate` is missing beside it"),
        ],
    );
}

#[test]
fn mistakes_of_all_files_come_at_once() {
    expect_in(
        &[
            ("as2hook.yaml", "receiver: «{}\nwebhooks: rules\ndrain: «1"),
            ("rules/a.yaml", "webhooks: [«}"),
            ("rules/b.yaml", "webhooks:\n- { name: b, url: «\"\" }"),
        ],
        &[
            ("receiver", "the key `url` is missing"),
            ("drain", "must be a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d"),
            (
                "webhooks[0]",
                "this is not YAML: while parsing a node, did not find expected node content",
            ),
            ("webhooks[0].url", "must be a URL such as \"https://example.com/path\""),
        ],
    );
}
