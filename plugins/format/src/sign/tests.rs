use openssl::{hash::MessageDigest, pkey::PKey, sign::Signer as Independent};
use proptest::prelude::*;

use super::*;

/// The example of the Standard Webhooks specification.
#[test]
fn standard_webhooks_example() {
    let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let (id, time, body) =
        ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
    let header = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    assert!(verify_webhook(header, &secret, id, time, body));
    assert!(!verify_webhook(header, &secret, id, "1614265331", body));
    assert!(!verify_webhook(header, &secret, id, time, b"{}"));
}

/// Both computed outside of Rust, with Python's `hmac`.
#[test]
fn known_signatures() {
    let secret = Secret::parse("my_secret").unwrap();
    let signatures = sign(&[secret], &covered(), br#"{"a":1}"#);

    assert_eq!(signatures.webhook, "v1,sVn3XjxehPEj2f2n04jNMmHZtuBUsJ1rAZJdD0VPLL8=");
    let [first, second] = [
        "v1,c05hx2jdews9NHQDPAvLOfR+XlR6b7KGhvRP86ex5EQ=",
        "v2,AbvuGT3prLyeeccglVVBvKo4XAWeF+N2tKx9bKjD1FY=",
    ];
    assert_eq!(signatures.as2, format!("{first} {second}"));
}

#[test]
fn each_secret_signs() {
    let [old, new, other] = ["old", "new", "other"].map(|text| Secret::parse(text).unwrap());
    let signatures = sign(&[old.clone(), new.clone()], &covered(), b"body");
    let Covered { webhook_id, webhook_timestamp, .. } = covered();
    let (id, time) = (text(webhook_id), text(webhook_timestamp));

    assert_eq!(signatures.webhook.split(' ').count(), 2);
    let versions: Vec<_> = signatures.as2.split(' ').map(|one| &one[..3]).collect();
    assert_eq!(versions, ["v1,", "v1,", "v2,", "v2,"]);
    for (secret, right) in [(&old, true), (&new, true), (&other, false)] {
        let webhook = verify_webhook(&signatures.webhook, secret, id, time, b"body");
        let as2 = verify_as2(&signatures.as2, secret, &covered(), b"body");
        assert_eq!((webhook, as2), (right, right));
    }
}

#[test]
fn no_field_can_pretend_to_be_the_next() {
    let secret = Secret::parse("key").unwrap();
    let one = Covered { as2_from: b"A", as2_to: b"BC", ..covered() };
    let other = Covered { as2_from: b"AB", as2_to: b"C", ..covered() };
    let signature = sign(std::slice::from_ref(&secret), &one, b"").as2;

    assert!(verify_as2(&signature, &secret, &one, b""));
    assert!(!verify_as2(&signature, &secret, &other, b""));
}

#[test]
fn every_covered_field_counts() {
    let secret = Secret::parse("key").unwrap();
    let signature = sign(std::slice::from_ref(&secret), &covered(), b"").as2;
    let changed = [
        Covered { webhook_id: b"x", ..covered() },
        Covered { webhook_timestamp: b"x", ..covered() },
        Covered { event: b"x", ..covered() },
        Covered { partner_type: b"x", ..covered() },
        Covered { as2_from: b"x", ..covered() },
        Covered { as2_to: b"x", ..covered() },
        Covered { message_id: b"x", ..covered() },
        Covered { processing_error: b"x", ..covered() },
        Covered { send_error: b"x", ..covered() },
        Covered { event_id: b"x", ..covered() },
        Covered { signature_status: b"valid", ..covered() },
        Covered { document: b"x", ..covered() },
    ];
    for covered in changed {
        assert!(!verify_as2(&signature, &secret, &covered, b""), "{covered:?}");
    }
}

/// A receiver that checks only `v1` is not affected: the new fields are not part of it.
#[test]
fn first_value_stays_the_same_when_a_field_of_the_second_changes() {
    let secret = [Secret::parse("key").unwrap()];
    let changed = Covered { signature_status: b"valid", ..covered() };
    let [one, other] = [covered(), changed].map(|covered| sign(&secret, &covered, b"body").as2);
    let values = |header: &str| -> [String; 2] {
        let values: Vec<_> = header.split(' ').map(str::to_owned).collect();
        values.try_into().unwrap()
    };
    let ([first, second], [other_first, other_second]) = (values(&one), values(&other));
    assert_eq!(first, other_first);
    assert_ne!(second, other_second);
}

#[test]
fn a_body_of_another_length_is_not_signed() {
    let secret = Secret::parse("key").unwrap();
    let mut signer = BodySigner::new(&[secret], &covered(), 4);
    signer.update(b"abc");

    let refused = signer.finish().unwrap_err();
    assert_eq!(refused, WrongLength { expected: 4, actual: 3 });
}

#[test]
fn debug_shows_no_key() {
    let secret = Secret::parse("do-not-show").unwrap();
    let signer = BodySigner::new(std::slice::from_ref(&secret), &covered(), 0);
    assert!(!format!("{signer:?} {secret:?}").contains("do-not-show"));
}

/// Keys shorter, as long as, and longer than the hash's block are prepared differently.
#[test]
fn keys_of_any_length() {
    for length in 1..200 {
        let key = "k".repeat(length);
        let signatures = sign(&[Secret::parse(&key).unwrap()], &covered(), b"body");
        assert_eq!(signatures.webhook, independent(&key, b"msg_0123.1592228936.body"), "{length}");
    }
}

proptest! {
    #[test]
    fn pieces_sign_as_the_whole(
        key in proptest::collection::vec(any::<u8>(), 1..100),
        body in proptest::collection::vec(any::<u8>(), 0..300),
        cut in 0_usize..300,
    ) {
        let key = key.iter().map(|b| char::from(b % 26 + b'a')).collect::<String>();
        let secret = Secret::parse(&key).unwrap();
        let cut = cut.min(body.len());
        let mut signer =
            BodySigner::new(std::slice::from_ref(&secret), &covered(), length(&body));
        signer.update(&body[..cut]);
        signer.update(&body[cut..]);
        let signatures = signer.finish().unwrap();

        let webhook = [b"msg_0123.1592228936.".as_slice(), &body].concat();
        prop_assert_eq!(signatures.webhook, independent(&key, &webhook));
        let as2 = format!("8:msg_012310:159222893616:message.received10:Production4:ACME\
            10:MY-OWN-ORG37:<AS2-1592209136307-2@ACME_MY-OWN-ORG>\
            60:800: Decryption failure: bad certificate; 1100: Parse failed0:{}:", body.len());
        let as2 = [as2.as_bytes(), &body].concat();
        let tail = b"36:0172b7f0-5a00-7000-8000-00000000000117:other-certificate0:";
        let second = independent(&key, &[as2.as_slice(), tail].concat()).replace("v1,", "v2,");
        prop_assert_eq!(signatures.as2, format!("{} {second}", independent(&key, &as2)));
    }
}

fn independent(key: &str, message: &[u8]) -> String {
    let key = PKey::hmac(key.as_bytes()).unwrap();
    let mut signer = Independent::new(MessageDigest::sha256(), &key).unwrap();
    let code = signer.sign_oneshot_to_vec(message).unwrap();
    format!("v1,{}", openssl::base64::encode_block(&code))
}

fn covered() -> Covered<'static> {
    Covered {
        webhook_id: b"msg_0123",
        webhook_timestamp: b"1592228936",
        event: b"message.received",
        partner_type: b"Production",
        as2_from: b"ACME",
        as2_to: b"MY-OWN-ORG",
        message_id: b"<AS2-1592209136307-2@ACME_MY-OWN-ORG>",
        processing_error: b"800: Decryption failure: bad certificate; 1100: Parse failed",
        send_error: b"",
        event_id: b"0172b7f0-5a00-7000-8000-000000000001",
        signature_status: b"other-certificate",
        document: b"",
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
