//! CMS layers: envelopes, signatures and, here, compression and what all of them share.

mod cipher;
mod digests;
mod envelope;
mod recipient;
mod signing;
mod stream;

use std::io::Write;

use as2hook_as2::ber::oid as ids;
use openssl::x509::X509;

use crate::{
    der::{Encoding, int, oid, seq, tlv},
    mime::entity,
};

pub use cipher::Cipher;
pub use digests::{digest_id, md, message_digest};
pub use envelope::{Envelope, EnvelopeWriter};
pub use recipient::{KeyWay, Recipient};
pub use signing::{Scheme, SignOptions, Signing};
pub use stream::{ContentWriter, compressed_writer};

/// A CompressedData's ContentInfo.
pub fn compress(content: &[u8], encoding: Encoding) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    compressed(&encoder.finish().unwrap(), encoding)
}

/// Around an already deflated content.
pub fn compressed(deflated: &[u8], encoding: Encoding) -> Vec<u8> {
    let algorithm = seq(&[&oid(ids::ZLIB)]);
    let string = encoding.open(0xa0, &encoding.string(4, deflated));
    let content = encoding.open(0x30, &[oid(ids::DATA), string].concat());
    let fields = [int(0), algorithm, content].concat();
    content_info(encoding, ids::COMPRESSED_DATA, &encoding.open(0x30, &fields))
}

pub fn compressed_entity(content: &[u8], encoding: Encoding) -> Vec<u8> {
    smime("compressed-data", &compress(content, encoding))
}

pub fn content_info(encoding: Encoding, id: &[u8], content: &[u8]) -> Vec<u8> {
    encoding.open(0x30, &[oid(id), encoding.open(0xa0, content)].concat())
}

pub fn smime(kind: &str, cms: &[u8]) -> Vec<u8> {
    let kind =
        format!("Content-Type: application/pkcs7-mime; smime-type={kind}; name=\"smime.p7m\"");
    entity(&[&kind, "Content-Transfer-Encoding: binary"], cms)
}

/// Lines of 64 with CRLF.
pub fn base64_lines(bytes: &[u8]) -> Vec<u8> {
    let text = openssl::base64::encode_block(bytes);
    text.as_bytes().chunks(64).flat_map(|line| [line, b"\r\n"].concat()).collect()
}

/// Of a recipient or a signer.
pub(crate) fn identifier(certificate: &X509, by_key_identifier: bool) -> Vec<u8> {
    if by_key_identifier {
        return tlv(0x80, certificate.subject_key_id().unwrap().as_slice());
    }
    // Behind two headers of four octets and the version, as the certificate itself has it.
    let der = certificate.to_der().unwrap();
    let serial = &der[13..][..2 + usize::from(der[14])];
    assert_eq!(serial[0], 2);
    seq(&[&certificate.issuer_name().to_der().unwrap(), serial])
}
