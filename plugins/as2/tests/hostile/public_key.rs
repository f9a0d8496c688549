//! Signatures and keys that are slow to compute with. Each operation comes with a checkpoint, so the
//! checkpoints of a short message count them.

use std::sync::Arc;

use as2hook_as2::{Decoder, Digest, Options, SignatureStatus};
use openssl::{
    ec::{Asn1Flag, EcGroup, EcKey},
    nid::Nid,
    pkey::PKey,
};

use super::{
    Meter, measured, result,
    support::{
        Cipher, Envelope, Identity, Message, SignOptions, Signing,
        attack::{certificate, signed},
        codes,
        der::Encoding,
        entity,
        identity::{STATION, STRANGER, keyring},
        mime::document,
    },
};

/// The same without the checkpoints that its bytes bring.
fn operations(entity: &[u8]) -> (Vec<u16>, usize) {
    let (decoded, Meter { checkpoints, .. }) = measured(&Message::of(entity));
    (codes(&decoded), checkpoints)
}

#[test]
fn each_certificate_and_each_signer_is_tried_once() {
    let content = entity(&["Content-Type: text/plain"], b"hello");
    let certificate = certificate(2048, 17);
    let (once, few) = operations(&signed(&content, &vec![certificate.clone(); 1], 1, false));
    let (often, many) = operations(&signed(&content, &vec![certificate; 32], 8, false));
    assert_eq!((once, often), (vec![900], vec![900]));
    // More bytes, one checkpoint more.
    assert!(many <= few + 1, "{many} for copies, {few} for one");
}

#[test]
fn sixteen_signatures_are_verified_in_all_layers_together() {
    let certificates: Vec<_> = (0..4).map(|_| certificate(1024, 17)).collect();
    let mut entity = entity(&["Content-Type: text/plain"], b"hello");
    let mut before = 0;
    for layer in 0..10 {
        entity = signed(&entity, &certificates, 8, true);
        let (codes, checkpoints) = operations(&entity);
        assert!(codes.contains(&1300), "{codes:?}");
        // What is left grows with the bytes, and with the eight signers that are looked at.
        assert!(checkpoints <= 16 + 20 * (layer + 1), "{checkpoints} in {layer}");
        assert!(checkpoints > before);
        before = checkpoints;
    }
}

#[test]
fn rsa_key_over_a_limit_is_code_1300_and_is_never_computed_with() {
    let content = entity(&["Content-Type: text/plain"], b"hello");
    // The partner's own certificates are tried in any case.
    let (_, others) = measured(&Message::of(&signed(&content, &[], 1, false)));
    for (modulus, exponent, what) in [
        (2048, 65, Some("bits of an RSA public exponent over the limit of 64")),
        (2048, 2047, Some("bits of an RSA public exponent over the limit of 64")),
        (16_385, 17, Some("bits of an RSA modulus over the limit of 16384")),
        (60_000, 17, Some("bits of an RSA modulus over the limit of 16384")),
        (2048, 64, None),
        (16_384, 64, None),
    ] {
        let message = Message::of(&signed(&content, &[certificate(modulus, exponent)], 1, false));
        let (decoded, meter) = measured(&message);
        // The limit of a certificate that came along says nothing about the partner's own.
        let status = if what.is_some() {
            SignatureStatus::OtherCertificate
        } else {
            SignatureStatus::Invalid
        };
        assert_eq!(decoded.signature_status, Some(status));
        match what {
            Some(what) => {
                assert_eq!(codes(&decoded), [900, 1300], "{modulus}, {exponent}");
                assert_eq!(decoded.errors[1].message, what);
                assert_eq!(meter.checkpoints, others.checkpoints);
            }
            None => {
                let expected = others.checkpoints + 3;
                assert_eq!((codes(&decoded), meter.checkpoints), (vec![900], expected));
            }
        }
    }
}

#[test]
fn signers_beyond_the_verification_limit_do_not_hide_a_wrong_signature() {
    let content = entity(&["Content-Type: text/plain"], b"hello");
    let certificates: Vec<_> = (0..4).map(|_| certificate(1024, 17)).collect();
    let decoded = result(&Message::of(&signed(&content, &certificates, 8, true)));
    assert_eq!(decoded.signature_status, Some(SignatureStatus::Invalid));
    assert_eq!(codes(&decoded), [900, 1300]);
}

#[test]
fn certificate_that_brings_its_own_curve_is_not_looked_at() {
    let signed_by = |flag| {
        let mut group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        group.set_asn1_flag(flag);
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let by = Identity::certify("curve", key);
        let sign = SignOptions::new(&by, Digest::Sha256);
        let mut entity = sign.entity(&document(b"x"), Signing::Opaque(Encoding::Der), "sha-256");
        // The last byte of the signature: it is wrong by the certificate, where that is looked at.
        *entity.last_mut().unwrap() ^= 1;
        result(&Message::of(&entity)).signature_status
    };
    assert_eq!(signed_by(Asn1Flag::NAMED_CURVE), Some(SignatureStatus::Invalid));
    assert_eq!(signed_by(Asn1Flag::EXPLICIT_CURVE), Some(SignatureStatus::OtherCertificate));
}

/// A service provider's certificate stands in the config of a thousand partners.
#[test]
fn certificate_of_a_thousand_partners_is_tried_once() {
    let mut keyring = keyring();
    for partner in 0..1000 {
        keyring.add_certificate(format!("P{partner}"), STRANGER.certificate.clone());
    }
    let sign = SignOptions::new(&STRANGER, Digest::Sha256);
    let mut message = sign.entity(&document(b"x"), Signing::Opaque(Encoding::Der), "sha-256");
    // The last byte of the signature.
    *message.last_mut().unwrap() ^= 1;
    let message = Message::of(&message);
    let mut meter = Meter::default();
    let mut decoder = Decoder::new(&message.headers, Arc::new(keyring), Options::default());
    decoder.push(&message.body, &mut meter);
    let decoded = decoder.finish(true, &mut meter);
    assert_eq!((codes(&decoded), decoded.signature_verified), (vec![900], Some(false)));
    // Three of the partner's own, and this one.
    assert_eq!(meter.checkpoints, 1 + 4);
}

#[test]
fn envelope_opens_at_most_one_key_however_many_recipients_it_names() {
    let recipient = Envelope::to(&STATION, Cipher::Aes128Cbc).recipients[0].clone();
    let seal = |count| {
        let mut envelope = Envelope::to(&STATION, Cipher::Aes128Cbc);
        envelope.recipients = vec![recipient.clone(); count];
        operations(&envelope.entity(&document(b"x")))
    };
    let (one, many) = (seal(1), seal(200));
    assert_eq!((one.0, many.0), (vec![], vec![]));
    assert!(many.1 <= one.1 + 2, "{} and {}", one.1, many.1);
    let mut entity = document(b"x");
    for _ in 0..15 {
        entity = Envelope::to(&STATION, Cipher::Aes128Cbc).entity(&entity);
    }
    let (codes, checkpoints) = operations(&entity);
    assert_eq!(codes, [0u16; 0]);
    assert_eq!(checkpoints, 15);
}
