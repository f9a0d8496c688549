//! Messages that are made to cost much, as entities.

use as2hook_as2::ber::oid;
use flate2::{Compress, Compression, FlushCompress};
use openssl::rand::rand_bytes;

use super::{
    cms::{compressed, compressed_entity, content_info, smime},
    der::{self, Encoding, NULL},
};

/// What ends on a byte of its own and stands for itself, so that it can be repeated.
fn unit(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 1024);
    let mut deflate = Compress::new(Compression::best(), false);
    deflate.compress_vec(content, &mut out, FlushCompress::Full).unwrap();
    out
}

/// A stream of so many MiB of zeros that keeps within a ratio of 195 (its checksum is wrong, but the
/// end is never reached).
fn patient(header: &[u8], mebibytes: usize) -> Vec<u8> {
    let mut zeros = unit(&vec![0; 1 << 20]);
    while zeros.len() < (1 << 20) / 195 {
        // An empty block.
        zeros.extend([0, 0, 0, 0xff, 0xff]);
    }
    [&[0x78, 0xda][..], &unit(header), &zeros.repeat(mebibytes)].concat()
}

/// So many MiB in so many layers of compression, of which each keeps within a ratio of 200.
pub fn bomb(layers: usize, mebibytes: usize) -> Vec<u8> {
    let header = b"Content-Type: application/octet-stream\r\n\r\n";
    let mut entity =
        smime("compressed-data", &compressed(&patient(header, mebibytes), Encoding::Der));
    for _ in 1..layers {
        entity = compressed_entity(&entity, Encoding::Der);
    }
    entity
}

/// SignedData with its content in segments of one byte.
pub fn in_segments(content: &[u8]) -> Vec<u8> {
    let segments: Vec<u8> = content.iter().flat_map(|&byte| [4, 1, byte]).collect();
    let inside = der::tlv(0xa0, &der::tlv(0x24, &segments));
    let fields = [
        der::int(1),
        der::set(&[&der::seq(&[&der::oid(oid::SHA256)])]),
        der::tlv(0x30, &[der::oid(oid::DATA), inside].concat()),
        der::set(&[]),
    ];
    let signed = content_info(Encoding::Der, oid::SIGNED_DATA, &der::tlv(0x30, &fields.concat()));
    smime("signed-data", &signed)
}

/// A positive INTEGER of so many bits, odd.
fn number(bits: usize) -> Vec<u8> {
    let mut bytes = vec![0; bits.div_ceil(8)];
    rand_bytes(&mut bytes).unwrap();
    let top = (bits - 1) % 8;
    bytes[0] = bytes[0] & ((1 << top) - 1) | 1 << top;
    *bytes.last_mut().unwrap() |= 1;
    if top == 7 {
        bytes.insert(0, 0);
    }
    der::tlv(2, &bytes)
}

fn name() -> Vec<u8> {
    der::seq(&[&der::set(&[&der::seq(&[&der::oid(b"\x55\x04\x03"), &der::tlv(12, b"x")])])])
}

/// A certificate with a public RSA key of this size that has no private one.
pub fn certificate(modulus: usize, exponent: usize) -> Vec<u8> {
    let key = der::seq(&[&number(modulus), &number(exponent)]);
    let info = der::seq(&[
        &der::seq(&[&der::oid(oid::RSA), NULL]),
        &der::tlv(3, &[&[0], key.as_slice()].concat()),
    ]);
    let algorithm = der::seq(&[&der::oid(oid::SHA256_WITH_RSA), NULL]);
    let times = der::seq(&[&der::tlv(0x17, b"200101000000Z"), &der::tlv(0x17, b"490101000000Z")]);
    let inside = [der::tlv(0xa0, &der::int(2)), der::int(1), algorithm.clone(), name(), times];
    let body = der::tlv(0x30, &[inside.concat(), name(), info].concat());
    der::seq(&[&body, &algorithm, &der::tlv(3, &[&[0][..], &[1; 256]].concat())])
}

/// An opaque signature by these certificates. Its attributes are out of DER's order, and its algorithm
/// implies another digest: three verifications for each certificate.
pub fn signed(content: &[u8], certificates: &[Vec<u8>], signers: usize, distinct: bool) -> Vec<u8> {
    let attribute = |id: &[u8], value: &[u8]| der::seq(&[&der::oid(id), &der::set(&[value])]);
    let sum = openssl::sha::sha256(content);
    let attributes = [
        attribute(oid::MESSAGE_DIGEST, &der::octets(&sum)),
        attribute(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03", &der::oid(oid::DATA)),
    ];
    let digest = der::seq(&[&der::oid(oid::SHA256), NULL]);
    let signer = |n: usize| {
        let mut signature = vec![3; 256];
        signature[255] = if distinct { n as u8 } else { 0 };
        der::seq(&[
            &der::int(1),
            &der::seq(&[&name(), &der::int(1)]),
            &digest,
            &der::tlv(0xa0, &attributes.concat()),
            &der::seq(&[&der::oid(oid::SHA512_WITH_RSA), NULL]),
            &der::octets(&signature),
        ])
    };
    let signers: Vec<u8> = (0..signers).flat_map(signer).collect();
    let fields = [
        der::int(1),
        der::set(&[&digest]),
        der::seq(&[&der::oid(oid::DATA), &der::tlv(0xa0, &der::octets(content))]),
        der::tlv(0xa0, &certificates.concat()),
        der::tlv(0x31, &signers),
    ];
    let info = content_info(Encoding::Der, oid::SIGNED_DATA, &der::tlv(0x30, &fields.concat()));
    smime("signed-data", &info)
}
