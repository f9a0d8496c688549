//! Structures without end, absurd lengths, truncation, changed bytes.

use std::sync::Arc;

use as2hook_as2::{
    Decoded, Decoder, DecoderLimits, Digest, Keyring, Options, SignatureStatus, ber::oid,
};

use super::{
    result,
    support::{
        self, Cipher, Envelope, Message, SignOptions, Signing,
        cms::{compressed_entity, smime},
        codes, decode, decode_with,
        der::{self, Encoding},
        entity,
        identity::{PARTNER, STATION, keyring},
        mime::{document, multipart},
    },
};

#[test]
fn decoded_bytes_are_bounded() {
    let inside = [b"\r\n".as_slice(), &vec![b'x'; 1 << 20]].concat();
    let message = Message::of(&compressed_entity(&inside, Encoding::Ber(4096)));
    let limits = DecoderLimits { decoded: 1 << 19, ..DecoderLimits::default() };
    let (decoded, _) = decode_with(&message, &keyring(), Options { limits, ..Options::default() });
    assert_eq!(codes(&decoded), [1300]);
    let limits = DecoderLimits { decoded: 1 << 20, ..DecoderLimits::default() };
    let (decoded, _) = decode_with(&message, &keyring(), Options { limits, ..Options::default() });
    assert_eq!(codes(&decoded), [0u16; 0]);
}

#[test]
fn the_body_is_bounded() {
    let message = Message::of(&document(&[b'x'; 5000]));
    let limits = DecoderLimits { body: 4999, ..DecoderLimits::default() };
    let (decoded, _) = decode_with(&message, &keyring(), Options { limits, ..Options::default() });
    assert_eq!((codes(&decoded), decoded.attachments.len()), (vec![1300], 0));
}

#[test]
fn ten_thousand_layers() {
    let mut multiparts = Vec::new();
    for n in 0..10_000 {
        multiparts.extend(
            format!("--{n}\r\nContent-Type: multipart/mixed; boundary={}\r\n\r\n", n + 1).bytes(),
        );
    }
    let multiparts = entity(&["Content-Type: multipart/mixed; boundary=0"], &multiparts);
    // An opaque signature's beginning, of indefinite length; and a compression's.
    let layer = |id: &[u8], fields: &[u8]| {
        let around = [&[0x30, 0x80][..], &der::oid(id), &[0xa0, 0x80, 0x30, 0x80, 2, 1, 1], fields];
        let content = [&[0x30, 0x80][..], &der::oid(oid::DATA), &[0xa0, 0x80, 0x24, 0x80]];
        [around.concat(), content.concat()].concat()
    };
    let opaque = layer(oid::SIGNED_DATA, &[0x31, 0]);
    let header = b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n\r\n";
    let mut signed = Vec::new();
    for _ in 0..10_000 {
        signed.extend(&opaque);
        // The rest of the message would follow in one segment.
        signed.extend(&[4, 0x84, 0x7f, 0, 0, 0]);
        signed.extend(header);
    }
    let signed = entity(&["Content-Type: application/pkcs7-mime"], &signed);
    let mut elements = opaque.clone();
    elements.extend([0x24, 0x80].repeat(10_000));
    let elements = entity(&["Content-Type: application/pkcs7-mime"], &elements);
    for entity in [multiparts, signed, elements] {
        let decoded = result(&Message::of(&entity));
        assert_eq!(codes(&decoded)[0], 1300, "{:?}", decoded.errors);
    }
    // Compression within compression.
    let mut inner = document(b"deep");
    for _ in 0..40 {
        inner = compressed_entity(&inner, Encoding::Der);
    }
    let decoded = result(&Message::of(&inner));
    assert_eq!(codes(&decoded), [1300]);
}

#[test]
fn a_hundred_thousand_attachments() {
    let part = document(b"x");
    let parts: Vec<&[u8]> = (0..100_000).map(|_| part.as_slice()).collect();
    let decoded = result(&Message::of(&multipart("multipart/mixed", "b", &parts)));
    assert_eq!(codes(&decoded), [1300]);
    assert_eq!(decoded.attachments.len(), 1000);
}

#[test]
fn a_header_line_of_a_mebibyte() {
    let line = format!("Subject: {}", "x".repeat(1 << 20));
    for part in [entity(&[&line], b"x"), entity(&["Content-Type: a/b", &line], b"x")] {
        let decoded = result(&Message::of(&multipart("multipart/mixed", "b", &[&part])));
        assert_eq!(codes(&decoded), [1300]);
        let sealed = Envelope::to(&STATION, Cipher::Aes128Cbc).entity(&part);
        let decoded = result(&Message::of(&sealed));
        assert_eq!(codes(&decoded), [1300]);
    }
}

#[test]
fn absurd_lengths() {
    let good = Envelope::to(&STATION, Cipher::Aes128Cbc).seal(&document(b"x"));
    for length in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, i64::MAX as u64 - 10] {
        let huge = [&[0x88][..], &length.to_be_bytes()].concat();
        // At the outermost element, at the content, at the recipients.
        let bodies = [
            [&[0x30][..], &huge, &good[4..]].concat(),
            [&[0x30, 0x80][..], &der::oid(oid::ENVELOPED_DATA), &[0xa0], &huge, &good[20..]]
                .concat(),
            [
                &[0x30, 0x80][..],
                &der::oid(oid::SIGNED_DATA),
                &[0xa0, 0x80, 0x30],
                &huge,
                &[2, 1, 1],
            ]
            .concat(),
            [
                &[0x30, 0x80][..],
                &der::oid(oid::ENVELOPED_DATA),
                &[0xa0, 0x80, 0x30, 0x80, 2, 1, 0, 0x31],
                &huge,
                &[0x30; 3000],
            ]
            .concat(),
            [
                &[0x30, 0x80][..],
                &der::oid(oid::COMPRESSED_DATA),
                &[0xa0, 0x80, 0x30, 0x80, 2],
                &huge,
                &[0; 3000],
            ]
            .concat(),
        ];
        for body in bodies {
            let decoded =
                result(&Message::of(&entity(&["Content-Type: application/pkcs7-mime"], &body)));
            assert!(matches!(codes(&decoded)[..], [1100] | [1300] | [800]), "{:?}", decoded.errors);
        }
    }
    // A length of more than eight octets; of 126.
    for first in [0x89, 0xfe, 0xff] {
        let body = [&[0x30, first][..], &[0xff; 130]].concat();
        let decoded =
            result(&Message::of(&entity(&["Content-Type: application/pkcs7-mime"], &body)));
        assert_eq!(codes(&decoded), [1100]);
    }
}

#[test]
fn structures_around_the_content_are_bounded() {
    // A megabyte of recipients; of certificates; a signature of two megabytes.
    let recipients = der::tlv(0x31, &der::octets(&vec![0; 1 << 20]));
    let fields = [der::int(0), recipients].concat();
    let enveloped =
        support::cms::content_info(Encoding::Ber(1), oid::ENVELOPED_DATA, &der::tlv(0x30, &fields));
    let decoded = result(&Message::of(&smime("enveloped-data", &enveloped)));
    assert_eq!(codes(&decoded), [1300]);
    let signature = entity(&["Content-Type: application/pkcs7-signature"], &vec![0x30; 2 << 20]);
    let decoded =
        result(&Message::of(&multipart("multipart/signed", "b", &[&document(b"x"), &signature])));
    assert_eq!(codes(&decoded), [1300]);
    assert_eq!(decoded.signature_status, Some(SignatureStatus::Invalid));
}

/// One message of every kind.
fn samples() -> Vec<Message> {
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let document = document(b"UNA:+.? '\r\nUNB+UNOC:3+A:14+B:14'\r\n");
    let signed = sign.entity(&document, Signing::Detached { base64: true }, "sha-256");
    let opaque = sign.entity(&document, Signing::Opaque(Encoding::Ber(50)), "sha-256");
    let seal = |encoding, cipher, authenticated| Envelope {
        encoding,
        authenticated,
        ..Envelope::to(&STATION, cipher)
    };
    let compressed = compressed_entity(&signed, Encoding::Ber(70));
    let report = multipart(
        "multipart/report; report-type=disposition-notification",
        "r",
        &[
            &entity(&["Content-Type: text/plain"], b"ok"),
            &entity(
                &["Content-Type: message/disposition-notification"],
                b"Original-Message-ID: <1>\r\nDisposition: automatic-action/MDN-sent-automatically; processed\r\n",
            ),
        ],
    );
    let entities = [
        signed.clone(),
        opaque,
        seal(Encoding::Der, Cipher::Aes256Cbc, false).entity(&document),
        seal(Encoding::Ber(33), Cipher::Aes128Gcm, false).entity(&signed),
        seal(Encoding::Der, Cipher::Aes256Gcm, true).entity(&compressed),
        compressed,
        sign.entity(&report, Signing::Detached { base64: false }, "sha-256"),
        multipart("multipart/related", "m", &[&document, &document]),
    ];
    entities.iter().map(|e| Message::of(e)).collect()
}

#[test]
fn truncated_at_every_byte() {
    for message in samples() {
        let (whole, _) = decode(&message, &keyring());
        assert_eq!(codes(&whole), [0u16; 0]);
        for end in 0..message.body.len() {
            let cut = Message { body: message.body[..end].to_vec(), ..message.clone() };
            let (decoded, _) = decode(&cut, &keyring());
            let verified = decoded.signature_verified == Some(true);
            // Only what follows the last delimiter may be missing without harm, and that delimiter
            // itself behind a signature.
            if codes(&decoded).is_empty() {
                let is_whole = verified || end >= message.body.len() - 2;
                assert!(is_whole, "cut at {end} of {}", message.body.len());
                let warned: Vec<_> =
                    decoded.warnings.iter().map(|warning| &*warning.code).collect();
                let is_closed = decoded == whole;
                assert!(
                    is_closed || warned == ["no-closing-delimiter"],
                    "cut at {end}: {warned:?}"
                );
                assert_eq!(Decoded { warnings: Vec::new(), ..decoded.clone() }, whole);
            }
            // The signature itself is at least so long.
            assert!(!verified || end + 100 > message.body.len(), "cut at {end}");
            // When it is declared as cut off, it is an error in any case.
            if end % 8 != 0 {
                continue;
            }
            let mut decoder = Decoder::new(&cut.headers, Arc::new(keyring()), Options::default());
            decoder.push(&cut.body, &mut ());
            let decoded = decoder.finish(false, &mut ());
            assert!(codes(&decoded).contains(&1100));
        }
    }
}

#[test]
fn every_byte_changed_never_panics_and_never_verifies_what_was_not_signed() {
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let document = document(b"UNA:+.? '\r\n");
    let message =
        Message::of(&sign.entity(&document, Signing::Detached { base64: false }, "sha-256"));
    let first = memchr::memmem::find(&message.body, b"\r\n").unwrap() + 2;
    for at in 0..message.body.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = message.clone();
            changed.body[at] ^= change;
            let (decoded, _) = decode(&changed, &keyring());
            if at >= first && at < first + document.len() {
                assert_ne!(decoded.signature_verified, Some(true), "byte {at} ^ {change}");
            }
        }
    }
    let sealed = Message::of(
        &Envelope { encoding: Encoding::Ber(40), ..Envelope::to(&STATION, Cipher::Aes128Gcm) }
            .entity(&document),
    );
    for at in 0..sealed.body.len() {
        let mut changed = sealed.clone();
        changed.body[at] ^= 0x11;
        let (decoded, kept) = decode(&changed, &keyring());
        assert!(!codes(&decoded).is_empty() || kept.bytes == [b"UNA:+.? '\r\n"], "byte {at}");
    }
}

#[test]
fn endless_small_things() {
    // Empty segments, empty lines, blanks, delimiters and equal signs without end.
    let opening = [
        &[0x30, 0x80][..],
        &der::oid(oid::SIGNED_DATA),
        &[0xa0, 0x80, 0x30, 0x80, 2, 1, 1, 0x31, 0, 0x30, 0x80],
        &der::oid(oid::DATA),
        &[0xa0, 0x80, 0x24, 0x80],
    ]
    .concat();
    let segments = [opening, [4, 0].repeat(500_000)].concat();
    let decoded =
        result(&Message::of(&entity(&["Content-Type: application/pkcs7-mime"], &segments)));
    assert_eq!(codes(&decoded), [1100]);
    for (header, filler) in [
        ("Content-Type: multipart/mixed; boundary=b", "\r\n--b".repeat(100_000)),
        ("Content-Type: multipart/mixed; boundary=b", format!("--b{}", " ".repeat(500_000))),
        ("Content-Type: multipart/mixed; boundary=b", "\r\n-".repeat(200_000)),
        ("Content-Type: multipart/mixed", "-\r\n".repeat(100_000)),
        ("Content-Type: multipart/signed; boundary=b", "--b\r\n".repeat(100_000)),
        (
            "Content-Type: multipart/report; boundary=b",
            "--b\r\n\r\nDisposition: x\r\n".repeat(20_000),
        ),
        ("Content-Transfer-Encoding: quoted-printable", "= \t".repeat(200_000)),
        ("Content-Transfer-Encoding: base64", "=".repeat(500_000)),
        ("Content-Type: application/pkcs7-mime", "-\n".repeat(300_000)),
        ("Content-Type: application/pkcs7-mime", "\r\n".repeat(300_000)),
    ] {
        let _ = result(&Message::of(&entity(&[header], filler.as_bytes())));
    }
    // Parameters without end.
    let header = format!("Content-Disposition: attachment{}", "; filename*0*=a".repeat(50_000));
    let (decoded, _) = decode(&Message::of(&entity(&[&header], b"x")), &Keyring::new());
    assert_eq!(decoded.attachments.len(), 1);
}
