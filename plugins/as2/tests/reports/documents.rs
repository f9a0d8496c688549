//! Documents that look like layers of S/MIME, and layers that look like documents.

use as2hook_as2::{Digest, Keyring, SignatureStatus};

use super::{
    decoded,
    support::{
        Cipher, Envelope, Identity, Message, SignOptions, Signing,
        cms::{base64_lines, compress},
        codes,
        der::Encoding,
        entity,
        identity::{PARTNER, STATION, STRANGER, keyring},
        mime::{document, multipart},
    },
};

/// A CAdES-signed invoice, as the Italian exchange has them.
fn invoice() -> Vec<u8> {
    SignOptions::new(&STRANGER, Digest::Sha256).sign(b"<FatturaElettronica/>", Some(Encoding::Der))
}

/// Headers under which documents of that kind come.
const NAMED: [&[&str]; 6] = [
    &[
        "Content-Type: application/pkcs7-mime; name=\"IT01234567890_00001.xml.p7m\"",
        "Content-Disposition: attachment; filename=\"IT01234567890_00001.xml.p7m\"",
    ],
    &["Content-Type: application/pkcs7-mime; name=IT01234567890_00001.xml.p7m"],
    &[
        "Content-Type: application/x-pkcs7-mime; smime-type=signed-data",
        "Content-Disposition: attachment; filename=\"IT01234567890_00001.xml.p7m\"",
    ],
    &["Content-Disposition: attachment; filename=\"IT01234567890_00001.xml.p7m\""],
    &[
        "Content-Type: application/octet-stream",
        "Content-Disposition: attachment; filename=\"IT01234567890_00001.xml.p7m\"",
    ],
    &[
        "Content-Type: application/pkcs7-mime",
        "Content-Disposition: attachment; filename*=utf-8''IT01234567890%5F00001.xml.p7m",
    ],
];

const NAME: &str = "IT01234567890_00001.xml.p7m";

/// Of what stands around a document: the message, and whether it is encrypted and signed.
fn wrapped(part: &[u8]) -> Vec<(Vec<u8>, bool, bool)> {
    let seal = |inside: &[u8]| Envelope::to(&STATION, Cipher::Aes256Cbc).entity(inside);
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let detached = sign.entity(part, Signing::Detached { base64: true }, "sha-256");
    let opaque = sign.entity(part, Signing::Opaque(Encoding::Ber(50)), "sha-256");
    let compressed = super::support::cms::compressed_entity(part, Encoding::Der);
    vec![
        (part.to_vec(), false, false),
        (seal(part), true, false),
        (detached.clone(), false, true),
        (seal(&detached), true, true),
        (opaque, false, true),
        (compressed.clone(), false, false),
        (seal(&compressed), true, false),
        (multipart("multipart/mixed", "m", &[part]), false, false),
        (multipart("multipart/related", "m", &[part]), false, false),
        (seal(&multipart("multipart/mixed", "m", &[part])), true, false),
    ]
}

#[test]
fn mimekit_463_signed_file_with_a_name_of_its_own_is_the_attachment_whatever_is_around_it() {
    let file = invoice();
    for headers in NAMED {
        let named = |more: &[&str], body: &[u8]| entity(&[headers, more].concat(), body);
        let base64 = named(&["Content-Transfer-Encoding: base64"], &base64_lines(&file));
        for part in [named(&[], &file), base64] {
            for (message, encrypted, signed) in wrapped(&part) {
                let (decoded, kept) = decoded(&Message::of(&message), &keyring());
                assert_eq!(codes(&decoded), [0u16; 0], "{headers:?}: {:?}", decoded.errors);
                assert_eq!(kept.bytes, [file.as_slice()], "{headers:?}");
                assert_eq!(decoded.attachments[0].name.as_deref(), Some(NAME));
                assert_eq!(decoded.encrypted, Some(encrypted), "{headers:?}");
                assert_eq!(decoded.signed, Some(signed), "{headers:?}");
                let status =
                    if signed { SignatureStatus::Valid } else { SignatureStatus::Unsigned };
                assert_eq!(decoded.signature_status, Some(status));
            }
        }
    }
}

#[test]
fn mimekit_463_signed_file_named_as_a_layer_or_not_at_all_is_a_layer() {
    let document = document(b"UNB+");
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let signed = sign.sign(&document, Some(Encoding::Der));
    for headers in [
        &["Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m"][..],
        &["Content-Type: application/pkcs7-mime; name=\"SMIME.P7M\""],
        &["Content-Type: application/pkcs7-mime"],
        &[
            "Content-Type: application/pkcs7-mime",
            "Content-Disposition: attachment; filename=smime.p7s",
        ],
        // OpenAS2 and others give the document's name in HTTP's header, beside the layer's own.
        &[
            "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=\"smime.p7m\"",
            "Content-Disposition: attachment; filename=\"orders.edi\"",
        ],
    ] {
        let part = entity(headers, &signed);
        let sealed = Envelope::to(&STATION, Cipher::Aes256Cbc).entity(&part);
        for message in [part, sealed] {
            let (decoded, kept) = decoded(&Message::of(&message), &keyring());
            assert_eq!(codes(&decoded), [0u16; 0], "{headers:?}");
            assert_eq!(kept.bytes, [b"UNB+"], "{headers:?}");
            assert_eq!(decoded.signature_status, Some(SignatureStatus::Valid));
        }
    }
}

#[test]
fn mimekit_463_envelope_for_us_and_compression_are_layers_whatever_their_name() {
    let document = document(b"UNB+");
    let seal = |to: &Identity| Envelope::to(to, Cipher::Aes256Cbc).seal(&document);
    for headers in NAMED.iter().take(4) {
        for (cms, encrypted) in
            [(seal(&STATION), true), (compress(&document, Encoding::Der), false)]
        {
            let part = entity(headers, &cms);
            let sign = SignOptions::new(&PARTNER, Digest::Sha256);
            let signed = sign.entity(&part, Signing::Detached { base64: false }, "sha-256");
            let armoured = entity(
                &[headers, &["Content-Transfer-Encoding: base64"][..]].concat(),
                &base64_lines(&cms),
            );
            for message in [part, signed, armoured] {
                let (decoded, kept) = decoded(&Message::of(&message), &keyring());
                assert_eq!(codes(&decoded), [0u16; 0], "{headers:?}: {:?}", decoded.errors);
                assert_eq!(kept.bytes, [b"UNB+"], "{headers:?}");
                assert_eq!(decoded.attachments[0].name.as_deref(), Some("orders.edi"));
                let flags = (decoded.encrypted, decoded.compressed);
                assert_eq!(flags, (Some(encrypted), Some(!encrypted)), "{headers:?}");
            }
        }
    }
}

#[test]
fn mimekit_463_envelope_for_others_is_a_document_within_a_message_and_a_layer_as_the_message() {
    let file = Envelope::to(&STRANGER, Cipher::Aes256Cbc).seal(b"for someone else");
    for headers in NAMED {
        let part = entity(headers, &file);
        for (message, encrypted, signed) in wrapped(&part).into_iter().skip(1) {
            let (decoded, kept) = decoded(&Message::of(&message), &keyring());
            assert_eq!(codes(&decoded), [0u16; 0], "{headers:?}: {:?}", decoded.errors);
            assert_eq!(kept.bytes, [file.as_slice()], "{headers:?}");
            assert_eq!((decoded.encrypted, decoded.signed), (Some(encrypted), Some(signed)));
            assert_eq!(decoded.encryption_algorithm.is_some(), encrypted);
        }
    }
    // As the message itself it is what our server encrypts for a partner.
    let whole = Message::of(&entity(NAMED[0], &file));
    for (keyring, code) in [(keyring(), 800), (Keyring::new(), 1400)] {
        let (decoded, _) = decoded(&whole, &keyring);
        assert_eq!((codes(&decoded), decoded.encrypted), (vec![code], Some(true)));
    }
}

#[test]
fn mimekit_463_file_that_only_pretends_to_be_cms_is_a_document_if_it_has_a_name() {
    let truncated = &invoice()[..200];
    for file in [&b"no CMS at all"[..], b"", b"0", truncated, &[0x30, 0x80], &[0x30; 600]] {
        let part = entity(NAMED[0], file);
        for (message, ..) in wrapped(&part) {
            let (decoded, kept) = decoded(&Message::of(&message), &keyring());
            assert_eq!(codes(&decoded), [0u16; 0], "{file:?}: {:?}", decoded.errors);
            assert_eq!(kept.bytes, [file]);
        }
    }
    // The structure in front of an envelope's content is without end.
    let endless = [&[0x30, 0x80, 6, 9][..], &invoice()[4..8]].concat();
    let large = [endless, vec![0x30; 400_000]].concat();
    let (decoded, kept) = super::support::decode(&Message::of(&document_of(&large)), &keyring());
    assert_eq!((codes(&decoded), kept.bytes.len()), (vec![], 1));
    assert!(kept.bytes[0] == large);
}

fn document_of(file: &[u8]) -> Vec<u8> {
    entity(NAMED[0], file)
}
