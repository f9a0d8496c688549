//! What a hostile message can make an event hold.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

use as2hook_as2::{
    Attachment, ContentKind, Decoded, ErrorCode, Headers, Mdn, ProcessingError, SignatureStatus,
    Warning,
    edi::{Ack, DocumentCount, Edi, Interchange, Standard},
};
use as2hook_event::{
    Direction, Endpoint, Event, EventKind, PartnerType, SendError, Stage, Verdict,
    bounds::{AS2_NAME, MESSAGE_ID, METADATA, as2_name, message_id},
};
use as2hook_format::{Body, Formats, RawPayload, Rendering, render};
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

fn event(headers: &[(&str, &str)]) -> Event {
    let mut all = Headers::new();
    for (name, value) in headers {
        all.push(*name, *value);
    }
    Event {
        id: Uuid::now_v7(),
        kind: EventKind::MessageReceived,
        occurred_at: Timestamp::UNIX_EPOCH,
        direction: Direction::Inbound,
        site: "main".into(),
        partner: Some("ACME".into()),
        station: Some("US".into()),
        partner_type: PartnerType::Production,
        peer: None,
        headers: all,
        decoded: None,
        errors: Vec::new(),
        send_error: None,
        mic_matches: None,
        supersedes: None,
        extra: Map::new(),
    }
}

fn attachment(text: &str) -> Attachment {
    Attachment {
        name: Some(text.into()),
        size: u64::MAX,
        content_type: Some(text.into()),
        sha256: "a".repeat(64),
        edi: None,
    }
}

fn decoded(text: &str, attachments: usize) -> Decoded {
    let some = || Some(text.to_owned());
    Decoded {
        kind: ContentKind::Message,
        as2_message_id: some(),
        sender_id: some(),
        receiver_id: some(),
        subject: some(),
        encrypted: None,
        signed: None,
        compressed: None,
        encryption_algorithm: some(),
        decrypted_with: some(),
        signature_verified: None,
        signature_status: Some(SignatureStatus::Unsigned),
        signer: some(),
        digest_algorithm: some(),
        mic: some(),
        mics: Vec::new(),
        documents: Vec::new(),
        acks: Vec::new(),
        attachments: vec![attachment(text); attachments],
        errors: vec![ProcessingError::new(ErrorCode::Parse, text); 2],
        warnings: vec![Warning { code: "other-digest".into(), message: text.into() }],
        mdn: Some(Mdn {
            original_message_id: some(),
            disposition: some(),
            action: some(),
            disposition_type: some(),
            modifier: some(),
            modifier_text: some(),
            error: true,
            human_message: some(),
            mic: some(),
            reporting_ua: some(),
            final_recipient: some(),
        }),
    }
}

#[test]
fn an_event_within_its_bounds_stays_as_it_is() {
    let value = "v".repeat(8 << 10);
    let mut event = event(&[("AS2-From", "ACME"), ("X-A", &value), ("Subject", "a")]);
    event.decoded = Some(decoded("text", 1_000));
    let before = event.clone();
    event.bound().unwrap();
    assert_eq!(event, before);
    assert_eq!(event.bounded().unwrap().0, before);
}

#[test]
fn whatever_is_in_an_event_it_keeps_no_more_than_its_bound() {
    // What JSON writes as six bytes, as two, and as it is.
    for text in ["\u{1}", "\"", "\u{e9}", "x"] {
        let long = text.repeat(100_000);
        let many = vec![("X-Many", text); 40_000];
        let wide = vec![("X-Wide", long.as_str()); 30];
        for headers in [many, wide] {
            let mut event = event(&headers);
            // As much as the decoder lists of documents at the most.
            let of_json =
                |bytes| text.repeat(bytes / (serde_json::json!(text).to_string().len() - 2));
            let interchange =
                Interchange { control_number: Some(of_json(127 << 10)), ..Interchange::default() };
            let edi = Edi {
                standard: Standard::X12,
                interchanges: vec![interchange],
                interchange_count: 1,
            };
            let mut attachments = vec![attachment(&text.repeat(2_000)); 5_000];
            attachments[0].edi = Some(edi);
            event.decoded = Some(Decoded {
                attachments,
                acks: vec![Ack { ack_type: of_json(63 << 10), ..Ack::default() }],
                documents: vec![DocumentCount {
                    standard: Standard::X12,
                    document_type: of_json(8 << 10),
                    count: u64::MAX,
                }],
                errors: vec![ProcessingError::new(ErrorCode::Parse, text.repeat(2_000)); 1_000],
                ..decoded(&long, 0)
            });
            event.errors = event.decoded.as_ref().unwrap().errors.clone();
            event.send_error =
                Some(SendError { stage: Stage::Mdn, http_status: None, message: long.clone() });
            event.partner = Some(long.clone());
            event.extra.insert("reason".into(), Value::String(long.clone()));
            let (kept, body) = event.bounded().unwrap();
            assert!(body.len() <= METADATA, "{text:?} {} {}", headers.len(), body.len());
            let mut verdict = Verdict {
                errors: event.errors.clone(),
                send_error: event.send_error.clone(),
                extra: event.extra.clone(),
                ..Verdict::of(EventKind::MessageReceived)
            };
            let mut settled = kept;
            verdict.bound();
            settled.settle(verdict);
            let again = settled.clone();
            let formats = Formats::default();
            let rendering = Rendering {
                format: formats.get("json").unwrap(),
                webhook_id: "msg",
                attempt: 1,
                replay: false,
                payload: RawPayload::None,
                leading: &[],
            };
            let endpoint = Endpoint::new("https://erp.example/".parse().unwrap());
            let request = render(&settled, &rendering, &endpoint, Timestamp::now());
            let Body::Bytes(document) = &request.body else { panic!("JSON") };
            assert!(document.len() <= 1 << 20, "{}", document.len());
            settled.bound().unwrap();
            assert_eq!(settled.headers, again.headers, "cut once, it stays");
        }
    }
}

#[test]
fn attachments_that_are_left_out_are_an_error_of_their_event() {
    let mut event = event(&[]);
    event.decoded = Some(decoded(&"n".repeat(300), 5_000));
    event.bound().unwrap();
    let decoded = event.decoded.as_ref().unwrap();
    assert!((100..5_000).contains(&decoded.attachments.len()), "{}", decoded.attachments.len());
    assert_eq!(event.errors.last().unwrap().code, ErrorCode::Limit);
}

#[test]
fn names_that_differ_behind_their_bound_stay_different() {
    let (one, other) = ("N".repeat(60_000) + "1", "N".repeat(60_000) + "2");
    assert_eq!((as2_name(&one).len(), message_id(&one).len()), (AS2_NAME, MESSAGE_ID));
    assert_ne!(as2_name(&one), as2_name(&other));
    assert_ne!(message_id(&one), message_id(&other));
    assert_eq!(as2_name(&as2_name(&one)), as2_name(&one));
    let name = "\u{e9}".repeat(AS2_NAME);
    assert_eq!(as2_name(&name), name, "characters count, as in the config");
    let quoted = format!("\"{one}\"");
    let mut event = event(&[("AS2-From", &quoted), ("Message-ID", &one), ("AS2-To", "US")]);
    event.bound().unwrap();
    assert_eq!(event.headers.text("AS2-From").unwrap(), as2_name(&one));
    assert_eq!(event.headers.text("Message-ID").unwrap(), message_id(&one));
}

#[test]
fn the_headers_that_all_depends_on_are_kept_before_others_in_their_order() {
    let value = "v".repeat(8 << 10);
    let mut headers = vec![("X-Other", value.as_str()); 20];
    headers.push(("subject", "A"));
    headers.push(("Message-ID", "<1@a>"));
    let mut event = event(&headers);
    event.bound().unwrap();
    let names: Vec<_> = event.headers.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(
        names,
        ["X-Other"; 7].iter().copied().chain(["subject", "Message-ID"]).collect::<Vec<_>>()
    );
}
