//! ASN.1, just enough of it to write CMS.

use openssl::asn1::Asn1Object;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const NULL: [u8; 2] = [0x05, 0x00];
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[0]` with structure inside.
pub(crate) const CONTEXT_0: u8 = 0xa0;
/// `[1]` with structure inside.
pub(crate) const CONTEXT_1: u8 = 0xa1;
/// `[0]` with bytes inside.
pub(crate) const CONTEXT_0_BYTES: u8 = 0x80;
/// The end of an indefinite length.
pub(crate) const END: [u8; 2] = [0, 0];

/// Tag, length, and these contents one behind the other.
pub(crate) fn tlv(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let mut out = header(tag, contents.iter().map(|c| c.len() as u64).sum());
    for content in contents {
        out.extend_from_slice(content);
    }
    out
}

/// Tag and definite length.
pub(crate) fn header(tag: u8, length: u64) -> Vec<u8> {
    let mut out = vec![tag];
    let bytes = length.to_be_bytes();
    let lead = bytes.iter().take_while(|&&b| b == 0).count();
    let significant = &bytes[lead..];
    match significant {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).expect("a u64 has 8 bytes"));
            out.extend_from_slice(long);
        }
    }
    out
}

/// An object identifier, by its dots.
pub(crate) fn oid(dots: &str) -> Vec<u8> {
    let object = Asn1Object::from_str(dots).expect("an OID of this file's users");
    tlv(OID, &[object.as_slice()])
}

/// An `AlgorithmIdentifier`.
pub(crate) fn algorithm(dots: &str, parameters: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&oid(dots), parameters])
}

/// A small number.
pub(crate) fn number(value: u8) -> Vec<u8> {
    tlv(INTEGER, &[&[value]])
}
