//! Which bodies are documents by their headers and first bytes, so that nothing in them is opened.

use std::sync::Arc;

use as2hook_as2::{Decoder, Headers, Keyring, Options};

fn is_document(headers: &[(&str, &str)], first: &[u8]) -> bool {
    let mut all = Headers::new();
    headers.iter().for_each(|(name, value)| all.push(*name, *value));
    Decoder::new(&all, Arc::new(Keyring::new()), Options::default()).is_document(first)
}

#[test]
fn document_has_a_type_that_says_so_and_no_bytes_that_deny_it() {
    let document = |kind, first: &str| is_document(&[("Content-Type", kind)], first.as_bytes());
    assert!(document("application/edifact", "UNA:+.? '"));
    assert!(document("application/xml", "<order/>"));
    assert!(document("application/octet-stream", "ISA*00*"));
    assert!(document("text/plain", "a text"));
    assert!(document("application/edifact", ""));
    for layer in [
        "application/pkcs7-mime; smime-type=enveloped-data",
        "application/x-pkcs7-mime",
        "multipart/signed; boundary=B",
        "multipart/mixed",
        "message/rfc822",
        "message/disposition-notification",
    ] {
        assert!(!document(layer, "a text"), "{layer}");
    }
    let report = "Content-Type: multipart/report; boundary=B\r\n";
    assert!(!document("text/plain", report));
}

#[test]
fn body_that_begins_like_a_layer_is_no_document_where_its_type_is_vague_or_missing() {
    // An EnvelopedData, binary and in base64.
    let envelope = b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x80";
    let base64 = b"MIAGCSqGSIb3DQEHA6CAMIACAQAxggFQ";
    for first in [&envelope[..], base64] {
        for headers in [&[][..], &[("Content-Type", "application/octet-stream")]] {
            assert!(!is_document(headers, first), "{headers:?}");
        }
    }
}

#[test]
fn byte_that_is_no_base64_hides_no_layer_behind_the_first_bytes() {
    let mut body = b"MIAGCSqGSIb3DQEHA6CAMIACAQAxggFQ".repeat(4);
    body.extend_from_slice(b"-and more");
    assert!(!is_document(&[("Content-Type", "application/octet-stream")], &body));
}

#[test]
fn body_under_a_content_coding_is_no_document() {
    let gzip = [("Content-Type", "application/edifact"), ("Content-Encoding", "gzip")];
    assert!(!is_document(&gzip, b"\x1f\x8b"));
    let unknown = [("Content-Type", "application/edifact"), ("Content-Encoding", "br")];
    assert!(!is_document(&unknown, b"UNA"));
}
