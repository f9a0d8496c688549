//! Every JSON document, key by key.

use as2hook_as2::{ErrorCode, Headers, Mdn, ProcessingError, Warning};
use serde_json::json;

use super::*;
use as2hook_event::{SendError, Stage};

#[test]
fn a_message_whole() {
    let mut event = seed_event();
    event.errors = vec![ProcessingError::new(ErrorCode::Receiver, "processed/error")];
    let expected = concat!(
        r#"{"as2MessageId":"<AS2-1592209136307-2@ACME_MY-OWN-ORG>","compressed":false,"#,
        r#""encrypted":true,"signed":true,"subject":"Invoice #981712","receiverId":"MY-OWN-ORG","#,
        r#""senderId":"ACME","partnerType":"Production","attachments":[{"name":"981712.xml","#,
        r#""size":3570,"contentType":"text/xml","sha256":"@","edi":null}],"event":"message.received","#,
        r#""eventId":"0172b7f0-5a00-7000-8000-000000000001","occurredAt":"2020-06-15T08:18:56Z","#,
        r#""direction":"inbound","attempt":1,"kind":"message","#,
        r#""encryptionAlgorithm":"aes-256-cbc","decryptedWith":"1a2b","signatureVerified":true,"#,
        r#""signatureStatus":"valid","signer":"3c4d","digestAlgorithm":"sha-256","#,
        r#""mic":"AAAA, sha-256","errors":[{"code":1200,"message":"processed/error"}],"warnings":[]}"#,
    );
    assert_eq!(text(&event), expected.replace("\"@\"", &format!("\"{}\"", "00".repeat(32))));
}

#[test]
fn warnings_stand_in_a_field_of_their_own_and_in_no_header() {
    let mut event = seed_event();
    let warning = Warning { code: "other-digest".into(), message: "sha-1, not sha-256".into() };
    event.decoded.as_mut().unwrap().warnings = vec![warning];
    let document = document(&event);
    let warnings = json!([{ "code": "other-digest", "message": "sha-1, not sha-256" }]);
    assert_eq!((&document["warnings"], &document["errors"]), (&warnings, &json!([])));
    assert_eq!(header(&request(&event, PayloadMode::JSON), "X-Processing-Error"), None);
}

#[test]
fn subject_of_what_was_not_decoded_is_decoded_from_its_header() {
    let mut event = Event { decoded: None, ..seed_event() };
    event.headers = Headers::new();
    event.headers.push("Subject", b"=?utf-8?q?M=C3=A4rz?= f\xfcr".as_slice());
    assert_eq!(document(&event)["subject"], "M\u{e4}rz f\u{fc}r");
}

#[test]
fn an_mdn_whole() {
    let mut event = mdn();
    event.mic_matches = Some(true);
    event.extra = json!({ "micForm": "content", "mdnMode": "async" }).as_object().cloned().unwrap();
    let expected = concat!(
        r#"{"as2MessageId":"<1@us>","persistedTimestamp":1592209136000,"mdnError":false,"#,
        r#""mdnId":"<mdn@them>","disposition":"automatic-action/MDN-sent-automatically; processed","#,
        r#""humanMessage":"Thanks","mic":"AAAA, sha-256","micMatches":true,"#,
        r#""micForm":"content","signed":true,"signatureVerified":true,"receiverId":"MY-OWN-ORG","senderId":"ACME","#,
        r#""partnerType":"Production","event":"mdn.received","#,
        r#""eventId":"0172b7f0-5a00-7000-8000-000000000001","occurredAt":"2020-06-15T08:18:56Z","#,
        r#""direction":"inbound","attempt":1,"#,
    );
    let text = text(&event);
    assert!(text.starts_with(expected), "{text}");
    let document = document(&event);
    assert_eq!(document["kind"], "mdn");
    assert_eq!(document["mdn"]["originalMessageId"], "<1@us>");
    assert_eq!(document["mdn"]["reportingUa"], json!(null));
}

#[test]
fn an_unreadable_mdn_is_unknown() {
    let event = Event { decoded: None, ..mdn() };
    let document = document(&event);
    for key in
        ["as2MessageId", "mdnError", "micMatches", "micForm", "signed", "signatureVerified", "mdn"]
    {
        assert_eq!(document.get(key), Some(&json!(null)), "{key}");
    }
    assert_eq!(document["senderId"], "ACME");
}

#[test]
fn what_is_unknown_of_a_message_is_null() {
    let event = Event { decoded: None, ..seed_event() };
    let document = document(&event);
    for key in ["compressed", "encrypted", "signed", "signatureVerified", "mic"] {
        assert_eq!(document.get(key), Some(&json!(null)), "{key}");
    }
    assert_eq!(document["attachments"], json!([]));
    assert_eq!(document["as2MessageId"], "<AS2-1592209136307-2@ACME_MY-OWN-ORG>");
    assert_eq!(document["subject"], "Invoice #981712");
    assert_eq!(
        (&document["senderId"], &document["receiverId"]),
        (&json!("ACME"), &json!("MY-OWN-ORG"))
    );
}

#[test]
fn every_event_has_the_common_keys_once() {
    for kind in EventKind::ALL {
        for decoded in [None, Some(decoded())] {
            let event = Event { kind, decoded, direction: Direction::Outbound, ..seed_event() };
            let text = text(&event);
            for key in ["event", "eventId", "occurredAt", "direction", "attempt", "partnerType"] {
                assert_eq!(text.matches(&format!("\"{key}\":")).count(), 1, "{key} of {kind}");
            }
            let document = document(&event);
            assert_eq!(document["event"], kind.as_str());
            assert_eq!(document["direction"], "outbound");
        }
    }
}

#[test]
fn we_send_what_goes_out() {
    let outbound = Event { decoded: None, direction: Direction::Outbound, ..seed_event() };
    for kind in [EventKind::MessageSent, EventKind::SendError, EventKind::MdnOverdue] {
        let document = document(&Event { kind, ..outbound.clone() });
        assert_eq!(document["senderId"], "MY-OWN-ORG", "{kind}");
        assert_eq!(document["receiverId"], "ACME", "{kind}");
    }
}

#[test]
fn a_send_error_and_what_it_takes_back() {
    let mut event = Event { kind: EventKind::SendError, ..seed_event() };
    event.supersedes = Some(Uuid::nil());
    event.send_error =
        Some(SendError { stage: Stage::Mic, http_status: None, message: "other MIC".into() });
    let document = document(&event);
    let error = json!({ "stage": "mic", "httpStatus": null, "message": "other MIC" });
    assert_eq!(document["error"], error);
    assert_eq!(document["supersedes"], Uuid::nil().to_string());
}

#[test]
fn an_event_of_our_own_has_its_extra_keys() {
    let mut event = Event {
        kind: EventKind::CertificateExpiring,
        decoded: None,
        partner: None,
        headers: Headers::new(),
        ..seed_event()
    };
    event.extra = json!({ "serial": "1a", "daysLeft": 7 }).as_object().cloned().unwrap();
    let document = document(&event);
    assert_eq!(document["daysLeft"], 7);
    assert_eq!(document["station"], "MY-OWN-ORG");
    assert_eq!(document["partner"], json!(null));
    assert_eq!(document.get("as2MessageId"), None);
}

#[test]
fn an_extra_key_knows_better() {
    let mut event = Event { kind: EventKind::MdnOverdue, decoded: None, ..seed_event() };
    event.extra = json!({ "as2MessageId": "<9@us>" }).as_object().cloned().unwrap();
    assert!(text(&event).starts_with(r#"{"as2MessageId":"<9@us>","#));
    assert_eq!(text(&event).matches("as2MessageId").count(), 1);
}

#[test]
fn leading_keys_come_first_and_once() {
    let leading = [
        ("event", json!("message.received")),
        ("event_name", json!("mensaje.recibido")),
        ("partner_id", json!(123)),
    ];
    let rendering = Rendering { leading: &leading, ..rendering(PayloadMode::JSON) };
    let request = rendered(&seed_event(), &rendering, &endpoint());
    let text = std::str::from_utf8(body(&request)).unwrap();
    let start = r#"{"event":"message.received","event_name":"mensaje.recibido","partner_id":123,"as2MessageId""#;
    assert!(text.starts_with(start), "{text}");
    assert_eq!(text.matches("\"event\":").count(), 1);
}

/// An event's metadata is at most 256 KiB as JSON, so a delivery stays far below 1 MiB.
#[test]
fn json_of_a_delivery_is_at_most_twice_its_events_metadata() {
    const FRAME: usize = 4 * 1024;
    // What JSON escapes, what is not UTF-8, and plain text.
    for text in ["\u{1}", "\u{7f}", "\"\\", "\u{fffd}", "x"] {
        let long = || Some(text.repeat(8 * 1024));
        let mut decoded = Decoded {
            as2_message_id: long(),
            sender_id: long(),
            receiver_id: long(),
            subject: long(),
            encryption_algorithm: long(),
            decrypted_with: long(),
            signer: long(),
            digest_algorithm: long(),
            mic: long(),
            errors: vec![ProcessingError::new(ErrorCode::Parse, long().unwrap()); 5],
            ..decoded()
        };
        decoded.attachments =
            vec![Attachment { name: long(), content_type: long(), ..file("", 1) }; 3];
        let mut message = Event { decoded: Some(decoded.clone()), ..seed_event() };
        message.send_error = Some(SendError {
            stage: Stage::Http,
            http_status: Some(500),
            message: long().unwrap(),
        });
        message.extra.insert("more".to_owned(), json!(long()));
        decoded.kind = ContentKind::Mdn;
        decoded.mdn = Some(Mdn {
            original_message_id: long(),
            disposition: long(),
            action: long(),
            human_message: long(),
            mic: long(),
            reporting_ua: long(),
            final_recipient: long(),
            ..Mdn::default()
        });
        let mdn = Event { kind: EventKind::MdnReceived, decoded: Some(decoded), ..message.clone() };
        let mut headers = Headers::new();
        headers.push("Subject", vec![0xff; 64 * 1024]);
        headers.push("Message-ID", long().unwrap());
        let undecoded = Event { decoded: None, headers, ..message.clone() };
        for event in [message, mdn, undecoded] {
            let metadata = serde_json::to_vec(&event).unwrap().len();
            let sent = body(&request(&event, PayloadMode::JSON)).len();
            assert!(sent <= 2 * metadata + FRAME, "{text:?}: {sent} of {metadata}");
        }
    }
}

fn mdn() -> Event {
    let mut event = Event { kind: EventKind::MdnReceived, ..seed_event() };
    event.headers = Headers::new();
    let decoded = event.decoded.as_mut().unwrap();
    decoded.kind = ContentKind::Mdn;
    decoded.as2_message_id = Some("<mdn@them>".into());
    decoded.mdn = Some(Mdn {
        original_message_id: Some("<1@us>".into()),
        disposition: Some("automatic-action/MDN-sent-automatically; processed".into()),
        human_message: Some("Thanks".into()),
        mic: Some("AAAA, sha-256".into()),
        ..Mdn::default()
    });
    event
}

fn text(event: &Event) -> String {
    String::from_utf8(body(&request(event, PayloadMode::JSON)).to_vec()).unwrap()
}

fn document(event: &Event) -> serde_json::Value {
    serde_json::from_str(&text(event)).unwrap()
}
