//! MIME as partners write it: boundaries, delimiters, parameters, names, ids, compression.

use std::io::Write as _;

use as2hook_as2::{ContentKind, Digest, Headers, Keyring, SignatureStatus};

use super::{
    decoded,
    support::{
        Cipher, Envelope, Message, SignOptions, Signing,
        cms::{base64_lines, compressed, smime},
        codes, decode,
        der::Encoding,
        entity,
        identity::{PARTNER, STATION, STRANGER, keyring},
        mime::{document, multipart},
    },
    warnings,
};

const NONE: [u16; 0] = [];

/// With this `Content-Type` as it stands, folds and all.
fn typed(kind: &str, body: &[u8]) -> Message {
    let mut headers = Headers::new();
    headers.push("AS2-From", "PARTNER");
    headers.push("Content-Type", kind);
    Message { headers, body: body.to_vec() }
}

#[test]
fn phpas2_30_archive_called_multipart_is_a_document() {
    let zip = b"PK\x03\x04\n--b\r\n\r\none\r\n--b--\r\nPK\x05\x06";
    for kind in [
        "multipart/x-zip",
        "multipart/x-zip; boundary=b",
        "Multipart/X-Zip; charset=binary",
        "multipart/x-gzip; boundary=\"b\"",
        "multipart/x-tar",
        "multipart/x-rar",
        "multipart/anything",
    ] {
        let header = format!("Content-Type: {kind}");
        let part = entity(&[&header, "Content-Disposition: attachment; filename=orders.zip"], zip);
        let sign = SignOptions::new(&PARTNER, Digest::Sha256);
        let signed = sign.entity(&part, Signing::Detached { base64: true }, "sha-256");
        let sealed = Envelope::to(&STATION, Cipher::Aes256Cbc).entity(&part);
        let mixed = multipart("multipart/mixed", "outer", &[&part]);
        for entity in [part, signed, sealed, mixed] {
            let (decoded, kept) = decoded(&Message::of(&entity), &keyring());
            assert_eq!((codes(&decoded), &kept.bytes), (vec![], &vec![zip.to_vec()]), "{kind}");
            let warned: &[_] = if kind == "multipart/anything" { &["no-boundary"] } else { &[] };
            assert_eq!(warnings(&decoded), warned, "{kind}");
            assert_eq!(decoded.attachments[0].name.as_deref(), Some("orders.zip"));
        }
    }
}

#[test]
fn oxalis_171_blanks_at_the_ends_of_a_boundary_do_not_count() {
    let body = b"--b_1\r\nContent-Type: text/plain\r\n\r\nx\r\n--b_1--\r\n";
    for kind in [
        "multipart/mixed; boundary=\"  b_1\"",
        "multipart/mixed; boundary=\"\r\n\tb_1\"",
        "multipart/mixed; boundary=\"\r\n b_1 \"",
        "multipart/mixed; boundary=\r\n b_1",
        "multipart/mixed; boundary=\" b_1\" ; type=x",
        "multipart/mixed; boundary*=us-ascii''%20b_1%20",
        "multipart/mixed boundary=b_1",
        "multipart/mixed boundary=\"b_1\"; type=x",
    ] {
        let (decoded, kept) = decoded(&typed(kind, body), &Keyring::new());
        assert_eq!((codes(&decoded), kept.bytes), (vec![], vec![b"x".to_vec()]), "{kind:?}");
    }
    // So with the other parameters, and folded within a MIME header, too.
    let part = b"Content-Type: application/xml\r\nContent-Disposition: attachment; filename=\"\r\n orders.xml \"\r\n\r\n<a/>";
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let signed = sign.entity(part, Signing::Detached { base64: true }, "\"\t sha-256 \"");
    let signed = String::from_utf8(signed).unwrap().replace("boundary=\"", "boundary=\"\r\n\t");
    let (head, body) = signed.split_once("\r\n\r\n").unwrap();
    let kind = head.strip_prefix("Content-Type: ").unwrap();
    let (outer, _) = decoded(&typed(kind, body.as_bytes()), &keyring());
    assert_eq!(outer.signature_status, Some(SignatureStatus::Valid), "{:?}", outer.errors);
    assert_eq!(outer.attachments[0].name.as_deref(), Some("orders.xml"));
    let sealed = Envelope::to(&STATION, Cipher::Aes256Cbc).entity(signed.as_bytes());
    let (inner, _) = decoded(&Message::of(&sealed), &keyring());
    assert_eq!(inner.signature_status, Some(SignatureStatus::Valid), "{:?}", inner.errors);
}

#[test]
fn mimekit_218_missing_closing_delimiter_is_no_error_where_the_signature_verifies() {
    let shape = Signing::Detached { base64: true };
    let sign = |by| SignOptions::new(by, Digest::Sha256);
    let documents = multipart("multipart/mixed", "m", &[&document(b"one"), &document(b"two")]);
    let inner_open = &documents[..documents.len() - "--m--\r\n".len()];
    for (content, count) in [(document(b"one").as_slice(), 1), (&documents, 2), (inner_open, 2)] {
        for (by, status, expected) in [
            (&*PARTNER, SignatureStatus::Valid, vec![]),
            (&*STRANGER, SignatureStatus::OtherCertificate, vec![900]),
        ] {
            let signed = sign(by).entity(content, shape, "sha-256");
            let closing = "------=_Part_7_42.1--\r\n".len();
            let open = &signed[..signed.len() - closing];
            let unclosed = [open, b"------=_Part_7_42.1\r\n"].concat();
            let dashless = [open, b"------=_Part_7_42.1"].concat();
            for entity in [signed.as_slice(), open, &open[..open.len() - 2], &unclosed, &dashless] {
                let (decoded, kept) = decoded(&Message::of(entity), &keyring());
                assert_eq!(codes(&decoded), expected, "{:?}", decoded.errors);
                let is_closed = entity == signed && content != inner_open;
                let warned: &[_] = if is_closed { &[] } else { &["no-closing-delimiter"] };
                assert_eq!(warnings(&decoded), warned);
                assert_eq!(decoded.signature_status, Some(status));
                assert_eq!(kept.bytes.len(), count);
            }
        }
    }
    // Without a signature, or with a wrong one, it is what it was.
    let (cut, _) = decoded(&Message::of(inner_open), &keyring());
    assert_eq!(codes(&cut), [1100]);
    let mut wrong = sign(&PARTNER).entity(&document(b"one"), shape, "sha-256");
    wrong.truncate(wrong.len() - 10);
    let at = memchr::memmem::find(&wrong, b"one").unwrap();
    wrong[at] = b'X';
    let (wrong, _) = decoded(&Message::of(&wrong), &keyring());
    assert_eq!(codes(&wrong), [900, 1100]);
}

#[test]
fn disposition_without_its_type_or_semicolon_has_a_name() {
    for (field, name) in [
        ("filename=x.edi", "x.edi"),
        ("filename=\"x;y.edi\"", "x;y.edi"),
        ("filename = x.edi; size=3", "x.edi"),
        ("attachment filename=x.edi", "x.edi"),
        ("attachment filename=\"my orders; new.edi\"; size=3", "my orders; new.edi"),
        ("attachment\tfilename*=utf-8''x%20y.edi", "x y.edi"),
        ("attachment; filename=x.edi", "x.edi"),
        ("attachment;filename=a=b.edi", "a=b.edi"),
    ] {
        let part = entity(&[&format!("Content-Disposition: {field}")], b"x");
        let (decoded, _) = decoded(&Message::of(&part), &Keyring::new());
        assert_eq!(decoded.attachments[0].name.as_deref(), Some(name), "{field}");
    }
}

#[test]
fn phpas2_compressed_stream_in_base64_is_inflated() {
    let document = document(&b"UNB+UNOC:3+A:14+B:14'\r\n".repeat(3000));
    for level in [0, 1, 6, 9] {
        let compression = flate2::Compression::new(level);
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), compression);
        encoder.write_all(&document).unwrap();
        let deflated = encoder.finish().unwrap();
        let one_line = openssl::base64::encode_block(&deflated);
        for (inside, warned) in [
            (deflated.clone(), &[][..]),
            (one_line.into_bytes(), &["compressed-in-base64"]),
            (base64_lines(&deflated), &["compressed-in-base64"]),
        ] {
            for encoding in [Encoding::Der, Encoding::Ber(777)] {
                let layer = smime("compressed-data", &compressed(&inside, encoding));
                let (decoded, kept) = decode(&Message::of(&layer), &keyring());
                assert_eq!(codes(&decoded), NONE, "level {level}: {:?}", decoded.errors);
                assert_eq!(warnings(&decoded), warned);
                assert_eq!((kept.bytes.len(), decoded.compressed), (1, Some(true)));
                assert_eq!(kept.bytes[0].len(), 3000 * 23);
                let sizes = [1, 70, 3];
                let options = as2hook_as2::Options::default();
                let (cut, _) =
                    super::support::decode_cut(&Message::of(&layer), &keyring(), options, &sizes);
                assert_eq!(cut, decoded);
            }
        }
    }
    // Base64 of something else, or cut off, is damaged as it was.
    for inside in [&b"SGVsbG8gd29ybGQhISEh"[..], b"eJw", b"e", b"nonsense"] {
        let layer = smime("compressed-data", &compressed(inside, Encoding::Der));
        let (decoded, _) = decoded(&Message::of(&layer), &keyring());
        assert_eq!(codes(&decoded), [1000], "{inside:?}");
        assert_eq!(decoded.warnings, [], "nothing is known of what is damaged");
    }
}

#[test]
fn lone_backslash_in_an_as2_name_stands_for_itself() {
    for (value, name) in [
        (r#""PARTNER\EU""#, r"PARTNER\EU"),
        (r#""a\"b""#, r#"a"b"#),
        (r#""a\\b""#, r"a\b"),
        (r#""a\\\b""#, r"a\\b"),
        (r#""a\""#, r"a\"),
        (r"PARTNER\EU", r"PARTNER\EU"),
        (r"a\\b", r"a\\b"),
    ] {
        let mut headers = Headers::new();
        headers.push("AS2-From", value);
        assert_eq!(headers.as2_name("as2-from").as_deref(), Some(name), "{value}");
    }
}

#[test]
fn blanks_in_a_folded_message_id_are_as_unfolding_leaves_them() {
    for (value, id) in
        [("<a\r\n b@c>", "<a b@c>"), ("\r\n <a b@c>", "<a b@c>"), ("<a\r\n\tb@c>\r\n ", "<a b@c>")]
    {
        let mut headers = Headers::new();
        headers.push("Message-ID", value);
        let (decoded, _) = decode(&Message { headers, body: Vec::new() }, &Keyring::new());
        assert_eq!(decoded.as2_message_id.as_deref(), Some(id));
    }
}

const FIELDS: &[u8] = b"Original-Message-ID: <m1@a>\r\nFinal-Recipient: rfc822; A\r\n\
    Disposition: automatic-action/MDN-sent-automatically; processed\r\n";

#[test]
fn chatmail_5151_report_within_other_multiparts_is_an_mdn() {
    let text = entity(&["Content-Type: text/plain"], b"hello");
    let html = entity(&["Content-Type: text/html"], b"<p>hello</p>");
    let notification = entity(&["Content-Type: message/disposition-notification"], FIELDS);
    let returned = entity(&["Content-Type: message/rfc822"], b"Subject: x\r\n\r\nbody");
    let report = multipart("multipart/report", "r", &[&text, &notification]);
    let alternative = multipart("multipart/alternative", "a", &[&text, &html]);
    let mixed = |parts: &[&[u8]]| {
        ["multipart/mixed", "multipart/related", "Multipart/Alternative"]
            .map(|kind| multipart(kind, "m", parts))
    };
    let all = [
        mixed(&[&report]),
        mixed(&[&text, &notification]),
        mixed(&[&text, &notification, &returned]),
        mixed(&[&alternative, &notification]),
        mixed(&[&text, &report]),
        mixed(&[&multipart("multipart/mixed", "n", &[&report])]),
    ];
    for (entity, with_text) in all
        .iter()
        .flatten()
        .map(|entity| (entity, true))
        .chain([(&multipart("multipart/mixed", "m", &[&notification]), false)])
    {
        let sign = SignOptions::new(&PARTNER, Digest::Sha256);
        let signed = sign.entity(entity, Signing::Detached { base64: true }, "sha-256");
        let sealed = Envelope::to(&STATION, Cipher::Aes256Cbc).entity(&signed);
        for (message, is_signed) in [(entity.clone(), false), (signed, true), (sealed, true)] {
            let (decoded, _) = decoded(&Message::of(&message), &keyring());
            assert_eq!(decoded.kind, ContentKind::Mdn, "{}", String::from_utf8_lossy(entity));
            assert_eq!((codes(&decoded), decoded.attachments.len()), (vec![], 0));
            let mdn = decoded.mdn.unwrap();
            assert_eq!(mdn.original_message_id.as_deref(), Some("<m1@a>"));
            assert_eq!((mdn.error, mdn.human_message.is_some()), (false, with_text));
            let status = if is_signed { SignatureStatus::Valid } else { SignatureStatus::Unsigned };
            assert_eq!(decoded.signature_status, Some(status));
        }
    }
    // Behind a document it is another document.
    for first in [document(b"one"), entity(&["Content-Type: text/plain; name=a.txt"], b"x")] {
        let parts = multipart("multipart/mixed", "m", &[&first, &notification]);
        let (decoded, kept) = decoded(&Message::of(&parts), &keyring());
        assert_eq!((decoded.kind, kept.bytes.len()), (ContentKind::Message, 2));
    }
}
