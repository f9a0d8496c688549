//! Every class of mistake in `as2hook.yaml`, at its exact place.

use super::*;

#[test]
fn a_place_in_numbers() {
    let files = Files::new(&[
        ("as2hook.yaml", "receiver: { url: \"http://127.0.0.1:1\" }\nlimits:\n    in_flight: 0\n"),
        ("webhooks.yaml", NO_RULES),
    ]);
    let mistakes = files.attempt().outcome.unwrap_err();
    assert_eq!((mistakes[0].line, mistakes[0].column), (3, 16));
    assert_eq!(mistakes[0].path, "limits.in_flight");
}

#[test]
fn unknown_keys() {
    expect(
        "«lissen: {}\nlisten:\n  inbound: { «adress: \"127.0.0.1:1\" }\n«tokens: []\nlimits: {«a: 1}",
        &[
            ("lissen", "unknown key; did you mean `listen`?"),
            ("listen.inbound.adress", "unknown key; did you mean `address`?"),
            (
                "tokens",
                "unknown key; the keys here are site, listen, receiver, store, payloads, \
                 payloads_allow_http, encrypt_payloads, webhooks, keep, stations, partners, api, limits, \
                 drain, on_store_failure, legacy_algorithms, mdn_deadline, duplicate_window, retention, secret_key_file",
            ),
            (
                "limits.a",
                "unknown key; the keys here are body, decoded, expansion, header, attachments, cpu, \
                 in_flight, memory, connections, connections_per_address, idle, head_time, body_time, \
                 body_rate, piece_time",
            ),
        ],
    );
}

#[test]
fn duplicate_keys() {
    expect(
        "drain: 1s\nlimits:\n  body: 1GiB\n  «body: 2GiB\n«drain: 2s",
        &[
            ("limits.body", "this key is given twice; the first one stands at 3:3"),
            ("drain", "this key is given twice; the first one stands at 1:1"),
        ],
    );
}

#[test]
fn wrong_types() {
    expect(
        "site: «12\nlisten: «[]\nstations: «{}\npartners: «none\nlegacy_algorithms: «\"true\"\n\
         drain: «true\nlimits: { in_flight: «\"5\", body: «[], attachments: «1.5 }\nstore: «~\n\
         payloads: «{}\n«mdn_deadline:",
        &[
            ("site", "must be text, not a number; put quotes around it"),
            (
                "listen",
                "must be a mapping such as { inbound: { address: \"0.0.0.0:8080\" } }, not a list",
            ),
            ("stations", "must be a list, not a mapping"),
            ("partners", "must be a list, not text"),
            ("legacy_algorithms", "must be true or false, not text; leave the quotes out"),
            ("drain", "must be a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d"),
            ("limits.in_flight", "must be a whole number, not text; leave the quotes out"),
            ("limits.body", "must be a size such as 4096, 64KiB or 2GiB"),
            ("limits.attachments", "must be a whole number from 1 to 100000"),
            ("store", "has no value; leave the key out or give it one"),
            ("payloads", "must be text, not a mapping"),
            (
                // Nothing stands there: the key is pointed at.
                "mdn_deadline",
                "must be a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d",
            ),
        ],
    );
}

#[test]
fn what_is_missing() {
    expect_in(
        &[("as2hook.yaml", "«site: main"), ("webhooks.yaml", NO_RULES)],
        &[("document", "the key `receiver` is missing")],
    );
    expect("receiver: «{}", &[("receiver", "the key `url` is missing")]);
    expect(
        "stations: [«{}]\npartners: [«{id: 1}]\nlisten: { outbound: «{} }",
        &[
            ("stations[0]", "the key `as2_id` is missing"),
            ("partners[0]", "the key `as2_id` is missing"),
            ("listen.outbound", "the key `address` is missing"),
        ],
    );
}

#[test]
fn variables() {
    expect(
        "site: «\"${UNSET}\"\nstore: «\"sqlite:${UNSET\"\npayloads: «${1}\n\
         stations: [{as2_id: «\"${EMPTY}\"}]",
        &[
            (
                "site",
                "the environment variable UNSET is not set; set it, or give a default with \
                 `${UNSET:-…}`",
            ),
            ("store", "`${` without its `}`; write `$$` for a `$`"),
            ("payloads", "what stands behind `${` is no variable's name; write `$$` for a `$`"),
            ("stations[0].as2_id", "must not be empty"),
        ],
    );
}

#[test]
fn listeners() {
    const ADDRESS: &str =
        "must be an IP address with a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"";
    expect(
        "listen:\n  inbound: { address: «\"localhost:8080\" }\n  outbound: { address: «8085 }\n  \
         admin: { address: «\"127.0.0.1\" }",
        &[
            ("listen.inbound.address", ADDRESS),
            ("listen.outbound.address", "must be text, not a number; put quotes around it"),
            ("listen.admin.address", ADDRESS),
        ],
    );
    expect(
        "listen:\n  inbound: { address: \"127.0.0.1:1\" }\n  admin: «{ address: \"127.0.0.1:1\" }",
        &[("listen.admin", "`inbound` has this address already: 127.0.0.1:1")],
    );
    expect(
        "receiver: «{ url: \"http://localhost:8080\" }",
        &[("receiver", "http://localhost:8080 is this gateway itself (listen.inbound)")],
    );
    expect(
        "receiver: «{ url: \"http://127.0.0.1:8080\" }",
        &[("receiver", "http://127.0.0.1:8080 is this gateway itself (listen.inbound)")],
    );
}

#[test]
fn tls_files() {
    expect(
        "listen:\n  inbound:\n    tls: «{ certificate: «keys/none.crt }\n  admin:\n    tls:\n      \
         certificate: keys/ec.crt\n      private_key: «keys/rsa.key\n      client_ca: «keys/make",
        &[
            ("listen.inbound.tls", "the key `private_key` is missing"),
            ("listen.inbound.tls.certificate", "keys/none.crt does not exist"),
            (
                "listen.admin.tls.private_key",
                "this private key is not the certificate's; another key was made for it",
            ),
            ("listen.admin.tls.client_ca", "keys/make holds no certificate (PEM or DER)"),
        ],
    );
}

#[test]
fn the_receiver() {
    expect(
        "receiver:\n  url: [«\"ftp://a\", «\"http://a/path\", «\"http://u:p@a\", «\"a:80\", \
         «\"http://a/#x\", \"http://b\", «\"http://b:80/\", «\"http://c:0\", «\"http://c:\"]\n  \
         keepalive: «maybe\n  forwarded: «Append\n  trusted_proxies: [«10/8, «\"10.0.0.1/8\"]\n  \
         verify: «1",
        &[
            ("receiver.url[0]", "must begin with http:// or https://"),
            ("receiver.url[1]", "must end behind the host: a request keeps its own path"),
            ("receiver.url[2]", "must not hold a user or password"),
            ("receiver.url[3]", "must be a whole URL, beginning with http:// or https://"),
            ("receiver.url[4]", "must not have a fragment (`#…`); it would not be sent"),
            ("receiver.url[6]", "this URL is given twice"),
            ("receiver.url[7]", "must have a port from 1 to 65535, or none"),
            ("receiver.url[8]", "must have a port from 1 to 65535, or none"),
            ("receiver.keepalive", "must be true or false"),
            ("receiver.forwarded", "must be append or off; did you mean `append`?"),
            (
                "receiver.trusted_proxies[0]",
                "must be a network such as \"10.0.0.0/8\" or \"fd00::/8\"",
            ),
            (
                "receiver.trusted_proxies[1]",
                "has bits behind its prefix; did you mean \"10.0.0.0/8\"?",
            ),
            ("receiver.verify", "must be true or false"),
        ],
    );
    expect("receiver: { url: «[] }", &[("receiver.url", "needs one URL at least")]);
}

#[test]
fn routes_of_the_receiver_have_a_path_of_their_own_and_urls_as_the_receiver_has() {
    expect(
        "receiver:\n  url: \"http://a\"\n  routes:\n    - { path: «mdn, url: «\"http://a/mdn\" }\n    \
         - { path: «/, url: [\"http://b\", «\"http://b:80\"] }\n    - { path: /mdn, url: \"http://a\" }\n    \
         - «{ path: /mdn/, url: \"http://b\" }\n    - { path: «\"/a?b\", url: «[] }\n    \
         - { path: «\"/ü\", url: \"http://b\" }\n    - «{ path: /c }\n    - { «pth: /d, path: /d, url: \"http://b\" }\n    \
         - { path: /e, url: \"http://b\" }\n    - { path: /E, url: \"http://b\" }",
        &[
            ("receiver.routes[0].path", "must begin with /, such as \"/mdn\""),
            ("receiver.routes[0].url", "must end behind the host: a request keeps its own path"),
            ("receiver.routes[1].path", "is every path: that is what `url` beside `routes` is for"),
            ("receiver.routes[1].url[1]", "this URL is given twice"),
            ("receiver.routes[3]", "the path \"/mdn\" is given twice"),
            (
                "receiver.routes[4].path",
                "must be a path alone: a query or a fragment is not compared",
            ),
            ("receiver.routes[4].url", "needs one URL at least"),
            (
                "receiver.routes[5].path",
                "must be percent-encoded: it is compared as it stands in a request",
            ),
            ("receiver.routes[6]", "the key `url` is missing"),
            ("receiver.routes[7].pth", "unknown key; did you mean `path`?"),
        ],
    );
    expect(
        "receiver: «{ url: \"http://a\", routes: [{ path: /mdn, url: \"http://127.0.0.1:8080\" }] }",
        &[("receiver", "http://127.0.0.1:8080 is this gateway itself (listen.inbound)")],
    );
}

#[test]
fn stores() {
    const POSTGRES: &str = "it must be as in postgres://user:password@host:port/database?sslmode=require, \
        with options that are known; in a password write ? as %3F, / as %2F, @ as %40, # as %23 and % as \
        %25";
    for (store, message) in [
        ("mysql://h/d", "must begin with sqlite: or postgres://"),
        ("sqlite:", "must name a file behind sqlite:, as in sqlite:data/as2hook.db"),
        ("sqlite://d", "must name a file behind sqlite:, as in sqlite:data/as2hook.db"),
        ("postgres://", "must name a host, as in postgres://user@host/database"),
        ("postgres://u:p@/d", "must name a host, as in postgres://user@host/database"),
        ("postgres://u:hunter2@h:notaport/d", POSTGRES),
        ("postgres://u:hunter2@h/d?foo=bar", POSTGRES),
        ("postgres://u:hunter2@h/d?sslmode=sometimes", POSTGRES),
        ("postgres://u:hunter2@hunter2@h/d", POSTGRES),
        (
            "postgres://u:hunter2@h/d?sslmode=verify-full&sslrootcert=/no/such/ca.pem",
            "its sslrootcert \"/no/such/ca.pem\" cannot be read: No such file or directory (os error 2)",
        ),
    ] {
        expect(&format!("store: «\"{store}\""), &[("store", message)]);
    }
    for (payloads, message) in [
        (
            "store",
            "`store` keeps payloads in PostgreSQL, but `store:` names SQLite; name a folder here",
        ),
        ("s3://", "must name a bucket, as in s3://bucket/prefix"),
        ("gs://b", "must be a folder, `store`, or s3://bucket/prefix"),
    ] {
        expect(&format!("payloads: «\"{payloads}\""), &[("payloads", message)]);
    }
}

#[test]
fn station_keys() {
    expect(
        "stations:\n\
         - as2_id: A\n  \
           keys:\n  \
           - { certificate: keys/rsa.crt, private_key: «keys/ec.key }\n  \
           - { pkcs12: keys/legacy.p12, private_key: «keys/rsa.key }\n  \
           - { pkcs12: «keys/legacy.p12, passphrase: wrong }\n  \
           - { pkcs12: keys/legacy.p12, passphrase: \"${SECRET}\", passphrase_file: «a.pass }\n  \
           - { certificate: keys/rsa.crt, private_key: «keys/rsa-encrypted.key }\n  \
           - «{ private_key: keys/rsa.key }\n  \
           - { pkcs12: keys/legacy.p12, passphrase_file: «none.pass }\n  \
           - { certificate: keys/rsa.crt, private_key: keys/rsa-encrypted.key, passphrase: «[] }\n\
         - «{ as2_id: A }",
        &[
            (
                "stations[0].keys[0].private_key",
                "this private key is not the certificate's; another key was made for it",
            ),
            (
                "stations[0].keys[1].private_key",
                "`pkcs12` is given too, and holds both; only one may be",
            ),
            ("stations[0].keys[2].pkcs12", "keys/legacy.p12 does not open with this passphrase"),
            (
                "stations[0].keys[3].passphrase_file",
                "`passphrase` is given too; only one of them may be",
            ),
            (
                "stations[0].keys[4].private_key",
                "keys/rsa-encrypted.key is encrypted; its passphrase is missing",
            ),
            ("stations[0].keys[5]", "the key `certificate` is missing"),
            ("stations[0].keys[6].passphrase_file", "none.pass does not exist"),
            ("stations[0].keys[7].passphrase", "must be text, not a list"),
            ("stations[1]", "the station \"A\" is given twice"),
        ],
    );
}

#[test]
fn partners() {
    expect(
        "partners:\n\
         - { id: 1, as2_id: A }\n\
         - «{ id: 1, as2_id: B }\n\
         - «{ id: 2, as2_id: A }\n\
         - { id: «0, as2_id: «\" C\", type: «test, url: «acme, \
         mdn_urls: [«\"\", «\"http://u:p@a/\"] }\n\
         - { id: «\"4\", as2_id: D, certificates: [keys/rsa.crt, «keys/rsa.key], site: «\"\" }",
        &[
            ("partners[1]", "another partner has the id 1 already"),
            ("partners[2]", "the partner \"A\" is given twice"),
            ("partners[3].id", "must be a whole number from 1 to 9223372036854775807"),
            ("partners[3].as2_id", "must have 128 characters at most, and no blank at its ends"),
            ("partners[3].type", "must be Production or Test; did you mean `Test`?"),
            ("partners[3].url", "must be a whole URL, beginning with http:// or https://"),
            ("partners[3].mdn_urls[0]", "must be a URL such as \"https://example.com/path\""),
            ("partners[3].mdn_urls[1]", "must not hold a user or password"),
            ("partners[4].id", "must be a whole number, not text; leave the quotes out"),
            ("partners[4].certificates[1]", "keys/rsa.key holds no certificate (PEM or DER)"),
            ("partners[4].site", "must not be empty"),
        ],
    );
}

#[test]
fn partners_tls() {
    expect(
        "partners:\n\
         \x20 - { as2_id: A, url: \"http://a.example/\", tls: «{} }\n\
         \x20 - { as2_id: B, url: \"https://b.example/\", tls: { «pin: keys/rsa.crt } }\n\
         \x20 - { as2_id: C, mdn_urls: [\"https://c.example/\"], tls: { client_key: «keys/rsa.key } }\n\
         \x20 - { as2_id: D, url: \"https://d.example/\", tls: { client_certificate: «keys/rsa.crt } }\n\
         \x20 - { as2_id: E, url: \"https://e.example/\", \
         tls: { client_certificate: keys/ec.crt, client_key: «keys/rsa.key } }\n\
         \x20 - { as2_id: F, url: \"https://f.example/\", \
         tls: { ca: «keys/rsa.key, certificate: «keys/none.crt }, timeout: «soon }",
        &[
            ("partners[0].tls", "is of no use: no url of the partner is https"),
            (
                "partners[1].tls.pin",
                "unknown key; the keys here are ca, certificate, client_certificate, client_key",
            ),
            ("partners[2].tls.client_key", "`client_certificate` is missing beside it"),
            ("partners[3].tls.client_certificate", "`client_key` is missing beside it"),
            ("partners[4].tls.client_key", "this private key is not the certificate's"),
            ("partners[5].tls.ca", "keys/rsa.key holds no certificate (PEM or DER)"),
            ("partners[5].tls.certificate", "keys/none.crt does not exist"),
            (
                "partners[5].timeout",
                "must be a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d",
            ),
        ],
    );
}

#[test]
fn tokens() {
    let a = "a".repeat(64);
    let empty = as2hook_as2::hex::encode(&openssl::sha::sha256(b""));
    expect(
        &format!(
            "api:\n  tokens:\n\
             \x20 - {{ name: a, sha256: {a}, scopes: [read] }}\n\
             \x20 - «{{ name: a, sha256: \"{}\", scopes: [read] }}\n\
             \x20 - «{{ name: b, sha256: {a}, scopes: [read] }}\n\
             \x20 - {{ name: c, sha256: «abc, scopes: [«reed] }}\n\
             \x20 - {{ name: d, sha256: «{empty}, scopes: «[] }}\n\
             \x20 - «{{ scopes: [read, «read] }}\n\
             \x20 allow_networks: [«\"10.0.0.0/33\"]\n\
             \x20 hosts: [as2.example, «\"as2.example:8081\", «\"https://as2.example\"]\n\
             \x20 language: «de\n",
            "b".repeat(64)
        )
        .replace("- «{ scopes", "- ««{ scopes"),
        &[
            ("api.tokens[1]", "another token has the name \"a\" already"),
            ("api.tokens[2]", "this is the same token as \"a\""),
            (
                "api.tokens[3].sha256",
                "must be 64 hexadecimal digits, as `as2hook hash-token` prints them for a token",
            ),
            ("api.tokens[3].scopes[0]", "must be read, write or admin; did you mean `read`?"),
            ("api.tokens[4].sha256", "is the digest of an empty token"),
            ("api.tokens[4].scopes", "needs one scope at least: read, write or admin"),
            ("api.tokens[5]", "the key `name` is missing"),
            ("api.tokens[5]", "the key `sha256` is missing"),
            ("api.tokens[5].scopes[1]", "this scope is given twice"),
            ("api.allow_networks[0]", "must be a network such as \"10.0.0.0/8\" or \"fd00::/8\""),
            ("api.hosts[1]", "must be the name of a host alone, such as \"as2.example\""),
            ("api.hosts[2]", "must be the name of a host alone, such as \"as2.example\""),
            ("api.language", "must be es or en"),
        ],
    );
}

#[test]
fn limits_and_times() {
    expect(
        "limits: { body: «0, decoded: «-1, expansion: «0, header: «512, attachments: «0, \
         in_flight: «0, memory: «1MiB, connections: «0, connections_per_address: «x, idle: «0s, \
         head_time: «5, body_rate: «0 }\ndrain: «0s\nmdn_deadline: «4000d\nduplicate_window: «7\n\
         on_store_failure: «fail\n\
         retention: { events: «0d, attempts: «7, count: «0, payloads: «-1d, «days: 7 }",
        &[
            ("limits.body", "must be more than 0 bytes"),
            ("limits.decoded", "must be a size such as 4096, 64KiB or 2GiB"),
            ("limits.expansion", "must be a whole number from 1 to 4294967295"),
            ("limits.header", "must be from 1KiB to 1MiB"),
            ("limits.attachments", "must be a whole number from 1 to 100000"),
            ("limits.in_flight", "must be a whole number from 1 to 1000000"),
            ("limits.memory", "must be at least 16MiB"),
            ("limits.connections", "must be a whole number from 1 to 1000000"),
            ("limits.connections_per_address", "must be a whole number from 1 to 1000000"),
            ("limits.idle", "must be longer than nothing"),
            (
                "limits.head_time",
                "must be a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d",
            ),
            ("limits.body_rate", "must be more than 0 bytes"),
            ("drain", "must be longer than nothing"),
            ("mdn_deadline", "must be at most 3650d"),
            (
                "duplicate_window",
                "must be a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d",
            ),
            ("on_store_failure", "must be pass or refuse"),
            ("retention.events", "must be longer than nothing"),
            (
                "retention.attempts",
                "must be a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d",
            ),
            ("retention.count", "must be a whole number from 1 to 1000000000"),
            (
                "retention.payloads",
                "must be a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d",
            ),
            (
                "retention.days",
                "unknown key; the keys here are events, attempts, count, bytes, payloads",
            ),
        ],
    );
}

#[test]
fn broken_files() {
    expect_in(
        &[("as2hook.yaml", "receiver: { url: \"x\" «]\n")],
        &[(
            "receiver",
            "this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'; text with braces, \
             brackets or commas, such as `${…}`, needs quotes here",
        )],
    );
    let files = Files::new(&[("as2hook.yaml", "")]);
    fs::write(files.folder.path().join("as2hook.yaml"), b"site: main\nstore: \"\xff\"\n").unwrap();
    let mistakes = files.attempt().outcome.unwrap_err();
    assert_eq!(files.shown(&mistakes), ["as2hook.yaml:2:9: document: this is not UTF-8"]);

    let files = Files::new(&[]);
    let mistakes = files.attempt().outcome.unwrap_err();
    assert_eq!(files.shown(&mistakes), ["as2hook.yaml:1:1: document: does not exist"]);
    let files = Files::new(&[("as2hook.yaml/x", "")]);
    let mistakes = files.attempt().outcome.unwrap_err();
    assert_eq!(files.shown(&mistakes), ["as2hook.yaml:1:1: document: is a folder, not a file"]);
}

#[test]
fn control_characters_do_not_reach_the_message() {
    expect(
        "«\"a\\nb\": 1\nsite: «\"a\\nb\"",
        &[
            (
                "\"a\\nb\"",
                "unknown key; the keys here are site, listen, receiver, store, payloads, \
                 payloads_allow_http, encrypt_payloads, webhooks, keep, stations, partners, api, limits, \
                 drain, on_store_failure, legacy_algorithms, mdn_deadline, duplicate_window, retention, secret_key_file",
            ),
            ("site", "must not hold control characters or line breaks"),
        ],
    );
}
