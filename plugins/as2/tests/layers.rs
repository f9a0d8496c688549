//! What a partner makes, the decoder gives back: every layer, alone and with the others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use as2hook_as2::{ContentKind, Digest, Keyring, Options, SignatureStatus};
use base64::{Engine, engine::general_purpose::STANDARD};
use support::{
    Cipher, Envelope, KeyWay, Message, Recipient, SignOptions, Signing,
    cms::{self, compressed_entity, message_digest},
    codes, decode, decode_cut, decode_with,
    der::Encoding,
    identity::{PARTNER, STATION, STATION_EC, STATION_NEXT, STRANGER, keyring},
    mime::document,
};

const ENCODINGS: [Encoding; 3] = [Encoding::Der, Encoding::Ber(1000), Encoding::Nested(300)];
const LEGACY: Options = Options {
    limits: as2hook_as2::DecoderLimits {
        body: 1 << 30,
        decoded: 1 << 30,
        expansion: 200,
        header: 65536,
        attachments: 1000,
    },
    legacy_algorithms: true,
};

fn edi() -> Vec<u8> {
    b"UNA:+.? '\r\nUNB+UNOC:3+PARTNER:14+STATION:14+261121:1200+1'\r\n".repeat(40)
}

fn mic(digest: Digest, bytes: &[u8]) -> String {
    let sum = openssl::hash::hash(message_digest(digest), bytes).unwrap();
    format!("{}, {}", STANDARD.encode(sum), digest.name())
}

/// The document came out whole, and nothing was wrong with it.
#[track_caller]
fn assert_document(message: &Message, options: Options) -> as2hook_as2::Decoded {
    let (decoded, kept) = decode_with(message, &keyring(), options);
    assert_eq!(decoded.errors, []);
    assert_eq!(decoded.kind, ContentKind::Message);
    assert_eq!(kept.bytes, [edi()]);
    assert_eq!(decoded.attachments, kept.ended);
    assert_eq!(decoded.attachments[0].name.as_deref(), Some("orders.edi"));
    let (again, _) = decode_cut(message, &keyring(), options, &[1, 17, 3, 64, 250]);
    assert_eq!(again, decoded);
    decoded
}

#[test]
fn every_cipher_in_every_encoding() {
    for (cipher, name) in [
        (Cipher::Aes128Cbc, "aes-128-cbc"),
        (Cipher::Aes192Cbc, "aes-192-cbc"),
        (Cipher::Aes256Cbc, "aes-256-cbc"),
        (Cipher::Aes128Gcm, "aes-128-gcm"),
        (Cipher::Aes192Gcm, "aes-192-gcm"),
        (Cipher::Aes256Gcm, "aes-256-gcm"),
        (Cipher::TripleDes, "des-ede3-cbc"),
        (Cipher::Des, "des-cbc"),
        (Cipher::Rc2(40), "rc2-40-cbc"),
        (Cipher::Rc2(64), "rc2-64-cbc"),
        (Cipher::Rc2(128), "rc2-128-cbc"),
    ] {
        for encoding in ENCODINGS {
            let envelope = Envelope { encoding, ..Envelope::to(&STATION, cipher) };
            let message = Message::of(&envelope.entity(&document(&edi())));
            let decoded = assert_document(&message, LEGACY);
            assert_eq!(decoded.encrypted, Some(true));
            assert_eq!(decoded.signed, Some(false));
            assert_eq!(decoded.signature_status, Some(SignatureStatus::Unsigned));
            assert_eq!(decoded.encryption_algorithm.as_deref(), Some(name));
            assert_eq!(decoded.decrypted_with, Some(STATION.serial()));
            if cipher.is_gcm() {
                for attributes in [false, true] {
                    let envelope = Envelope { authenticated: true, attributes, ..envelope.clone() };
                    let message = Message::of(&envelope.entity(&document(&edi())));
                    assert_document(&message, Options::default());
                }
            }
        }
    }
}

#[test]
fn legacy_ciphers_stay_closed_unless_asked_for() {
    for cipher in [Cipher::Des, Cipher::Rc2(40), Cipher::Rc2(128)] {
        let message = Message::of(&Envelope::to(&STATION, cipher).entity(&document(&edi())));
        let (decoded, _) = decode(&message, &keyring());
        assert_eq!(codes(&decoded), [800]);
        assert!(decoded.encryption_algorithm.is_some());
    }
}

#[test]
fn every_way_to_the_key() {
    use Digest::{Sha1, Sha224, Sha256, Sha384, Sha512};
    let rsa = [Sha1, Sha224, Sha256, Sha384, Sha512]
        .into_iter()
        .flat_map(|digest| [KeyWay::Oaep(digest, digest), KeyWay::Oaep(digest, Sha1)])
        .chain([KeyWay::Pkcs1]);
    let ec = [Sha1, Sha224, Sha256, Sha384, Sha512].into_iter().flat_map(|digest| {
        [16, 24, 32].into_iter().flat_map(move |length| {
            [KeyWay::Ecdh(digest, length, false), KeyWay::Ecdh(digest, length, true)]
        })
    });
    let ways = rsa.map(|way| (&*STATION, way)).chain(ec.map(|way| (&*STATION_EC, way)));
    for (station, way) in ways {
        for by_key_identifier in [false, true] {
            let certificate = &station.certificate;
            let envelope = Envelope {
                recipients: vec![Recipient { certificate, way, by_key_identifier }],
                ..Envelope::to(station, Cipher::Aes256Cbc)
            };
            let message = Message::of(&envelope.entity(&document(&edi())));
            let decoded = assert_document(&message, Options::default());
            assert_eq!(decoded.decrypted_with, Some(station.serial()), "{way:?}");
        }
    }
}

#[test]
fn our_recipient_is_found_among_others() {
    let to = |identity: &'static support::Identity, way| Recipient {
        certificate: &identity.certificate,
        way,
        by_key_identifier: false,
    };
    for (ours, way) in [
        (&*STATION, KeyWay::Pkcs1),
        (&*STATION_NEXT, KeyWay::Pkcs1),
        (&*STATION_EC, KeyWay::Ecdh(Digest::Sha256, 16, false)),
    ] {
        let envelope = Envelope {
            recipients: vec![
                to(&STRANGER, KeyWay::Pkcs1),
                to(ours, way),
                to(&PARTNER, KeyWay::Pkcs1),
            ],
            ..Envelope::to(&STRANGER, Cipher::Aes128Cbc)
        };
        let message = Message::of(&envelope.entity(&document(&edi())));
        let decoded = assert_document(&message, Options::default());
        assert_eq!(decoded.decrypted_with, Some(ours.serial()));
    }
}

#[test]
fn every_mistake_in_a_key_is_reported_alike() {
    let mut texts = std::collections::HashSet::new();
    let envelope = Envelope::to(&STATION, Cipher::Aes256Cbc);
    // The separator, a zero within the padding, the block's type and its first byte: the key itself
    // is right each time.
    let first = 2048 / 8 - 32 - 1;
    let spoilt = [(0, 7), (1, 0), (100, 0), (first - 1, 1), (first, 1)];
    let mut wrong: Vec<Vec<u8>> = spoilt
        .into_iter()
        .map(|(back, value)| KeyWay::Spoilt(back, value))
        .chain([KeyWay::BadLength])
        .map(|way| {
            let mut recipient = envelope.recipients[0].clone();
            recipient.way = way;
            Envelope { recipients: vec![recipient], ..envelope.clone() }.entity(&document(&edi()))
        })
        .collect();
    // A wrong padding at the end (the last byte of the block before it), and garbage for content.
    let mut padded = envelope.entity(&document(&edi()));
    let before = padded.len() - 17;
    padded[before] ^= 1;
    wrong.push(padded);
    wrong.push(envelope.entity(&random(999)));
    for cipher in [Cipher::Aes256Gcm, Cipher::Aes128Gcm] {
        for authenticated in [false, true] {
            let envelope = Envelope { authenticated, ..Envelope::to(&STATION, cipher) };
            let mut tampered = envelope.entity(&document(&edi()));
            let middle = tampered.len() - 300;
            tampered[middle] ^= 1;
            wrong.push(tampered);
        }
    }
    // Unspoilt, the same padding opens.
    let mut recipient = envelope.recipients[0].clone();
    recipient.way = KeyWay::Spoilt(0, 0);
    let sound = Envelope { recipients: vec![recipient], ..envelope.clone() };
    assert_document(&Message::of(&sound.entity(&document(&edi()))), Options::default());
    for entity in wrong {
        let (decoded, _) = decode(&Message::of(&entity), &keyring());
        assert_eq!(codes(&decoded), [800]);
        texts.insert(decoded.errors[0].message.clone());
        assert_eq!(decoded.decrypted_with, None);
        assert_eq!((decoded.encrypted, decoded.signed), (Some(true), None));
        assert_eq!((decoded.compressed, decoded.signature_status), (None, None));
        assert_eq!((decoded.mic, decoded.attachments.len()), (None, 0));
    }
    assert_eq!(texts.len(), 1, "{texts:?}");
}

#[test]
fn without_a_key_it_says_so() {
    let message = Message::of(&Envelope::to(&STATION, Cipher::Aes128Cbc).entity(&document(&edi())));
    let (decoded, _) = decode(&message, &Keyring::new());
    assert_eq!(codes(&decoded), [1400]);
    assert_eq!(decoded.encryption_algorithm.as_deref(), Some("aes-128-cbc"));
    let (decoded, _) = decode(
        &Message::of(&Envelope::to(&STRANGER, Cipher::Aes128Cbc).entity(&document(&edi()))),
        &keyring(),
    );
    assert_eq!(codes(&decoded), [800]);
}

#[test]
fn compression_before_and_after_signing() {
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let shape = Signing::Detached { base64: true };
    for encoding in ENCODINGS {
        let document = document(&edi());
        let inside = compressed_entity(&document, encoding);
        let compressed_then_signed = sign.entity(&inside, shape, "sha-256");
        let signed_then_compressed =
            compressed_entity(&sign.entity(&document, shape, "sha-256"), encoding);
        for (entity, signed) in
            [(compressed_then_signed, &inside), (signed_then_compressed, &document)]
        {
            let sealed = Envelope::to(&STATION, Cipher::Aes256Cbc).entity(&entity);
            for (entity, encrypted) in [(entity, false), (sealed, true)] {
                let decoded = assert_document(&Message::of(&entity), Options::default());
                assert_eq!(decoded.signature_status, Some(SignatureStatus::Valid));
                assert_eq!(decoded.compressed, Some(true));
                assert_eq!(decoded.encrypted, Some(encrypted));
                assert_eq!(decoded.mic, Some(mic(Digest::Sha256, signed)));
            }
        }
    }
}

#[test]
fn the_mic_is_over_what_rfc_4130_says() {
    const OPTIONS: &str = "signed-receipt-protocol=optional, pkcs7-signature; signed-receipt-micalg=optional, sha-384, sha1";
    let asked =
        |entity: &[u8]| Message::of(entity).with("Disposition-Notification-Options", OPTIONS);
    let document = document(&edi());
    let compressed = compressed_entity(&document, Encoding::Der);
    let sealed = |entity: &[u8]| Envelope::to(&STATION, Cipher::Aes128Cbc).entity(entity);
    for (entity, over) in [
        // Neither signed nor encrypted: the body alone (section 7.3.1).
        (document.clone(), edi()),
        // Encrypted: the entity with its header.
        (sealed(&document), document.clone()),
        // Compressed: the entity before it was (RFC 5402 section 3).
        (compressed.clone(), document.clone()),
        (sealed(&compressed), document.clone()),
    ] {
        let decoded = assert_document(&asked(&entity), Options::default());
        assert_eq!(decoded.mic, Some(mic(Digest::Sha384, &over)));
        // It was not requested, and there is no signature whose digest it could be.
        assert_eq!(assert_document(&Message::of(&entity), Options::default()).mic, None);
    }
    // Signed: what was signed, by the digest that was asked for.
    let sign = SignOptions::new(&PARTNER, Digest::Sha1);
    for shape in [Signing::Detached { base64: true }, Signing::Opaque(Encoding::Ber(100))] {
        for entity in
            [sign.entity(&document, shape, "sha1"), sealed(&sign.entity(&document, shape, "sha1"))]
        {
            let decoded = assert_document(&asked(&entity), Options::default());
            assert_eq!(decoded.mic, Some(mic(Digest::Sha384, &document)));
            let decoded = assert_document(&Message::of(&entity), Options::default());
            assert_eq!(decoded.mic, Some(mic(Digest::Sha1, &document)));
        }
    }
}

#[test]
fn headers_that_lie_are_seen_through() {
    let envelope = Envelope::to(&STATION, Cipher::Aes256Cbc);
    let sealed = envelope.seal(&document(&edi()));
    let lines = cms::base64_lines(&sealed);
    let pem = [b"-----BEGIN PKCS7-----\r\n", lines.as_slice(), b"-----END PKCS7-----\r\n"].concat();
    let stray =
        [b"Content-Type: application/pkcs7-mime\r\nDate: now\r\n\r\n", sealed.as_slice()].concat();
    let bodies: [&[u8]; 5] =
        [&stray, &sealed, &lines, &pem, &[b"\r\n\r\n", sealed.as_slice()].concat()];
    for body in bodies {
        for kind in [
            "application/pkcs7-mime; smime-type=enveloped-data",
            "application/pkcs7-mime; smime-type=signed-data",
            "application/x-pkcs7-mime; smime-type=compressed-data; name=smime.p7z",
            "application/pkcs7-mime",
            "Application/PKCS7-MIME;\tname=\"smime.p7m\"",
            "application/octet-stream",
            "",
        ] {
            for transfer in ["base64", "binary", "7bit", "BASE64 ", "x-unknown", ""] {
                // Without a word of S/MIME only CMS itself is recognised.
                if !kind.contains('7') && matches!(body[0], b'-' | b'C') {
                    continue;
                }
                let mut headers = vec![];
                if !kind.is_empty() {
                    headers.push(format!("Content-Type: {kind}"));
                }
                if !transfer.is_empty() {
                    headers.push(format!("Content-Transfer-Encoding: {transfer}"));
                }
                headers.push("X-Nothing: else".to_owned());
                let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
                let message = Message::of(&support::entity(&headers, body));
                let decoded = assert_document(&message, Options::default());
                assert_eq!(decoded.encrypted, Some(true));
            }
        }
    }
}

#[test]
fn openssl_made_envelopes_open() {
    use openssl::{
        cms::{CMSOptions, CmsContentInfo},
        stack::Stack,
        symm,
    };
    let mut recipients = Stack::new().unwrap();
    recipients.push(STATION.certificate.clone()).unwrap();
    recipients.push(STATION_EC.certificate.clone()).unwrap();
    let cms = CmsContentInfo::encrypt(
        &recipients,
        &document(&edi()),
        symm::Cipher::des_ede3_cbc(),
        CMSOptions::BINARY,
    )
    .unwrap();
    let entity = cms::smime("enveloped-data", &cms.to_der().unwrap());
    assert_document(&Message::of(&entity), Options::default());
    // With the EC key alone: its key wrap is Triple-DES's own.
    let mut only_ec = Keyring::new();
    only_ec.add_key(STATION_EC.station_key());
    let (decoded, kept) = decode(&Message::of(&entity), &only_ec);
    assert_eq!((codes(&decoded), kept.bytes), (vec![], vec![edi()]));
    assert_eq!(decoded.decrypted_with, Some(STATION_EC.serial()));
}

fn random(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    openssl::rand::rand_bytes(&mut bytes).unwrap();
    bytes
}
