//! The example's message in the three modes, line by line. `Host`, `Connection` and `Accept-Encoding`
//! are the HTTP client's, `User-Agent` names the sender.

use super::*;

const HEADERS: &str = r#"mime-version: 1.0
date: Mon, 15 Jun 2020 13:48:56 IST
as2-version: 1.2
subject: Invoice #981712
recipient-address: http://service.as2gateway.com:8280/service/as2-receiver
receipt-delivery-option: http://acme.hostname:8085/as2/receiver
ediint-features: multiple-attachments, CEM
as2-from: ACME
message-id: <AS2-1592209136307-2@ACME_MY-OWN-ORG>
X-Forwarded-For: 52.204.119.191
as2-to: MY-OWN-ORG
from: sender@acme.hostname
Content-Type: application/pkcs7-mime; name="smime.p7m"; smime-type=enveloped-data
disposition-notification-to: http://acme.hostname:8085/as2/receiver
disposition-notification-options: signed-receipt-protocol=optional, pkcs7-signature; signed-receipt-micalg=optional, sha-256
X-Partner-Type: Production
Content-Length: 0"#;

const JSON: &str = r#"{"as2MessageId":"<AS2-1592209136307-2@ACME_MY-OWN-ORG>","compressed":false,"encrypted":true,"signed":true,"subject":"Invoice #981712","receiverId":"MY-OWN-ORG","senderId":"ACME","partnerType":"Production","attachments":[{"name":"981712.xml","size":3570}]}"#;

#[test]
fn headers_only() {
    let request = request(&seed_event(), PayloadMode::HEADERS);
    assert_lines(&request, HEADERS.lines());
    assert_eq!(request.body, Body::default());
    assert_eq!(request.dropped, [""; 0]);
}

#[test]
fn json_metadata() {
    let request = request(&seed_event(), PayloadMode::JSON);
    let lines = HEADERS.lines().filter(|line| !line.starts_with("Content-"));
    assert_lines(&request, lines.chain(["Content-Type: application/json"]));
    assert_eq!(header(&request, "Content-Length"), Some(&*body(&request).len().to_string()));

    let seed = JSON.strip_suffix("}]}").unwrap();
    let text = std::str::from_utf8(body(&request)).unwrap();
    assert!(text.starts_with(seed), "{text}");

    let seed: serde_json::Value = serde_json::from_str(JSON).unwrap();
    let ours: serde_json::Value = serde_json::from_str(text).unwrap();
    for (key, value) in seed.as_object().unwrap().iter().filter(|(key, _)| *key != "attachments") {
        assert_eq!(&ours[key], value);
    }
    assert_eq!(ours["attachments"][0]["size"], 3570);
}

#[test]
fn raw_payload() {
    let content = "x".repeat(3570);
    let payload = RawPayload::Bytes(content.clone().into());
    let request =
        rendered(&seed_event(), &Rendering { payload, ..rendering(PayloadMode::RAW) }, &endpoint());
    let lines = HEADERS.lines().filter(|line| !line.starts_with("Content-"));
    assert_lines(
        &request,
        lines.chain([
            "Content-Length: 3570",
            "Content-Disposition: attachment; filename=981712.xml",
            "Content-Type: text/xml",
        ]),
    );
    assert_eq!(body(&request), content.as_bytes());
    assert_eq!(header(&request, "X-Truncated"), None);
}

#[test]
fn processing_error_as_in_the_seed() {
    use as2hook_as2::{ErrorCode, ProcessingError};
    let mut event = seed_event();
    let texts = [
        (ErrorCode::Decryption, "Decryption failure: bad certificate"),
        (ErrorCode::Parse, "Parse failed"),
    ];
    event.errors = texts.map(|(code, text)| ProcessingError::new(code, text)).to_vec();
    let request = request(&event, PayloadMode::RAW);
    assert_lines(
        &request,
        ["X-Processing-Error: 800: Decryption failure: bad certificate; 1100: Parse failed"],
    );
    assert_eq!((body(&request), header(&request, "Content-Length")), ([].as_slice(), Some("0")));
}

/// Each line is there once, in its case, and no other header of that name.
fn assert_lines<'a>(request: &Rendered, lines: impl IntoIterator<Item = &'a str>) {
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        let values: Vec<_> = request.headers.all(name).collect();
        assert_eq!(values, [value], "{name}");
        assert!(request.headers.iter().any(|field| field.name == name), "{name} in its case");
    }
}
