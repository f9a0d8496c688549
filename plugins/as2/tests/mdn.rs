//! Disposition notifications, however they are written and wrapped.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use as2hook_as2::{Digest, Headers, Keyring, Kind, Mdn, SignatureStatus};
use support::{
    Cipher, Envelope, Message, SignOptions, Signing,
    cms::compressed_entity,
    codes, decode, decode_cut,
    der::Encoding,
    entity,
    identity::{PARTNER, STATION, keyring},
    mime::multipart,
};

fn notification(fields: &str) -> Vec<u8> {
    entity(&["Content-Type: message/disposition-notification"], fields.as_bytes())
}

fn report(fields: &str) -> Vec<u8> {
    let text = entity(&["Content-Type: text/plain; charset=utf-8"], "Größe".as_bytes());
    multipart(
        "multipart/report; report-type=disposition-notification",
        "----=_R",
        &[&text, &notification(fields)],
    )
}

#[track_caller]
fn mdn(message: &Message) -> Mdn {
    let (decoded, kept) = decode(message, &keyring());
    assert_eq!(decoded.kind, Kind::Mdn, "{:?}", decoded.errors);
    assert_eq!(decoded.attachments, []);
    assert_eq!(kept.bytes.len(), 0);
    let (again, _) = decode_cut(message, &keyring(), as2hook_as2::Options::default(), &[1]);
    assert_eq!(again, decoded);
    decoded.mdn.unwrap()
}

#[test]
fn dispositions_are_taken_apart_and_judged() {
    const ACTION: &str = "automatic-action/MDN-sent-automatically";
    for (disposition, kind, modifier, text, error) in [
        ("processed", "processed", None, None, false),
        ("Processed", "processed", None, None, false),
        (
            "processed/error: authentication-failed",
            "processed",
            Some("error"),
            Some("authentication-failed"),
            true,
        ),
        (
            "processed/Error:decryption-failed",
            "processed",
            Some("error"),
            Some("decryption-failed"),
            true,
        ),
        (
            "processed/ERROR: Unable to create directory /x",
            "processed",
            Some("error"),
            Some("Unable to create directory /x"),
            true,
        ),
        ("processed/error", "processed", Some("error"), None, true),
        (
            "processed/error: decompresion-failed",
            "processed",
            Some("error"),
            Some("decompresion-failed"),
            true,
        ),
        (
            "processed/warning: duplicate-document",
            "processed",
            Some("warning"),
            Some("duplicate-document"),
            false,
        ),
        (
            "processed/Warning: authentication-failed, processing continued",
            "processed",
            Some("warning"),
            Some("authentication-failed, processing continued"),
            false,
        ),
        (
            "failed/failure: unsupported format",
            "failed",
            Some("failure"),
            Some("unsupported format"),
            true,
        ),
        (
            "failed/Failure: unsupported MIC-algorithms",
            "failed",
            Some("failure"),
            Some("unsupported MIC-algorithms"),
            true,
        ),
        ("failed", "failed", None, None, true),
        ("displayed", "displayed", None, None, false),
        ("deleted", "deleted", None, None, true),
        ("denied", "denied", None, None, true),
        (
            "processed/authentication-failed",
            "processed",
            Some("error"),
            Some("authentication-failed"),
            true,
        ),
        ("processed, error: x", "processed", Some("error"), Some("x"), true),
    ] {
        for separator in ["; ", ";", " ;  "] {
            let fields = format!(
                "Disposition: {ACTION}{separator}{disposition}\r\nOriginal-Message-ID: <1@a>\r\n"
            );
            let mdn = mdn(&Message::of(&report(&fields)));
            assert_eq!(mdn.action.as_deref(), Some(ACTION));
            assert_eq!(mdn.disposition_type.as_deref(), Some(kind), "{disposition}");
            assert_eq!(mdn.modifier.as_deref(), modifier, "{disposition}");
            assert_eq!(mdn.modifier_text.as_deref(), text, "{disposition}");
            assert_eq!(mdn.error, error, "{disposition}");
            assert_eq!(mdn.original_message_id.as_deref(), Some("<1@a>"));
            assert_eq!(mdn.human_message.as_deref(), Some("Größe"));
        }
    }
}

#[test]
fn reasons_in_fields_of_their_own() {
    // RFC 3798 style.
    for (field, error) in [("Error", true), ("Failure", true), ("Warning", false)] {
        let fields = format!(
            "Disposition: automatic-action/MDN-sent-automatically; processed\r\n{field}: some reason\r\n"
        );
        let mdn = mdn(&Message::of(&report(&fields)));
        assert_eq!(mdn.modifier, Some(field.to_ascii_lowercase()));
        assert_eq!(mdn.modifier_text.as_deref(), Some("some reason"));
        assert_eq!(mdn.error, error);
    }
}

#[test]
fn fields_in_any_case_order_and_folding() {
    let mdn = mdn(&Message::of(&report(
        "received-content-mic:\r\n\tqqq=,\r\n sha-256\r\n\r\nORIGINAL-MESSAGE-ID :<a b\"c@d>\r\n\
         garbage line\r\ndisposition:Automatic-action/mdn-sent-automatically;\r\n  processed\r\n\
         Final-Recipient: rfc822;\"A B\"\nReporting-UA:   Some Server/1.0  \r\n",
    )));
    assert_eq!(mdn.mic.as_deref(), Some("qqq=, sha-256"));
    assert_eq!(mdn.original_message_id.as_deref(), Some("<a b\"c@d>"));
    assert_eq!(
        mdn.disposition.as_deref(),
        Some("Automatic-action/mdn-sent-automatically; processed")
    );
    assert_eq!(mdn.action.as_deref(), Some("Automatic-action/mdn-sent-automatically"));
    assert_eq!(mdn.final_recipient.as_deref(), Some("rfc822;\"A B\""));
    assert_eq!(mdn.reporting_ua.as_deref(), Some("Some Server/1.0"));
    assert!(!mdn.error);
}

const FIELDS: &str = "Final-Recipient: rfc822; A\r\nOriginal-Message-ID: <1@a>\r\n\
    Disposition: automatic-action/MDN-sent-automatically; processed\r\nReceived-Content-MIC: x, sha1\r\n";

#[test]
fn in_every_wrapping() {
    let plain = report(FIELDS);
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let signed = sign.entity(&plain, Signing::Detached { base64: true }, "sha-256");
    let opaque = sign.entity(&plain, Signing::Opaque(Encoding::Ber(99)), "sha-256");
    let seal = |inside: &[u8]| Envelope::to(&STATION, Cipher::Aes256Cbc).entity(inside);
    for (entity, is_signed, encrypted) in [
        (plain.clone(), false, false),
        (signed.clone(), true, false),
        (opaque, true, false),
        (seal(&signed), true, true),
        (seal(&plain), false, true),
        (compressed_entity(&signed, Encoding::Der), true, false),
    ] {
        let message = Message::of(&entity);
        let mdn = mdn(&message);
        assert_eq!(mdn.original_message_id.as_deref(), Some("<1@a>"));
        let (decoded, _) = decode(&message, &keyring());
        assert_eq!(codes(&decoded), [0u16; 0]);
        assert_eq!((decoded.signed, decoded.encrypted), (Some(is_signed), Some(encrypted)));
        let status = if is_signed { SignatureStatus::Valid } else { SignatureStatus::Unsigned };
        assert_eq!(decoded.signature_status, Some(status));
    }
}

#[test]
fn with_parts_missing_or_odd() {
    let kind = "multipart/report; report-type=disposition-notification";
    let fields = FIELDS.as_bytes();
    let untyped = entity(&[], fields);
    let text = entity(&["Content-Type: text/plain"], b"hello");
    let html = entity(&["Content-Type: text/html"], b"<p>hello</p>");
    let alternative = multipart("multipart/alternative", "alt", &[&text, &html]);
    let returned = entity(&["Content-Type: text/rfc822-headers"], b"Subject: x\r\n");
    let base64 = entity(
        &["Content-Type: message/disposition-notification", "Content-Transfer-Encoding: base64"],
        &support::cms::base64_lines(fields),
    );
    for (parts, human) in [
        (vec![notification(FIELDS)], None),
        (vec![untyped.clone()], None),
        // Its fields stand where a MIME header would.
        (vec![fields.to_vec()], None),
        (vec![text.clone(), untyped], Some("hello")),
        (vec![html.clone(), base64.clone()], Some("<p>hello</p>")),
        (vec![notification(FIELDS), html, text, returned], Some("hello")),
        (vec![alternative, base64], Some("hello")),
        (vec![entity(&[], b"no type"), notification(FIELDS)], Some("no type")),
    ] {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let mdn = mdn(&Message::of(&multipart(kind, "r", &parts)));
        assert_eq!(mdn.original_message_id.as_deref(), Some("<1@a>"));
        assert_eq!(mdn.human_message.as_deref(), human);
        assert!(!mdn.error);
    }
    // The human message repeats the fields, and gets them wrong.
    let wrong =
        entity(&["Content-Type: text/plain"], b"Final-Recipient: x\r\nDisposition: y; failed\r\n");
    assert!(!mdn(&Message::of(&multipart(kind, "r", &[&wrong, &notification(FIELDS)]))).error);
    // The notification is declared as text, or comes after what looks like one.
    let text = entity(&["Content-Type: text/plain"], fields);
    assert!(!mdn(&Message::of(&multipart(kind, "r", &[&text]))).error);
    let odd = entity(
        &["Content-Type: application/x-unknown"],
        b"Final-Recipient: x\r\nDisposition: y; processed/error: z\r\n",
    );
    assert!(!mdn(&Message::of(&multipart(kind, "r", &[&odd, &notification(FIELDS)]))).error);
    // The notification alone.
    assert!(mdn(&Message::of(&notification(FIELDS))).mic.is_some());
    // None at all: an MDN that says nothing is no acceptance.
    let (decoded, _) = decode(
        &Message::of(&multipart(kind, "r", &[&entity(&["Content-Type: text/plain"], b"?")])),
        &Keyring::new(),
    );
    assert_eq!((decoded.kind, codes(&decoded)), (Kind::Mdn, vec![1100]));
    assert!(decoded.mdn.unwrap().error);
}

#[test]
fn with_its_own_header_in_the_body() {
    // OpenAS2 writes the header into the body too; some then lose HTTP's.
    let signed = SignOptions::new(&PARTNER, Digest::Sha256).entity(
        &report(FIELDS),
        Signing::Detached { base64: false },
        "sha-256",
    );
    let mut message = Message::of(&signed);
    message.body = signed.clone();
    assert!(!mdn(&message).error);
    for kind in ["text/html", "text/plain", "application/octet-stream", ""] {
        let mut headers = Headers::new();
        headers.push("AS2-From", "PARTNER");
        if !kind.is_empty() {
            headers.push("Content-Type", kind);
        }
        let (decoded, _) = decode(&Message { headers, body: signed.clone() }, &keyring());
        assert_eq!((decoded.kind, codes(&decoded)), (Kind::Mdn, vec![]), "{kind}");
        assert_eq!(decoded.signature_status, Some(SignatureStatus::Valid));
    }
}

#[test]
fn a_disposition_notification_request_makes_no_mdn() {
    let message = Message::of(&entity(&["Content-Type: text/plain"], FIELDS.as_bytes()))
        .with("Disposition-Notification-To", "x@y");
    let (decoded, kept) = decode(&message, &Keyring::new());
    assert_eq!((decoded.kind, kept.bytes.len()), (Kind::Message, 1));
}

#[test]
fn half_a_notification_is_no_acceptance() {
    let fields = "Disposition: automatic-action/MDN-sent-automatically; processed/error: x\r\n";
    let message = Message::of(&report(fields));
    let end = memchr::memmem::find(&message.body, b"/error").unwrap();
    let mut decoder = as2hook_as2::Decoder::new(
        &message.headers,
        std::sync::Arc::new(Keyring::new()),
        as2hook_as2::Options::default(),
    );
    decoder.push(&message.body[..end], &mut ());
    let decoded = decoder.finish(false, &mut ());
    assert_eq!(codes(&decoded), [1100]);
    assert!(decoded.mdn.unwrap().error);
}

#[test]
fn the_decoder_may_go_to_another_thread() {
    fn assert_send<T: Send>() {}
    assert_send::<as2hook_as2::Decoder>();
}
