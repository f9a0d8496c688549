//! Digests other than announced, signers that cannot be read, algorithms that are not known.

use as2hook_as2::{Decoded, Digest, Keyring, SignatureStatus, ber::oid};

use super::{
    decoded,
    support::{
        Message, Scheme, SignOptions, Signing, codes, decode, decode_cut,
        der::{self, Encoding},
        entity,
        identity::{PARTNER, PARTNER_EC, STRANGER, keyring},
        mime::document,
    },
    warnings,
};

const DETACHED: Signing = Signing::Detached { base64: true };

/// More than is kept for a second look.
fn large() -> Vec<u8> {
    let body = b"0123456789\r\n".repeat(95_000);
    entity(&["Content-Type: application/edifact"], &body)
}

fn status(entity: &[u8]) -> Decoded {
    let message = Message::of(entity);
    let (decoded, kept) = decode(&message, &keyring());
    assert_eq!(kept.bytes.len(), 1);
    let sizes = [70_001, 1_000_000, 3];
    let (cut, _) = decode_cut(&message, &keyring(), as2hook_as2::Options::default(), &sizes);
    assert_eq!(cut, decoded);
    decoded
}

#[test]
fn pyas2_4_digest_of_a_large_part_is_found_whatever_its_micalg_says() {
    for (digest, micalgs) in [
        (Digest::Sha1, &["sha-256", "none", "", "sha512"][..]),
        (Digest::Sha256, &["sha1", "\"sha1, foo\"", "md5", "SHA1withRSA"]),
        (Digest::Sha384, &["SHA384withRSA", "none"]),
        (Digest::Sha512, &["", "sha1 md5", "sha-512 (of RFC 8551)"]),
        (Digest::Md5, &["rsa-md5"]),
    ] {
        for micalg in micalgs {
            let sign = SignOptions::new(&PARTNER, digest);
            let signed = sign.entity(&large(), DETACHED, &format!("\"{micalg}\""));
            let decoded = status(&signed);
            let valid = Some(SignatureStatus::Valid);
            assert_eq!(decoded.signature_status, valid, "{digest:?}, {micalg}");
            assert_eq!(codes(&decoded), [0u16; 0]);
            let is_announced = (digest, *micalg) == (Digest::Sha512, "sha-512 (of RFC 8551)")
                || matches!(*micalg, "SHA384withRSA" | "rsa-md5");
            let warned: &[_] = if is_announced { &[] } else { &["other-digest"] };
            assert_eq!(warnings(&decoded), warned, "{digest:?}, {micalg}");
            if Digest::from_name(micalg).is_none() && !micalg.contains("sha1") {
                let text = "no digest that is known was announced";
                assert!(decoded.warnings[0].message.ends_with(text), "{:?}", decoded.warnings);
            }
        }
    }
    // Signed with its line ends made CRLF, sent with bare ones.
    let sign = SignOptions::new(&PARTNER, Digest::Sha1);
    let signed = sign.entity(&large(), DETACHED, "sha-256");
    let at = memchr::memmem::find_iter(&signed, b"9\r\n");
    let at: std::collections::HashSet<_> = at.map(|at| at + 1).collect();
    let sent: Vec<u8> = signed
        .iter()
        .enumerate()
        .filter_map(|(index, byte)| (!at.contains(&index)).then_some(*byte))
        .collect();
    let decoded = status(&sent);
    assert_eq!(decoded.signature_status, Some(SignatureStatus::Valid), "{:?}", decoded.errors);
}

#[test]
fn pyas2_6_digest_of_a_large_part_that_did_not_run_is_unsupported_and_both_are_named() {
    let content = large();
    for (digest, micalg) in [
        (Digest::Sha512, "sha-256"),
        (Digest::Sha384, "sha1"),
        (Digest::Sha3_256, "sha-256"),
        (Digest::Md5, "sha1"),
    ] {
        let sign = SignOptions::new(&PARTNER, digest);
        let decoded = status(&sign.entity(&content, DETACHED, micalg));
        assert_eq!(decoded.signature_status, Some(SignatureStatus::Unsupported));
        assert_eq!((decoded.signature_verified, codes(&decoded)), (None, vec![1300]));
        let announced = Digest::from_name(micalg).unwrap().name();
        let text = &decoded.errors[0].message;
        assert!(text.contains(digest.name()) && text.contains(announced), "{text}");
    }
    // What did run decides.
    let mut entity = SignOptions::new(&PARTNER, Digest::Sha1).entity(&content, DETACHED, "sha-256");
    let at = memchr::memmem::find(&entity, b"0123456789").unwrap();
    entity[at] = b'X';
    assert_eq!(status(&entity).signature_status, Some(SignatureStatus::Invalid));
}

/// The MIC of what was signed is there by every algorithm that the message offers.
#[test]
fn as2_server_9_mic_of_a_large_part_is_by_the_algorithm_asked_for() {
    let content = large();
    let entity = SignOptions::new(&PARTNER, Digest::Sha1).entity(&content, DETACHED, "sha-256");
    let options = "signed-receipt-protocol=optional, pkcs7-signature; signed-receipt-micalg=optional, sha512, md5";
    let message = Message::of(&entity).with("Disposition-Notification-Options", options);
    let (decoded, _) = decode(&message, &keyring());
    let mic = |digest| {
        let sum =
            openssl::hash::hash(super::support::cms::message_digest(digest), &content).unwrap();
        format!("{}, {}", openssl::base64::encode_block(&sum), digest.name())
    };
    assert_eq!(decoded.mic, Some(mic(Digest::Sha512).replace('\n', "")));
    let all: Vec<_> = decoded.mics.iter().map(|own| own.mic.clone()).collect();
    let should = [Digest::Sha512, Digest::Md5, Digest::Sha1].map(|d| mic(d).replace('\n', ""));
    assert_eq!(all, should);
}

const SHA256: &[u8] = oid::SHA256;
/// SHAKE128, RIPEMD-160, SHA-512/256; RSASSA-PSS with SHAKE128; PLAIN-ECDSA with SHA-256.
const SHAKE: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x0b";
const RIPEMD: &[u8] = b"\x2b\x24\x03\x02\x01";
const SHA512_256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x06";
const PSS_SHAKE: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x06\x1e";
const PLAIN_ECDSA: &[u8] = b"\x04\x00\x7f\x00\x07\x01\x01\x04\x01\x03";

/// Every object identifier of the signature that equals `from` becomes `to`.
fn with_oids(signature: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (from, to) = (der::oid(from), der::oid(to));
    assert!(memchr::memmem::find(signature, &from).is_some());
    let mut out = Vec::new();
    rewrite(signature, &from, &to, &mut out);
    out
}

/// Writes DER anew with one element in place of another.
fn rewrite(mut der: &[u8], from: &[u8], to: &[u8], out: &mut Vec<u8>) {
    while !der.is_empty() {
        let count = if der[1] < 0x80 { 0 } else { usize::from(der[1] & 0x7f) };
        let length = match count {
            0 => usize::from(der[1]),
            n => der[2..2 + n].iter().fold(0, |all, &b| all << 8 | usize::from(b)),
        };
        let (element, rest) = der.split_at(2 + count + length);
        let content = &element[2 + count..];
        if element == from {
            out.extend(to);
        } else if element[0] & 0x20 != 0 && element[0] != 0xa3 {
            let mut inside = Vec::new();
            rewrite(content, from, to, &mut inside);
            out.extend(der::tlv(element[0], &inside));
        } else {
            out.extend(element);
        }
        der = rest;
    }
}

/// The signature's entity around a document.
fn message(signature: &[u8], content: &[u8]) -> Message {
    let kind = "Content-Type: application/pkcs7-signature; name=\"smime.p7s\"";
    let part = entity(&[kind], signature);
    let kind = "multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256";
    Message::of(&super::support::mime::multipart(kind, "b", &[content, &part]))
}

#[test]
fn bc_java_1255_unknown_algorithm_is_unsupported_and_its_oid_is_named() {
    let content = document(b"UNB+");
    for (scheme, from, to, name) in [
        (Scheme::Pkcs1, SHA256, RIPEMD, "1.3.36.3.2.1"),
        (Scheme::Pkcs1, SHA256, SHA512_256, "2.16.840.1.101.3.4.2.6"),
        (Scheme::Pkcs1, SHA256, SHAKE, "2.16.840.1.101.3.4.2.11"),
        (Scheme::Pss, SHA256, SHAKE, "2.16.840.1.101.3.4.2.11"),
        (Scheme::Pss, oid::RSA_PSS, PSS_SHAKE, "1.3.6.1.5.5.7.6.30"),
        (Scheme::Ecdsa, oid::ECDSA_WITH_SHA256, PLAIN_ECDSA, "0.4.0.127.0.7.1.1.4.1.3"),
    ] {
        for embed in [false, true] {
            let by = if scheme == Scheme::Ecdsa { &*PARTNER_EC } else { &*PARTNER };
            let sign = SignOptions { scheme, embed, ..SignOptions::new(by, Digest::Sha256) };
            let mut signature = with_oids(&sign.sign(&content, None), from, to);
            if to == PLAIN_ECDSA {
                spoil(&mut signature);
            }
            for keyring in [keyring(), Keyring::new()] {
                let (decoded, _) = decoded(&message(&signature, &content), &keyring);
                let unsupported = Some(SignatureStatus::Unsupported);
                assert_eq!(decoded.signature_status, unsupported, "{name}: {:?}", decoded.errors);
                assert_eq!(codes(&decoded), [900]);
                let text = &decoded.errors[0].message;
                assert!(text.contains(name), "{text}");
            }
        }
    }
}

/// PLAIN-ECDSA has its two numbers in another form, which does not verify as ECDSA.
fn spoil(signature: &mut [u8]) {
    *signature.last_mut().unwrap() ^= 1;
}

/// SignerInfos of several signatures over one content.
fn signers(signatures: &[Vec<u8>]) -> Vec<u8> {
    let infos: Vec<Vec<u8>> = signatures.iter().map(|signature| last_set(signature)).collect();
    let algorithm = der::seq(&[&der::oid(SHA256), der::NULL]);
    let fields = [
        der::int(1),
        der::tlv(0x31, &algorithm),
        der::seq(&[&der::oid(oid::DATA)]),
        der::tlv(0x31, &infos.concat()),
    ];
    let data = der::seq(&[&fields.concat()]);
    super::support::cms::content_info(Encoding::Der, oid::SIGNED_DATA, &data)
}

/// The content of the SET of signers, which stands last.
fn last_set(signature: &[u8]) -> Vec<u8> {
    fn inside(der: &[u8]) -> Vec<&[u8]> {
        let mut all = Vec::new();
        let mut rest = der;
        while !rest.is_empty() {
            let count = if rest[1] < 0x80 { 0 } else { usize::from(rest[1] & 0x7f) };
            let length = match count {
                0 => usize::from(rest[1]),
                n => rest[2..2 + n].iter().fold(0, |all, &b| all << 8 | usize::from(b)),
            };
            all.push(&rest[2 + count..2 + count + length]);
            rest = &rest[2 + count + length..];
        }
        all
    }
    let info = inside(inside(signature)[0]);
    let data = inside(inside(info[1])[0]);
    data.last().unwrap().to_vec()
}

#[test]
fn jsrsasign_509_signer_that_cannot_be_read_does_not_hide_the_others() {
    let content = document(b"UNB+");
    let sign = |by| SignOptions { embed: false, ..SignOptions::new(by, Digest::Sha256) };
    let valid = sign(&PARTNER).sign(&content, None);
    let shake = with_oids(&sign(&STRANGER).sign(&content, None), SHA256, SHAKE);
    let pss = SignOptions { scheme: Scheme::Pss, ..sign(&STRANGER) }.sign(&content, None);
    let pss = with_oids(&pss, SHA256, SHA512_256);
    let ecdsa = sign(&PARTNER_EC).sign(&content, None);
    let mut ecdsa = with_oids(&ecdsa, oid::ECDSA_WITH_SHA256, PLAIN_ECDSA);
    spoil(&mut ecdsa);
    let wrong = sign(&PARTNER).sign(b"other", None);
    let damaged = {
        // A version that is no number, in the SignerInfo alone.
        let set = last_set(&valid);
        let at = memchr::memmem::find(&valid, &set).unwrap();
        let mut damaged = valid.clone();
        damaged[at + 4] = 5;
        damaged
    };
    for odd in [&shake, &pss, &ecdsa, &damaged] {
        for order in [[odd, &valid], [&valid, odd]] {
            let both = signers(&order.map(Clone::clone));
            let (decoded, _) = decoded(&message(&both, &content), &keyring());
            assert_eq!(
                decoded.signature_status,
                Some(SignatureStatus::Valid),
                "{:?}",
                decoded.errors
            );
            assert_eq!(codes(&decoded), [0u16; 0]);
            assert_eq!(warnings(&decoded), ["unreadable-signer"]);
        }
        // It must not hide a wrong one either.
        for order in [[odd, &wrong], [&wrong, odd]] {
            let both = signers(&order.map(Clone::clone));
            let (decoded, _) = decoded(&message(&both, &content), &keyring());
            assert_eq!(decoded.signature_status, Some(SignatureStatus::Invalid));
        }
    }
}
