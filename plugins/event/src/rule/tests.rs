use as2hook_as2::SignatureStatus;

use super::*;

#[test]
fn a_fingerprint_changes_with_every_field() {
    type Change = fn(&mut Rule);
    let changes: [Change; 36] = [
        |_| (),
        |r| r.name = "other".into(),
        |r| r.events = None,
        |r| r.events = Some(vec![]),
        |r| r.partner = Some("ACME".into()),
        |r| r.station = Some("ACME".into()),
        |r| r.partner_type = Some(PartnerType::Test),
        |r| r.site = "other".into(),
        |r| r.route = Route::Always,
        |r| r.enabled = false,
        |r| r.endpoint.url = Uri::from_static("https://erp.example/other"),
        |r| r.endpoint.payload = PayloadMode::RAW,
        |r| r.endpoint.sink = Some(sink("a")),
        |r| r.endpoint.sink = Some(sink("b")),
        |r| r.endpoint.secrets = vec![Secret::parse("secret").unwrap()],
        |r| r.endpoint.secrets = vec![Secret::parse("other").unwrap()],
        |r| r.endpoint.headers = vec![(http::header::FROM, "a".parse().unwrap())],
        |r| r.endpoint.tls.ca = Some(b"pem".to_vec()),
        |r| r.endpoint.tls.client_certificate = Some(b"pem".to_vec()),
        |r| r.endpoint.tls.client_key = Some(b"pem".to_vec()),
        |r| r.filters.documents = Some(vec!["850".parse().unwrap()]),
        |r| r.filters.documents = Some(vec!["X12:850".parse().unwrap()]),
        |r| r.filters.signature = Some(vec![SignatureStatus::Valid]),
        |r| r.filters.errors = Some(ErrorFilter::None),
        |r| r.filters.errors = Some(ErrorFilter::Any),
        |r| r.endpoint.pass_headers = PassHeaders::As2,
        |r| r.endpoint.pass_headers = PassHeaders::named(["X-Trace"]),
        |r| r.endpoint.timeout = std::time::Duration::from_secs(3),
        |r| r.endpoint.retry.truncate(1),
        |r| r.endpoint.concurrency = 1,
        |r| r.endpoint.order = Order::Partner,
        |r| r.endpoint.order_patience = Some(std::time::Duration::from_secs(50)),
        |r| r.endpoint.rate = Some("50/s".parse().unwrap()),
        |r| r.endpoint.rate = Some("50/min".parse().unwrap()),
        |r| r.endpoint.disable_after = Some(std::time::Duration::from_secs(50)),
        |r| r.endpoint.headers = vec![(http::header::FROM, "b".parse().unwrap())],
    ];
    let prints: std::collections::BTreeSet<_> = changes
        .iter()
        .map(|change| {
            let mut changed = rule();
            change(&mut changed);
            changed.fingerprint()
        })
        .collect();
    assert_eq!(prints.len(), changes.len());
    assert!(prints.iter().all(|print| print.len() == 64));
}

#[test]
fn a_fingerprint_ignores_paths_and_the_order_of_events() {
    use EventKind::{MdnSent, MessageSent};
    let one = Rule { events: Some(vec![MdnSent, MessageSent]), ..rule() };
    let mut other = Rule { events: Some(vec![MessageSent, MdnSent, MdnSent]), ..rule() };
    other.endpoint.tls.sources.push("ca.pem".into());
    assert_eq!(one.fingerprint(), other.fingerprint());
}

fn sink(topic: &str) -> SinkChoice {
    let keys = serde_json::json!({ "topic": topic });
    SinkChoice { name: "kafka", keys, settings: std::sync::Arc::new(()) }
}

fn rule() -> Rule {
    Rule {
        name: "rule".to_owned(),
        events: Some(vec![EventKind::MessageReceived]),
        partner: None,
        station: None,
        partner_type: None,
        filters: Filters::default(),
        site: "main".to_owned(),
        route: Route::MostSpecific,
        enabled: true,
        endpoint: Endpoint::new(Uri::from_static("https://erp.example/hooks/as2")),
    }
}
