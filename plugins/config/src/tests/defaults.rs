//! What a key means when it is left out, and what it means when it is given.

use std::time::Duration;

use as2hook_event::{
    EventKind, KeptAttachments, Order, PartnerType, PassHeaders, PayloadMode, Route,
};

use super::*;

#[test]
fn a_gateway_with_nothing_but_its_receiver() {
    let (loaded, files) = right("", NO_RULES);
    let config = &loaded.config;
    let root = files.folder.path();
    assert_eq!(config.site, "main");
    assert_eq!(config.listen.inbound.address.to_string(), "0.0.0.0:8080");
    assert_eq!(config.listen.admin.address.to_string(), "127.0.0.1:8081");
    assert!(config.listen.outbound.is_none() && config.listen.inbound.tls.is_none());
    assert!(!config.receiver.keepalive && config.receiver.verify);
    assert_eq!(config.receiver.forwarded, Forwarded::Append);
    assert_eq!(config.store, StoreLocation::Sqlite(root.join("data/as2hook.db")));
    assert_eq!(config.payloads, PayloadLocation::Folder(root.join("data/payloads")));
    assert_eq!(config.webhooks, root.join("webhooks.yaml"));
    assert_eq!(config.secret_key_file, root.join("data/secret.key"));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.limits.in_flight, 2000);
    assert_eq!(config.decode_options().limits, as2hook_as2::DecoderLimits::default());
    assert_eq!(config.drain, Duration::from_secs(20));
    assert_eq!(config.mdn_deadline, Duration::from_secs(86_400));
    assert_eq!(config.duplicate_window, Duration::from_secs(7 * 86_400));
    assert_eq!(config.retention.events, Duration::from_secs(30 * 86_400));
    assert_eq!((config.retention.count, config.retention.bytes), (1_000_000, 10 << 30));
    assert!(!config.payloads_allow_http);
    assert_eq!(config.on_store_failure, StoreFailurePolicy::Pass);
    assert!(!config.legacy_algorithms);
    assert!(!config.encrypt_payloads);
    assert_eq!(config.keep, KeptAttachments::Needed);
    assert_eq!(config.api.language, ApiLanguage::Spanish);
    assert!(config.api.hosts.is_empty());
    assert!(config.keyring.keys().is_empty() && config.api.tokens.is_empty());
}

#[test]
fn a_gateway_with_every_key() {
    let (loaded, files) = right(
        r#"
site: here
listen:
  inbound:
    address: "[::]:4080"
    tls: { certificate: keys/chain.pem, private_key: keys/rsa.key, client_ca: keys/ec.crt }
  outbound: { address: "127.0.0.1:4085" }
  admin: { address: "127.0.0.1:4081" }
receiver:
  url: ["https://as2.example", "http://[::1]:10080/"]
  routes: [{ path: /mdn/, url: ["http://[::1]:10081", "http://[::1]:10082"] }]
  keepalive: on
  forwarded: off
  trusted_proxies: ["10.0.0.0/8", "192.0.2.1"]
  ca: keys/rsa.crt
  verify: true
store: "postgres://user:${SECRET}@db.example/as2"
payloads: store
stations:
  - as2_id: "0012"
    keys:
      - { certificate: keys/rsa.der, private_key: keys/rsa-encrypted.key, passphrase_file: keys/pass }
      - { pkcs12: keys/legacy.p12, passphrase: "open sesame" }
      - { certificate: keys/ec.crt, private_key: keys/ec.key, passphrase: "${EMPTY:-}" }
  - as2_id: "MY ORG"
partners:
  - id: 123
    as2_id: ACME
    type: Test
    certificates: [keys/rsa.crt, keys/ec.crt]
    url: "https://acme.example/as2"
    mdn_urls: ["https://acme.example/mdn"]
    async_mdn: elsewhere
    mdn: any
    tls:
      ca: keys/chain.pem
      certificate: keys/rsa.crt
      client_certificate: keys/ec.crt
      client_key: keys/ec.key
    timeout: 10m
    site: there
  - as2_id: OTHER
    url: "http://other.example"
api:
  tokens:
    - { name: erp, sha256: "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff", scopes: [read, admin] }
  allow_networks: ["10.1.0.0/16"]
  hosts: [AS2.example]
  language: en
limits: { body: 1GiB, decoded: 4096, expansion: 10, header: 8KiB, attachments: "${NUMBER}", cpu: 250ms, in_flight: 5, memory: 64MiB, connections: 9,
  connections_per_address: 8, idle: 1s, head_time: 2s, body_time: 3s, body_rate: 4KiB, piece_time: 5s }
drain: 1m
on_store_failure: refuse
legacy_algorithms: true
encrypt_payloads: true
mdn_deadline: 1h
duplicate_window: 1d
retention: { events: 90d, attempts: 14d, count: 5000, bytes: 3GiB, payloads: 1h }
secret_key_file: /etc/as2hook/key
"#,
        NO_RULES,
    );
    let config = &loaded.config;
    assert_eq!(files.attempt().warnings, []);
    let tls = config.listen.inbound.tls.as_ref().unwrap();
    assert_eq!((tls.chain.len(), tls.client_ca.len()), (2, 1));
    assert_eq!(config.listen.outbound.as_ref().unwrap().address.port(), 4085);
    let origins: Vec<_> = config.receiver.origins.iter().map(Origin::to_string).collect();
    assert_eq!(origins, ["https://as2.example:443", "http://[::1]:10080"]);
    assert_eq!(config.receiver.origins[1].host, "::1");
    let [route] = &config.receiver.routes[..] else { panic!("one route") };
    assert_eq!((route.path.as_str(), route.origins.len()), ("/mdn", 2));
    assert!(config.receiver.keepalive);
    assert_eq!(config.receiver.forwarded, Forwarded::Off);
    assert!(
        config.receiver.trusted_proxies[0]
            .contains(&"10.2.3.4".parse::<std::net::IpAddr>().unwrap())
    );
    let StoreLocation::Postgres(url) = &config.store else { panic!("not PostgreSQL") };
    assert_eq!(url.expose(), "postgres://user:hunter2-hunter2@db.example/as2");
    assert_eq!(config.payloads, PayloadLocation::Store);
    assert!(config.encrypt_payloads);
    assert_eq!(config.keyring.keys().len(), 3);
    assert_eq!(config.keyring.certificates("0012").len(), 3);
    assert_eq!(config.keyring.certificates("ACME").len(), 2);
    assert!(config.is_station("MY ORG") && !config.is_station("ACME"));
    let acme = config.partner("ACME").unwrap();
    assert_eq!(
        (acme.id, acme.partner_type, acme.site.as_str()),
        (Some(123), PartnerType::Test, "there")
    );
    assert_eq!(acme.mdn_urls.len(), 1);
    assert!(!acme.has_async_mdns_here() && acme.accepts_unsigned_mdns());
    let other = config.partner("OTHER").unwrap();
    assert!(other.has_async_mdns_here() && !other.accepts_unsigned_mdns());
    let tls = acme.tls.as_ref().unwrap();
    assert_eq!((tls.ca.len(), tls.pinned.len(), tls.client().is_some()), (2, 1, true));
    assert_eq!(acme.timeout.as_secs(), 600);
    assert_eq!(config.partner("OTHER").unwrap().timeout.as_secs(), 300);
    assert_eq!(config.partner("OTHER").unwrap().site, "here");
    assert!(config.partner("acme").is_none(), "AS2 ids are compared with their case");
    assert_eq!(config.api.hosts, ["as2.example"]);
    let token = &config.api.tokens[0];
    assert_eq!((token.sha256[1], token.sha256[31], token.site.as_str()), (0x11, 0xff, "here"));
    assert_eq!(token.scopes, [TokenScope::Read, TokenScope::Admin]);
    assert_eq!(config.limits.decoded, 4096);
    assert_eq!(config.limits.attachments, 7);
    assert_eq!(config.limits.cpu, Duration::from_millis(250));
    assert_eq!((config.limits.memory, config.limits.connections), (64 << 20, 9));
    assert_eq!(config.limits.connections_per_address, 8);
    let seconds = Duration::from_secs;
    let (idle, head, body, piece) = (seconds(1), seconds(2), seconds(3), seconds(5));
    assert_eq!(config.limits.pace(), Pace { idle, head, body, rate: 4096, piece });
    assert_eq!((config.retention.count, config.retention.payloads.as_secs()), (5_000, 3_600));
    assert_eq!(config.retention.attempts, Duration::from_secs(14 * 86_400));
    assert_eq!(config.retention.bytes, 3 << 30);
    assert_eq!(config.secret_key_file, Path::new("/etc/as2hook/key"));
    drop(files);
}

#[test]
fn s3_is_there_in_builds_that_have_it_and_the_others_say_how_to_build_one() {
    let (loaded, _files) = right("payloads: s3://orders/pay", NO_RULES);
    assert_eq!(loaded.config.payloads, PayloadLocation::S3("s3://orders/pay".to_owned()));
    let unsupported = loaded.config.unsupported();
    let unsupported: Vec<_> =
        unsupported.iter().map(|mistake| (&*mistake.path, &*mistake.message)).collect();
    if cfg!(feature = "s3") {
        assert_eq!(unsupported, []);
    } else {
        assert_eq!((unsupported.len(), unsupported[0].0), (1, "payloads"));
        assert!(unsupported[0].1.contains("--features s3"), "{}", unsupported[0].1);
    }
}

#[test]
fn s3_over_plain_http_is_refused_unless_the_config_allows_it() {
    let load = |variable: &'static str, endpoint: &'static str, more: &str| {
        let gateway = format!("{RECEIVER}\npayloads: s3://orders/pay\n{more}");
        let files = Files::new(&[("as2hook.yaml", &gateway), ("webhooks.yaml", NO_RULES)]);
        let outcome = attempt_with(
            &files.folder.path().join("as2hook.yaml"),
            &Plugins::default(),
            move |name| {
                if name == variable { Ok(endpoint.to_owned()) } else { Err(VarError::NotPresent) }
            },
        );
        outcome.outcome.map(drop).map_err(|mistakes| files.shown(&mistakes))
    };
    for variable in ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        let refused = load(variable, "HTTP://127.0.0.1:9000", "").unwrap_err();
        assert_eq!(refused.len(), 1);
        let place = format!("payloads: the environment variable {variable} names an http://");
        assert!(refused[0].contains(&place), "{refused:?}");
        assert!(refused[0].contains("payloads_allow_http: true"), "{refused:?}");
        load(variable, "http://127.0.0.1:9000", "payloads_allow_http: true").unwrap();
        load(variable, "https://s3.example", "").unwrap();
    }
}

#[test]
fn a_rule_with_its_defaults() {
    let (loaded, _files) =
        right("site: here", "webhooks: [{ name: a, url: \"https://erp.example/hooks?x=1\" }]");
    let rule = loaded.rules.get("a").unwrap();
    assert_eq!(rule.events.as_deref(), Some(&[EventKind::MessageReceived][..]));
    assert_eq!((&rule.partner, &rule.station, rule.partner_type), (&None, &None, None));
    assert_eq!((rule.site.as_str(), rule.route, rule.enabled), ("here", Route::MostSpecific, true));
    let url = "https://erp.example/hooks?x=1".parse().unwrap();
    assert_eq!(rule.endpoint, as2hook_event::Endpoint::new(url));
}

#[test]
fn a_rule_with_every_key() {
    let (loaded, files) = right(
        "partners: [{ as2_id: ACME }]\nstations: [{ as2_id: WE }]",
        r#"
webhooks:
  - name: "all of ACME's"
    events: "*"
    partner: ACME
    station: WE
    partner_type: Test
    site: other
    url: "https://erp.example/"
    payload: raw
    secret: ["${SECRET}", "whsec_YWJj"]
    headers: { Authorization: "Bearer ${SECRET}", X-Empty: "" }
    route: always
    tls: { ca: keys/rsa.der, client_certificate: keys/chain.pem, client_key: keys/rsa.key }
    pass_headers: as2
    timeout: 500ms
    retry: []
    concurrency: 1
    order: partner
    order_patience: 15m
    rate: 600/min
    disable_after: 2h
    enabled: false
"#,
    );
    let rule = loaded.rules.get("all of ACME's").unwrap();
    assert_eq!((&rule.events, rule.route, rule.enabled), (&None, Route::Always, false));
    let endpoint = &rule.endpoint;
    assert_eq!(endpoint.payload, PayloadMode::RAW);
    let keys: Vec<_> = endpoint.secrets.iter().map(|secret| secret.key()).collect();
    assert_eq!(keys, [b"hunter2-hunter2".as_slice(), b"abc"]);
    assert_eq!(endpoint.headers[0].1, "Bearer hunter2-hunter2");
    assert!(endpoint.headers.iter().all(|(_, value)| value.is_sensitive()));
    let begins = |pem: &Option<Vec<u8>>| pem.as_ref().unwrap().starts_with(b"-----BEGIN ");
    assert!(begins(&endpoint.tls.ca) && begins(&endpoint.tls.client_key));
    assert_eq!(endpoint.tls.sources.len(), 3);
    assert_eq!((&endpoint.pass_headers, endpoint.order), (&PassHeaders::As2, Order::Partner));
    assert_eq!((endpoint.timeout.as_millis(), endpoint.concurrency), (500, 1));
    assert!(endpoint.retry.is_empty());
    assert_eq!(endpoint.rate.unwrap().to_string(), "600/min");
    assert_eq!(endpoint.order_patience, Some(Duration::from_secs(15 * 60)));
    assert_eq!(endpoint.disable_after, Some(Duration::from_secs(2 * 3600)));
    drop(files);
}

#[test]
fn filters_are_read() {
    use as2hook_as2::{ErrorCode, SignatureStatus};
    use as2hook_event::{ErrorFilter, Filters};
    let (loaded, _files) = right(
        "",
        "webhooks:\n\
         - { name: a, url: \"http://a/\", signature: [valid], errors: none }\n\
         - { name: b, url: \"http://a/\", signature: [unsigned, unsupported], errors: [800, 900] }\n\
         - { name: c, url: \"http://a/\", route: always, errors: any }",
    );
    let filters = |name: &str| loaded.rules.get(name).unwrap().filters.clone();
    let signature = |statuses: &[SignatureStatus]| Some(statuses.to_vec());
    assert_eq!(
        filters("a"),
        Filters {
            signature: signature(&[SignatureStatus::Valid]),
            errors: Some(ErrorFilter::None),
            ..Filters::default()
        }
    );
    assert_eq!(
        filters("b"),
        Filters {
            signature: signature(&[SignatureStatus::Unsigned, SignatureStatus::Unsupported]),
            errors: Some(ErrorFilter::Codes(vec![ErrorCode::Decryption, ErrorCode::Signature])),
            ..Filters::default()
        }
    );
    assert_eq!(filters("c"), Filters { errors: Some(ErrorFilter::Any), ..Filters::default() });
}

#[test]
fn pass_headers_takes_a_list_of_names() {
    let (loaded, _files) =
        right("", "webhooks: [{ name: a, url: \"http://a/\", pass_headers: [X-Trace, Date] }]");
    let endpoint = &loaded.rules.get("a").unwrap().endpoint;
    assert_eq!(endpoint.pass_headers, PassHeaders::named(["x_trace", "DATE"]));
}

#[test]
fn a_secret_file_without_the_line_break_at_its_end() {
    let rules = "webhooks: [{ name: a, url: \"http://a/\", secret_file: the.secret }]";
    for text in ["abc", "abc\n", "abc\r\n"] {
        let files = Files::new(&[
            ("as2hook.yaml", RECEIVER),
            ("webhooks.yaml", rules),
            ("the.secret", text),
        ]);
        let loaded = files.attempt().outcome.unwrap();
        assert_eq!(loaded.rules.get("a").unwrap().endpoint.secrets[0].key(), b"abc");
    }
}

#[test]
fn a_folder_is_read_in_the_order_of_names() {
    let rule =
        |name: &str| format!("webhooks: [{{ name: {name}, partner: {name}, url: \"http://a/\" }}]");
    let files = Files::new(&[
        ("as2hook.yaml", &format!("{RECEIVER}webhooks: rules")),
        ("rules/b.yaml", &rule("b")),
        ("rules/a.yaml", &rule("a")),
        ("rules/.hidden.yaml", "no: rules"),
        ("rules/note.txt", "no rules either"),
        ("rules/folder.yaml/c.yaml", "nor here"),
    ]);
    let loaded = files.attempt().outcome.unwrap();
    let names: Vec<_> = loaded.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}
