//! What stands beside a notification that is in no `multipart/report`: an MDN's text, or documents.

use as2hook_as2::{ContentKind, Digest};

use super::{
    decoded,
    support::{
        Message, SignOptions, Signing,
        cms::base64_lines,
        codes, entity,
        identity::{PARTNER, keyring},
        mime::multipart,
    },
};

const NOTIFICATION: &[u8] =
    b"Original-Message-ID: <m1@acme>\r\nDisposition: automatic-action/MDN-sent-automatically; processed\r\n";

fn text() -> Vec<u8> {
    entity(&["Content-Type: text/plain"], b"The order is attached.")
}

fn notification() -> Vec<u8> {
    entity(&["Content-Type: message/disposition-notification"], NOTIFICATION)
}

fn order() -> Vec<u8> {
    entity(&["Content-Type: application/edifact; name=order.edi"], b"UNA:+.? 'UNB+UNOA:1'")
}

/// The entity, and signed.
fn both(inside: Vec<u8>) -> [Vec<u8>; 2] {
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let signed = sign.entity(&inside, Signing::Detached { base64: true }, "sha-256");
    [inside, signed]
}

#[test]
fn notification_with_a_document_beside_it_is_a_message_with_all_its_documents() {
    let xml = || entity(&["Content-Type: text/xml"], b"<Order/>");
    let encoded = entity(
        &["Content-Type: application/edi-x12", "Content-Transfer-Encoding: base64"],
        &base64_lines(b"ISA*00*"),
    );
    let inner = multipart("multipart/mixed", "inner", &[&order()]);
    for (parts, documents) in [
        (vec![text(), notification(), order()], 3),
        (vec![notification(), order()], 2),
        (vec![text(), notification(), text(), order()], 4),
        (vec![notification(), encoded], 2),
        (vec![notification(), xml()], 2),
        (vec![xml(), notification()], 2),
        (vec![order(), notification()], 2),
        (vec![text(), notification(), inner], 3),
    ] {
        let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
        for message in both(multipart("multipart/mixed", "m", &parts)) {
            let (decoded, kept) = decoded(&Message::of(&message), &keyring());
            assert_eq!(decoded.kind, ContentKind::Message, "{parts:?}");
            assert_eq!(decoded.mdn, None);
            assert_eq!(codes(&decoded), [0u16; 0], "{:?}", decoded.errors);
            assert_eq!(decoded.attachments.len(), documents, "{:?}", decoded.attachments);
            assert!(kept.bytes.iter().any(|kept| kept == NOTIFICATION), "of the notification");
        }
    }
}

#[test]
fn notification_with_text_and_returned_content_beside_it_is_an_mdn() {
    let signature = &["Content-Type: application/pkcs7-signature; name=smime.p7s"];
    let message = &["Content-Type: message/rfc822; name=original.eml"];
    for beside in [
        text(),
        entity(&["Content-Type: text/html"], b"<p>"),
        entity(&["Content-Type: text/rfc822-headers"], b"Message-ID: <m1@acme>\r\n"),
        entity(message, b"Content-Type: text/plain\r\n\r\nx"),
        entity(signature, b"x"),
        multipart("multipart/alternative", "alternative", &[&text(), &text()]),
    ] {
        for mdn in both(multipart("multipart/mixed", "m", &[&text(), &notification(), &beside])) {
            let (decoded, _) = decoded(&Message::of(&mdn), &keyring());
            assert_eq!(decoded.kind, ContentKind::Mdn, "{}", String::from_utf8_lossy(&beside));
            assert_eq!(decoded.attachments, []);
            let mdn = decoded.mdn.unwrap();
            assert_eq!(mdn.original_message_id.as_deref(), Some("<m1@acme>"));
            assert_eq!(mdn.human_message.as_deref(), Some("The order is attached."));
        }
    }
}
