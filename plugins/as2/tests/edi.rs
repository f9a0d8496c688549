//! The envelopes of attachments come out of the decoder.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use as2hook_as2::Keyring;
use support::{Message, decode, entity, mime::document, mime::multipart};

const ORDER: &[u8] = b"UNB+UNOC:3+ALPHA+BETA+261115:0930+7'UNH+1+ORDERS:D:96A:UN'UNT+2+1'UNZ+1+7'";
const ACK: &[u8] =
    b"UNB+UNOC:3+BETA+ALPHA+261115:0931+8'UNH+1+CONTRL:4:1:UN'UCI+7+ALPHA+BETA+7'UNT+3+1'UNZ+1+8'";

#[test]
fn each_attachment_has_its_envelopes() {
    let parts = [document(ORDER), document(b"order;42"), document(ACK)];
    let (decoded, _) = decode(
        &Message::of(&multipart("multipart/mixed", "b", &parts.each_ref().map(Vec::as_slice))),
        &Keyring::new(),
    );
    let numbers: Vec<_> = decoded
        .attachments
        .iter()
        .map(|all| all.edi.as_ref().and_then(|edi| edi.interchanges[0].control_number.clone()))
        .collect();
    assert_eq!(numbers, [Some("7".to_owned()), None, Some("8".to_owned())]);
    assert_eq!(decoded.acks.len(), 1);
    assert_eq!(decoded.acks[0].ack_type, "CONTRL");
    let types: Vec<_> =
        decoded.documents.iter().map(|of| (of.document_type.as_str(), of.count)).collect();
    assert_eq!(types, [("ORDERS", 1), ("CONTRL", 1)]);
}

#[test]
fn transfer_encoding_is_taken_off_before() {
    let encoded = b"VU5CK1VOT0M6MytBTFBIQStCRVRBKzI2MTExNTowOTMwKzcnVU5aKzArNyc=";
    let message = entity(&["Content-Transfer-Encoding: base64"], encoded);
    let (decoded, _) = decode(&Message::of(&message), &Keyring::new());
    assert!(decoded.attachments[0].edi.as_ref().unwrap().interchanges[0].complete);
}
