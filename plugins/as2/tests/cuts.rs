//! The result never depends on how the input is cut into pushes; what goes in comes out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{ops::Range, sync::LazyLock};

use as2hook_as2::{Digest, Options, SignatureStatus};
use proptest::prelude::*;
use support::{
    Cipher, Envelope, Message, SignOptions, Signing,
    cms::{base64_lines, compressed_entity},
    decode, decode_cut,
    der::Encoding,
    entity,
    identity::{PARTNER, STATION, keyring},
    mime::{document, multipart},
};

fn wrap(document: &[u8]) -> Vec<Message> {
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let signed = sign.entity(document, Signing::Detached { base64: true }, "sha-256");
    let opaque = sign.entity(document, Signing::Opaque(Encoding::Nested(40)), "sha-256");
    let related = multipart("multipart/related", "=_r", &[document, document]);
    let text = entity(
        &["Content-Type: text/plain", "Content-Transfer-Encoding: 8bit"],
        b"line\nline\r\n\nline\r\r\n",
    );
    let seal = |inside: &[u8], cipher, encoding| {
        Envelope { encoding, ..Envelope::to(&STATION, cipher) }.entity(inside)
    };
    let sealed = Envelope::to(&STATION, Cipher::Aes256Cbc).seal(&signed);
    let armoured = entity(
        &["Content-Type: application/pkcs7-mime", "Content-Transfer-Encoding: base64"],
        &base64_lines(&sealed),
    );
    [
        document.to_vec(),
        signed.clone(),
        opaque,
        sign.entity(&text, Signing::Detached { base64: false }, "sha1"),
        sign.entity(&related, Signing::Detached { base64: true }, "sha-256"),
        seal(&signed, Cipher::Aes256Cbc, Encoding::Der),
        seal(&signed, Cipher::Aes128Gcm, Encoding::Ber(30)),
        seal(
            &compressed_entity(&signed, Encoding::Ber(20)),
            Cipher::TripleDes,
            Encoding::Nested(64),
        ),
        armoured,
    ]
    .iter()
    .map(|entity| Message::of(entity))
    .collect()
}

/// Thousands of decryptions: those of one test alone take a minute on a slow machine.
fn every_cut(which: Range<usize>) {
    let messages = wrap(&document(b"UNA:+.? '\r\n"));
    assert_eq!(messages.len(), 9, "each has its test below");
    for message in &messages[which] {
        let (whole, kept) = decode(message, &keyring());
        assert_eq!(whole.errors, []);
        for at in 1..message.body.len() {
            let sizes = [at, message.body.len()];
            let (cut, again) = decode_cut(message, &keyring(), Options::default(), &sizes);
            assert_eq!((cut, again.bytes), (whole.clone(), kept.bytes.clone()), "cut at {at}");
        }
        let (bytewise, again) = decode_cut(message, &keyring(), Options::default(), &[1]);
        assert_eq!((bytewise, again.bytes), (whole, kept.bytes));
    }
}

#[test]
fn every_cut_of_plain_and_signed_messages() {
    every_cut(0..5);
}

#[test]
fn every_cut_of_an_encrypted_message() {
    every_cut(5..6);
}

#[test]
fn every_cut_of_an_encrypted_message_in_segments() {
    every_cut(6..7);
}

#[test]
fn every_cut_of_a_compressed_message() {
    every_cut(7..8);
}

#[test]
fn every_cut_of_an_armoured_message() {
    every_cut(8..9);
}

static LARGE: LazyLock<Vec<Message>> = LazyLock::new(|| {
    // Incompressible, with boundaries and line ends strewn in.
    let mut content = vec![0; 300_000];
    openssl::rand::rand_bytes(&mut content).unwrap();
    for (at, bytes) in
        [(1000, &b"\r\n--=_r"[..]), (70_000, b"\r\n------=_Part_7_42"), (200_000, b"\r\n\r\n--")]
    {
        content[at..at + bytes.len()].copy_from_slice(bytes);
    }
    wrap(&document(&content))
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_cuts_of_large_messages(sizes in prop::collection::vec(1usize..70_000, 1..30), which in 0..9usize) {
        let message = &LARGE[which];
        let (whole, kept) = decode(message, &keyring());
        let (cut, again) = decode_cut(message, &keyring(), Options::default(), &sizes);
        prop_assert_eq!(whole, cut);
        prop_assert!(kept.bytes == again.bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_goes_in_comes_out(
        content in prop::collection::vec(any::<u8>(), 0..3000),
        digest in prop::sample::select(Digest::ALL.to_vec()),
        cipher in prop::sample::select(vec![Cipher::Aes128Cbc, Cipher::Aes192Cbc, Cipher::Aes256Gcm, Cipher::TripleDes]),
        segment in 1usize..500,
        shape in 0..4,
        compress in 0..3,
        size in 1usize..4000,
    ) {
        let encoding = if segment % 2 == 0 { Encoding::Ber(segment) } else { Encoding::Der };
        let mut inside = document(&content);
        if compress == 1 {
            inside = compressed_entity(&inside, encoding);
        }
        let sign = SignOptions::new(&PARTNER, digest);
        let mut inside = match shape {
            0 => inside,
            1 => sign.entity(&inside, Signing::Opaque(encoding), "x"),
            n => sign.entity(&inside, Signing::Detached { base64: n == 2 }, digest.name()),
        };
        if compress == 2 {
            inside = compressed_entity(&inside, encoding);
        }
        let sealed = Envelope { encoding, ..Envelope::to(&STATION, cipher) }.entity(&inside);
        let (decoded, kept) = decode_cut(&Message::of(&sealed), &keyring(), Options::default(), &[size]);
        prop_assert_eq!(&decoded.errors, &vec![]);
        prop_assert!(kept.bytes == [content]);
        prop_assert_eq!(decoded.compressed, Some(compress > 0));
        let status = if shape == 0 { SignatureStatus::Unsigned } else { SignatureStatus::Valid };
        prop_assert_eq!(decoded.signature_status, Some(status));
    }

    #[test]
    fn any_bytes_at_all(
        body in prop::collection::vec(any::<u8>(), 0..2000),
        kind in prop::sample::select(vec![
            "application/pkcs7-mime", "multipart/signed; boundary=b", "multipart/report; boundary=b",
            "multipart/mixed", "message/disposition-notification", "", "text/html",
        ]),
        size in 1usize..300,
    ) {
        let mut message = Message::of(&entity(&[&format!("Content-Type: {kind}")], &body));
        message.body = body;
        let (whole, _) = decode(&message, &keyring());
        let (cut, _) = decode_cut(&message, &keyring(), Options::default(), &[size]);
        prop_assert_eq!(whole, cut);
    }
}
