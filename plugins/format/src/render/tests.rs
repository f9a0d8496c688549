use std::sync::LazyLock;

use as2hook_as2::{Attachment, ContentKind, Decoded, Headers, SignatureStatus};
use bytes::Bytes;
use http::Uri;
use uuid::Uuid;

use super::*;
use crate::{Formats, RawPayload, headers::is_never_passed, sign::Covered};
use as2hook_event::{Direction, EventKind, PartnerType, PayloadMode, Secret};

mod hostile;
mod json;
mod originals;
mod own;
mod raw;
mod seed;

/// What the partner of the example sent.
const ORIGINAL: [(&str, &str); 14] = [
    ("mime-version", "1.0"),
    ("date", "Mon, 15 Jun 2020 13:48:56 IST"),
    ("as2-version", "1.2"),
    ("subject", "Invoice #981712"),
    ("recipient-address", "http://service.as2gateway.com:8280/service/as2-receiver"),
    ("receipt-delivery-option", "http://acme.hostname:8085/as2/receiver"),
    ("ediint-features", "multiple-attachments, CEM"),
    ("as2-from", "ACME"),
    ("message-id", "<AS2-1592209136307-2@ACME_MY-OWN-ORG>"),
    ("as2-to", "MY-OWN-ORG"),
    ("from", "sender@acme.hostname"),
    ("Content-Type", "application/pkcs7-mime; name=\"smime.p7m\"; smime-type=enveloped-data"),
    ("disposition-notification-to", "http://acme.hostname:8085/as2/receiver"),
    (
        "disposition-notification-options",
        "signed-receipt-protocol=optional, pkcs7-signature; signed-receipt-micalg=optional, sha-256",
    ),
];

/// The example's message.
fn seed_event() -> Event {
    let mut headers = Headers::new();
    for (name, value) in ORIGINAL {
        headers.push(name, value);
    }
    Event {
        id: Uuid::from_u128(0x0172_b7f0_5a00_7000_8000_0000_0000_0001),
        kind: EventKind::MessageReceived,
        occurred_at: "2020-06-15T08:18:56Z".parse().unwrap(),
        direction: Direction::Inbound,
        site: "main".into(),
        partner: Some("ACME".into()),
        station: Some("MY-OWN-ORG".into()),
        partner_type: PartnerType::Production,
        peer: Some("52.204.119.191".parse().unwrap()),
        headers,
        decoded: Some(decoded()),
        errors: Vec::new(),
        send_error: None,
        mic_matches: None,
        supersedes: None,
        extra: serde_json::Map::new(),
    }
}

fn decoded() -> Decoded {
    Decoded {
        kind: ContentKind::Message,
        as2_message_id: Some("<AS2-1592209136307-2@ACME_MY-OWN-ORG>".into()),
        sender_id: Some("ACME".into()),
        receiver_id: Some("MY-OWN-ORG".into()),
        subject: Some("Invoice #981712".into()),
        encrypted: Some(true),
        signed: Some(true),
        compressed: Some(false),
        encryption_algorithm: Some("aes-256-cbc".into()),
        decrypted_with: Some("1a2b".into()),
        signature_verified: Some(true),
        signature_status: Some(SignatureStatus::Valid),
        signer: Some("3c4d".into()),
        digest_algorithm: Some("sha-256".into()),
        mic: Some("AAAA, sha-256".into()),
        mics: Vec::new(),
        attachments: vec![file("981712.xml", 3570)],
        documents: Vec::new(),
        acks: Vec::new(),
        errors: Vec::new(),
        warnings: Vec::new(),
        mdn: None,
    }
}

fn file(name: &str, size: u64) -> Attachment {
    Attachment {
        name: Some(name.into()),
        size,
        content_type: Some("text/xml".into()),
        sha256: "00".repeat(32),
        edi: None,
    }
}

fn endpoint() -> Endpoint {
    Endpoint::new(Uri::from_static("https://webhook.myown.org/webhook/message"))
}

fn signed() -> Endpoint {
    Endpoint { secrets: vec![Secret::parse("my_secret").unwrap()], ..endpoint() }
}

fn rendering(mode: PayloadMode) -> Rendering<'static> {
    static FORMATS: LazyLock<Formats> = LazyLock::new(Formats::default);
    Rendering {
        format: FORMATS.get(mode.name).unwrap(),
        webhook_id: "msg_0123",
        attempt: 1,
        replay: false,
        payload: RawPayload::None,
        leading: &[],
    }
}

fn now() -> Timestamp {
    "2020-06-15T13:48:56.789Z".parse().unwrap()
}

/// The request as http sends it, with its signatures.
fn rendered(event: &Event, rendering: &Rendering<'_>, endpoint: &Endpoint) -> Rendered {
    let mut request = render(event, rendering, endpoint, now());
    if !endpoint.secrets.is_empty() {
        let mut signer = request.headers.signer(&endpoint.secrets, request.body.length());
        signer.update(body(&request));
        request.headers.sign(&signer.finish().unwrap());
    }
    request
}

/// The request of this event, without a payload or a secret.
fn request(event: &Event, mode: PayloadMode) -> Rendered {
    rendered(event, &rendering(mode), &endpoint())
}

fn with_payload(event: &Event, payload: &'static str) -> Rendered {
    let payload = RawPayload::Bytes(Bytes::from_static(payload.as_bytes()));
    rendered(event, &Rendering { payload, ..rendering(PayloadMode::RAW) }, &endpoint())
}

fn body(request: &Rendered) -> &[u8] {
    match &request.body {
        Body::Bytes(bytes) => bytes,
        Body::Payload { .. } => panic!("the payload is to be streamed"),
    }
}

fn header<'a>(request: &'a Rendered, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(|value| std::str::from_utf8(value.as_bytes()).unwrap())
}

fn event_with(headers: &[(&str, &str)]) -> Event {
    let mut event = seed_event();
    for &(name, value) in headers {
        event.headers.push(name, value);
    }
    event
}
