//! MIME as partners write it: attachments, names, boundaries, headers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use as2hook_as2::{Digest, Headers, Keyring, Options, SignatureStatus};
use support::{
    Cipher, Envelope, Message, SignOptions, Signing, codes, decode, decode_cut, entity,
    identity::{PARTNER, STATION, keyring},
    mime::{document, multipart},
};

fn names_of(headers: &[&str]) -> Option<String> {
    let (decoded, kept) = decode(&Message::of(&entity(headers, b"x")), &Keyring::new());
    assert_eq!(kept.names[0], decoded.attachments[0].name);
    decoded.attachments[0].name.clone()
}

#[test]
fn file_names_in_every_encoding() {
    for (parameter, name) in [
        ("filename=orders.edi", "orders.edi"),
        ("filename=\"orders.edi\"", "orders.edi"),
        ("FileName = \"orders.edi\" ; size=3", "orders.edi"),
        ("filename=my orders 2026.edi", "my orders 2026.edi"),
        ("filename=my orders.edi; creation-date=\"x\"", "my orders.edi"),
        ("filename=\"drawing, rev 2; final.pdf\"", "drawing, rev 2; final.pdf"),
        ("filename=\"with \\\"quotes\\\".txt\"", "with \"quotes\".txt"),
        ("filename=\"unclosed.txt", "unclosed.txt"),
        ("filename*=UTF-8''Rechnung%20M%C3%BCller%20%E2%82%AC.xml", "Rechnung Müller €.xml"),
        ("filename*=iso-8859-1'de'M%FCller.xml", "Müller.xml"),
        ("filename*=utf-8''new.xml; filename=\"old.xml\"", "new.xml"),
        ("filename=\"old.xml\"; filename*=utf-8''new.xml", "new.xml"),
        ("filename*0=\"one-\"; filename*1=\"two-\"; filename*2=three.txt", "one-two-three.txt"),
        ("filename*1*=%E4.txt; filename*0*=iso-8859-1''%FC", "üä.txt"),
        ("filename*0*=utf-8''%C3; filename*1*=%BC.txt", "ü.txt"),
        ("filename=\"=?UTF-8?B?TcO8bGxlci54bWw=?=\"", "Müller.xml"),
        ("filename==?iso-8859-1?Q?M=FCller_1.xml?=", "Müller 1.xml"),
        ("filename=\"=?utf-8?Q?M=C3=BC?= =?utf-8?Q?ller.xml?=\"", "Müller.xml"),
        ("filename=\"=?shift_jis?B?k/qWew==?=.txt\"", "日本.txt"),
        ("filename=\"Müller €.xml\"", "Müller €.xml"),
        ("filename=\"not a =?word.txt\"", "not a =?word.txt"),
        ("filename=\"100%.txt\"", "100%.txt"),
        ("filename=\"../../etc/passwd\"", "passwd"),
        ("filename=\"C:\\Users\\me\\orders.edi\"", "orders.edi"),
        ("filename=\"\\\\server\\share\\orders.edi\"", "orders.edi"),
        ("filename=\"/absolute/orders.edi\"", "orders.edi"),
        ("filename=\"C:orders.edi\"", "orders.edi"),
        ("filename*=utf-8''..%2F..%2Fevil%0D%0AX-Header:%20y", "evilX-Header: y"),
        ("filename=\"exe\u{202e}fdp.txt\"", "exefdp.txt"),
    ] {
        let header = format!("Content-Disposition: attachment; {parameter}");
        assert_eq!(names_of(&[&header]).as_deref(), Some(name), "{parameter}");
    }
    for nothing in
        ["filename=\"..\"", "filename=\"\"", "filename=\"/\"", "filename=\"\u{1}\u{2}\"", "x=y", ""]
    {
        let header = format!("Content-Disposition: attachment; {nothing}");
        assert_eq!(names_of(&[&header]), None, "{nothing}");
    }
    assert_eq!(names_of(&["Content-Type: text/xml; name=a.xml"]).as_deref(), Some("a.xml"));
    let long = format!("Content-Disposition: attachment; filename={}", "ü".repeat(300));
    assert!(names_of(&[&long]).unwrap().len() <= 255);
}

#[test]
fn raw_latin1_names() {
    let mut headers = Headers::new();
    headers.push("Content-Disposition", b"attachment; filename=\"M\xfcller.xml\"".to_vec());
    let (decoded, _) = decode(&Message { headers, body: vec![] }, &Keyring::new());
    assert_eq!(decoded.attachments[0].name.as_deref(), Some("Müller.xml"));
}

#[test]
fn many_attachments_in_order() {
    let parts: Vec<Vec<u8>> = (0..200)
        .map(|n| {
            entity(&[&format!("Content-Disposition: attachment; filename={n}.txt")], &vec![b'a'; n])
        })
        .collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    for kind in ["multipart/related; type=\"text/plain\"", "multipart/mixed", "MULTIPART/Mixed"] {
        let message = Message::of(&multipart(kind, "=_b", &parts));
        let (decoded, kept) = decode(&message, &keyring());
        assert_eq!(codes(&decoded), [0u16; 0]);
        assert_eq!(decoded.attachments.len(), 200);
        for (n, attachment) in decoded.attachments.iter().enumerate() {
            assert_eq!(attachment.size, n as u64);
            assert_eq!(attachment.name, Some(format!("{n}.txt")));
            assert_eq!(kept.bytes[n].len(), n);
        }
    }
}

#[test]
fn boundaries_and_what_looks_like_them() {
    // The content has the boundary within lines, longer ones, and almost-ones.
    let tricky = "text --=_b\r\n--=_bb\r\n--=_b-\r\n--=_b--x\r\n-- =_b\r\n--=_\r\n\r\n-\r\n--\r\n --=_b\r\n--=_b x\r";
    for (body, expected) in [
        (format!("--=_b\r\n\r\n{tricky}\r\n--=_b--\r\n"), vec![tricky]),
        // Preamble, epilogue, blanks behind a boundary.
        (
            format!(
                "Date: now\r\n\r\n--=_b \t \r\n\r\n{tricky}\r\n--=_b-- \r\nepilogue\r\n--=_b\r\n\r\nno\r\n"
            ),
            vec![tricky],
        ),
        // Nothing behind the last boundary.
        ("--=_b\r\n\r\none\r\n--=_b\r\n\r\ntwo\r\n--=_b--".to_owned(), vec!["one", "two"]),
        // Bare LFs throughout.
        ("--=_b\n\none\n--=_b\n\ntwo\n\n--=_b--\n".to_owned(), vec!["one", "two\n"]),
        // A part without a header, an empty one, and one that is nothing at all.
        (
            "--=_b\r\n\r\n\r\n--=_b\r\nContent-Type: a/b\r\n\r\n--=_b\r\n--=_b--\r\n".to_owned(),
            vec!["", "", ""],
        ),
        // Line ends that belong to the content.
        ("--=_b\r\n\r\n\r\n\r\nx\r\n\r\n\r\n--=_b--\r\n".to_owned(), vec!["\r\n\r\nx\r\n\r\n"]),
    ] {
        let message = Message::of(&entity(
            &["Content-Type: multipart/mixed; boundary=\"=_b\""],
            body.as_bytes(),
        ));
        for sizes in [&[10_000][..], &[1], &[2], &[3, 1], &[7]] {
            let (decoded, kept) = decode_cut(&message, &Keyring::new(), Options::default(), sizes);
            assert_eq!(decoded.errors, [], "{body:?}");
            let is: Vec<_> = kept.bytes.iter().map(|b| String::from_utf8_lossy(b)).collect();
            assert_eq!(is, expected, "{body:?} by {sizes:?}");
        }
    }
}

/// A boundary guessed from the body may be another than the receiver guesses, or takes none at all.
#[test]
fn multipart_without_a_usable_boundary_is_a_document() {
    let body = b"--x\n\none\n--x\n--x\n\ntwo\n--x--";
    let long = format!("multipart/mixed; boundary={}", "x".repeat(1001));
    for kind in [
        "multipart/mixed",
        "multipart/x-zip; charset=us-ascii",
        "multipart/signed; micalg=sha-256",
        "multipart/report; report-type=disposition-notification",
        "multipart/related; boundary=\"  \"",
        "multipart/mixed; boundary*=us-ascii''x%0A--x",
        &long,
    ] {
        let header = format!("Content-Type: {kind}");
        let message = Message::of(&entity(&[&header], body));
        let (decoded, kept) = decode(&message, &Keyring::new());
        assert_eq!((codes(&decoded), kept.bytes), (vec![], vec![body.to_vec()]), "{kind}");
        assert_eq!((decoded.signed, decoded.mdn), (Some(false), None), "{kind}");
        // So it is among attachments.
        let part = entity(&[&header], body);
        let parts = multipart("multipart/mixed", "outer", &[&part]);
        let (_, kept) = decode(&Message::of(&parts), &Keyring::new());
        assert_eq!(kept.bytes, [body], "{kind}");
    }
}

/// Two readers may each believe another one.
#[test]
fn two_content_types_are_code_1100_and_nothing_is_said_of_the_content() {
    for (first, second) in [
        ("text/plain", "application/pkcs7-mime"),
        ("application/xml", "application/xml"),
        ("multipart/mixed; boundary=b", ""),
    ] {
        let mut headers = Headers::new();
        headers.push("Content-Type", first);
        headers.push("content-type", second);
        let body = b"--b\r\n\r\nx\r\n--b--\r\n".to_vec();
        let (decoded, kept) = decode(&Message { headers, body }, &keyring());
        assert_eq!((codes(&decoded), kept.bytes), (vec![1100], vec![]), "{first}, {second}");
        assert_eq!((decoded.encrypted, decoded.signed), (None, None));
        // Within a part it is that part alone, where they differ.
        let fields = [format!("Content-Type: {first}"), format!("Content-Type: {second}")];
        let part = entity(&[&fields[0], &fields[1]], b"x");
        let parts = multipart("multipart/mixed", "outer", &[&part, &document(b"good")]);
        let (decoded, kept) = decode(&Message::of(&parts), &keyring());
        let good = b"good".to_vec();
        let expected = if first == second {
            (vec![], vec![b"x".to_vec(), good])
        } else {
            (vec![1100], vec![good])
        };
        assert_eq!((codes(&decoded), kept.bytes), expected);
    }
}

#[test]
fn doubled_content_type_of_a_signed_part_is_read_once() {
    let fields = ["Content-Type: application/edifact", "Content-type:  application/edifact "];
    let part = entity(&fields, b"UNB+");
    let signed = SignOptions::new(&PARTNER, Digest::Sha256).entity(
        &part,
        Signing::Detached { base64: true },
        "sha-256",
    );
    let (decoded, kept) = decode(&Message::of(&signed), &keyring());
    assert_eq!((codes(&decoded), kept.bytes), (vec![], vec![b"UNB+".to_vec()]));
    assert_eq!(decoded.signature_status, Some(SignatureStatus::Valid));
}

#[test]
fn content_types_as_they_come() {
    let body = b"--b_1\r\nContent-Type: text/plain\r\n\r\nx\r\n--b_1--\r\n";
    for kind in [
        "multipart/mixed; boundary=b_1",
        "multipart/mixed;boundary=\"b_1\"",
        "multipart/mixed; \tBOUNDARY=\"b_1\"; x=y",
        "Multipart/Mixed ;\r\n\tboundary=\"b_1\"",
        "\"multipart/mixed; boundary=b_1\"",
        "multipart/mixed; boundary=\"b_1  \"",
    ] {
        let mut headers = Headers::new();
        headers.push("Content-Type", kind);
        let message = Message { headers, body: body.to_vec() };
        let (decoded, kept) = decode(&message, &Keyring::new());
        assert_eq!((codes(&decoded), kept.bytes), (vec![], vec![b"x".to_vec()]), "{kind}");
    }
}

#[test]
fn transfer_encodings() {
    let text = "Größe: 3 €\r\nzwei\r\n".as_bytes().repeat(100);
    let quoted: Vec<u8> = text
        .iter()
        .enumerate()
        .flat_map(|(at, byte)| {
            let soft = if at % 20 == 19 { "=\r\n" } else { "" };
            format!("={byte:02X}{soft}").into_bytes()
        })
        .collect();
    let base64 = support::cms::base64_lines(&text);
    let one_line: Vec<u8> = base64.iter().copied().filter(|b| !b"\r\n=".contains(b)).collect();
    let spaced: Vec<u8> =
        base64.iter().flat_map(|&b| if b == b'\n' { vec![b'\n', b' '] } else { vec![b] }).collect();
    for (transfer, body) in [
        ("base64", &base64),
        ("Base64", &one_line),
        ("base64", &spaced),
        ("quoted-printable", &quoted),
        ("binary", &text),
        ("8bit", &text),
        ("x-unknown", &text),
        // OpenAS2 2.5 declared base64 on binary bodies.
        ("base64", &text),
    ] {
        let header = format!("Content-Transfer-Encoding: {transfer}");
        let message =
            Message::of(&entity(&["Content-Type: text/plain; charset=utf-8", &header], body));
        for sizes in [&[100_000][..], &[1], &[3], &[64, 5]] {
            let (decoded, kept) = decode_cut(&message, &Keyring::new(), Options::default(), sizes);
            assert_eq!((codes(&decoded), &kept.bytes), (vec![], &vec![text.clone()]), "{transfer}");
        }
    }
}

#[test]
fn decrypted_content_without_a_header() {
    let envelope = Envelope::to(&STATION, Cipher::Aes256Cbc);
    for plain in [
        &b"UNA:+.? '\r\nUNB+UNOC:3+SENDER:14+RECEIVER:14+261121:1200+4711'\r\n\r\nUNZ'"[..],
        b"ISA*00*          *00*          *ZZ*SENDER         *ZZ*RECEIVER       *",
        b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<order/>\r\n",
        b"short",
        "\u{feff}Größe;Menge;Preis\r\nein ziemlich langer Text ohne Kopf\r\n".as_bytes(),
    ] {
        let (decoded, kept) = decode(&Message::of(&envelope.entity(plain)), &keyring());
        assert_eq!((codes(&decoded), kept.bytes), (vec![], vec![plain.to_vec()]));
    }
    // An empty payload, its header shorter than what is looked at.
    let plain = entity(&["Content-Type: a/b"], b"");
    let (decoded, kept) = decode(&Message::of(&envelope.entity(&plain)), &keyring());
    assert_eq!((codes(&decoded), kept.bytes), (vec![], vec![vec![]]));
    // Binary right behind a short header.
    let plain = entity(&["Content-Type: a/b"], &[0, 255, 3, 128]);
    let (decoded, kept) = decode(&Message::of(&envelope.entity(&plain)), &keyring());
    assert_eq!((codes(&decoded), kept.bytes), (vec![], vec![vec![0, 255, 3, 128]]));
}

#[test]
fn no_headers_at_all() {
    let (decoded, kept) =
        decode(&Message { headers: Headers::new(), body: b"UNA".to_vec() }, &Keyring::new());
    assert_eq!((codes(&decoded), kept.bytes), (vec![], vec![b"UNA".to_vec()]));
    assert_eq!((decoded.as2_message_id, decoded.sender_id), (None, None));
    let (decoded, _) = decode(&Message { headers: Headers::new(), body: vec![] }, &Keyring::new());
    assert_eq!(decoded.attachments[0].size, 0);
}

#[test]
fn as2_names_and_ids() {
    for (value, name) in [
        ("PARTNER", "PARTNER"),
        ("  PARTNER ", "PARTNER"),
        ("\"My Partner\"", "My Partner"),
        ("\"a \\\"b\\\" \\\\ c\"", "a \"b\" \\ c"),
        ("\"", "\""),
        ("\"\"", ""),
        ("Has Spaces", "Has Spaces"),
    ] {
        let mut headers = Headers::new();
        headers.push("as2-from", value);
        headers.push("AS2-TO", value);
        headers.push("message-id", " no brackets \"x\" ");
        let (decoded, _) = decode(&Message { headers, body: vec![] }, &Keyring::new());
        assert_eq!(decoded.sender_id.as_deref(), Some(name));
        assert_eq!(decoded.receiver_id.as_deref(), Some(name));
        assert_eq!(decoded.as2_message_id.as_deref(), Some("no brackets \"x\""));
    }
}

#[test]
fn a_certificate_exchange_is_no_payload() {
    let xml = entity(
        &["Content-Type: application/ediint-cert-exchange+xml"],
        b"<EDIINTCertificateExchangeRequest/>",
    );
    let certificates =
        entity(&["Content-Type: application/pkcs7-mime; smime-type=certs-only"], b"0\x80");
    for message in [
        multipart(
            "multipart/related; type=\"application/ediint-cert-exchange+xml\"",
            "b",
            &[&xml, &certificates],
        ),
        multipart("multipart/related", "b", &[&xml, &certificates]),
        xml.clone(),
    ] {
        let (decoded, kept) = decode(&Message::of(&message), &Keyring::new());
        assert_eq!(codes(&decoded), [0u16; 0]);
        assert_eq!((decoded.attachments.len(), kept.bytes.len()), (0, 0));
    }
}

#[test]
fn the_body_may_be_cut_off() {
    let message =
        Message::of(&multipart("multipart/mixed", "b", &[&document(b"one"), &document(b"two")]));
    let body = &message.body;
    for end in 0..body.len() {
        let cut = Message { body: body[..end].to_vec(), ..message.clone() };
        let (decoded, _) = decode(&cut, &Keyring::new());
        // Without the very last line end everything is there.
        let complete = end >= body.len() - 2;
        assert_eq!(codes(&decoded), if complete { vec![] } else { vec![1100] }, "cut at {end}");
    }
}
