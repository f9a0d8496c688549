//! Disposition notifications, however they are written and wrapped.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use as2hook_as2::{ContentKind, Digest, Headers, Keyring, Mdn, SignatureStatus};
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
    assert_eq!(decoded.kind, ContentKind::Mdn, "{:?}", decoded.errors);
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
fn phase2_130_modifier_is_seen_behind_any_separator() {
    const ACTION: &str = "automatic-action/MDN-sent-automatically";
    let judged = |disposition: &str| {
        mdn(&Message::of(&report(&format!(
            "Disposition: {disposition}\r\nOriginal-Message-ID: <1@a>\r\n"
        ))))
    };
    for separator in [
        "/", ";", "; ", "\t", " ", "=", "-", " - ", "(", " (", ".", ". ", ":", ": ", ",", " / ",
        "; /",
    ] {
        for (word, modifier, error) in [
            ("error", "error", true),
            ("Errors", "error", true),
            ("FAILED", "failure", true),
            ("failure", "failure", true),
            ("failures", "failure", true),
            ("\"error\"", "error", true),
            ("warning", "warning", false),
            ("Warnings", "warning", false),
        ] {
            for text in
                ["", ": Unable to decompress", "; Unable to decompress", " - Unable to decompress"]
            {
                let close = if separator.contains('(') { ")" } else { "" };
                let mdn = judged(&format!("{ACTION}; processed{separator}{word}{text}{close}"));
                let what = mdn.disposition.as_deref();
                assert_eq!(mdn.action.as_deref(), Some(ACTION), "{what:?}");
                assert_eq!(mdn.disposition_type.as_deref(), Some("processed"), "{what:?}");
                assert_eq!(mdn.modifier.as_deref(), Some(modifier), "{what:?}");
                let should = (!text.is_empty()).then_some("Unable to decompress");
                assert_eq!(mdn.modifier_text.as_deref(), should, "{what:?}");
                assert_eq!(mdn.error, error, "{what:?}");
            }
        }
    }
    for (disposition, kind, error) in [
        ("ACTION; processed;", "processed", false),
        ("ACTION;processed;;", "processed", false),
        ("\"ACTION; processed\"", "processed", false),
        ("\"ACTION\"; \"processed\"", "processed", false),
        ("\"ACTION; processed/error: x\"", "processed", true),
        ("ACTION processed", "processed", false),
        ("ACTION, processed", "processed", false),
        ("ACTION/processed/error: x", "processed", true),
        ("ACTION processed/error; x", "processed", true),
        ("automatic-action; MDN-sent-automatically; processed/errors", "processed", true),
        ("processed;", "processed", false),
        ("processed/error; Unable to decompress", "processed", true),
        ("ACTION; x-processed", "processed", false),
        ("ACTION; disposition: processed", "processed", false),
        ("ACTION; status=processed/error", "processed", true),
        ("ACTION; processed/x-error: y", "processed", true),
        ("ACTION; processed with errors", "processed", true),
        ("ACTION; processed/no errors", "processed", false),
        ("ACTION; processed/decompression failed: y", "processed", true),
        ("ACTION; processed/information: error-free", "processed", false),
        ("ACTION; processed/error-free", "processed", false),
        ("ACTION; processed/Error-Free: 3 documents", "processed", false),
        ("ACTION; processed/not error-free", "processed", true),
        ("ACTION; processed/error-freeze", "processed", true),
        ("ACTION; processed/error: free text", "processed", true),
        ("MDN processed", "processed", false),
        ("AS2 processed", "processed", false),
        ("MDN-sent: processed", "processed", false),
        ("AS2-MDN: \"processed\"", "processed", false),
        ("ACTION; MDN processed", "processed", false),
        ("MDN processed/error: x", "processed", true),
        ("AS2 failed", "failed", true),
        ("MDN not processed", "mdn", true),
        // Whatever its text says.
        ("ACTION; processed/warning: error: authentication-failed", "processed", false),
        ("ACTION; processed/warning, failed to archive", "processed", false),
        ("ACTION; processed/warning error", "processed", false),
        ("ACTION; processed/warning (failure)", "processed", false),
        ("processed/warning: corrective-action needed", "processed", false),
        ("ACTION; processed/warning: corrective-action needed", "processed", false),
        // RFC 8098 has a list of modifiers, of which the worst counts.
        ("ACTION; processed/warning,error: x", "processed", true),
        ("ACTION; failed", "failed", true),
        ("ACTION; failed/warning: x", "failed", true),
        ("ACTION; failure", "failure", true),
        ("ACTION; errors: x", "errors", true),
        ("ACTION; rejected: not processed", "rejected", true),
        ("ACTION; not-processed", "not-processed", true),
        ("ACTION; unprocessed", "unprocessed", true),
        ("ACTION; processing-error", "processing", true),
    ] {
        let mdn = judged(&disposition.replace("ACTION", ACTION));
        assert_eq!(mdn.disposition_type.as_deref(), Some(kind), "{disposition}");
        assert_eq!(mdn.error, error, "{disposition}: {mdn:?}");
    }
    let nothing = judged(ACTION);
    assert_eq!((nothing.action.as_deref(), nothing.disposition_type), (Some(ACTION), None));
    assert!(nothing.error);
}

#[test]
fn warning_of_a_disposition_is_a_warning_and_no_error() {
    for (fields, text) in [
        ("Disposition: a/b; processed/warning: duplicate-document\r\n", Some("duplicate-document")),
        ("Disposition: a/b; processed\r\nWarning: old certificate\r\n", Some("old certificate")),
        ("Disposition: a/b; processed/warning\r\n", Some("without a text")),
        ("Disposition: a/b; processed/error: warning\r\n", None),
        ("Disposition: a/b; processed\r\n", None),
    ] {
        let fields = format!("Original-Message-ID: <1@a>\r\n{fields}");
        let (decoded, _) = decode(&Message::of(&report(&fields)), &Keyring::new());
        assert_eq!((decoded.kind, decoded.errors.len()), (ContentKind::Mdn, 0), "{fields}");
        let found: Vec<_> = decoded.warnings.iter().map(ToString::to_string).collect();
        let should = text.map(|text| format!("mdn-warning: the disposition has a warning: {text}"));
        assert_eq!(found, Vec::from_iter(should), "{fields}");
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
    assert_eq!((decoded.kind, codes(&decoded)), (ContentKind::Mdn, vec![1100]));
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
        assert_eq!((decoded.kind, codes(&decoded)), (ContentKind::Mdn, vec![]), "{kind}");
        assert_eq!(decoded.signature_status, Some(SignatureStatus::Valid));
    }
}

#[test]
fn a_disposition_notification_request_makes_no_mdn() {
    let message = Message::of(&entity(&["Content-Type: text/plain"], FIELDS.as_bytes()))
        .with("Disposition-Notification-To", "x@y");
    let (decoded, kept) = decode(&message, &Keyring::new());
    assert_eq!((decoded.kind, kept.bytes.len()), (ContentKind::Message, 1));
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
