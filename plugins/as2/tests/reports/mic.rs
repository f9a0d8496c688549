//! MICs: which algorithms are asked for, what they are over, how they are spelled.

use as2hook_as2::{Digest, Keyring, MicComparison, MicForm, mic::compare};
use openssl::base64::encode_block;

use super::{
    decoded,
    support::{
        Cipher, Envelope, Message, SignOptions, Signing,
        cms::{base64_lines, compressed_entity, message_digest},
        decode,
        der::Encoding,
        entity,
        identity::{PARTNER, STATION, keyring},
        mime::{document, multipart},
    },
};

const OPTIONS: &str = "Disposition-Notification-Options";

fn sum(digest: Digest, content: &[u8]) -> String {
    encode_block(&openssl::hash::hash(message_digest(digest), content).unwrap()).replace('\n', "")
}

fn asking(entity: &[u8], list: &str) -> Message {
    let options = format!("signed-receipt-protocol=optional, pkcs7-signature; {list}");
    Message::of(entity).with(OPTIONS, &options)
}

#[test]
fn signed_receipt_micalg_is_read_whatever_separates_it() {
    let part = document(b"UNB+");
    for (options, algorithms) in [
        ("signed-receipt-micalg=optional, sha-256, sha1", &["sha-256", "sha-1"][..]),
        ("signed-receipt-micalg=\"optional\", \"sha1\"", &["sha-1"]),
        ("signed-receipt-micalg=\"optional, sha-384\"", &["sha-384"]),
        ("signed-receipt-micalg=required,sha512", &["sha-512"]),
        ("signed-receipt-micalg=optional; sha1", &["sha-1"]),
        ("signed-receipt-micalg; optional, sha1", &["sha-1"]),
        ("signed-receipt-micalg=optional sha-256 sha1", &["sha-256", "sha-1"]),
        ("signed-receipt-micalg = optional , 'rsa-sha1'", &["sha-1"]),
        ("Signed-Receipt-Micalg=OPTIONAL,SHA-256", &["sha-256"]),
        ("signed-receipt-micalg=sha256", &["sha-256"]),
        ("signed-receipt-micalg=optional, whirlpool, md5", &["md5"]),
        ("signed-receipt-micalg=optional, sha1, sha-1, sha", &["sha-1"]),
        (
            "signed-receipt-micalg=optional, sha1, signed-receipt-protocol=optional, pkcs7-signature",
            &["sha-1"],
        ),
        (
            "signed-receipt-protocol=optional, pkcs7-signature, signed-receipt-micalg=optional, sha1",
            &["sha-1"],
        ),
        (
            "signed-receipt-protocol=optional, pkcs7-signature signed-receipt-micalg=optional, sha1",
            &["sha-1"],
        ),
        ("signed-receipt-micalg=optional, whirlpool", &[]),
        ("signed-receipt-protocol=optional, pkcs7-signature", &[]),
    ] {
        let sealed = Envelope::to(&STATION, Cipher::Aes256Cbc).entity(&part);
        let (decoded, _) = decoded(&Message::of(&sealed).with(OPTIONS, options), &keyring());
        let named = decoded.mics.iter().map(|own| own.mic.split(", ").nth(1).unwrap().to_owned());
        assert_eq!(named.collect::<Vec<_>>(), algorithms, "{options}");
        let first = decoded.mics.first().map(|own| own.mic.clone());
        assert_eq!(decoded.mic, first, "{options}");
    }
}

#[test]
fn mic_of_a_plain_message_matches_in_any_form_for_the_first_algorithm() {
    let text = b"UNB+UNOC:3+A:14+B:14'\r\n".repeat(9);
    let base64 = base64_lines(&text);
    let kind = "Content-Type: application/edifact";
    let named = "Content-Disposition: attachment; filename=orders.edi";
    let plain = entity(&[kind, named], &text);
    let encoded = entity(&[kind, "Content-Transfer-Encoding: base64"], &base64);
    let parts = multipart("multipart/related", "m", &[&plain, &plain]);
    let body =
        |entity: &[u8]| entity[memchr::memmem::find(entity, b"\r\n\r\n").unwrap() + 4..].to_vec();
    for (message, compressed) in
        [(&plain, false), (&encoded, false), (&parts, false), (&plain, true), (&encoded, true)]
    {
        let sent =
            if compressed { compressed_entity(message, Encoding::Der) } else { message.clone() };
        let asked = asking(&sent, "signed-receipt-micalg=optional, sha-256, sha1, md5");
        let (decoded, _) = decoded(&asked, &Keyring::new());
        let usual = if compressed { MicForm::Entity } else { MicForm::Content };
        assert_eq!(decoded.mics[0].form, usual);
        assert_eq!(decoded.mic.as_ref(), Some(&decoded.mics[0].mic));
        assert!(decoded.mics.len() <= 4, "{:?}", decoded.mics);
        let of = |digest: Digest, content: &[u8]| {
            compare(&decoded.mics, &format!("{}, {}", sum(digest, content), digest.name()))
        };
        let content = body(message);
        let same = MicComparison::Same;
        assert_eq!(of(Digest::Sha256, message), same(MicForm::Entity), "{:?}", decoded.mics);
        assert_eq!(of(Digest::Sha256, &content), same(MicForm::Content));
        if message == &encoded {
            assert_eq!(of(Digest::Sha256, &text), same(MicForm::ContentDecoded));
        }
        // The second algorithm in the usual form alone.
        let usual = if compressed { message.clone() } else { content };
        assert_eq!(of(Digest::Sha1, &usual), same(decoded.mics[0].form));
        assert_eq!(of(Digest::Sha256, b"other"), MicComparison::Different);
        assert_eq!(of(Digest::Sha1, b"other"), MicComparison::Different);
        assert_eq!(of(Digest::Sha512, &usual), MicComparison::Unknown);
    }
}

#[test]
fn mic_of_a_signed_or_encrypted_message_is_over_one_form_by_any_algorithm_offered() {
    let part = document(b"UNB+");
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let signed = sign.entity(&part, Signing::Detached { base64: true }, "sha-256");
    let opaque = sign.entity(&part, Signing::Opaque(Encoding::Der), "sha-256");
    let sealed = Envelope::to(&STATION, Cipher::Aes256Cbc).entity(&part);
    let both = Envelope::to(&STATION, Cipher::Aes256Cbc).entity(&signed);
    for entity in [signed, opaque, sealed, both] {
        let asked = asking(&entity, "signed-receipt-micalg=optional, sha1, sha-512, sha-384");
        let (decoded, _) = decoded(&asked, &keyring());
        for digest in [Digest::Sha1, Digest::Sha512, Digest::Sha384] {
            let theirs = |content: &[u8]| format!("{}, {}", sum(digest, content), digest.name());
            let same = MicComparison::Same(MicForm::Entity);
            assert_eq!(compare(&decoded.mics, &theirs(&part)), same, "{digest:?}");
            assert_eq!(compare(&decoded.mics, &theirs(b"UNB+")), MicComparison::Different);
        }
        assert_eq!(decoded.mic, Some(format!("{}, sha-1", sum(Digest::Sha1, &part))));
    }
}

#[test]
fn mic_is_compared_whatever_its_spelling() {
    let content = b"UNB+";
    let part = entity(&["Content-Type: application/edifact"], content);
    let asked = asking(&part, "signed-receipt-micalg=optional, sha-256, sha1");
    let (decoded, _) = decoded(&asked, &Keyring::new());
    let (sha256, sha1) = (sum(Digest::Sha256, content), sum(Digest::Sha1, content));
    let same = MicComparison::Same(MicForm::Content);
    let bare = sha256.trim_end_matches('=');
    for theirs in [
        format!("{sha256}, sha-256"),
        format!("{sha256},SHA256"),
        format!("{sha256}; sha_256"),
        format!("{sha256} sha256"),
        format!("{bare}, sha-256"),
        format!("\"{sha256}\", \"sha-256\""),
        format!("\"{sha256}, sha-256\""),
        format!("sha-256, {sha256}"),
        format!("sha256 {bare}"),
        format!("{sha256}, rsa-sha256"),
        format!("{sha256}, SHA256withRSA"),
        format!("{sha256}, sha-256 (SHA2)"),
        format!("{} {}, sha2-256", &sha256[..20], &sha256[20..]),
        sha256.clone(),
        bare.to_owned(),
        format!("{sha1}, sha"),
        format!("{sha1}, sha1 (x)"),
        format!("{sha1}, rsa-sha1"),
        format!("{sha1}, 'SHA-1'"),
        sha1.clone(),
        // Equal, so whatever it calls itself.
        format!("{sha256}, whirlpool"),
    ] {
        assert_eq!(compare(&decoded.mics, &theirs), same, "{theirs}");
    }
    for theirs in [
        format!("{}, sha-256", sum(Digest::Sha256, b"other")),
        format!("{}, sha1 (x)", sum(Digest::Sha1, b"other")),
        format!("rsa-sha1, {}", sum(Digest::Sha1, b"other")),
        sum(Digest::Sha256, b"other"),
        // By a known algorithm, but no value of it.
        format!("{sha1}, sha-256"),
        "not base64!, sha-256".to_owned(),
        ", sha1".to_owned(),
        "AAEC, sha-256".to_owned(),
        format!("{sha1}, sha-512"),
        // By an algorithm that was not offered.
        format!("{}, sha-512", sum(Digest::Sha512, content)),
    ] {
        assert_eq!(compare(&decoded.mics, &theirs), MicComparison::Different, "{theirs}");
    }
    for theirs in [
        format!("{}, whirlpool", sum(Digest::Sha256, b"other")),
        String::new(),
        "garbage".to_owned(),
        sum(Digest::Sha512, content),
    ] {
        assert_eq!(compare(&decoded.mics, &theirs), MicComparison::Unknown, "{theirs}");
    }
    assert_eq!(compare(&[], &format!("{sha256}, sha-256")), MicComparison::Unknown);
}

fn wanting(entity: &[u8], list: &str) -> Message {
    asking(entity, list).with("Disposition-Notification-To", "us@example.com")
}

fn by(digest: Digest, content: &[u8]) -> String {
    format!("{}, {}", sum(digest, content), digest.name())
}

#[test]
fn as2_server_9_mic_by_an_algorithm_that_was_not_offered_is_decided() {
    let content = b"UNB+";
    let plain = document(content);
    let signed = SignOptions::new(&PARTNER, Digest::Sha256);
    let signed = signed.entity(&plain, Signing::Detached { base64: true }, "sha-256");
    let sealed = Envelope::to(&STATION, Cipher::Aes256Cbc).entity(&plain);
    let body = Message::of(&plain).body;
    for (sent, right) in [(&plain, &body), (&plain, &plain), (&signed, &plain), (&sealed, &plain)] {
        let asked = wanting(sent, "signed-receipt-micalg=optional, sha-256");
        let (decoded, _) = decoded(&asked, &keyring());
        let compare = |theirs: &str| compare(&decoded.mics, theirs);
        // Some servers use SHA-1 whatever they are asked for.
        for digest in [Digest::Sha1, Digest::Sha256] {
            let same = compare(&by(digest, right));
            assert!(matches!(same, MicComparison::Same(_)), "{digest:?}: {:?}", decoded.mics);
            assert_eq!(compare(&by(digest, b"other")), MicComparison::Different);
        }
        assert_eq!(compare("AAAAAAAAAAAAAAAAAAAAAAAAAAA=, sha1"), MicComparison::Different);
        for digest in [Digest::Sha384, Digest::Sha512, Digest::Md5] {
            assert_eq!(compare(&by(digest, right)), MicComparison::Different, "{digest:?}");
        }
        assert!(decoded.mics.len() <= 4);
    }
}

#[test]
fn mic_of_a_message_that_offers_no_algorithm_is_compared_by_sha_1_and_sha_256() {
    let plain = document(&b"UNB+".repeat(300_000));
    let body = Message::of(&plain).body;
    let sealed = Envelope::to(&STATION, Cipher::Aes256Cbc).entity(&plain);
    for list in ["", "signed-receipt-micalg=optional, whirlpool"] {
        for (sent, right) in [(&plain, &body), (&plain, &plain), (&sealed, &plain)] {
            let (decoded, _) = decode(&wanting(sent, list), &keyring());
            assert_eq!(decoded.mic, None, "it is not known which the MDN has");
            for digest in [Digest::Sha1, Digest::Sha256] {
                let same = compare(&decoded.mics, &by(digest, right));
                assert!(matches!(same, MicComparison::Same(_)), "{digest:?}: {:?}", decoded.mics);
                let other = compare(&decoded.mics, &by(digest, b"other"));
                assert_eq!(other, MicComparison::Different);
            }
            // It may be by any.
            let theirs = by(Digest::Sha512, b"other");
            assert_eq!(compare(&decoded.mics, &theirs), MicComparison::Unknown);
        }
        let (nothing, _) = decode(&asking(&plain, list), &keyring());
        assert_eq!(nothing.mics, [], "no MDN comes");
    }
}

#[test]
fn mic_by_an_algorithm_that_was_not_offered_is_not_computed_beyond_1_mib() {
    let text = b"0123456789\r\n".repeat(100_000);
    let plain = document(&text);
    let encoded = entity(&["Content-Transfer-Encoding: base64"], &base64_lines(b"UNB+"));
    // There is no pass left for its other forms.
    for (sent, content) in [(&plain, text.as_slice()), (&encoded, b"UNB+")] {
        let asked = wanting(sent, "signed-receipt-micalg=optional, sha-256");
        let (decoded, _) = decode(&asked, &Keyring::new());
        let compared = |theirs: &str| compare(&decoded.mics, theirs);
        assert_eq!(compared(&by(Digest::Sha1, content)), MicComparison::Unknown);
        assert_eq!(compared(&by(Digest::Sha1, b"other")), MicComparison::Unknown);
        assert_eq!(compared(&by(Digest::Sha256, b"other")), MicComparison::Different);
        assert_eq!(compared(&by(Digest::Sha512, content)), MicComparison::Different);
    }
}

#[test]
fn mic_by_an_algorithm_that_was_offered_and_not_computed_is_not_compared() {
    let list = "signed-receipt-micalg=optional, sha-256, sha1, sha-384, sha-512, md5";
    let (decoded, _) = decoded(&wanting(&document(b"UNB+"), list), &Keyring::new());
    for digest in [Digest::Sha512, Digest::Md5] {
        let theirs = by(digest, b"other");
        assert_eq!(compare(&decoded.mics, &theirs), MicComparison::Unknown, "{digest:?}");
    }
}
