//! One message made of another.

use as2hook_as2::{Digest, SignatureStatus};

use super::{
    result,
    support::{Message, Scheme, SignOptions, Signing, codes, der::Encoding, entity, identity},
};

/// A signature over signed attributes, shown as one over a content: the attributes themselves.
#[test]
fn content_that_is_a_set_of_signed_attributes_is_refused_without_signed_attributes() {
    for by in [&*identity::PARTNER, &*identity::PARTNER_EC] {
        for digest in [Digest::Sha1, Digest::Sha256, Digest::Sha512] {
            let sign = SignOptions::new(by, digest);
            let content = entity(&["Content-Type: text/plain"], b"pay them");
            for shape in [
                Signing::Opaque(Encoding::Der),
                Signing::Opaque(Encoding::Ber(7)),
                Signing::Detached { base64: true },
            ] {
                let forged = Message::of(&sign.confused(&content, shape));
                let decoded = result(&forged);
                assert_eq!(codes(&decoded), [900], "{:?}", decoded.errors);
                assert_eq!(decoded.signature_status, Some(SignatureStatus::Invalid));
                assert!(decoded.errors[0].message.contains("set of signed attributes"));
            }
        }
    }
}

/// The check is for that shape alone.
#[test]
fn content_without_signed_attributes_is_valid_if_it_is_like_no_attributes() {
    for content in [&b"1A0 price list\r\n"[..], b"1", b"", b"Content-Type: a/b\r\n\r\n1"] {
        let sign = SignOptions {
            attributes: false,
            scheme: Scheme::Pkcs1,
            ..SignOptions::new(&identity::PARTNER, Digest::Sha256)
        };
        let message = Message::of(&sign.entity(content, Signing::Opaque(Encoding::Der), "sha-256"));
        let decoded = result(&message);
        assert_eq!(decoded.signature_status, Some(SignatureStatus::Valid), "{content:?}");
    }
}
