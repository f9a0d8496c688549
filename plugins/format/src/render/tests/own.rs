//! The headers that as2hook makes.

use as2hook_as2::{Decoded, ErrorCode, ProcessingError, SignatureStatus};

use super::*;
use as2hook_event::{SendError, Stage};

use crate::sign::{verify_as2, verify_webhook};

#[test]
fn every_delivery_has_them() {
    let request = request(&seed_event(), PayloadMode::HEADERS);
    let expected = [
        ("webhook-id", "msg_0123"),
        ("webhook-timestamp", "1592228936"),
        ("X-AS2-Event", "message.received"),
        ("X-AS2-Attempt", "1"),
        ("X-Partner-Type", "Production"),
        ("X-Forwarded-For", "52.204.119.191"),
        ("User-Agent", concat!("as2hook/", env!("CARGO_PKG_VERSION"))),
    ];
    for (name, value) in expected {
        assert_eq!(header(&request, name), Some(value), "{name}");
    }
    for name in ["X-AS2-Replay", "webhook-signature", "X-AS2-Signature", "X-Processing-Error"] {
        assert_eq!(header(&request, name), None, "{name}");
    }
}

#[test]
fn a_replay_says_so() {
    let again = Rendering { replay: true, attempt: 12, ..rendering(PayloadMode::HEADERS) };
    let request = rendered(&seed_event(), &again, &endpoint());
    assert_eq!(header(&request, "X-AS2-Replay"), Some("1"));
    assert_eq!(header(&request, "X-AS2-Attempt"), Some("12"));
}

#[test]
fn a_test_partner_and_one_of_unknown_address() {
    let event = Event { partner_type: PartnerType::Test, peer: None, ..seed_event() };
    let request = request(&event, PayloadMode::HEADERS);
    assert_eq!(header(&request, "X-Partner-Type"), Some("Test"));
    assert_eq!(header(&request, "X-Forwarded-For"), None);
}

#[test]
fn both_signatures_are_of_what_is_sent() {
    let mut event = seed_event();
    event.errors = vec![ProcessingError::new(ErrorCode::Parse, "Parse failed")];
    for mode in [PayloadMode::HEADERS, PayloadMode::JSON, PayloadMode::RAW] {
        let payload = RawPayload::Bytes(Bytes::from_static(b"<invoice/>"));
        let endpoint = signed();
        let request = rendered(&event, &Rendering { payload, ..rendering(mode) }, &endpoint);
        assert_signed(&request, &endpoint.secrets[0], body(&request));
    }
}

#[test]
fn each_secret_signs() {
    let secrets: Vec<_> = ["old", "new"].map(|text| Secret::parse(text).unwrap()).to_vec();
    let endpoint = Endpoint { secrets: secrets.clone(), ..endpoint() };
    let request = rendered(&seed_event(), &rendering(PayloadMode::JSON), &endpoint);
    assert_eq!(header(&request, "webhook-signature").unwrap().split(' ').count(), 2);
    for secret in &secrets {
        assert_signed(&request, secret, body(&request));
    }
}

#[test]
fn a_streamed_payload_is_signed_piece_by_piece() {
    let (endpoint, event) = (signed(), seed_event());
    let payload = RawPayload::Stream { size: 10 };
    let streamed = Rendering { payload, ..rendering(PayloadMode::RAW) };
    let mut request = render(&event, &streamed, &endpoint, now());
    let mut signer = request.headers.signer(&endpoint.secrets, request.body.length());
    signer.update(b"<invo");
    signer.update(b"ice/>");
    request.headers.sign(&signer.finish().unwrap());

    assert_eq!(request.body, Body::Payload { size: 10 });
    assert_eq!(header(&request, "Content-Length"), Some("10"));
    assert_signed(&request, &endpoint.secrets[0], b"<invoice/>");

    let short = request.headers.signer(&endpoint.secrets, request.body.length());
    assert!(short.finish().is_err());
}

#[test]
fn a_streamed_payload_needs_no_signature_without_a_secret() {
    let streamed =
        Rendering { payload: RawPayload::Stream { size: 10 }, ..rendering(PayloadMode::RAW) };
    let request = rendered(&seed_event(), &streamed, &endpoint());
    assert_eq!(request.body, Body::Payload { size: 10 });
}

#[test]
fn repeated_originals_are_signed_as_http_reads_them() {
    let (endpoint, event) = (signed(), event_with(&[("AS2-From", "OTHER")]));
    let request = rendered(&event, &rendering(PayloadMode::HEADERS), &endpoint);
    let [id, time] = ["webhook-id", "webhook-timestamp"].map(|name| header(&request, name));
    let covered = Covered {
        webhook_id: id.unwrap().as_bytes(),
        webhook_timestamp: time.unwrap().as_bytes(),
        event: b"message.received",
        partner_type: b"Production",
        as2_from: b"ACME, OTHER",
        as2_to: b"MY-OWN-ORG",
        message_id: b"<AS2-1592209136307-2@ACME_MY-OWN-ORG>",
        event_id: b"0172b7f0-5a00-7000-8000-000000000001",
        signature_status: b"valid",
        ..Covered::default()
    };
    let signature = header(&request, "X-AS2-Signature").unwrap();
    assert!(verify_as2(signature, &endpoint.secrets[0], &covered, b""));
}

#[test]
fn event_id_and_signature_status_stand_in_every_mode() {
    let mut event = seed_event();
    for mode in [PayloadMode::HEADERS, PayloadMode::JSON, PayloadMode::RAW] {
        for status in SignatureStatus::ALL {
            event.decoded.as_mut().unwrap().signature_status = Some(status);
            let request = request(&event, mode);
            let id = event.id.to_string();
            assert_eq!(header(&request, "X-AS2-Event-Id"), Some(id.as_str()));
            assert_eq!(header(&request, "X-AS2-Signature-Status"), Some(status.as_str()));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }
}

#[test]
fn signature_status_is_left_out_when_it_was_not_judged_or_there_is_no_message() {
    let hidden = Decoded { signature_status: None, ..decoded() };
    for decoded in [Some(hidden), None] {
        let event = Event { decoded, ..seed_event() };
        let request = request(&event, PayloadMode::JSON);
        assert!(header(&request, "X-AS2-Event-Id").is_some());
        assert_eq!(header(&request, "X-AS2-Signature-Status"), None);
    }
}

#[test]
fn processing_errors_are_one_line_of_ascii() {
    let mut event = seed_event();
    event.decoded.as_mut().unwrap().errors =
        vec![ProcessingError { code: ErrorCode::Signature, message: "a;b\r\nX-Evil: é".into() }];
    event.errors = vec![ProcessingError::new(ErrorCode::Receiver, "processed/error: x")];
    let request = request(&event, PayloadMode::HEADERS);
    assert_eq!(
        header(&request, "X-Processing-Error"),
        Some("900: a b  X-Evil: ?; 1200: processed/error: x")
    );
}

#[test]
fn processing_errors_are_bounded() {
    let mut event = seed_event();
    event.errors = vec![ProcessingError::new(ErrorCode::Parse, "x".repeat(1000)); 100];
    let many = request(&event, PayloadMode::HEADERS);
    let whole = header(&many, "X-Processing-Error").unwrap();
    assert_eq!(whole.split("; ").count(), 4);

    event.errors = vec![ProcessingError::new(ErrorCode::Parse, "x".repeat(100_000))];
    let long = request(&event, PayloadMode::HEADERS);
    assert_eq!(header(&long, "X-Processing-Error").unwrap().len(), 4096);
}

#[test]
fn a_send_error_names_its_stage() {
    let mut event = Event { kind: EventKind::SendError, ..seed_event() };
    event.send_error = Some(SendError {
        stage: Stage::Http,
        http_status: Some(503),
        message: "the partner\nanswered 503".into(),
    });
    let request = request(&event, PayloadMode::HEADERS);
    assert_eq!(header(&request, "X-Send-Error"), Some("http: the partner answered 503"));
}

#[test]
fn a_rule_adds_its_own_but_sets_none_of_ours() {
    let own = [
        ("authorization", "Bearer token"),
        ("x-team", "erp"),
        ("x-as2-event", "forged"),
        ("content-length", "5"),
        ("subject", "forged"),
    ];
    let endpoint = Endpoint {
        headers: own.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).to_vec(),
        ..endpoint()
    };
    let event = event_with(&[("Authorization", "Basic partner"), ("X-Team", "theirs")]);
    let request = rendered(&event, &rendering(PayloadMode::HEADERS), &endpoint);

    for (name, value) in [
        ("Authorization", "Bearer token"),
        ("X-Team", "erp"),
        ("X-AS2-Event", "message.received"),
        ("Content-Length", "0"),
        ("Subject", "Invoice #981712"),
    ] {
        assert_eq!(request.headers.all(name).collect::<Vec<_>>(), [value], "{name}");
    }
    assert_eq!(request.dropped, ["x-as2-event", "content-length", "subject"]);
    assert!(headers::is_reserved("X_AS2_Anything") && !headers::is_reserved("Authorization"));
}

fn assert_signed(request: &Rendered, secret: &Secret, body: &[u8]) {
    let get = |name| header(request, name).unwrap_or_default();
    let (id, time) = (get("webhook-id"), get("webhook-timestamp"));
    assert!(verify_webhook(get("webhook-signature"), secret, id, time, body));
    let covered = Covered {
        webhook_id: id.as_bytes(),
        webhook_timestamp: time.as_bytes(),
        event: get("X-AS2-Event").as_bytes(),
        partner_type: get("X-Partner-Type").as_bytes(),
        as2_from: get("AS2-From").as_bytes(),
        as2_to: get("AS2-To").as_bytes(),
        message_id: get("Message-ID").as_bytes(),
        processing_error: get("X-Processing-Error").as_bytes(),
        send_error: get("X-Send-Error").as_bytes(),
        event_id: get("X-AS2-Event-Id").as_bytes(),
        signature_status: get("X-AS2-Signature-Status").as_bytes(),
        document: b"",
    };
    assert!(verify_as2(get("X-AS2-Signature"), secret, &covered, body));
}
