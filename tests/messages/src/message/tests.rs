//! OpenSSL is the judge: what is written by hand here must be what its CMS functions read.

use std::sync::LazyLock;

use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::hash::{MessageDigest, hash};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;

use super::*;

static STATION: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("station", 2048));
static PARTNER: LazyLock<Identity> = LazyLock::new(|| Identity::rsa("partner", 2048));

fn invoice() -> Part {
    Part::text("981712.xml", "text/xml", "<invoice number=\"981712\"/>\r\n")
}

/// The MIME entity inside an envelope, by the station's key.
fn opened(body: &[u8]) -> Vec<u8> {
    let cms = CmsContentInfo::from_der(body).expect("OpenSSL reads the envelope");
    cms.decrypt(&STATION.key, &STATION.certificate).expect("OpenSSL opens the envelope")
}

/// The signed entity of a `multipart/signed` one, its signature verified.
fn verified(entity: &[u8]) -> Vec<u8> {
    let text = entity.windows(1).map(|b| char::from(b[0])).collect::<String>();
    let boundary = text.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
    let delimiter = format!("--{boundary}");
    let mut pieces = text.split(&delimiter);
    let signed = pieces.nth(1).unwrap();
    let signed = signed.strip_prefix("\r\n").unwrap().strip_suffix("\r\n").unwrap();
    let signature = pieces.next().unwrap().split("\r\n\r\n").nth(1).unwrap();
    let signature: String = signature.split_whitespace().collect();
    let signature = STANDARD.decode(signature).unwrap();

    let signed: Vec<u8> = signed.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let mut cms = CmsContentInfo::from_der(&signature).expect("OpenSSL reads the signature");
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(PARTNER.certificate.clone()).unwrap();
    let mut known = Stack::new().unwrap();
    known.push(PARTNER.certificate.clone()).unwrap();
    let options = CMSOptions::BINARY | CMSOptions::NO_SIGNER_CERT_VERIFY;
    cms.verify(Some(&known), Some(&store.build()), Some(&signed), None, options)
        .expect("OpenSSL verifies the signature");
    signed
}

fn mic(bytes: &[u8], digest: MessageDigest, name: &str) -> String {
    format!("{}, {name}", STANDARD.encode(hash(digest, bytes).unwrap()))
}

#[test]
fn every_cipher_and_form_is_opened_by_openssl() {
    for cipher in [Cipher::Aes128Cbc, Cipher::Aes256Cbc, Cipher::TripleDes] {
        let message = Message::new("A", "B").attach(invoice());
        let message = message.encrypt_by(&STATION, cipher);
        for message in [message.clone(), message.clone().oaep(), message.ber(7)] {
            let built = message.build();
            let entity = opened(&built.body);
            assert!(entity.ends_with(b"<invoice number=\"981712\"/>\r\n"), "{message:?}");
            assert_eq!(built.mic, mic(&entity, MessageDigest::sha256(), "sha-256"));
            assert_eq!(message.length(), built.body.len() as u64);
        }
    }
}

#[test]
fn signatures_are_verified_by_openssl_and_the_mic_is_over_what_was_signed() {
    let digests = [
        (Digest::Sha1, MessageDigest::sha1(), "sha-1"),
        (Digest::Sha256, MessageDigest::sha256(), "sha-256"),
        (Digest::Sha384, MessageDigest::sha384(), "sha-384"),
        (Digest::Sha512, MessageDigest::sha512(), "sha-512"),
    ];
    for (digest, openssl, name) in digests {
        let message = Message::new("A", "B").attach(invoice()).attach(invoice());
        let built = message.sign_by(&PARTNER, digest).encrypt(&STATION).build();
        let signed = verified(&opened(&built.body));
        assert_eq!(built.mic, mic(&signed, openssl, name));
    }
}

#[test]
fn a_receipt_may_ask_for_another_mic() {
    let message = Message::new("A", "B").attach(invoice()).sign(&PARTNER);
    let built = message.receipt(Receipt::SignedSync(Digest::Sha512)).encrypt(&STATION);
    let built = built.build();
    let signed = verified(&opened(&built.body));
    assert_eq!(built.mic, mic(&signed, MessageDigest::sha512(), "sha-512"));
}

#[test]
fn a_large_ber_message_in_a_definite_envelope_keeps_its_length() {
    let part = Part::new("big.bin", "application/octet-stream", Content::large(1_000_003));
    let message = Message::new("A", "B").attach(part).sign(&PARTNER);
    let definite = message.clone().encrypt(&STATION);
    assert!(verified(&opened(&definite.build().body)).len() > 1_000_003);
    let segmented = message.encrypt(&STATION).ber(4096);
    let built = segmented.build();
    assert!(built.body.ends_with(&[0; 10]));
    assert!(verified(&opened(&built.body)).len() > 1_000_003);
    assert_eq!(segmented.length(), built.body.len() as u64);
}

#[test]
fn compressed_content_inflates_to_the_entity() {
    use std::io::Write;

    let message = Message::new("A", "B").attach(invoice()).compress();
    for message in [message.clone(), message.ber(5)] {
        let built = message.build();
        let zlib = match message.layers[0] {
            Layer::Compress(Encoding::Der) => {
                let at = built.body.windows(2).position(|w| w == [0x78, 0x9c]).unwrap();
                built.body[at..].to_vec()
            }
            _ => segments(&built.body),
        };
        let mut inflated = flate2::write::ZlibDecoder::new(Vec::new());
        inflated.write_all(&zlib).unwrap();
        let entity = inflated.finish().unwrap();
        assert_eq!(built.mic, mic(&entity, MessageDigest::sha256(), "sha-256"));
    }
}

/// The segments of a constructed OCTET STRING, put together.
fn segments(body: &[u8]) -> Vec<u8> {
    let mut at = body.windows(2).position(|w| w == [0x24, 0x80]).unwrap() + 2;
    let mut out = Vec::new();
    while body[at] == 4 {
        let length = usize::from(body[at + 1]);
        out.extend_from_slice(&body[at + 2..at + 2 + length]);
        at += 2 + length;
    }
    out
}

#[test]
fn base64_is_in_lines_and_announced() {
    let message = Message::new("A", "B").attach(invoice()).encrypt(&STATION).base64();
    let built = message.build();
    let text = String::from_utf8(built.body).unwrap();
    assert!(text.lines().all(|line| line.len() <= 76));
    let packed: String = text.split_whitespace().collect();
    opened(&STANDARD.decode(packed).unwrap());
    let said = built.headers.iter().find(|(n, _)| n == "Content-Transfer-Encoding").unwrap();
    assert_eq!(said.1, "base64");
}

#[test]
fn unwanted_fields_are_left_out() {
    let built = Message::new("A", "B").attach(invoice()).without("as2-version").build();
    assert!(built.headers.iter().all(|(name, _)| name != "AS2-Version"));
}
