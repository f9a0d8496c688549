//! Recipients: serial numbers of every sign, keys of one name, agreements that are not supported.

use std::sync::LazyLock;

use as2hook_as2::{Digest, Keyring, SignatureStatus, ber::oid};
use openssl::bn::BigNum;

use super::{
    decoded,
    support::{
        Cipher, Envelope, Identity, KeyWay, Message, Recipient, SignOptions, Signing, codes,
        der::{self, Encoding},
        identity::{PARTNER, STATION_EC, keyring},
        mime::document,
    },
};

fn numbered(serial: &str) -> Identity {
    let key = STATION.key.clone();
    Identity::numbered("station", key, &BigNum::from_dec_str(serial).unwrap())
}

static STATION: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("station", 2048));
static OTHER: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("other", 2048));

/// In the form that `openssl x509 -serial` has.
const SERIALS: [(&str, &str); 8] = [
    ("-1", "-01"),
    ("-128", "-80"),
    ("-129", "-81"),
    ("-256", "-0100"),
    ("-1234567890123456789", "-112210f47de98115"),
    ("0", "00"),
    ("128", "80"),
    ("255", "ff"),
];

#[test]
fn esignet_2341_certificate_with_a_negative_serial_number_is_found() {
    for (serial, shown) in SERIALS {
        let station = numbered(serial);
        let mut keyring = Keyring::new();
        keyring.add_key(station.station_key());
        keyring.add_certificate("PARTNER", station.certificate.clone());
        let sealed = Envelope::to(&station, Cipher::Aes256Cbc).entity(&document(b"UNB+"));
        let (sealed, kept) = decoded(&Message::of(&sealed), &keyring);
        assert_eq!((codes(&sealed), kept.bytes), (vec![], vec![b"UNB+".to_vec()]), "{serial}");
        assert_eq!(sealed.decrypted_with.as_deref(), Some(shown));
        for embed in [true, false] {
            let sign = SignOptions { embed, ..SignOptions::new(&station, Digest::Sha256) };
            let shape = Signing::Detached { base64: true };
            let signed = sign.entity(&document(b"UNB+"), shape, "sha-256");
            let (signed, _) = decoded(&Message::of(&signed), &keyring);
            assert_eq!(signed.signature_status, Some(SignatureStatus::Valid), "{serial}");
            assert_eq!(signed.signer.as_deref(), Some(shown));
        }
        // Named by a signer whose certificate is not at hand.
        let sign = SignOptions { embed: false, ..SignOptions::new(&station, Digest::Sha256) };
        let signed = sign.entity(&document(b"UNB+"), Signing::Opaque(Encoding::Der), "sha-256");
        let (signed, _) = decoded(&Message::of(&signed), &Keyring::new());
        assert_eq!(signed.signer.as_deref(), Some(shown));
    }
}

#[test]
fn phase2_166_each_key_of_one_issuer_and_serial_number_is_tried() {
    for serial in ["1", "0", "-7"] {
        let number = BigNum::from_dec_str(serial).unwrap();
        let same = |key: &Identity| Identity::numbered("station", key.key.clone(), &number);
        let (first, second) = (same(&STATION), same(&OTHER));
        for order in [[&first, &second], [&second, &first]] {
            let mut keyring = Keyring::new();
            order.iter().for_each(|own| keyring.add_key(own.station_key()));
            for to in [&first, &second] {
                for way in [KeyWay::Pkcs1, KeyWay::Oaep(Digest::Sha256, Digest::Sha256)] {
                    let certificate = &to.certificate;
                    let recipients = vec![Recipient { certificate, way, by_key_identifier: false }];
                    for cipher in [Cipher::Aes256Cbc, Cipher::Aes128Gcm] {
                        let recipients = recipients.clone();
                        let envelope = Envelope { recipients, ..Envelope::to(to, cipher) };
                        let message = Message::of(&envelope.entity(&document(b"UNB+")));
                        let (decoded, kept) = decoded(&message, &keyring);
                        assert_eq!(codes(&decoded), [0u16; 0], "{way:?}, {cipher:?}");
                        assert_eq!(kept.bytes, [b"UNB+"]);
                    }
                }
            }
            // For none of them: as with one key.
            let third = same(&PARTNER);
            let sealed = Envelope::to(&third, Cipher::Aes256Cbc).entity(&document(b"UNB+"));
            let (decoded, _) = super::support::decode(&Message::of(&sealed), &keyring);
            assert_eq!((codes(&decoded), decoded.decrypted_with), (vec![800], None));
        }
    }
}

#[test]
fn openas2_ecmqv_is_code_800_and_named() {
    let recipient = Recipient {
        certificate: &STATION_EC.certificate,
        way: KeyWay::Ecdh(Digest::Sha1, 16, false),
        by_key_identifier: false,
    };
    let envelope =
        Envelope { recipients: vec![recipient], ..Envelope::to(&STATION_EC, Cipher::Aes128Cbc) };
    let sealed = envelope.entity(&document(b"UNB+"));
    let at = memchr::memmem::find(&sealed, &der::oid(oid::ECDH_SHA1)).unwrap();
    let mut mqv = sealed;
    // mqvSinglePass-sha1kdf-scheme
    mqv[at + 10] = 0x10;
    let (decoded, _) = decoded(&Message::of(&mqv), &keyring());
    assert_eq!(codes(&decoded), [800]);
    let text = &decoded.errors[0].message;
    assert!(text.contains("ECMQV") && text.contains("1.3.133.16.840.63.0.16"), "{text}");
}

/// pkijs writes the nonce as CBC has its own, without the length of the tag.
#[test]
fn libas2_gcm_with_a_bare_nonce_is_decrypted() {
    for cipher in [Cipher::Aes128Gcm, Cipher::Aes256Gcm] {
        let station = &*super::support::identity::STATION;
        let envelope = Envelope { bare_nonce: true, ..Envelope::to(station, cipher) };
        for authenticated in [false, true] {
            let envelope = Envelope { authenticated, ..envelope.clone() };
            let message = Message::of(&envelope.entity(&document(b"UNB+")));
            let (decoded, kept) = decoded(&message, &keyring());
            assert_eq!((codes(&decoded), kept.bytes), (vec![], vec![b"UNB+".to_vec()]));
        }
    }
}
