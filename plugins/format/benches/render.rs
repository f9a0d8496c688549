//! Rendering a signed request.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use as2hook_as2::Headers;
use as2hook_event::{Direction, Endpoint, Event, EventKind, PartnerType, PayloadMode, Secret};
use as2hook_format::{Body, Formats, RawPayload, Rendering, render};
use criterion::{Criterion, criterion_group, criterion_main};
use http::Uri;
use uuid::Uuid;

fn rendering(criterion: &mut Criterion) {
    let mut headers = Headers::new();
    for (name, value) in [
        ("AS2-From", "ACME"),
        ("AS2-To", "MY-OWN-ORG"),
        ("Message-ID", "<AS2-1592209136307-2@ACME_MY-OWN-ORG>"),
        ("Subject", "Invoice #981712"),
        ("Content-Type", "application/pkcs7-mime; smime-type=enveloped-data"),
        ("Disposition-Notification-To", "http://acme.hostname:8085/as2/receiver"),
    ] {
        headers.push(name, value);
    }
    let event = Event {
        id: Uuid::now_v7(),
        kind: EventKind::MessageReceived,
        occurred_at: jiff::Timestamp::UNIX_EPOCH,
        direction: Direction::Inbound,
        site: "main".into(),
        partner: Some("ACME".into()),
        station: Some("MY-OWN-ORG".into()),
        partner_type: PartnerType::Production,
        peer: None,
        headers,
        decoded: None,
        errors: Vec::new(),
        send_error: None,
        mic_matches: None,
        supersedes: None,
        extra: serde_json::Map::new(),
    };
    let mut endpoint = Endpoint::new(Uri::from_static("https://erp.example/hooks/as2"));
    endpoint.secrets = vec![Secret::parse("my_secret").expect("a secret")];

    let mut group = criterion.benchmark_group("render, signed");
    let formats = Formats::default();
    for mode in [PayloadMode::HEADERS, PayloadMode::JSON] {
        let rendering = Rendering {
            format: formats.get(mode.name).expect("a built-in format"),
            webhook_id: "msg_0123",
            attempt: 1,
            replay: false,
            payload: RawPayload::None,
            leading: &[],
        };
        group.bench_function(mode.name, |bench| {
            let now = jiff::Timestamp::UNIX_EPOCH;
            bench.iter(|| {
                let mut request = render(&event, &rendering, &endpoint, now);
                let mut signer = request.headers.signer(&endpoint.secrets, request.body.length());
                if let Body::Bytes(body) = &request.body {
                    signer.update(body);
                }
                request.headers.sign(&signer.finish().expect("the whole body"));
                black_box(request)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rendering);
criterion_main!(benches);
