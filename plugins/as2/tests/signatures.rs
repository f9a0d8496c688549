//! Signatures: every scheme and digest, every state towards the sender's certificates, every lie.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use as2hook_as2::{Decoded, Digest, Keyring, SignatureStatus};
use support::{
    Cipher, Envelope, Identity, Message, Scheme, SignOptions, Signing, codes, decode, decode_cut,
    der::Encoding,
    identity::{PARTNER, PARTNER_EC, PARTNER_NEXT, STATION, STRANGER, keyring},
    mime::document,
};

const DETACHED: Signing = Signing::Detached { base64: true };

fn edi() -> Vec<u8> {
    b"ISA*00*          *00*          *ZZ*PARTNER\r\n".repeat(30)
}

#[track_caller]
fn assert_status(message: &Message, keyring: &Keyring, status: SignatureStatus) -> Decoded {
    let (decoded, kept) = decode(message, keyring);
    assert_eq!(decoded.signature_status, Some(status), "{:?}", decoded.errors);
    assert_eq!(decoded.signature_verified, status.verified());
    assert_eq!(decoded.signed, Some(true));
    let wrong = matches!(status, SignatureStatus::Invalid | SignatureStatus::OtherCertificate);
    assert_eq!(codes(&decoded), if wrong { vec![900] } else { vec![] });
    assert_eq!(kept.bytes.len(), 1);
    assert_eq!(decoded.attachments.len(), 1);
    let (again, _) = decode_cut(message, keyring, as2hook_as2::Options::default(), &[5, 90, 1]);
    assert_eq!(again, decoded);
    decoded
}

#[test]
fn every_scheme_digest_and_shape() {
    let shapes = [
        DETACHED,
        Signing::Detached { base64: false },
        Signing::Opaque(Encoding::Der),
        Signing::Opaque(Encoding::Ber(256)),
        Signing::Opaque(Encoding::Nested(100)),
    ];
    for digest in Digest::ALL {
        for (by, scheme) in [
            (&*PARTNER, Scheme::Pkcs1),
            (&*PARTNER_NEXT, Scheme::Pkcs1),
            (&*PARTNER, Scheme::Pss),
            (&*PARTNER_EC, Scheme::Ecdsa),
        ] {
            for (attributes, embed, by_key_identifier) in [
                (true, true, false),
                (false, true, false),
                (true, false, false),
                (true, false, true),
            ] {
                if digest == Digest::Md5 && scheme != Scheme::Pkcs1 {
                    continue;
                }
                let options = SignOptions {
                    scheme,
                    attributes,
                    embed,
                    by_key_identifier,
                    ..SignOptions::new(by, digest)
                };
                for shape in shapes {
                    let entity = options.entity(&document(&edi()), shape, digest.name());
                    let message = Message::of(&entity);
                    let decoded = assert_status(&message, &keyring(), SignatureStatus::Valid);
                    assert_eq!(decoded.signer, Some(by.serial()));
                    assert_eq!(decoded.digest_algorithm.as_deref(), Some(digest.name()));
                }
            }
        }
    }
}

#[test]
fn micalg_is_a_hint_and_the_signer_info_decides() {
    for digest in Digest::ALL {
        for micalg in [
            "sha1",
            "sha-1",
            "SHA1",
            "\"sha-256\"",
            "SHA-256",
            "sha256",
            "rsa-md5",
            "rsa-sha1",
            "md5",
            "sha-512",
            "\"sha1, md5\"",
            "unknown",
            "\"\"",
            "sha2-384",
            "sha3-256",
            "SHA3-512",
        ] {
            let entity =
                SignOptions::new(&PARTNER, digest).entity(&document(&edi()), DETACHED, micalg);
            assert_status(&Message::of(&entity), &keyring(), SignatureStatus::Valid);
        }
    }
    // Beyond what is kept the usual digests are at hand where nothing known is announced.
    let large = document(&b"0123456789\r\n".repeat(100_000));
    for digest in [Digest::Sha1, Digest::Sha256] {
        for micalg in ["none", "\"\"", digest.name()] {
            let entity = SignOptions::new(&PARTNER, digest).entity(&large, DETACHED, micalg);
            assert_status(&Message::of(&entity), &keyring(), SignatureStatus::Valid);
        }
    }
}

#[test]
fn the_five_states_are_distinguished() {
    use SignatureStatus::{Invalid, OtherCertificate, UnknownCertificate, Valid};
    let sign = |by: &Identity, embed| {
        let options = SignOptions { embed, ..SignOptions::new(by, Digest::Sha256) };
        Message::of(&options.entity(&document(&edi()), DETACHED, "sha-256"))
    };
    let mut strangers = Keyring::new();
    strangers.add_certificate("SOMEONE", STRANGER.certificate.clone());
    strangers.add_certificate("PARTNER", PARTNER.certificate.clone());
    for (message, keyring, status, signer) in [
        (sign(&PARTNER, true), keyring(), Valid, Some(&*PARTNER)),
        (sign(&PARTNER, false), keyring(), Valid, Some(&*PARTNER)),
        // Right by its own certificate, but that is not the partner's.
        (sign(&STRANGER, true), keyring(), OtherCertificate, Some(&*STRANGER)),
        // Right by another partner's certificate.
        (sign(&STRANGER, false), strangers, OtherCertificate, Some(&*STRANGER)),
        // Wrong by the partner's, and it brings none along.
        (sign(&STRANGER, false), keyring(), OtherCertificate, Some(&*STRANGER)),
        // No certificate at hand at all, or only the one that it brings along.
        (sign(&STRANGER, true), Keyring::new(), UnknownCertificate, Some(&*STRANGER)),
        (sign(&PARTNER, false), Keyring::new(), UnknownCertificate, Some(&*PARTNER)),
    ] {
        let decoded = assert_status(&message, &keyring, status);
        assert_eq!(decoded.signer, signer.map(Identity::serial));
    }
    // Changed content, with every certificate and with none.
    for keyring in [keyring(), Keyring::new()] {
        let mut message = sign(&PARTNER, true);
        let at = memchr::memmem::find(&message.body, b"PARTNER").unwrap();
        message.body[at] = b'X';
        assert_status(&message, &keyring, Invalid);
    }
    // A certificate of the same name but another key.
    let mut forged = Keyring::new();
    let other = Identity { key: STRANGER.key.clone(), ..PARTNER.clone() };
    forged.add_certificate("PARTNER", PARTNER.certificate.clone());
    let options = SignOptions { attributes: false, ..SignOptions::new(&other, Digest::Sha256) };
    let message = Message::of(&options.entity(&document(&edi()), DETACHED, "sha-256"));
    assert_status(&message, &forged, Invalid);
}

#[test]
fn signature_by_another_key_without_its_certificate_is_by_another_certificate() {
    for attributes in [true, false] {
        for by_key_identifier in [true, false] {
            let options = SignOptions {
                attributes,
                by_key_identifier,
                embed: false,
                ..SignOptions::new(&STRANGER, Digest::Sha256)
            };
            let entity = options.entity(&document(&edi()), DETACHED, "sha-256");
            let message = Message::of(&entity);
            let decoded = assert_status(&message, &keyring(), SignatureStatus::OtherCertificate);
            let reason = "the signature is by another certificate than the partner's";
            assert_eq!(decoded.errors[0].message, reason);
            assert_status(&message, &Keyring::new(), SignatureStatus::UnknownCertificate);
        }
    }
}

#[test]
fn a_signature_that_cannot_be_read_is_invalid() {
    let entity = SignOptions::new(&PARTNER, Digest::Sha256).entity(
        &document(&edi()),
        Signing::Detached { base64: false },
        "sha-256",
    );
    let message = Message::of(&entity);
    let at = memchr::memmem::find(&message.body, b"pkcs7-signature; name").unwrap();
    let blob = at + memchr::memmem::find(&message.body[at..], b"\r\n\r\n").unwrap() + 4;
    for (offset, byte) in [(0, 0x31), (1, 0x84), (4, 0x07), (30, 0x1f)] {
        let mut damaged = message.clone();
        damaged.body[blob + offset] = byte;
        let (decoded, _) = decode(&damaged, &keyring());
        assert_eq!(decoded.signature_status, Some(SignatureStatus::Invalid));
        assert_eq!(codes(&decoded), [900]);
        assert_eq!(decoded.attachments.len(), 1);
    }
}

#[test]
fn line_ends_changed_after_signing_are_forgiven_for_text_only() {
    // Signed in canonical form, sent with bare LFs (phase2 issue 12 and its kin).
    let canonical = document(b"UNA:+.? '\r\nUNB+1'\r\n");
    let canonical = String::from_utf8(canonical).unwrap();
    for (transfer, status) in [
        ("Content-Transfer-Encoding: 8bit\r\n", SignatureStatus::Valid),
        ("", SignatureStatus::Valid),
        ("Content-Transfer-Encoding: binary\r\n", SignatureStatus::Invalid),
    ] {
        let content = canonical.replace("Content-Transfer-Encoding: binary\r\n", transfer);
        let entity = SignOptions::new(&PARTNER, Digest::Sha256).entity(
            content.as_bytes(),
            DETACHED,
            "sha-256",
        );
        let sent = String::from_utf8(entity).unwrap().replace("'\r\n", "'\n");
        let decoded = assert_status(&Message::of(sent.as_bytes()), &keyring(), status);
        if status == SignatureStatus::Valid {
            // The MIC is over the form that was signed.
            let sum = openssl::sha::sha256(content.as_bytes());
            let mic = format!("{}, sha-256", openssl::base64::encode_block(&sum));
            assert_eq!(decoded.mic, Some(mic));
        }
    }
}

#[test]
fn what_is_signed_may_fail_by_itself() {
    // The signature is right although what it covers cannot be inflated.
    let broken = support::cms::smime(
        "compressed-data",
        &support::cms::compressed(b"nonsense", Encoding::Der),
    );
    let entity = SignOptions::new(&PARTNER, Digest::Sha256).entity(&broken, DETACHED, "sha-256");
    let (decoded, _) = decode(&Message::of(&entity), &keyring());
    assert_eq!(codes(&decoded), [1000]);
    assert_eq!(decoded.signature_status, Some(SignatureStatus::Valid));
    assert_eq!(decoded.attachments, []);
}

#[test]
fn without_a_sender_the_empty_name_is_looked_up() {
    let entity =
        SignOptions::new(&PARTNER, Digest::Sha256).entity(&document(&edi()), DETACHED, "sha-256");
    let mut message = Message::of(&entity);
    message.headers = message.headers.iter().filter(|h| h.name != "AS2-From").fold(
        as2hook_as2::Headers::new(),
        |mut headers, h| {
            headers.push(h.name.clone(), h.value.clone());
            headers
        },
    );
    let mut keyring = Keyring::new();
    keyring.add_certificate("", PARTNER.certificate.clone());
    assert_status(&message, &keyring, SignatureStatus::Valid);
}

#[test]
fn a_signed_file_is_a_document() {
    // Italian invoices are PKCS#7 themselves; the inner signature is the document's, not the message's.
    let file = SignOptions::new(&STRANGER, Digest::Sha256).sign(b"<invoice/>", Some(Encoding::Der));
    let part = support::entity(
        &[
            "Content-Type: application/pkcs7-mime; name=\"IT01234567890_00001.xml.p7m\"",
            "Content-Disposition: attachment; filename=\"IT01234567890_00001.xml.p7m\"",
        ],
        &file,
    );
    let entity = SignOptions::new(&PARTNER, Digest::Sha256).entity(&part, DETACHED, "sha-256");
    let sealed = Envelope::to(&STATION, Cipher::Aes256Cbc).entity(&entity);
    let (decoded, kept) = decode(&Message::of(&sealed), &keyring());
    assert_eq!(kept.bytes, [file]);
    assert_eq!(decoded.signature_status, Some(SignatureStatus::Valid));
    assert_eq!(decoded.attachments[0].name.as_deref(), Some("IT01234567890_00001.xml.p7m"));
}

#[test]
fn an_encrypted_file_is_a_document() {
    let file = Envelope::to(&STRANGER, Cipher::Aes256Cbc).seal(b"for someone else");
    let named = "Content-Disposition: attachment; filename=\"contract.p7m\"";
    let part = support::entity(&["Content-Type: application/octet-stream", named], &file);
    let signed = SignOptions::new(&PARTNER, Digest::Sha256).entity(&part, DETACHED, "sha-256");
    for entity in [part, signed] {
        let (decoded, kept) = decode(&Message::of(&entity), &keyring());
        assert_eq!((codes(&decoded), &kept.bytes), (vec![], &vec![file.clone()]));
        assert_eq!(decoded.encrypted, Some(false));
    }
}
